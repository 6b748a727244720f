"""``torch.utils.data._utils``: where PyTorch keeps what joins samples."""

from . import collate, worker

"""``torch.utils.model_zoo``: the old name of :mod:`jtorch.hub`'s downloads."""

from jtorch.hub import load_state_dict_from_url as load_url
from jtorch.hub import tqdm

__all__ = ["load_url", "tqdm"]

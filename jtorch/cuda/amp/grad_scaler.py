"""``torch.cuda.amp.grad_scaler``: the scaler under the name of its file."""

from . import GradScaler

__all__ = ["GradScaler"]

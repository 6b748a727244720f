"""``torch.cuda.amp``: :mod:`jtorch.amp` for GPUs."""

from functools import partial

from ...amp import custom_bwd as _custom_bwd
from ...amp import custom_fwd as _custom_fwd
from ...amp.legacy import of_device as _of_device

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd"]

autocast, GradScaler = _of_device("cuda")
custom_fwd = partial(_custom_fwd, device_type="cuda")
custom_bwd = partial(_custom_bwd, device_type="cuda")

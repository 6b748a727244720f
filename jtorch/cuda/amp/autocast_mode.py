"""``torch.cuda.amp.autocast_mode``: autocasting under the name of its file."""

from . import autocast, custom_bwd, custom_fwd

__all__ = ["autocast", "custom_bwd", "custom_fwd"]

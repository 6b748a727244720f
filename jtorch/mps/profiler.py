"""``torch.mps.profiler``: marks for Apple's tools, which see nothing here."""

from ..xpu.absent import refusal

_HINT = "jtorch has no mps devices; torch.accelerator names the one there is"


def is_capturing_metal() -> bool:
    """False."""
    return False


is_metal_capture_enabled = is_capturing_metal

metal_capture, profile, start, stop = (
    refusal("mps.profiler", name, _HINT) for name in ("metal_capture", "profile", "start", "stop")
)

__all__ = ["is_capturing_metal", "is_metal_capture_enabled", "metal_capture", "profile", "start", "stop"]

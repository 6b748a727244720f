"""CUDA switches: matrix-product precision, and attention kernels (XLA chooses its own)."""

from .. import config


def is_built() -> bool:
    """Whether a CUDA backend of JAX is installed."""
    from .. import cuda

    return cuda.is_available()


class _Matmul:
    """``backends.cuda.matmul``: ``allow_tf32`` is the float32 precision "high" (TensorFloat-32) or "highest"."""

    allow_fp16_reduced_precision_reduction = True
    allow_bf16_reduced_precision_reduction = True

    @property
    def allow_tf32(self) -> bool:
        return config.float32_matmul_precision != "highest"

    @allow_tf32.setter
    def allow_tf32(self, value: bool) -> None:
        config.set_float32_matmul_precision("high" if value else "highest")


matmul = _Matmul()


def flash_sdp_enabled() -> bool:
    return True


def enable_flash_sdp(enabled: bool) -> None:
    """Accepted: there is one attention lowering per platform."""


enable_mem_efficient_sdp = enable_math_sdp = enable_cudnn_sdp = enable_flash_sdp
mem_efficient_sdp_enabled = math_sdp_enabled = flash_sdp_enabled

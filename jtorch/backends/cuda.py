"""CUDA switches: matrix-product precision, and attention kernels (XLA chooses its own)."""


def is_built() -> bool:
    """Whether a CUDA backend of JAX is installed."""
    from .. import cuda

    return cuda.is_available()


class matmul:
    allow_tf32 = False
    allow_fp16_reduced_precision_reduction = True
    allow_bf16_reduced_precision_reduction = True


def flash_sdp_enabled() -> bool:
    return True


def enable_flash_sdp(enabled: bool) -> None:
    """Accepted: there is one attention lowering per platform."""


enable_mem_efficient_sdp = enable_math_sdp = enable_cudnn_sdp = enable_flash_sdp
mem_efficient_sdp_enabled = math_sdp_enabled = flash_sdp_enabled

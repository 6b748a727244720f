"""CUDA switches: matrix-product precision, and attention kernels (XLA chooses its own)."""

import contextlib

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


class SDPAParams:
    """The arguments of an attention call, for the questions below."""

    def __init__(self, query, key, value, attn_mask=None, dropout: float = 0.0, is_causal: bool = False,
                 enable_gqa: bool = False):  # fmt: skip
        self.query, self.key, self.value, self.attn_mask = query, key, value, attn_mask
        self.dropout, self.is_causal, self.enable_gqa = dropout, is_causal, enable_gqa


def can_use_flash_attention(params: SDPAParams, debug: bool = False) -> bool:
    """Whether PyTorch's flash kernel could be chosen by hand: False, XLA chooses the kernel."""
    return False


can_use_efficient_attention = can_use_cudnn_attention = can_use_flash_attention


@contextlib.contextmanager
def sdp_kernel(enable_flash: bool = True, enable_math: bool = True, enable_mem_efficient: bool = True,
               enable_cudnn: bool = True):  # fmt: skip
    """Inside, only these kernels may compute attention (:func:`jtorch.nn.attention.sdpa_kernel` by switches)."""
    from importlib import import_module

    attention = import_module("jtorch.nn.attention")
    kinds = {"FLASH_ATTENTION": enable_flash, "MATH": enable_math, "EFFICIENT_ATTENTION": enable_mem_efficient,
             "CUDNN_ATTENTION": enable_cudnn}  # fmt: skip
    with attention.sdpa_kernel([getattr(attention.SDPBackend, name) for name, on in kinds.items() if on]):
        yield {}

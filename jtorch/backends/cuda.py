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


cudnn_sdp_enabled = flash_sdp_enabled


def allow_fp16_bf16_reduction_math_sdp(enabled: bool) -> None:
    """Accepted: attention sums in float32, whatever the operands are."""


def fp16_bf16_reduction_math_sdp_allowed() -> bool:
    """False: attention sums in float32."""
    return False


def is_flash_attention_available() -> bool:
    """Whether PyTorch's flash kernel is there: False, XLA brings its own."""
    return False


is_ck_sdpa_available = is_flash_attention_available


class _Library(str):
    """The name of a library, as PyTorch's switches print theirs."""

    def __repr__(self) -> str:
        return f"<{self}>"


def _chooser(name: str, kind: str, known: dict[str, str]):
    """A function that keeps which of several libraries is preferred."""
    chosen = known["default"]

    def prefer(backend=None):
        nonlocal chosen
        if backend is not None:
            if str(backend) not in (*known, *known.values()):
                raise RuntimeError(f"Unknown input value. Choose from: {', '.join(known)}.")
            chosen = known.get(str(backend), str(backend))
        return _Library(f"{kind}.{chosen}" if "." not in chosen else chosen)

    prefer.__name__ = prefer.__qualname__ = name
    prefer.__doc__ = "What it was last given: kept for reading, XLA chooses its libraries by itself."
    return prefer


preferred_linalg_library = _chooser(
    "preferred_linalg_library", "_LinalgBackend", {"default": "Default", "cusolver": "Cusolver", "magma": "Magma"}
)
preferred_blas_library = _chooser(
    "preferred_blas_library", "_BlasBackend",
    {"default": "Cublas", "cublas": "Cublas", "cublaslt": "Cublaslt", "hipblaslt": "Cublaslt", "ck": "Ck"},
)  # fmt: skip
preferred_rocm_fa_library = _chooser(
    "preferred_rocm_fa_library", "_ROCmFABackend", {"default": "Default", "aotriton": "AOTriton", "ck": "Ck"}
)


class _PlanCache:
    """cuFFT's plans, which XLA keeps: nothing to count or to clear here."""

    size = max_size = 0

    def clear(self) -> None:
        """Accepted."""

    def __getitem__(self, device):
        return self


cufft_plan_cache = _PlanCache()


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

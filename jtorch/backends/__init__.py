"""``torch.backends``: switches programs set. Those that mean something to XLA act; the others are kept for reading."""

import contextlib

from . import (
    cpu,
    cuda,
    cudnn,
    cusparselt,
    kleidiai,
    mha,
    miopen,
    mkl,
    mkldnn,
    mps,
    nnpack,
    openmp,
    opt_einsum,
    quantized,
    xnnpack,
)


def __allow_nonbracketed_mutation():
    """A context in which switches may be set outside ``flags(...)``; here they always may."""
    return contextlib.nullcontext()

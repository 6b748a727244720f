"""Reductions and normalisations of the elements a boolean mask selects.

Elements outside the mask count as absent: they are replaced by the operation's identity. Where nothing is left, the
result is that identity (NaN for means and medians).
"""

from .filling import _input_mask, _output_mask
from .normalizations import log_softmax, logaddexp, normalize, softmax, softmin
from .reductions import (
    amax,
    amin,
    argmax,
    argmin,
    cumprod,
    cumsum,
    logsumexp,
    mean,
    median,
    norm,
    prod,
    std,
    sum,
    var,
)

__all__ = [
    "amax", "amin", "argmax", "argmin", "cumprod", "cumsum", "log_softmax", "logaddexp", "logsumexp", "mean", "median",
    "norm", "normalize", "prod", "softmax", "softmin", "std", "sum", "var",
]  # fmt: skip

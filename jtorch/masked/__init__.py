"""Reductions and normalisations of the elements a boolean mask selects.

Elements outside the mask count as absent: they are replaced by the operation's identity. Where nothing is left, the
result is that identity (NaN for means and medians).
"""

import functools
import importlib

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


def _of_masked_tensors(fn):
    """``fn``, which of a masked tensor takes the data, under its mask."""

    @functools.wraps(fn)
    def wrapper(input, *args, mask=None, **kwargs):
        if mask is None and hasattr(input, "get_mask"):
            mask = input.get_mask()
        return fn(getattr(input, "get_data", lambda: input)(), *args, mask=mask, **kwargs)

    return wrapper


for _fn in (amax, amin, argmax, argmin, cumprod, cumsum, log_softmax, logsumexp, mean, median, norm, normalize, prod,
            softmax, softmin, std, sum, var):  # fmt: skip
    globals()[_fn.__name__] = _of_masked_tensors(_fn)

__all__ = [
    "MaskedTensor", "as_masked_tensor", "is_masked_tensor", "masked_tensor",
    "amax", "amin", "argmax", "argmin", "cumprod", "cumsum", "log_softmax", "logaddexp", "logsumexp", "mean", "median",
    "norm", "normalize", "prod", "softmax", "softmin", "std", "sum", "var",
]  # fmt: skip


def __getattr__(name):
    if name in ("MaskedTensor", "as_masked_tensor", "is_masked_tensor", "masked_tensor"):
        from . import tensor  # on use: from then on every function asks whether an argument is of such a class

        return getattr(tensor, name)
    if name == "_ops":  # PyTorch imports it along
        return importlib.import_module(f"{__name__}._ops")
    raise AttributeError(f"module 'torch.masked' has no attribute {name!r}")

"""Cross entropy of logits that are a linear map of the input, whole or in chunks of rows."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

from ... import dtypes
from ...ops.registry import OPS
from ...tensor.dispatch import dispatch
from ...tensor.export import function
from .loss import cross_entropy

_CHUNKED = OPS["_linear_cross_entropy"]
linear = function(OPS["linear"])
_POLICIES = ("auto", "accurate", "balanced", "compact")
_HALVES = (dtypes.float16, dtypes.bfloat16)


@dataclass(frozen=True)
class LinearCrossEntropyOptions:
    """How :func:`linear_cross_entropy` cuts its rows into chunks, so that the logits never exist all at once.

    Attributes:
        allow_retain_graph: accepted; a second backward is always allowed here.
        batch_chunk_size: rows a chunk.
        chunking_method: ``"aspect_ratio"`` (the logits of a chunk are about as large as the input),
            ``"aspect_ratio:n"`` (an n-th of that), ``"auto"`` (``"aspect_ratio:2"``; ``"aspect_ratio"`` for half
            precision on CPU), or None: ``batch_chunk_size``, or all rows.
        acc_policy: accepted. PyTorch's policies trade precision for memory; here logits, losses and weight gradients of
            a chunk are in ``acc_dtype`` under each.
        acc_dtype: default float32 for float16 and bfloat16 under ``acc_policy="auto"``, else the input's dtype.

    Raises:
        ValueError: an unknown policy or method, a chunk size that is not positive, a dtype that is not floating.
    """

    allow_retain_graph: bool = False
    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"
    acc_policy: str = "auto"
    acc_dtype: dtypes.dtype | None = None

    def __post_init__(self):
        if self.acc_policy not in _POLICIES:
            raise ValueError(f"invalid acc_policy: {self.acc_policy!r}")
        if self.chunking_method not in (None, "auto") and self._factor(self.chunking_method) is None:
            raise ValueError(f"invalid chunking_method: {self.chunking_method!r}")
        size = self.batch_chunk_size
        if size is not None and not (isinstance(size, int) and size > 0):
            raise ValueError(f"batch_chunk_size must be positive int or None, got {size!r}")
        if self.acc_dtype not in (None, *_HALVES, dtypes.float32, dtypes.float64):
            raise ValueError(
                "acc_dtype must be one of {None, torch.float16, torch.bfloat16, torch.float32, torch.float64}, got "
                f"{self.acc_dtype!r}. Pass acc_dtype=None to let the op pick automatically."
            )

    @staticmethod
    def _factor(method: str) -> int | None:
        """``n`` of ``"aspect_ratio:n"``; None for any other text."""
        name, colon, factor = method.partition(":")
        factor = factor if colon else "1"
        return int(factor) if name == "aspect_ratio" and factor.isdigit() and int(factor) > 0 else None

    def chunk(self, rows: int, features: int, classes: int, dtype, device) -> int:
        """Rows a chunk for an input ``(rows, features)``.

        Raises:
            ValueError: ``batch_chunk_size`` and ``chunking_method`` say different things.
        """
        given, method = self.batch_chunk_size, self.chunking_method
        if method == "auto":
            slow_halves = device.type == "cpu" and dtype in _HALVES
            method = None if given is not None else "aspect_ratio" if slow_halves else "aspect_ratio:2"
        if method is None:
            return max(1, rows if given is None else min(given, rows))
        share = -(-rows // -(-classes // features))
        size = max(1, min((1 << (share - 1).bit_length()) // self._factor(method), rows))
        if given is not None and given != size:
            raise ValueError(
                f"batch_chunk_size (={given}) and chunking_method ('{method}') give different chunk sizes ({given} vs "
                f"{size}); pass only one."
            )
        return size

    def accumulator(self, dtype):
        """The dtype of logits and sums for an input of ``dtype``."""
        if self.acc_dtype is not None:
            return self.acc_dtype
        return dtypes.float32 if self.acc_policy == "auto" and dtype in _HALVES else dtype


def linear_cross_entropy(
    input,
    linear_weight,
    target,
    *,
    linear_bias=None,
    weight=None,
    reduction="mean",
    ignore_index=None,
    label_smoothing=0.0,
    options=None,
):
    """``cross_entropy(x Aᵀ + b, y)``: x ``(N, K)`` or ``(K,)``, A ``(C, K)`` or ``(C, d..., K)``, b ``(C, d...)``.

    Args:
        target: classes ``(N, d...)``, or probabilities ``(N, C, d...)``.
        ignore_index: default -100 for classes; must not be given with probabilities.
        options: None computes all logits at once; a :class:`LinearCrossEntropyOptions` takes the rows in chunks, which
            holds for classes without ``d`` and without label smoothing (else it is left out of account, with a
            warning).

    Raises:
        RuntimeError: shapes that do not fit, or ``ignore_index`` with probabilities.
    """
    if input.dim() not in (1, 2):
        raise RuntimeError(f"expected input with dimensionality 1 or 2, got {input.dim()}")
    if linear_weight.dim() < 2:
        raise RuntimeError(f"expected linear_weight with dimensionality at least 2, got {linear_weight.dim()}")
    classes, *extra, features = linear_weight.shape
    if input.shape[-1] != features:
        raise RuntimeError(
            f"expected equal input and linear_weight last dimensions (in_features), got {input.shape[-1]} and "
            f"{features}, respectively"
        )
    if linear_bias is not None and tuple(linear_bias.shape) != (classes, *extra):
        raise RuntimeError(f"expected linear_bias shape {(classes, *extra)}, got {tuple(linear_bias.shape)}")
    if extra and input.dim() == 1:
        raise RuntimeError(
            f"K-dimensional loss defined by linear_weight shape {tuple(linear_weight.shape)} requires batched input, "
            f"(N, {features}), got unbatched input with shape {tuple(input.shape)}"
        )
    logits_shape = (*input.shape[:-1], classes, *extra)
    if target.shape == logits_shape and ignore_index is not None:
        raise RuntimeError("ignore_index cannot be specified when target contains probabilities")
    ignored = -100 if ignore_index is None else ignore_index

    if options is not None:
        known = reduction in ("mean", "sum", "none")
        if known and not extra and label_smoothing == 0.0 and target.dtype is dtypes.int64:
            x, y = (input, target) if input.dim() == 2 else (input.unsqueeze(0), target.unsqueeze(0))
            chunk = options.chunk(x.shape[0], features, classes, x.dtype, x.device)
            accumulator = options.accumulator(x.dtype)
            statics = (ignored, reduction, chunk, accumulator)
            loss = dispatch(_CHUNKED, (x, linear_weight, y, linear_bias, weight), statics)
            return loss.squeeze(0) if input.dim() == 1 and reduction == "none" else loss
        warnings.warn(
            "linear_cross_entropy: ``options`` ignored; chunked path needs reduction in {'mean','sum','none'}, "
            f"label_smoothing == 0, target.dtype == int64, out_features == (). Got reduction={reduction!r}, "
            f"label_smoothing={label_smoothing}, target.dtype={target.dtype}, out_features={tuple(extra)}.",
            stacklevel=2,
        )
    columns = math.prod(extra) * classes
    logits = linear(
        input, linear_weight.reshape(columns, features), None if linear_bias is None else linear_bias.reshape(columns)
    )
    return cross_entropy(
        logits.reshape(logits_shape),
        target,
        weight=weight,
        reduction=reduction,
        ignore_index=ignored,
        label_smoothing=label_smoothing,
    )

"""Covariance, finite differences, histograms and indices: plain functions written over Tensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import dtypes, return_types
from ..ops.shapes import canonical_dims
from ..tensor import Tensor
from ..tensor.dispatch import call, wrap
from ..tensor.export import composite
from ..trace.value import put


def _check_weights(input, weights, name: str, category: int, kind: str) -> None:
    if weights is None:
        return
    if weights.dim() > 1:
        raise RuntimeError(
            f"cov(): expected {name} to have one or fewer dimensions but got {name} with {weights.dim()} dimensions"
        )
    if weights.dtype.category != category:
        raise RuntimeError(f"cov(): expected {name} to have {kind} dtype but got {name} with {weights.dtype} dtype")
    count = input.shape[-1] if input.dim() else 1
    if weights.numel() != count:
        raise RuntimeError(
            f"cov(): expected {name} to have the same numel as there are observations in the input but got "
            f"{weights.numel()} != {count}"
        )
    if weights.numel() and bool((weights < 0).any()):
        raise RuntimeError(f"cov(): {name} cannot be negative")


@composite("torch", method=True)
def cov(input, *, correction=1, fweights=None, aweights=None):
    """The covariance matrix of variables (rows) over observations (columns).

    Args:
        correction: what is subtracted from the number of observations (1: unbiased).
        fweights: how often each observation counts, integers.
        aweights: the relative weight of each observation.

    Raises:
        RuntimeError: more than two dimensions, or weights of another kind, number or sign.
    """
    if input.dim() > 2:
        raise RuntimeError(
            f"cov(): expected input to have two or fewer dimensions but got an input with {input.dim()} dimensions"
        )
    _check_weights(input, fweights, "fweights", dtypes.INT, "integral")
    _check_weights(input, aweights, "aweights", dtypes.FLOAT, "floating point")
    x = input.reshape(1, -1) if input.dim() < 2 else input
    if x.dtype.category < dtypes.FLOAT:
        x = x.to(dtypes.get_default_dtype())
    weights = fweights
    if aweights is not None:
        weights = aweights if fweights is None else fweights * aweights
    if weights is None:
        total, mean = x.shape[1], x.mean(1, keepdim=True)
        norm = total - correction
    else:
        total = weights.sum()
        mean = (x * weights).sum(1, keepdim=True) / total
        if aweights is None or correction == 0:
            norm = total - correction
        else:
            norm = total - correction * (weights * aweights).sum() / total
    norm = norm.clamp(min=0) if isinstance(norm, Tensor) else max(norm, 0)
    centred = x - mean
    right = centred if weights is None else centred * weights
    result = centred @ right.mH / norm
    return result.squeeze()


@composite("torch", method=True)
def corrcoef(input):
    """The matrix of Pearson correlation coefficients of variables (rows)."""
    c = cov(input)
    if not c.dim():
        return c / c
    d = c.diagonal().real.sqrt()
    return c / d[:, None] / d[None]


def _gradient_along(x, spacing, dim: int, edge_order: int):
    """Differences along one dimension: central inside, one-sided of ``edge_order`` at the ends."""
    n = x.shape[dim]

    def at(i, j):
        return x.narrow(dim, i, j - i)

    if isinstance(spacing, Tensor):
        shape = [-1 if d == dim else 1 for d in range(x.dim())]
        h = spacing.diff().reshape(shape)
        h1, h2 = h.narrow(dim, 0, n - 2), h.narrow(dim, 1, n - 2)
        inner = (
            -(h2 / (h1 * (h1 + h2))) * at(0, n - 2) + (h2 - h1) / (h1 * h2) * at(1, n - 1)
            + h1 / (h2 * (h1 + h2)) * at(2, n)
        )  # fmt: skip
        first_h, last_h = h.narrow(dim, 0, 1), h.narrow(dim, n - 2, 1)
        if edge_order == 2:
            second_h, before_h = h.narrow(dim, 1, 1), h.narrow(dim, n - 3, 1)
    else:
        inner = (at(2, n) - at(0, n - 2)) / (2 * spacing)
        first_h = second_h = last_h = before_h = spacing
    if edge_order == 1:
        first = (at(1, 2) - at(0, 1)) / first_h
        last = (at(n - 1, n) - at(n - 2, n - 1)) / last_h
    else:
        a, b = first_h, second_h
        first = -(2 * a + b) / (a * (a + b)) * at(0, 1) + (a + b) / (a * b) * at(1, 2) - a / (b * (a + b)) * at(2, 3)
        a, b = before_h, last_h
        last = (
            b / (a * (a + b)) * at(n - 3, n - 2) - (a + b) / (a * b) * at(n - 2, n - 1)
            + (2 * b + a) / (b * (a + b)) * at(n - 1, n)
        )  # fmt: skip
    return call("cat", (first, inner, last), dim=dim)


@composite("torch")
def gradient(input, *, spacing=1, dim=None, edge_order=1):
    """Derivatives of samples along each dimension (or those of ``dim``), as a list.

    Args:
        spacing: the distance between samples, one for each dimension, or tensors of coordinates.
        edge_order: 1 or 2, the order of accuracy at the ends.

    Raises:
        RuntimeError: fewer than ``edge_order + 1`` samples along a dimension, another ``edge_order``, not as many
            spacings as dimensions, or tensors of them on several devices.
    """
    spacing = 1 if spacing is None else spacing
    dims = range(input.dim()) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    spacings = list(spacing) if isinstance(spacing, (list, tuple)) else [spacing] * len(dims)
    if len(spacings) != len(dims):
        raise RuntimeError(
            "torch.gradient expected spacing to be unspecified, a scalar or it's spacing and dim arguments to have the "
            f"same length, but got a spacing argument of length {len(spacings)} and a dim argument of length "
            f"{len(dims)}."
        )
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    for s in spacings:
        if isinstance(s, Tensor) and s.device != input.device:
            raise RuntimeError(
                "torch.gradient expected each tensor to be on the same device, but got devices "
                f"{input.device} and {s.device}!"
            )
    dims = canonical_dims(tuple(dims), input.dim())
    for d in dims:
        if input.shape[d] < edge_order + 1:
            raise RuntimeError("torch.gradient expected each dimension size to be at least edge_order+1")
    x = input if input.dtype.category >= dtypes.FLOAT else input.to(dtypes.get_default_dtype())
    return tuple(_gradient_along(x, s, d, edge_order) for s, d in zip(spacings, dims, strict=True))


@composite("torch", method=True, out=True)
def histogram(input, bins=100, *, range=None, weight=None, density=False):
    """``(counts, edges)`` of values in ``bins`` equal bins over ``range``, or between given edges; the data is read."""
    data = input.detach()._host("histogram()").reshape(-1)
    if isinstance(bins, Tensor):
        edges = bins.detach()._host("histogram()")
        given = None
    else:
        low, high = range if range is not None else (data.min(), data.max()) if data.size else (0.0, 1.0)
        if low == high:
            low, high = low - 0.5, high + 0.5
        edges, given = int(bins), (float(low), float(high))
    weights = None if weight is None else weight.detach()._host("histogram()").reshape(-1)
    counts, found = np.histogram(data, edges, given, weights=weights, density=density)
    kind = input.dtype.np
    return return_types.named("histogram", ("hist", "bin_edges"))(
        wrap(put(np.ascontiguousarray(counts.astype(kind)), input.device)),
        wrap(put(np.ascontiguousarray(found.astype(kind)), input.device)),
    )


@composite("torch")
def unravel_index(indices, shape):
    """The coordinates, in a tensor of ``shape``, of positions in it flattened: one tensor a dimension."""
    if not isinstance(indices, Tensor) or indices.dtype.category > dtypes.INT:
        raise TypeError(f"expected 'indices' to be integer dtype, but got {getattr(indices, 'dtype', type(indices))}")
    if not isinstance(shape, (int, Sequence)) or isinstance(shape, str):
        raise TypeError(f"expected 'shape' to be int or sequence of ints, but got {type(shape)}")
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    wrong = [n for n in shape if not isinstance(n, int)]
    if wrong:
        raise TypeError(f"expected 'shape' sequence to only contain ints, but got {type(wrong[0])}")
    if any(n < 0 for n in shape):
        raise ValueError(f"'shape' cannot have negative values, but got {shape}")
    found, rest = [], indices.to(dtypes.int64)
    for n in reversed(shape):
        found.append(rest % n)
        rest = rest // n
    return tuple(reversed(found))


@composite("torch")
def trapz(y, x=None, *, dx=None, dim=-1):
    """The integral along ``dim`` by the trapezoidal rule."""
    if x is not None:
        return call("trapezoid", y, x, dim=dim)
    return call("trapezoid", y, dx=1.0 if dx is None else dx, dim=dim)


def _quantile_of(name: str, doc: str) -> None:
    @composite("torch", name=name, method=True, out=True, doc=doc, names={"axis": "dim", "keepdims": "keepdim"})
    def quantile(input, q, dim=None, keepdim=False, *, interpolation="linear"):
        if isinstance(q, (int, float)) and not 0 <= q <= 1:
            raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q}")
        if isinstance(q, Tensor) and q.dtype is not input.dtype and input.dtype in (dtypes.float32, dtypes.float64):
            raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor")
        return call(f"_{name}", input, q, dim=dim, keepdim=keepdim, interpolation=interpolation)


_quantile_of(
    "quantile",
    "The ``q``-quantiles (``q`` in [0, 1]: a number, or a 1-d tensor that leads the result's dims) along ``dim``.",
)
_quantile_of("nanquantile", "The quantiles of what is not NaN.")

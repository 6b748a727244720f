"""Convolution as an array computation: spellings, and the choice among them by backend and shape.

Cross-correlation is linear in each of its two operands, so three functions of two arrays are enough:
``convolve(x, w)`` and its two adjoints, ``input_gradient(g, w)`` and ``weight_gradient(x, g)``. A transposed
convolution *is* ``input_gradient``. Arrays are channels-first, as PyTorch has them: ``x (N, C, *D)``,
``w (O, C / groups, *K)``.

On accelerators XLA's own convolution is left to choose. On CPU the spelling decides the speed (measured, see LOWERING
in the documentation):

- XLA's convolution runs at the speed of its matrix product when it is given channels-last arrays, so every operation
  of the CNN family turns its operands channels-last at its border, and is declared ``channels_last``. What stands
  between them is lowered in that layout too (``trace/layout.py``): turns meet and cancel, and inside a network few
  copies are left but of weights.
- A 1x1 kernel is a matrix product.
- Depthwise: a sum over the taps of shifted products, which fuses into one loop.
- With many filters everything is a product with patches (``im2col``): cutting them costs little, and the weights then
  need only a cheap copy. Likewise with up to three channels, and the weight gradient of grouped convolutions.
- With many channels on both sides, a 3x3 kernel of stride 1 is Winograd's (:mod:`.winograd`): 2.25 times less
  arithmetic, measured a third off the time.
- The adjoint of a strided convolution scatters the taps of one product (``col2im``) rather than convolve a dilated
  array.
- float64 and integers always go through patches: XLA has only a scalar loop for their convolutions.
"""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from . import backend, winograd
from .concatenation import concatenated
from .dot import dot2d, takes_bfloat16
from .elementwise import in_float32
from .lowering_table import CPU
from .shapes import known
from .softmax import widened


class Geometry(NamedTuple):
    """How windows lie on the input; ``padding`` has a (low, high) pair per dim, which may be negative."""

    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int = 1

    def windows(self, size: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[int, ...]:
        """How many windows fit along each dim."""
        return tuple(
            (n + lo + hi - d * (k - 1) - 1) // s + 1
            for n, k, s, (lo, hi), d in zip(size, kernel, self.stride, self.padding, self.dilation, strict=True)
        )


# --- channels-last helpers -------------------------------------------------------------------------------------------


def channels_last(x):
    """``(N, C, *D)`` as ``(N, *D, C)``."""
    return x.transpose(0, *range(2, x.ndim), 1)


def channels_first(x):
    """``(N, *D, C)`` as ``(N, C, *D)``."""
    return x.transpose(0, x.ndim - 1, *range(1, x.ndim - 1))


def _taps_first(w):
    """``(O, C, *K)`` as ``(*K, C, O)``. The barrier keeps the copy a plain one, which XLA blocks for the cache."""
    return lax.optimization_barrier(w.transpose(*range(2, w.ndim), 1, 0))


def _taps_last(w):
    """``(*K, C, O)`` as ``(O, C, *K)``."""
    return lax.optimization_barrier(w.transpose(w.ndim - 1, w.ndim - 2, *range(w.ndim - 2)))


def _filter_rows(w):
    """``(O, C, *K)`` as ``(O, taps, C)``: the order of a patch, and a cheap copy."""
    return lax.optimization_barrier(w.reshape(*w.shape[:2], -1).transpose(0, 2, 1))


def _from_filter_rows(rows, kernel):
    """``(O, taps, C)`` as ``(O, C, *K)``."""
    return lax.optimization_barrier(rows.transpose(0, 2, 1)).reshape(rows.shape[0], rows.shape[2], *kernel)


def _padded(x, config):
    """``lax.pad`` of the spatial dims of a channels-last array."""
    config = ((0, 0, 0), *config, (0, 0, 0))
    return x if not any(map(any, config)) else lax.pad(x, np.zeros((), x.dtype), config)


def taps(x, kernel, geometry: Geometry):
    """For each kernel position, the ``(N, *windows, C)`` array of the elements it meets; ``x`` is channels-last."""
    out = geometry.windows(x.shape[1:-1], kernel)
    x = _padded(x, [(lo, hi, 0) for lo, hi in geometry.padding])
    for tap in itertools.product(*map(range, kernel)):
        start = [t * d for t, d in zip(tap, geometry.dilation, strict=True)]
        stop = [a + (o - 1) * s + 1 for a, o, s in zip(start, out, geometry.stride, strict=True)]
        yield lax.slice(x, (0, *start, 0), (x.shape[0], *stop, x.shape[-1]), (1, *geometry.stride, 1))


def untap(pieces, size, kernel, geometry: Geometry):
    """The adjoint of :func:`taps`: one ``(N, *windows, C)`` array a kernel position, added up at ``(N, *size, C)``."""
    total = None
    for piece, tap in zip(pieces, itertools.product(*map(range, kernel)), strict=True):
        config = [
            (t * d - lo, n - (t * d - lo) - ((o - 1) * s + 1), s - 1)
            for t, d, (lo, _), n, o, s in zip(
                tap, geometry.dilation, geometry.padding, size, piece.shape[1:-1], geometry.stride, strict=True
            )
        ]
        spread = _padded(piece, config)
        total = spread if total is None else total + spread
    return total


def _patches(x, kernel, geometry: Geometry):
    """``(M, taps, C)``, one row a window."""
    return concatenated([t.reshape(-1, 1, t.shape[-1]) for t in taps(x, kernel, geometry)], 1)


# --- the three functions by spelling; images channels-last, weights (O, C / groups, *K) -------------------------------


def _xla(x, taps_first, geometry: Geometry):
    spatial = "DHW"[-len(geometry.stride) :]
    layout = ("N" + spatial + "C", spatial + "IO", "N" + spatial + "C")
    return lax.conv_general_dilated(
        x, taps_first, geometry.stride, geometry.padding, rhs_dilation=geometry.dilation, dimension_numbers=layout,
        feature_group_count=geometry.groups,
    )  # fmt: skip


def _by_patches(x, w, geometry: Geometry):
    (o, c), kernel, groups = w.shape[:2], w.shape[2:], geometry.groups
    k = math.prod(kernel)
    out = (x.shape[0], *geometry.windows(x.shape[1:-1], kernel))
    rows, filters = _patches(x, kernel, geometry), _filter_rows(w)
    if groups == 1:
        return dot2d(rows.reshape(-1, k * c), filters.reshape(o, k * c), (1, 1)).reshape(*out, o)
    rows = rows.reshape(-1, k, groups, c).transpose(2, 0, 1, 3).reshape(groups, -1, k * c)
    columns = filters.reshape(groups, o // groups, k * c).transpose(0, 2, 1)
    return jnp.matmul(rows, columns).transpose(1, 0, 2).reshape(*out, o)


def _by_taps(x, w, geometry: Geometry):
    """Depthwise, with any multiplier: output channel ``c m + j`` is a sum of products with input channel ``c``."""
    kernel, o = w.shape[2:], w.shape[0]
    multiplier = o // geometry.groups
    total = None
    for tap, weight in zip(taps(x, kernel, geometry), w.reshape(o, -1).T, strict=True):
        product = (jnp.repeat(tap, multiplier, -1) if multiplier > 1 else tap) * weight
        total = product if total is None else total + product
    return total


def _turned(kernel, geometry: Geometry) -> Geometry:
    """With the weights reversed, how windows lie on the result's gradient, for a stride of one.

    Slices of one padded array, where the adjoint of the slices is a sum of padded arrays: a third to three quarters of
    the time, and a tenth where XLA computed sums anew for the transpose that follows (11 x 1).
    """
    reach = [d * (k - 1) for d, k in zip(geometry.dilation, kernel, strict=True)]
    padding = tuple((r - lo, r - hi) for r, (lo, hi) in zip(reach, geometry.padding, strict=True))
    return geometry._replace(padding=padding)


def _by_col2im(g, w, size, geometry: Geometry):
    (o, c), kernel, groups = w.shape[:2], w.shape[2:], geometry.groups
    k, filters = math.prod(kernel), _filter_rows(w)
    if groups == 1:
        columns = dot2d(g.reshape(-1, o), filters.reshape(o, k * c), (1, 0), widened(g).dtype)
    else:
        rows = g.reshape(-1, groups, o // groups).transpose(1, 0, 2)
        columns = jnp.matmul(rows, filters.reshape(groups, o // groups, k * c))
        columns = columns.reshape(groups, -1, k, c).transpose(1, 2, 0, 3)
    columns = columns.reshape(*g.shape[:-1], k, groups * c)
    return untap([columns[..., i, :] for i in range(k)], size, kernel, geometry).astype(g.dtype)


def _weights_by_patches(x, g, kernel, geometry: Geometry):
    groups, k, o = geometry.groups, math.prod(kernel), g.shape[-1]
    c = x.shape[-1] // groups
    g = g.reshape(-1, o)
    if groups == 1 and k * c < 64:  # so short a side is fast only as the rows of a product, each tap a row
        planes = jnp.moveaxis(x, -1, 0).reshape(-1, *x.shape[1:-1], 1)
        rows = jnp.concatenate([t.reshape(c, -1) for t in taps(planes, kernel, geometry)])
        filters = lax.optimization_barrier(dot2d(rows, g, (1, 0))).T  # XLA would turn the product around with it
    elif groups == 1:
        filters = dot2d(g, _patches(x, kernel, geometry).reshape(-1, k * c), (0, 0))
    else:
        rows = _patches(x, kernel, geometry)
        rows = rows.reshape(-1, k, groups, c).transpose(2, 0, 1, 3).reshape(groups, -1, k * c)
        columns = g.reshape(-1, groups, o // groups).transpose(1, 2, 0)
        filters = jnp.matmul(columns, rows)
    return _from_filter_rows(filters.reshape(o, k, c), kernel)


def _weights_by_taps(x, g, kernel, geometry: Geometry):
    """Depthwise only: as many output as input channels."""
    over = tuple(range(g.ndim - 1))
    pieces = [(t * g).sum(over) for t in taps(x, kernel, geometry)]
    return jnp.stack(pieces, 1).reshape(g.shape[-1], 1, *kernel)


# --- the choice ------------------------------------------------------------------------------------------------------

FEW_TAPS = 32  # more shifted products than this in one fusion compile slowly
# From so many filters on, products with patches: the step of a ResNet-18 is 7% faster so, though XLA's own
# convolution wins alone: patches and weights are laid out in ways that forward and backward share.
MANY_FILTERS = 256


def _has_kernel(dtype) -> bool:
    """Whether XLA's CPU convolution has a fast kernel for the type (halves are computed in float32)."""
    return dtype == jnp.float32


def _pointwise(kernel, geometry: Geometry) -> bool:
    return geometry.groups == 1 and all(k == 1 for k in kernel) and not any(map(any, geometry.padding))


def _depthwise(o: int, c: int, kernel, geometry: Geometry) -> bool:
    return c == 1 and o == geometry.groups and math.prod(kernel) <= FEW_TAPS


def _by_winograd(
    x, w_shape, geometry: Geometry, channels: int = CPU["conv_winograd_channels"], tiles: int = 64
) -> bool:
    """Whether the convolution of ``x`` (its shape and dtype matter alone) with such weights is Winograd's."""
    (o, c), kernel = w_shape[:2], w_shape[2:]
    plain = kernel == (3, 3) and geometry.groups == 1 and {*geometry.stride, *geometry.dilation} == {1}
    inside = all(0 <= p <= 2 for pair in geometry.padding for p in pair)
    if not (plain and inside and x.dtype == jnp.float32 and known(*x.shape)):
        return False
    return winograd.suits(x.shape[0], x.shape[1:-1], geometry.padding, o, c, channels, tiles)


def _as_products(spelling):
    """Use ``spelling`` where the processor multiplies bfloat16; otherwise half precision is computed in float32."""

    def wrap(fn):
        wide = in_float32(fn)

        def choose(a, b, *rest):
            dense = rest[-1].groups == 1 and takes_bfloat16(a, b)
            return spelling(a, b, *rest) if dense else wide(a, b, *rest)

        return choose

    return wrap


@_as_products(_by_patches)
def _forward(x, w, geometry: Geometry):
    (o, c), kernel = w.shape[:2], w.shape[2:]
    if _by_winograd(x, w.shape, geometry):
        return winograd.convolve(x, w, geometry.padding)
    if c == 1 and geometry.groups > 1 and math.prod(kernel) <= FEW_TAPS:
        return _by_taps(x, w, geometry)
    dense = geometry.groups == 1 and (o >= MANY_FILTERS or c < CPU["conv_few_channels"])
    if dense or _pointwise(kernel, geometry) or not _has_kernel(x.dtype):
        return _by_patches(x, w, geometry)
    return _xla(x, _taps_first(w), geometry)


@_as_products(_by_col2im)
def _adjoint(g, w, size, geometry: Geometry):
    """The gradient of :func:`_forward` with respect to ``x``, whose spatial size is ``size``."""
    (o, c), kernel = w.shape[:2], w.shape[2:]
    x = jax.ShapeDtypeStruct((g.shape[0], *size, c * geometry.groups), g.dtype)
    if _by_winograd(x, w.shape, geometry):
        return winograd.input_gradient(g, w, geometry.padding)
    strided = any(s > 1 for s in geometry.stride)
    if _depthwise(o, c, kernel, geometry):
        if not strided:
            return _by_taps(g, lax.rev(w, range(2, w.ndim)), _turned(kernel, geometry))
        return untap([g * weight for weight in w.reshape(o, -1).T], size, kernel, geometry)
    dense = geometry.groups == 1 and (o >= MANY_FILTERS or c < 4)
    if dense or strided or _pointwise(kernel, geometry) or not _has_kernel(g.dtype):
        return _by_col2im(g, w, size, geometry)
    w = _taps_first(w)
    return jax.linear_transpose(lambda x: _xla(x, w, geometry), x)(g)[0]


@_as_products(_weights_by_patches)
def _weights(x, g, kernel, geometry: Geometry):
    """The gradient of :func:`_forward` with respect to ``w``."""
    c, o = x.shape[-1] // geometry.groups, g.shape[-1]
    if _by_winograd(x, (o, c, *kernel), geometry, channels=128, tiles=128):
        return winograd.weight_gradient(x, g, geometry.padding)
    if _depthwise(o, c, kernel, geometry):
        return _weights_by_taps(x, g, kernel, geometry)
    dense = o >= MANY_FILTERS or c < 3 or geometry.groups > 1
    if dense or _pointwise(kernel, geometry) or not _has_kernel(g.dtype):
        return _weights_by_patches(x, g, kernel, geometry)
    w = jax.ShapeDtypeStruct((*kernel, c, o), g.dtype)
    return _taps_last(jax.linear_transpose(lambda w: _xla(x, w, geometry), w)(g)[0])


# --- channels-first, differentiable ----------------------------------------------------------------------------------


def _native(x, w, geometry: Geometry):
    """XLA's convolution as it is, for accelerators."""
    spatial = "DHW"[-len(geometry.stride) :]
    layout = ("NC" + spatial, "OI" + spatial, "NC" + spatial)
    return lax.conv_general_dilated(
        x, w, geometry.stride, geometry.padding, rhs_dilation=geometry.dilation, dimension_numbers=layout,
        feature_group_count=geometry.groups,
    )  # fmt: skip


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve(x, w, geometry: Geometry):
    """Own gradient: the adjoints are spelled by shape, and the residuals are the operands."""
    return channels_first(_forward(channels_last(x), w, geometry))


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _spread(g, w, size, geometry: Geometry):
    """Own gradient, as :func:`_convolve`."""
    return channels_first(_adjoint(channels_last(g), w, size, geometry))


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _weight_gradient(x, g, kernel, geometry: Geometry):
    """Own gradient, as :func:`_convolve`."""
    return _weights(channels_last(x), channels_last(g), kernel, geometry)


def _weight_gradient_bwd(kernel, geometry, saved, d):
    x, g = saved
    return _spread(g, d, x.shape[2:], geometry), _convolve(x, d, geometry)


def _convolve_bwd(geometry, saved, g):
    x, w = saved
    return _spread(g, w, x.shape[2:], geometry), _weight_gradient(x, g, w.shape[2:], geometry)


def _spread_bwd(size, geometry, saved, d):
    g, w = saved
    return _convolve(d, w, geometry), _weight_gradient(d, g, w.shape[2:], geometry)


_convolve.defvjp(lambda x, w, geometry: (_convolve(x, w, geometry), (x, w)), _convolve_bwd)
_spread.defvjp(lambda g, w, size, geometry: (_spread(g, w, size, geometry), (g, w)), _spread_bwd)
_weight_gradient.defvjp(
    lambda x, g, kernel, geometry: (_weight_gradient(x, g, kernel, geometry), (x, g)), _weight_gradient_bwd
)


def convolve(x, w, geometry: Geometry):
    """The cross-correlation of ``x (N, C, *D)`` with ``w (O, C / groups, *K)``: ``(N, O, *windows)``."""
    return _convolve(x, w, geometry) if backend.platform() == "cpu" else _native(x, w, geometry)


def input_gradient(g, w, size: tuple[int, ...], geometry: Geometry):
    """The adjoint of :func:`convolve` in ``x``: ``g (N, O, *windows)`` spread over ``(N, C, *size)``."""
    if backend.platform() == "cpu":
        return _spread(g, w, size, geometry)
    x = jax.ShapeDtypeStruct((g.shape[0], w.shape[1] * geometry.groups, *size), g.dtype)
    return jax.linear_transpose(lambda x: _native(x, w, geometry), x)(g)[0]

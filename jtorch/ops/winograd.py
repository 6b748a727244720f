"""3x3 convolutions of stride 1 with 16 products for each 2x2 outputs where the direct sum has 36.

The minimal filtering algorithm F(2x2, 3x3) of Winograd (Lavin and Gray, "Fast algorithms for convolutional neural
networks", 2016): with ``d`` a 4x4 tile of the input, ``g`` the filter and ``Y`` the 2x2 tile of the output,
``Y = Aᵀ ((G g Gᵀ) * (Bᵀ d B)) A``. Summed over the channels, each of the 16 positions is a matrix product. The
factors are 1, ½ and ¼, so float32 keeps its digits (errors stay within a few times those of the direct sum); an
infinity in the input may come out as NaN.

Images are channels-last, weights ``(O, C, 3, 3)``, ``padding`` a (low, high) pair per dim.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jax import lax

from .loops import fori_loop

_G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)
_AT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]], np.float32)
#: of both dims at once, for tiles laid out in a row
_FILTER, _OUTPUT = np.kron(_G, _G), np.kron(_AT, _AT)


def _tile_counts(size, padding) -> tuple[int, ...]:
    return tuple((n + lo + hi - 2 + 1) // 2 for n, (lo, hi) in zip(size, padding, strict=True))


def suits(batch: int, size, padding, o: int, c: int, channels: int, tiles: int) -> bool:
    """Whether the arithmetic saved pays for the transforms, on images of ``size``.

    It does from so many ``channels`` on both sides and so many ``tiles`` to share a transformed filter on, while the
    transformed images, four times the size of the images, stay near the processor.
    """
    count = batch * math.prod(_tile_counts(size, padding))
    return min(o, c) >= channels and count >= tiles and 16 * count * max(o, c) <= 2**24


def _input_tiles(x, padding):
    """``Bᵀ d B`` of every 4x4 tile: ``(16, tiles, C)``.

    A loop over the 16 positions, each written once in its place: unrolled it runs no faster and takes four times as
    long to compile.
    """
    n, c = x.shape[0], x.shape[-1]
    th, tw = _tile_counts(x.shape[1:3], padding)
    fill = [2 * t + 2 - (s + lo + hi) for t, s, (lo, hi) in zip((th, tw), x.shape[1:3], padding, strict=True)]
    config = [(lo, hi + more, 0) for (lo, hi), more in zip(padding, fill, strict=True)]
    x = lax.pad(x, np.zeros((), x.dtype), ((0, 0, 0), *config, (0, 0, 0)))
    # the rows of Bᵀ, (1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0) and (0, 1, 0, -1): a 1 and another 1 or -1
    first, second = jnp.asarray([0, 1, 2, 1], np.int32), jnp.asarray([2, 2, 1, 3], np.int32)
    sign = jnp.asarray([-1, 1, -1, -1], x.dtype)
    spans = (n, 2 * th - 1, 2 * tw - 1, c)

    def element(i, j):
        return lax.slice(lax.dynamic_slice(x, (np.int32(0), i, j, np.int32(0)), spans), (0,) * 4, spans, (1, 2, 2, 1))

    def body(position, out):
        p, q = position // 4, position % 4
        above, below = (element(i, first[q]) + sign[q] * element(i, second[q]) for i in (first[p], second[p]))
        tile = (above + sign[p] * below).reshape(n * th * tw, c)
        return lax.dynamic_update_index_in_dim(out, tile, position, 0)

    return fori_loop(0, 16, body, jnp.zeros((16, n * th * tw, c), x.dtype))


def _filters(w, factors=_FILTER):
    """``G g Gᵀ`` of every filter: ``(16, O, C)``."""
    flat = lax.dot_general(factors, w.reshape(-1, 9), (((1,), (1,)), ((), ())))
    return flat.reshape(16, *w.shape[:2])


def _images(products, batch: int, size, padding):
    """``Aᵀ m A`` of every tile, put together: the output image of an input of ``size``."""
    th, tw = _tile_counts(size, padding)
    ho, wo = (s + lo + hi - 2 for s, (lo, hi) in zip(size, padding, strict=True))

    def halves(a, b, c, d):
        return a + b + c, b - c - d

    columns = [halves(*(products[4 * p + q] for p in range(4))) for q in range(4)]
    tiles = [y for i in range(2) for y in halves(*(columns[q][i] for q in range(4)))]
    y = jnp.stack(tiles).reshape(2, 2, batch, th, tw, -1).transpose(2, 3, 0, 4, 1, 5)
    return y.reshape(batch, 2 * th, 2 * tw, -1)[:, :ho, :wo]


def convolve(x, w, padding):
    """The cross-correlation of ``x`` with ``w``."""
    products = lax.dot_general(_input_tiles(x, padding), _filters(w), (((2,), (2,)), ((0,), (0,))))
    return _images(products, x.shape[0], x.shape[1:3], padding)


def input_gradient(g, w, padding):
    """The adjoint of :func:`convolve` in ``x``: ``g`` correlated with the filters turned around."""
    padding = tuple((2 - lo, 2 - hi) for lo, hi in padding)
    turned = _filters(w, _FILTER[:, ::-1])
    products = lax.dot_general(_input_tiles(g, padding), turned, (((2,), (1,)), ((0,), (0,))))
    return _images(products, g.shape[0], g.shape[1:3], padding)


def weight_gradient(x, g, padding):
    """The adjoint of :func:`convolve` in ``w``: ``(O, C, 3, 3)``."""
    n, (th, tw), o = x.shape[0], _tile_counts(x.shape[1:3], padding), g.shape[-1]
    fill = [(0, 2 * t - s, 0) for t, s in zip((th, tw), g.shape[1:3], strict=True)]
    g = lax.pad(g, np.zeros((), g.dtype), ((0, 0, 0), *fill, (0, 0, 0)))
    tiles = g.reshape(n, th, 2, tw, 2, o).transpose(2, 4, 0, 1, 3, 5).reshape(4, -1)
    spread = lax.dot_general(_OUTPUT, tiles, (((0,), (0,)), ((), ()))).reshape(16, -1, o)
    products = lax.dot_general(spread, _input_tiles(x, padding), (((1,), (1,)), ((0,), (0,))))
    flat = lax.dot_general(products.reshape(16, -1), _FILTER, (((0,), (0,)), ((), ())))
    return flat.reshape(o, x.shape[-1], 3, 3)

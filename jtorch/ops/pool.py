"""Pooling. Windows are cut with strided slices of channels-last arrays, as the convolutions do.

``lax.reduce_window`` is avoided: its gradient (``select_and_scatter``) is a scalar loop on CPU. Instead max pooling
keeps the number of the winning tap, one small integer an output, and its gradient puts each element back with a
comparison.
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .conv_lowering import Geometry, channels_first, channels_last, taps, untap
from .elementwise import in_float32, is_integral, refuse
from .outputs import same_dtype
from .registry import Array, op

MANY_TAPS = 36  # windows above this are reduced one dim after the other


def _ints(value, n: int, name: str, what: str) -> tuple[int, ...]:
    values = (value,) if isinstance(value, int) else tuple(value)
    if len(values) == 1:
        return values * n
    if len(values) != n:
        words = {1: "a tuple of one int", 2: "a tuple of two ints", 3: "a tuple of three ints"}
        raise RuntimeError(f"{name}: {what} must either be a single int, or {words[n]}")
    return values


def _batched(x, n: int, name: str):
    """``x`` with a batch dim, and whether it had one.

    Raises:
        RuntimeError: wrong number of dims, or an empty one other than the batch.
    """
    if x.ndim not in (n + 1, n + 2):
        raise RuntimeError(
            f"{name}: Expected non-empty {n + 1}D or {n + 2}D (batch mode) tensor with optional 0 dim batch size for "
            f"input, but got:{list(x.shape)}"
        )
    if 0 in x.shape[x.ndim - n - 1 :]:
        raise RuntimeError(
            f"{name}: Expected {n + 1}D or {n + 2}D (batch mode) tensor with optional 0 dim batch size for input: "
            f"Expected input's non-batch dimensions to have positive length, but got:{list(x.shape)}"
        )
    return (x, True) if x.ndim == n + 2 else (x[None], False)


def _options(n: int, name: str, kernel_size, stride, padding=0, dilation=1):
    """``(kernel, stride, padding, dilation)`` with an entry a dim; no stride is the kernel's size.

    Raises:
        RuntimeError: one has another length, or is out of range.
    """
    kernel = _ints(kernel_size, n, name, "kernel_size")
    stride = kernel if stride is None or stride == () else _ints(stride, n, name, "stride")
    padding, dilation = _ints(padding, n, name, "padding"), _ints(dilation, n, name, "dilation")
    for k, s, p, d in zip(kernel, stride, padding, dilation, strict=True):
        for what, value in (("kernel_size", k), ("stride", s), ("dilation", d)):
            if value <= 0:
                raise RuntimeError(f"{name}() {what} must be greater than zero, but got {value}")
        if p < 0:
            raise RuntimeError(f"pad must be non-negative, but got pad: {p}")
        if p > (d * (k - 1) + 1) // 2:
            raise RuntimeError(
                f"pad should be at most half of effective kernel size, but got pad={p}, kernel_size={k} and "
                f"dilation={d}"
            )
    return kernel, stride, padding, dilation


def _windows(size, kernel, stride, padding, dilation, ceil_mode: bool, name: str):
    """The :class:`Geometry` whose padding covers every window, also those ``ceil_mode`` adds at the high end."""
    pads, out = [], []
    for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True):
        reach = d * (k - 1) + 1
        span = n + 2 * p - reach
        o = (-(-span // s) if ceil_mode else span // s) + 1
        if ceil_mode and (o - 1) * s >= n + p:  # a window must start inside the input or its low padding
            o -= 1
        out.append(o)
        pads.append((p, max((o - 1) * s + reach - n - p, -n - p)))
    if min(out) <= 0:
        given, wanted = ("x".join(map(str, (1, *v))) for v in (size, out))
        raise RuntimeError(
            f"{name}: Given input size: ({given}). Calculated output size: ({wanted}). Output size is too small"
        )
    return Geometry(tuple(stride), tuple(pads), tuple(dilation)), tuple(out)


# --- max pooling -----------------------------------------------------------------------------------------------------


def _lowest(dtype):
    return -np.inf if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo(dtype).min


def _tap_type(count: int):
    return np.int8 if count < 128 else np.int32


def _filled(x, geometry: Geometry):
    """``x`` padded with what loses every comparison, and the geometry without the padding."""
    config = ((0, 0, 0), *((lo, hi, 0) for lo, hi in geometry.padding), (0, 0, 0))
    if any(map(any, config)):
        x = lax.pad(x, np.asarray(_lowest(x.dtype), x.dtype), config)
    return x, geometry._replace(padding=((0, 0),) * len(geometry.stride))


def _first_max(pieces):
    """The elementwise maximum of several arrays and the number of the first that has it; NaN wins."""
    best = winner = None
    for number, piece in enumerate(pieces):
        if best is None:
            best, winner = piece, jnp.zeros(piece.shape, np.int32)
            continue
        wins = piece > best
        if jnp.issubdtype(piece.dtype, jnp.floating):
            wins |= jnp.isnan(piece)
        best, winner = jnp.where(wins, piece, best), jnp.where(wins, number, winner)
    return best, winner


def _max_windows(x, kernel, geometry: Geometry):
    """``(maximum, number of the winning tap)`` of each window, channels-last; the first of equals wins."""
    count = math.prod(kernel)
    x, bare = _filled(x, geometry)
    if count <= MANY_TAPS:
        best, winner = _first_max(taps(x, kernel, bare))
        return best, winner.astype(_tap_type(count))
    winner = None  # a big window: along the last dim first, then along the one before, as row-major order wants it
    for axis in reversed(range(len(kernel))):
        one = tuple(k if i == axis else 1 for i, k in enumerate(kernel))
        step = bare._replace(stride=tuple(s if i == axis else 1 for i, s in enumerate(bare.stride)))
        best, along = _first_max(taps(x, one, step))
        inner = math.prod(kernel[axis + 1 :])
        if winner is None:
            winner = along
        else:
            chosen = None
            for number, piece in enumerate(taps(winner, one, step)):
                chosen = piece if chosen is None else jnp.where(along == number, piece, chosen)
            winner = along * inner + chosen
        x = best
    return x, winner.astype(_tap_type(count))


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _max_values(x, kernel, geometry: Geometry):
    """Own gradient: to the first maximum, without ``select_and_scatter``; keeps one int8 an output."""
    return _max_windows(x, kernel, geometry)


def _max_values_fwd(x, kernel, geometry):
    best, winner = _max_windows(x, kernel, geometry)
    return (best, winner), winner


def _covered(out, kernel, geometry: Geometry) -> tuple[int, ...]:
    """The input size, which pooling's padding makes the windows cover exactly."""
    return tuple(
        (o - 1) * s + d * (k - 1) + 1 - lo - hi
        for o, k, s, d, (lo, hi) in zip(out, kernel, geometry.stride, geometry.dilation, geometry.padding, strict=True)
    )


def _max_values_bwd(kernel, geometry, winner, grads):
    g, count = grads[0], math.prod(kernel)
    size = _covered(g.shape[1:-1], kernel, geometry)
    if count <= MANY_TAPS:
        return (_put_back(g, winner, size, kernel, geometry),)
    flat = _flat_positions(winner, size, kernel, geometry)
    batch, channels = g.shape[0], g.shape[-1]
    rows = lax.broadcasted_iota(np.int32, (batch, math.prod(g.shape[1:-1]), channels), 0)
    columns = lax.broadcasted_iota(np.int32, rows.shape, 2)
    out = jnp.zeros((batch, math.prod(size), channels), g.dtype)
    out = out.at[rows, flat.reshape(rows.shape), columns].add(g.reshape(rows.shape))
    return (out.reshape(batch, *size, channels),)


def _put_back(g, winner, size, kernel, geometry: Geometry):
    """Each element of ``g`` at the tap that won it."""
    if geometry.stride == kernel and not any(map(any, geometry.padding)) and set(geometry.dilation) == {1}:
        # windows that tile the input: one comparison with the tap numbers, spread like the windows
        tiles = jnp.arange(math.prod(kernel), dtype=winner.dtype).reshape(*(v for k in kernel for v in (1, k)), 1)
        split = (g.shape[0], *(v for o in g.shape[1:-1] for v in (o, 1)), g.shape[-1])
        spread = jnp.where(winner.reshape(split) == tiles, g.reshape(split), 0)
        return spread.reshape(g.shape[0], *size, g.shape[-1])
    pieces = (jnp.where(winner == number, g, 0) for number in range(math.prod(kernel)))
    return untap(pieces, size, kernel, geometry)


_max_values.defvjp(_max_values_fwd, _max_values_bwd)


def _flat_positions(winner, size, kernel, geometry: Geometry):
    """For each output, the row-major position in the input (spatial dims only) of its winner, as int32."""
    flat = jnp.zeros(winner.shape, np.int32)
    rest = winner.astype(np.int32)
    for axis, n in enumerate(size):
        inner = math.prod(kernel[axis + 1 :])
        tap, rest = rest // inner, rest % inner
        start = lax.broadcasted_iota(np.int32, winner.shape, axis + 1) * geometry.stride[axis]
        at = start - geometry.padding[axis][0] + tap * geometry.dilation[axis]
        flat = flat * n + jnp.clip(at, 0, n - 1)
    return flat


def _max_pool_nd(n: int, input, kernel_size, stride, padding, dilation, ceil_mode: bool, indices: bool):
    name = f"max_pool{n}d"
    refuse("max_pool", input, when=input.dtype == np.bool_)
    kernel, stride, padding, dilation = _options(n, name, kernel_size, stride, padding, dilation)
    x, batched = _batched(input, n, name)
    size = x.shape[2:]
    geometry, _ = _windows(size, kernel, stride, padding, dilation, ceil_mode, name)
    best, winner = _max_values(channels_last(x), kernel, geometry)
    best = channels_first(best)
    best = best if batched else best[0]
    if not indices:
        return best
    flat = channels_first(_flat_positions(winner, size, kernel, geometry)).astype(np.int64)
    return best, flat if batched else flat[0]


_WINDOW = int | tuple[int, ...]
_SHAPES = {1: "``(N, C, L)`` or ``(C, L)``", 2: "``(N, C, H, W)`` or ``(C, H, W)``",
           3: "``(N, C, D, H, W)`` or ``(C, D, H, W)``"}  # fmt: skip


def _per_dims(pool, name: str, doc: str, *grad_names: str, first: int = 1, out=False):
    """The ops ``name`` with its digit: ``pool(n, ...)`` for the numbers of spatial dims from ``first`` on."""
    made = []
    for n, grad_name in enumerate(grad_names, start=first):
        body = pool(n)
        body.__name__ = body.__qualname__ = name.format(n)
        body.__doc__ = doc.format(shapes=_SHAPES[n])
        made.append(op(namespaces=("nn.functional",), grad_name=grad_name, out=out, channels_last=n > 1)(body))
    return made


def _max_pool(n: int):
    def pool(
        input: Array,
        kernel_size: _WINDOW,
        stride: _WINDOW | None = None,
        padding: _WINDOW = 0,
        dilation: _WINDOW = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ):
        return _max_pool_nd(n, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)

    return pool


max_pool1d, max_pool2d, max_pool3d = _per_dims(
    _max_pool,
    "max_pool{}d",
    """The maximum of each window of {shapes}; ``stride`` defaults to ``kernel_size``.

    Padding counts as -inf. With ``return_indices``, also the flat positions in the spatial dims (int64). The gradient
    goes to the first maximum of a window.

    Raises:
        RuntimeError: shapes or sizes that give no windows.
    """,
    "SqueezeBackward1",
    "MaxPool2DWithIndicesBackward0",
    "MaxPool3DWithIndicesBackward0",
)


# --- sums and averages -----------------------------------------------------------------------------------------------


def _sum_windows(x, kernel, geometry: Geometry):
    """The sum of each window, channels-last. Linear, so its derived gradient needs no residual."""
    tiled = geometry.stride == kernel and set(geometry.dilation) == {1}
    if tiled and all(not lo and hi <= 0 for lo, hi in geometry.padding):
        out = geometry.windows(x.shape[1:-1], kernel)
        x = x[(slice(None), *(slice(o * k) for o, k in zip(out, kernel, strict=True)))]
        split = (x.shape[0], *(v for o, k in zip(out, kernel, strict=True) for v in (o, k)), x.shape[-1])
        return x.reshape(split).sum(tuple(2 * i + 2 for i in range(len(kernel))), dtype=x.dtype)
    for axis in reversed(range(len(kernel))):  # sums separate: along one dim after the other
        one = tuple(k if i == axis else 1 for i, k in enumerate(kernel))
        pick = [i == axis for i in range(len(kernel))]
        step = Geometry(
            tuple(s if p else 1 for s, p in zip(geometry.stride, pick, strict=True)),
            tuple(q if p else (0, 0) for q, p in zip(geometry.padding, pick, strict=True)),
            tuple(d if p else 1 for d, p in zip(geometry.dilation, pick, strict=True)),
        )
        total = None
        for piece in taps(x, one, step):
            total = piece if total is None else total + piece
        x = total
    return x


def _counts(size, kernel, stride, padding, out, count_include_pad: bool):
    """How many elements each window averages over: 0-d, or an array that broadcasts to ``(1, *out, 1)``."""
    total = np.ones((1,) * len(size), np.int64)
    for axis, (n, k, s, p, o) in enumerate(zip(size, kernel, stride, padding, out, strict=True)):
        start = np.arange(o) * s - p
        stop = np.minimum(start + k, n + p)
        if not count_include_pad:
            start, stop = np.maximum(start, 0), np.minimum(stop, n)
        shape = [1] * len(size)
        shape[axis] = o
        total = total * (stop - start).reshape(shape)
    return total.flat[0] if (total == total.flat[0]).all() else total[None, ..., None]


@in_float32
def _averaged(x, kernel, stride, padding, geometry, out, count_include_pad: bool, divisor):
    total = _sum_windows(channels_last(x), kernel, geometry)
    if divisor is None:
        divisor = _counts(x.shape[2:], kernel, stride, padding, out, count_include_pad)
    if is_integral(total):
        return channels_first(lax.div(total, jnp.broadcast_to(jnp.asarray(divisor, total.dtype), total.shape)))
    return channels_first(total / np.asarray(divisor, total.dtype))


def _avg_pool_nd(n: int, input, kernel_size, stride, padding, ceil_mode: bool, count_include_pad: bool, divisor=None):
    name = f"avg_pool{n}d"
    refuse(name, input, when=input.dtype == np.bool_)
    kernel, stride, padding, dilation = _options(n, name, kernel_size, stride, padding)
    if divisor == 0:
        raise RuntimeError("divisor must be not zero")
    x, batched = _batched(input, n, name)
    geometry, out = _windows(x.shape[2:], kernel, stride, padding, dilation, ceil_mode, name)
    y = _averaged(x, kernel, stride, padding, geometry, out, count_include_pad, divisor)
    return y if batched else y[0]


@op(namespaces=("nn.functional",), grad_name="SqueezeBackward1")
def avg_pool1d(
    input: Array,
    kernel_size: int | tuple[int, ...],
    stride: int | tuple[int, ...] | None = None,
    padding: int | tuple[int, ...] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
):
    """The mean of each window of ``(N, C, L)`` or ``(C, L)``; see :func:`avg_pool2d`."""
    return _avg_pool_nd(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad)


def _avg_pool(n: int):
    def pool(
        input: Array,
        kernel_size: _WINDOW,
        stride: _WINDOW | None = None,
        padding: _WINDOW = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ):
        return _avg_pool_nd(n, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)

    return pool


avg_pool2d, avg_pool3d = _per_dims(
    _avg_pool,
    "avg_pool{}d",
    """The mean of each window of {shapes}; ``stride`` defaults to ``kernel_size``.

    ``count_include_pad`` counts padding as zeros; ``divisor_override`` replaces the number of elements.

    Raises:
        RuntimeError: shapes or sizes that give no windows, or a divisor of 0.
    """,
    "AvgPool2DBackward0",
    "AvgPool3DBackward0",
    first=2,
    out=same_dtype,
)


@in_float32
def _lp_pooled(x, p: float, kernel, geometry: Geometry):
    total = channels_first(_sum_windows(channels_last(jnp.power(x, p)), kernel, geometry))
    nonzero = jnp.where(total == 0, 1, total)  # the root's slope at 0 is infinite; the gradient there is taken as 0
    return jnp.where(total == 0, 0, jnp.power(nonzero, 1 / p))


def _lp_pool_nd(n: int, input, norm_type: float, kernel_size, stride, ceil_mode: bool):
    if math.isinf(norm_type):
        sign = math.copysign(1.0, norm_type)
        return sign * _max_pool_nd(n, sign * jnp.abs(input), kernel_size, stride, 0, 1, ceil_mode, False)
    name = f"lp_pool{n}d"
    kernel, stride, padding, dilation = _options(n, name, kernel_size, stride)
    x, batched = _batched(input, n, name)
    size = x.shape[2:]
    geometry, out = _windows(size, kernel, stride, padding, dilation, ceil_mode, name)
    y = _lp_pooled(x, float(norm_type), kernel, geometry)
    partial_windows = _counts(size, kernel, stride, padding, out, False)
    if not np.isscalar(partial_windows):  # PyTorch scales the mean of what there is by the full window's size
        scale = (math.prod(kernel) / partial_windows) ** (1 / norm_type)
        y = y * np.moveaxis(scale, -1, 1).astype(y.dtype)
    return y if batched else y[0]


def _lp_pool(n: int):
    def pool(
        input: Array,
        norm_type: float,
        kernel_size: _WINDOW,
        stride: _WINDOW | None = None,
        ceil_mode: bool = False,
    ):
        return _lp_pool_nd(n, input, norm_type, kernel_size, stride, ceil_mode)

    return pool


lp_pool1d, lp_pool2d, lp_pool3d = _per_dims(
    _lp_pool,
    "lp_pool{}d",
    "``(Σ x^p)^(1/p)`` over each window of {shapes}; for ``p`` of ±inf an extreme of ``|x|``.",
    *("PowBackward0",) * 3,
)

"""Adaptive pooling: output ``i`` of ``o`` along a dim covers the elements from ``⌊i n / o⌋`` to ``⌈(i + 1) n / o⌉``."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from .conv_lowering import Geometry, channels_first, channels_last
from .elementwise import in_float32, is_integral, refuse
from .pool import _flat_positions, _max_values, _sum_windows
from .registry import Array, op


def _sizes(output_size, given: tuple[int, ...], name: str) -> tuple[int, ...]:
    """The output size a dim; None keeps the input's."""
    n = len(given)
    wanted = (output_size,) * n if output_size is None or isinstance(output_size, int) else tuple(output_size)
    if len(wanted) == 1 and n > 1:
        wanted = wanted * n
    if len(wanted) != n:
        rule = "'output_size' should contain one int" if n == 1 else f"internal error: output_size must be {n} ints"
        raise RuntimeError(f"{name}(): {rule}, got {wanted}")
    wanted = tuple(g if w is None else w for w, g in zip(wanted, given, strict=True))
    if min(wanted) < 0:
        raise RuntimeError(
            f"{name}(): elements of output_size must be greater than or equal to 0, got {wanted}: Trying to create "
            f"tensor with negative dimension {min(wanted)}"
        )
    return wanted


def _batched(x, n: int, name: str, channels: bool):
    """``x`` with a batch dim, and whether it had one; ``channels``: whether there must be some.

    Raises:
        ValueError, RuntimeError: the number of dims is wrong, or one is empty.
    """
    if n > 1 and x.ndim <= n:
        raise ValueError(f"{name}(): Input dimension should be at least {n + 1}, but got {list(x.shape)}")
    if x.ndim not in (n + 1, n + 2):
        raise RuntimeError(f"{name}(): Expected {n + 1}D or {n + 2}D tensor, but got {list(x.shape)}")
    checked = range(x.ndim - n - channels, x.ndim)
    if empty := [d for d in checked if x.shape[d] == 0]:
        raise RuntimeError(
            f"{name}(): Expected input to have non-zero size for non-batch dimensions, but input has sizes "
            f"{list(x.shape)} with dimension {empty[0]} being empty"
        )
    return (x, True) if x.ndim == n + 2 else (x[None], False)


def _even(size, out) -> bool:
    return all(o and n % o == 0 for n, o in zip(size, out, strict=True))


def _tiling(size, out) -> tuple[tuple[int, ...], Geometry]:
    kernel = tuple(n // o for n, o in zip(size, out, strict=True))
    return kernel, Geometry(kernel, ((0, 0),) * len(kernel), (1,) * len(kernel))


def _segments(n: int, o: int) -> list[tuple[int, int]]:
    return [(i * n // o, -(-(i + 1) * n // o)) for i in range(o)]


def _ends(x, axis: int, o: int):
    """Of each segment along ``axis``, where ``o`` is no less than its size and so none has more than two elements: the
    positions of the first and the last (the same, of one), along ``axis`` of an array, and a function that takes them.

    The program does not grow with ``o``, as one of slices would.
    """
    n, i = x.shape[axis], jnp.arange(o, dtype=np.int64)
    ends = (i * n // o, -(-(i + 1) * n // o) - 1)
    first, last = (jnp.expand_dims(e.astype(np.int32), tuple(range(1, x.ndim - axis))) for e in ends)
    return first, last, lambda y: tuple(jnp.take(y, e, axis, mode="clip") for e in ends)


@in_float32
def _mean(x, out):
    """``(N, *size, C)`` to ``(N, *out, C)``."""
    size = x.shape[1:-1]
    if _even(size, out):
        kernel, geometry = _tiling(size, out)
        return _sum_windows(x, kernel, geometry) / np.asarray(np.prod(kernel), x.dtype)
    for axis, (n, o) in enumerate(zip(size, out, strict=True), start=1):
        if o >= n:
            first, last, take = _ends(x, axis, o)
            a, b = take(x)
            x = jnp.where(first == last, a, (a + b) / 2)
            continue
        cut = [x[(slice(None),) * axis + (slice(a, b),)].mean(axis) for a, b in _segments(n, o)]
        x = jnp.stack(cut, axis) if cut else x[(slice(None),) * axis + (slice(0),)]
    return x


def adaptive_mean(n: int, input, output_size):
    name = f"adaptive_avg_pool{n}d"
    refuse(name, input, when=is_integral(input))
    x, batched = _batched(input, n, name, channels=n == 3)
    y = channels_first(_mean(channels_last(x), _sizes(output_size, x.shape[2:], name)))
    return y if batched else y[0]


@op(namespaces=("nn.functional",), grad_name="SqueezeBackward1")
def adaptive_avg_pool1d(input: Array, output_size: int | tuple[int, ...]):
    """``(N, C, L)`` or ``(C, L)`` averaged down (or up) to ``output_size`` elements."""
    return adaptive_mean(1, input, output_size)


@op(namespaces=("nn.functional",), grad_name="AdaptiveAvgPool2DBackward0", channels_last=True)
def adaptive_avg_pool2d(input: Array, output_size: int | tuple[int | None, ...] | None):
    """``(N, C, H, W)`` or ``(C, H, W)`` averaged to ``output_size``; a None entry keeps the input's size.

    Raises:
        RuntimeError: too many dims, or ``output_size`` has the wrong length.
        ValueError: too few dims.
    """
    return adaptive_mean(2, input, output_size)


@op(namespaces=("nn.functional",), grad_name="AdaptiveAvgPool3DBackward0", channels_last=True)
def adaptive_avg_pool3d(input: Array, output_size: int | tuple[int | None, ...] | None):
    """``(N, C, D, H, W)`` or ``(C, D, H, W)`` averaged to ``output_size``; see :func:`adaptive_avg_pool2d`."""
    return adaptive_mean(3, input, output_size)


def _max_uneven(x, out):
    """``(maximum, row-major position)`` over segments, along the last spatial dim first."""
    size = x.shape[1:-1]
    position = None
    for axis in reversed(range(1, len(size) + 1)):
        n, o = size[axis - 1], out[axis - 1]
        step = int(np.prod(size[axis:]))
        if o >= n:
            first, last, take = _ends(x, axis, o)
            a, b = take(x)
            later = (b > a) | jnp.isnan(b)
            at = jnp.where(later, last, first)
            position = at if position is None else at * step + jnp.where(later, *reversed(take(position)))
            x = jnp.where(later, b, a)
            continue
        best, at, inner_best = [], [], []
        for a, b in _segments(n, o):
            part = x[(slice(None),) * axis + (slice(a, b),)]
            top = jnp.argmax(part, axis).astype(np.int32)
            numbers = np.arange(b - a, dtype=np.int32).reshape(-1, *(1 for _ in part.shape[axis + 1 :]))
            chosen = jnp.expand_dims(top, axis) == numbers
            best.append(jnp.where(chosen, part, 0).sum(axis, dtype=x.dtype))
            at.append(top + a)
            if position is not None:
                inner = position[(slice(None),) * axis + (slice(a, b),)]
                inner_best.append(jnp.where(chosen, inner, 0).sum(axis, dtype=np.int32))
        at = jnp.stack(at, axis)
        position = at if position is None else at * step + jnp.stack(inner_best, axis)
        x = jnp.stack(best, axis)
    return x, position


def adaptive_max(n: int, input, output_size, return_indices: bool):
    name = f"adaptive_max_pool{n}d"
    refuse(name, input, when=is_integral(input))
    x, batched = _batched(input, n, name, channels=True)
    size = x.shape[2:]
    out = _sizes(output_size, size, name)
    x = channels_last(x)
    if min(out) == 0:
        best = jnp.zeros((x.shape[0], *out, x.shape[-1]), x.dtype)
        position = best.astype(np.int32)
    elif _even(size, out):
        kernel, geometry = _tiling(size, out)
        best, winner = _max_values(x, kernel, geometry)
        position = _flat_positions(winner, size, kernel, geometry)
    else:
        best, position = _max_uneven(x, out)
    results = channels_first(best), channels_first(position).astype(np.int64)
    best, position = results if batched else (r[0] for r in results)
    return (best, position) if return_indices else best


@op(namespaces=("nn.functional",), grad_name="SqueezeBackward1")
def adaptive_max_pool1d(input: Array, output_size: int | tuple[int, ...], return_indices: bool = False):
    """The maximum of each of ``output_size`` segments of ``(N, C, L)`` or ``(C, L)``, and where it was, on request."""
    return adaptive_max(1, input, output_size, return_indices)


@op(namespaces=("nn.functional",), grad_name="AdaptiveMaxPool2DBackward0", channels_last=True)
def adaptive_max_pool2d(input: Array, output_size: int | tuple[int | None, ...] | None, return_indices: bool = False):
    """The maxima of ``(N, C, H, W)`` or ``(C, H, W)`` over ``output_size`` windows, and where they were, on request.

    Raises:
        RuntimeError: too many dims, or ``output_size`` has the wrong length.
        ValueError: too few dims.
    """
    return adaptive_max(2, input, output_size, return_indices)


@op(namespaces=("nn.functional",), grad_name="AdaptiveMaxPool3DBackward0", channels_last=True)
def adaptive_max_pool3d(input: Array, output_size: int | tuple[int | None, ...] | None, return_indices: bool = False):
    """As :func:`adaptive_max_pool2d` for ``(N, C, D, H, W)`` or ``(C, D, H, W)``."""
    return adaptive_max(3, input, output_size, return_indices)

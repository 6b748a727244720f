"""Poolings beyond the ops: with indices under their own names, the partial inverse, and at drawn positions."""

from __future__ import annotations

import math

import jtorch

from ...ops.registry import OPS
from ...tensor.export import function


def _with_indices(name: str):
    pool = function(OPS[name])

    def max_pool(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
        return pool(input, kernel_size, stride, padding, dilation, ceil_mode, True)

    def adaptive(input, output_size, return_indices=False):
        return pool(input, output_size, True)

    f = adaptive if name.startswith("adaptive") else max_pool
    f.__name__ = f.__qualname__ = f"{name}_with_indices"
    f.__doc__ = f":func:`{name}` and the flat index of each maximum in its channel."
    return f


max_pool1d_with_indices, max_pool2d_with_indices, max_pool3d_with_indices = (
    _with_indices(f"max_pool{n}d") for n in (1, 2, 3)
)
adaptive_max_pool1d_with_indices, adaptive_max_pool2d_with_indices, adaptive_max_pool3d_with_indices = (
    _with_indices(f"adaptive_max_pool{n}d") for n in (1, 2, 3)
)


# --- the partial inverse of max pooling ----------------------------------------------------------------------------


def _unpool(n: int, input, indices, kernel_size, stride, padding, output_size):
    if indices.dtype != jtorch.int64:
        raise RuntimeError(f"elements in indices should be type int64 but got: {indices.dtype}")
    if input.dim() not in (n + 1, n + 2):
        raise RuntimeError(
            f"Input to max_unpooling{n}d should be a {n + 1}d or {n + 2}d Tensor, but got a tensor with "
            f"{input.dim()} dimensions."
        )
    kernel = _spread(kernel_size, n)
    stride = kernel if stride is None or stride == [] else _spread(stride, n)
    padding = _spread(padding, n)
    for what, given in (("kernel_size", kernel), ("stride", stride), ("padding", padding)):
        if len(given) != n:
            raise RuntimeError(f"max_unpool{n}d(): There should be exactly {n} elements in {what}, but got {given}")
    if 0 in input.shape[-n - 1 :]:
        raise RuntimeError(
            f"max_unpool{n}d(): Expected input to have non-zero size for non-batch dimensions, but got "
            f"{list(input.shape)}"
        )
    if indices.shape != input.shape:
        raise RuntimeError(
            f"Expected shape of indices to be same as that of the input tensor ({list(input.shape)}) but got indices "
            f"tensor with shape: {list(indices.shape)}"
        )
    default = [
        (size - 1) * s + k - 2 * p for size, s, k, p in zip(input.shape[-n:], stride, kernel, padding, strict=True)
    ]
    if output_size is None:
        size = default
    else:
        size = list(output_size)[-n:]
        for d in range(n):
            low, high = default[d] - stride[d], default[d] + stride[d]
            if not low < size[d] < high:
                raise ValueError(f'invalid output_size "{output_size}" (dim {d} must be between {low} and {high})')
    channels = input.shape[:-n]
    flat = input.flatten(-n)
    out = jtorch.zeros((*channels, math.prod(size)), dtype=input.dtype, device=input.device)
    return out.scatter(-1, indices.reshape(flat.shape), flat).reshape(*channels, *size)


def _spread(value, n: int) -> tuple:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * n


def max_unpool1d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """Zeros with the values of ``input`` at ``indices``, as :func:`max_pool1d` returned them.

    Raises:
        RuntimeError: the indices are not of the input's shape.
        ValueError: ``output_size`` is not within a stride of the default.
    """
    return _unpool(1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """Zeros with the values of ``input`` at ``indices``; see :func:`max_unpool1d`."""
    return _unpool(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """Zeros with the values of ``input`` at ``indices``; see :func:`max_unpool1d`."""
    return _unpool(3, input, indices, kernel_size, stride, padding, output_size)


# --- fractional max pooling ----------------------------------------------------------------------------------------


def _window_starts(samples, size: int, out: int, kernel: int):
    """Where the pseudo-random windows of one dimension begin, ``(N, C, out)`` (Graham, 2014)."""
    n, c = samples.shape
    if out == 0:
        return jtorch.zeros((n, c, 0), dtype=jtorch.int64, device=samples.device)
    last = jtorch.full((n, c, 1), size - kernel, dtype=jtorch.int64, device=samples.device)
    if out == 1:
        return last
    alpha = (size - kernel) / (out - 1)
    i = jtorch.arange(out - 1, dtype=samples.dtype, device=samples.device)
    u = samples.unsqueeze(-1)
    return jtorch.cat([((i + u) * alpha).to(jtorch.int64) - (u * alpha).to(jtorch.int64), last], -1)


def _fractional(n: int, input, kernel_size, output_size, output_ratio, return_indices, samples):
    name = f"fractional_max_pool{n}d"
    if output_size is None and output_ratio is None:
        raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
    if isinstance(output_ratio, (tuple, list)) and len(output_ratio) != n:
        raise ValueError(f"{name} requires output_ratio to either be a single Int or tuple of Ints.")
    batched = input.dim() == n + 2
    x = input if batched else input.unsqueeze(0)
    size, kernel = x.shape[-n:], _spread(kernel_size, n)
    if output_size is None:
        out = tuple(int(s * r) for s, r in zip(size, _spread(output_ratio, n), strict=True))
    else:
        out = _spread(output_size, n)
    if empty := [d for d in range(input.dim() - n - 1, input.dim()) if input.shape[d] == 0]:
        raise RuntimeError(
            f"{name}(): Expected input to have non-zero size for non-batch dimensions, but got {list(input.shape)} "
            f"with dimension {empty[0]} being empty."
        )
    for d in range(n):
        if not 0 < out[d] + kernel[d] - 1 <= size[d]:
            raise RuntimeError(
                f"{name}(): pool size {kernel[d]} and output size {out[d]} too large relative to input size {size[d]}"
            )
    if samples is None:
        samples = jtorch.rand(*x.shape[:2], n, dtype=input.dtype, device=input.device)
    elif samples.dim() != 3 or samples.shape[0] < x.shape[0] or samples.shape[1:] != (x.shape[1], n):
        raise RuntimeError(
            f"{name}(): Expect _random_samples of at least {x.shape[0]} rows (the input's batch) of size "
            f"({x.shape[1]}, {n}), got {list(samples.shape)}"
        )
    channels = x.shape[:2]
    samples = samples[: channels[0]]
    order = range(n) if n == 3 else reversed(range(n))  # PyTorch's planes read their samples in opposite orders
    index = jtorch.zeros((*channels, *(1,) * (2 * n)), dtype=jtorch.int64, device=x.device)
    for d, sample in enumerate(order):  # the flat index of every element of every window: (N, C, *out, *kernel)
        starts = _window_starts(samples[..., sample], size[d], out[d], kernel[d])
        at = starts.unsqueeze(-1) + jtorch.arange(kernel[d], device=x.device)
        shape = [1] * (2 * n)
        shape[d], shape[n + d] = out[d], kernel[d]
        index = index * size[d] + at.reshape(*channels, *shape)
    index = index.reshape(*channels, *out, math.prod(kernel))
    values, which = x.flatten(2).gather(-1, index.flatten(2)).reshape(index.shape).max(-1)
    if not batched:
        values = values.squeeze(0)
    if not return_indices:
        return values
    index = index.gather(-1, which.unsqueeze(-1)).squeeze(-1)
    return values, index if batched else index.squeeze(0)


def fractional_max_pool2d(
    input, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None
):
    """Maxima over windows whose positions are drawn, so that the sizes shrink by a fraction (Graham, 2014).

    Raises:
        ValueError: neither ``output_size`` nor ``output_ratio`` is given.
        RuntimeError: the windows do not fit.
    """
    return _fractional(2, input, kernel_size, output_size, output_ratio, return_indices, _random_samples)


def fractional_max_pool3d(
    input, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None
):
    """:func:`fractional_max_pool2d` in three dimensions."""
    return _fractional(3, input, kernel_size, output_size, output_ratio, return_indices, _random_samples)


def fractional_max_pool2d_with_indices(
    input, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None
):
    """:func:`fractional_max_pool2d` and the flat index of each maximum in its channel."""
    return _fractional(2, input, kernel_size, output_size, output_ratio, True, _random_samples)


def fractional_max_pool3d_with_indices(
    input, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None
):
    """:func:`fractional_max_pool3d` and the flat index of each maximum in its channel."""
    return _fractional(3, input, kernel_size, output_size, output_ratio, True, _random_samples)

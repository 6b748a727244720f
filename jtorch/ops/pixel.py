"""Rearrangements of images: ``unfold`` and ``fold``, pixel and channel shuffles. All are linear and copy elements."""

from __future__ import annotations

import math

import jax.numpy as jnp

from .conv_lowering import Geometry, channels_first, channels_last, taps, untap
from .registry import Array, op


def _two(value) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _geometry(kernel_size, dilation, padding, stride):
    kernel, dilation, padding, stride = map(_two, (kernel_size, dilation, padding, stride))
    for what, values, least in (
        ("kernel size", kernel, 1), ("dilation", dilation, 1), ("padding", padding, 0), ("stride", stride, 1)
    ):  # fmt: skip
        if min(values) < least:
            word = "greater than zero" if least else "non-negative"
            name = what.split()[0]
            raise RuntimeError(f"{what} should be {word}, but got {name}_height: {values[0]} {name}_width: {values[1]}")
    return kernel, Geometry(stride, tuple((p, p) for p in padding), dilation), padding


@op(namespaces=("nn.functional",), grad_name="Im2ColBackward0")
def unfold(
    input: Array,
    kernel_size: int | tuple[int, ...],
    dilation: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] = 0,
    stride: int | tuple[int, ...] = 1,
):
    """The sliding windows of ``(N, C, H, W)`` or ``(C, H, W)`` as columns: ``(N, C KH KW, windows)``.

    Raises:
        RuntimeError: the window does not fit, or the input has other dims.
    """
    if input.ndim not in (3, 4) or 0 in input.shape[input.ndim - 3 :]:
        raise RuntimeError(
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero dimensions for input, "
            f"but got: {list(input.shape)}"
        )
    x = input if input.ndim == 4 else input[None]
    kernel, geometry, padding = _geometry(kernel_size, dilation, padding, stride)
    windows = geometry.windows(x.shape[2:], kernel)
    if min(windows) <= 0:
        raise RuntimeError(
            f"Given input with spatial size {x.shape[2:]}, kernel_size={kernel}, dilation={geometry.dilation}, "
            f"padding={padding}, calculated shape of the array of sliding blocks as {windows}, but its components must "
            "be at least one."
        )
    pieces = [t.reshape(t.shape[0], math.prod(windows), t.shape[-1]) for t in taps(channels_last(x), kernel, geometry)]
    y = jnp.stack(pieces, 1).transpose(0, 3, 1, 2)
    y = y.reshape(x.shape[0], x.shape[1] * math.prod(kernel), math.prod(windows))
    return y if input.ndim == 4 else y[0]


@op(namespaces=("nn.functional",), grad_name="Col2ImBackward0")
def fold(
    input: Array,
    output_size: int | tuple[int, ...],
    kernel_size: int | tuple[int, ...],
    dilation: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] = 0,
    stride: int | tuple[int, ...] = 1,
):
    """The adjoint of :func:`unfold`: columns ``(N, C KH KW, windows)`` added up at ``(N, C, *output_size)``.

    Raises:
        RuntimeError: the sizes do not belong to windows of ``output_size``.
    """
    if input.ndim not in (2, 3):
        raise RuntimeError(f"Expected 2D or 3D (batch mode) tensor for input, but got: {list(input.shape)}")
    x = input if input.ndim == 3 else input[None]
    size = _two(output_size)
    kernel, geometry, padding = _geometry(kernel_size, dilation, padding, stride)
    k = math.prod(kernel)
    if k >= 2**63:
        raise RuntimeError(
            f"Given kernel_width = {kernel[1]} and kernel_height = {kernel[0]} the product of kernel_width and "
            "kernel_height overflowed."
        )
    if x.shape[1] % k:
        raise RuntimeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got "
            f"input.size(1)={x.shape[1]} and kernel_size={kernel}."
        )
    windows = geometry.windows(size, kernel)
    if min(windows) <= 0:
        raise RuntimeError(
            f"Given output_size={size}, kernel_size={kernel}, dilation={geometry.dilation}, padding={padding}, "
            f"stride={geometry.stride}, calculated shape of the array of sliding blocks as {windows}, which is too "
            "small (non-positive)"
        )
    if x.shape[2] != math.prod(windows):
        raise RuntimeError(
            f"Given output_size={size}, kernel_size={kernel}, dilation={geometry.dilation}, padding={padding}, "
            f"stride={geometry.stride}, expected size of input's dimension 2 to match the calculated number of sliding "
            f"blocks {windows[0]} * {windows[1]} = {math.prod(windows)}, but got input.size(2)={x.shape[2]}."
        )
    columns = x.reshape(x.shape[0], -1, k, *windows).transpose(2, 0, 3, 4, 1)
    y = channels_first(untap([columns[i] for i in range(k)], size, kernel, geometry))
    return y if input.ndim == 3 else y[0]


@op(namespaces=("torch", "nn.functional"), method=False, out=False)
def pixel_shuffle(input: Array, upscale_factor: int):
    """``(..., C r², H, W)`` to ``(..., C, H r, W r)``.

    Raises:
        RuntimeError: fewer than three dims, or channels that are no multiple of ``r²``.
        ValueError: ``r²`` does not fit 64 bits.
    """
    r = upscale_factor
    if input.ndim < 3:
        raise RuntimeError(
            f"pixel_shuffle expects input to have at least 3 dimensions, but got input with {input.ndim} dimension(s)"
        )
    if r <= 0:
        raise RuntimeError(f"pixel_shuffle expects a positive upscale_factor, but got {r}")
    if r * r >= 2**63:
        raise ValueError(f"upscale factor is too large, (upscale_factor)^2 overflowed: upscale_factor={r}")
    *lead, c, h, w = input.shape
    if c % (r * r):
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, "
            f"but input.size(-3)={c} is not divisible by {r * r}"
        )
    x = input.reshape(math.prod(lead), c // (r * r), r, r, h, w).transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(*lead, c // (r * r), h * r, w * r)


@op(namespaces=("torch", "nn.functional"), method=False, out=False)
def pixel_unshuffle(input: Array, downscale_factor: int):
    """``(..., C, H r, W r)`` to ``(..., C r², H, W)``: the inverse of :func:`pixel_shuffle`.

    Raises:
        RuntimeError: fewer than three dims, or sizes that are no multiples of ``r``.
    """
    r = downscale_factor
    if input.ndim < 3:
        raise RuntimeError(
            f"pixel_unshuffle expects input to have at least 3 dimensions, but got input with {input.ndim} dimension(s)"
        )
    if r <= 0:
        raise RuntimeError(f"pixel_unshuffle expects a positive downscale_factor, but got {r}")
    *lead, c, h, w = input.shape
    for axis, name, n in ((-2, "height", h), (-1, "width", w)):
        if n % r:
            raise RuntimeError(
                f"pixel_unshuffle expects {name} to be divisible by downscale_factor, but input.size({axis})={n} is "
                f"not divisible by {r}"
            )
    x = input.reshape(math.prod(lead), c, h // r, r, w // r, r).transpose(0, 1, 3, 5, 2, 4)
    return x.reshape(*lead, c * r * r, h // r, w // r)


@op(namespaces=("torch", "nn.functional"), aliases=("native_channel_shuffle",), method=False, out=False)
def channel_shuffle(input: Array, groups: int):
    """``(N, g k, ...)`` with the channels of the ``g`` groups interleaved.

    Raises:
        RuntimeError: fewer than three dims, or channels that are no multiple of ``groups``.
    """
    if input.ndim < 3:
        raise RuntimeError(f"channel_shuffle expects input with > 2 dims, but got input with sizes {list(input.shape)}")
    if groups <= 0:
        raise RuntimeError(f"Number of groups to divide channels in must be positive. Value of groups:{groups}")
    n, c, *rest = input.shape
    if groups <= 0 or c % groups:
        raise RuntimeError(f"Number of channels must be divisible by groups. Got {c} channels and {groups} groups.")
    return input.reshape(n, groups, c // groups, *rest).swapaxes(1, 2).reshape(input.shape)

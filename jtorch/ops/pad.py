"""``pad``: constant, reflect, replicate and circular."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from . import nodes
from .registry import Array, op

_COMBINATIONS = """
Supported combinations for non-constant padding:
  - 2D or 3D input: padding size = 2 (pads last dimension)
  - 3D or 4D input: padding size = 4 (pads last 2 dimensions)
  - 4D or 5D input: padding size = 6 (pads last 3 dimensions)"""


def _cut(x, axis: int, start: int, stop: int):
    return lax.slice_in_dim(x, start, stop, axis=axis)


def _reflect(x, axis: int, low: int, high: int):
    n = x.shape[axis]
    if max(low, high) >= n:
        raise RuntimeError(
            "Argument #4: Padding size should be less than the corresponding input dimension, but got: padding "
            f"({low}, {high}) at dimension {axis} of input {list(x.shape)}"
        )
    parts = [x]
    if low > 0:
        parts.insert(0, jnp.flip(_cut(x, axis, 1, low + 1), axis))
    if high > 0:
        parts.append(jnp.flip(_cut(x, axis, n - 1 - high, n - 1), axis))
    return jnp.concatenate(parts, axis) if len(parts) > 1 else x


def _replicate(x, axis: int, low: int, high: int):
    n = x.shape[axis]
    parts = [x]
    if low > 0:
        parts.insert(0, jnp.repeat(_cut(x, axis, 0, 1), low, axis))
    if high > 0:
        parts.append(jnp.repeat(_cut(x, axis, n - 1, n), high, axis))
    return jnp.concatenate(parts, axis) if len(parts) > 1 else x


def _circular(x, axis: int, low: int, high: int):
    n = x.shape[axis]
    if max(low, high) > n:
        raise RuntimeError("Padding value causes wrapping around more than once.")
    parts = [x]
    if low > 0:
        parts.insert(0, _cut(x, axis, n - low, n))
    if high > 0:
        parts.append(_cut(x, axis, 0, high))
    return jnp.concatenate(parts, axis) if len(parts) > 1 else x


_MODES = {"reflect": _reflect, "replicate": _replicate, "circular": _circular}


def _constant(x, pairs, value):
    for axis, (low, high) in pairs:
        if x.shape[axis] + low + high < 0:
            raise RuntimeError(
                f"The input size {x.shape[axis]}, plus negative padding {low} and {high}, resulted in a negative "
                f"output size, which is invalid. Check dimension {axis} of your input."
            )
    config = [(0, 0, 0)] * x.ndim
    for axis, (low, high) in pairs:
        config[axis] = (low, high, 0)
    fill = 0 if value is None else value
    return lax.pad(x, jnp.asarray(bool(fill) if x.dtype == bool else fill).astype(x.dtype), config)


def _crop(x, axis: int, low: int, high: int):
    """Negative amounts taken off first, so that the rest may read what is left."""
    low, high = min(low, 0), min(high, 0)
    if x.shape[axis] + low + high < 0:
        raise RuntimeError(f"narrow(): padding ({low}, {high}) cuts away more than dimension {axis} of {list(x.shape)}")
    return _cut(x, axis, -low, x.shape[axis] + high)


@op(namespaces=("nn.functional",), grad_name=nodes.pad)
def pad(input: Array, pad: tuple[int, ...], mode: str = "constant", value: float | None = None):
    """Pad the last ``len(pad) / 2`` dims; ``pad = (last low, last high, second last low, ...)``; negative ones crop.

    ``mode``: ``"constant"`` (with ``value``, default 0) for any dims; ``"reflect"`` (without the edge), ``"replicate"``
    (the edge), ``"circular"`` for the last one to three dims of an input with one or two more.

    Raises:
        RuntimeError: an odd number of amounts, too many of them, or amounts larger than the mode can fill.
        NotImplementedError: another mode, or a combination of dims PyTorch does not take.
    """
    pads = tuple(pad)
    if len(pads) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if len(pads) > 2 * input.ndim:
        raise RuntimeError(
            "Padding length should be less than or equal to two times the input dimension but got padding length "
            f"{len(pads)} and input of dimension {input.ndim}"
        )
    pairs = [(input.ndim - 1 - i, (pads[2 * i], pads[2 * i + 1])) for i in range(len(pads) // 2)]
    if mode == "constant":
        return _constant(input, pairs, value)
    if value is not None and value != 0:
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if mode not in _MODES:
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if len(pads) not in (2, 4, 6) or input.ndim not in (len(pads) // 2 + 1, len(pads) // 2 + 2):
        raise NotImplementedError(
            f"Padding size {len(pads)} is not supported for {input.ndim}D input tensor.{_COMBINATIONS}"
        )
    n = len(pads) // 2
    if mode != "circular" and 0 in input.shape[-n - 1 :]:
        raise RuntimeError(
            f"Expected {n + 1}D or {n + 2}D (batch mode) tensor with possibly 0 batch size and other non-zero "
            f"dimensions for input, but got: {list(input.shape)}"
        )
    x = input
    for axis, (low, high) in reversed(pairs):
        if mode == "replicate" and -min(low, high) >= x.shape[axis] and x.shape[axis] + low + high > 0:
            # cropped away altogether: what is left are copies of the edge that the other side adds
            x = _replicate(_cut(x, axis, *((0, 1) if low > 0 else (x.shape[axis] - 1, x.shape[axis]))), axis, 0,
                           x.shape[axis] + low + high - 1)  # fmt: skip
            continue
        x = _MODES[mode](_crop(x, axis, low, high), axis, max(low, 0), max(high, 0))
    return x

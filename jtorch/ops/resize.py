"""``interpolate``: resampling along each spatial dim in turn, as products with small constant matrices.

Every mode but nearest is linear and separable: output ``i`` along a dim is a weighted sum of a few inputs, so a dim of
``n`` inputs and ``o`` outputs is a product with an ``(o, n)`` matrix worked out here with NumPy. Its gradient is the
product with the transpose, where PyTorch scatters.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jax import lax

from . import nodes
from .elementwise import in_float32, is_integral, refuse
from .pool_adaptive import adaptive_mean
from .registry import Array, op

_DIMS = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}
_ANY = ("nearest", "nearest-exact", "area")


def _ratio(n: int, o: int, scale: float | None, align_corners: bool) -> float:
    """Input elements a step of the output."""
    if align_corners:
        return (n - 1) / (o - 1) if o > 1 else 0.0
    return 1 / scale if scale is not None and scale > 0 else n / o


def _nearest(n: int, o: int, scale: float | None, exact: bool) -> np.ndarray:
    """The input index of each output."""
    step = np.float32(_ratio(n, o, scale, False))
    at = np.arange(o, dtype=np.float32)
    position = np.floor((at + np.float32(0.5)) * step if exact else at * step)
    return np.minimum(position.astype(np.int64), n - 1)


def _cubic(t: np.ndarray, a: float) -> np.ndarray:
    """Keys' kernel."""
    t = np.abs(t)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


def _triangle(t: np.ndarray) -> np.ndarray:
    return np.maximum(1 - np.abs(t), 0.0)


def _matrix(n: int, o: int, scale: float | None, mode: str, align_corners: bool) -> np.ndarray:
    """``(o, n)`` weights of linear (``mode="linear"``) or cubic interpolation."""
    step = _ratio(n, o, scale, align_corners)
    at = np.arange(o, dtype=np.float64)
    position = at * step if align_corners else (at + 0.5) * step - 0.5
    rows = np.arange(o)
    weights = np.zeros((o, n))
    if mode == "linear":
        position = np.maximum(position, 0.0)
        low = np.minimum(np.floor(position).astype(np.int64), n - 1)
        fraction = np.minimum(position - low, 1.0)
        np.add.at(weights, (rows, low), 1 - fraction)
        np.add.at(weights, (rows, np.minimum(low + 1, n - 1)), fraction)
        return weights
    low = np.floor(position).astype(np.int64)
    for tap in range(-1, 3):
        np.add.at(weights, (rows, np.clip(low + tap, 0, n - 1)), _cubic(position - (low + tap), -0.75))
    return weights


def _antialiased(n: int, o: int, scale: float | None, mode: str, align_corners: bool) -> np.ndarray:
    """``(o, n)`` weights with the kernel widened by the step when shrinking, rows normalised to 1."""
    step = _ratio(n, o, scale, align_corners)
    widen = max(step, 1.0)
    reach = (2 if mode == "cubic" else 1) * widen
    weights = np.zeros((o, n))
    for i in range(o):
        center = step * (i + 0.5)
        first = max(int(center - reach + 0.5), 0)
        last = min(int(center + reach + 0.5), n)
        t = (np.arange(first, last) - center + 0.5) / widen
        row = _cubic(t, -0.5) if mode == "cubic" else _triangle(t)
        total = row.sum()
        weights[i, first:last] = row / total if total else row
    return weights


def _fixed_point(weights: np.ndarray) -> tuple[np.ndarray, int]:
    """The weights as 16-bit integers over ``2^bits``, with the most bits that fit: bytes are resampled in integers."""
    bits = 0
    while bits < 22 and int(0.5 + weights.max() * 2 ** (bits + 1)) < 2**15:
        bits += 1
    return np.trunc(weights * 2**bits + np.copysign(0.5, weights)), bits


def _apply(x, matrix: np.ndarray, axis: int):
    """The product of ``matrix`` with ``x`` along ``axis``."""
    if matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.eye(matrix.shape[0])):
        return x
    y = lax.dot_general(x, jnp.asarray(matrix, x.dtype), (((axis,), (1,)), ((), ())), precision=lax.Precision.HIGHEST)
    return jnp.moveaxis(y, -1, axis)


@in_float32
def _resample(x, out, scales, mode: str, align_corners: bool, antialias: bool):
    """One dim after the other, the last first; bytes in fixed point, each pass rounded to 0..255, as image code does.

    The integers of fixed point weights are exact in float32: 255 * 2^15 is below 2^24.
    """
    whole, kind = x.dtype == np.uint8, "cubic" if mode == "bicubic" else "linear"
    make = _antialiased if antialias else _matrix
    for axis in reversed(range(2, x.ndim)):
        i = axis - 2
        weights, bits = make(x.shape[axis], out[i], scales[i], kind, align_corners), 0
        if whole:
            weights, bits = _fixed_point(weights)
            x = x.astype(np.float32)
        x = _apply(x, weights, axis)
        if whole:
            x = jnp.clip(jnp.floor(x / 2**bits + 0.5), 0, 255)
    return x.astype(np.uint8) if whole else x


def _check_arguments(x, size, scale_factor, mode, align_corners, antialias) -> None:
    dims = x.ndim - 2
    if mode not in (*_DIMS, *_ANY) or dims not in (1, 2, 3):
        raise NotImplementedError(
            f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {x.ndim}D) for the modes: nearest | linear "
            f"| bilinear | bicubic | trilinear | area | nearest-exact (got {mode})"
        )
    if align_corners is not None and mode in _ANY:
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear"
        )
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is None and scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    for whole, what, of, given in (
        ("output", "output size", "(o1, o2, ...,oK)", size),
        ("scale_factor", "scale_factor", "(s1, s2, ...,sK)", scale_factor),
    ):
        if isinstance(given, tuple) and len(given) != dims:
            shape = "of shape" if whole is what else "of"
            raise ValueError(
                f"Input and {whole} must have the same number of spatial dimensions, but got input with spatial "
                f"dimensions of {list(x.shape[2:])} and {what} {shape} {given}. Please provide input tensor in "
                f"(N, C, d1, d2, ...,dK) format and {what} in {of} format."
            )
    if mode in _DIMS and _DIMS[mode] != dims:
        raise NotImplementedError(f"Got {x.ndim}D input, but {mode} mode needs {_DIMS[mode] + 2}D input")
    if antialias and (mode not in ("bilinear", "bicubic") or x.ndim != 4):
        raise ValueError(
            "Anti-alias option is restricted to bilinear and bicubic modes and requires a 4-D tensor as input"
        )


@op(namespaces=("nn.functional",), grad_name=nodes.interpolate)
def interpolate(
    input: Array,
    size: int | tuple[int, ...] | None = None,
    scale_factor: float | tuple[float, ...] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
):
    """``(N, C, *D)`` resampled to ``size``, or to ``⌊D scale_factor⌋``.

    ``mode``: ``"nearest"``, ``"nearest-exact"``, ``"area"`` for one to three spatial dims, ``"linear"`` (1),
    ``"bilinear"``, ``"bicubic"`` (2), ``"trilinear"`` (3). Element ``i`` of the output lies at ``(i + 1/2) s - 1/2`` of
    the input, or at ``i (n - 1) / (o - 1)`` with ``align_corners``. ``antialias`` widens the kernel when shrinking.

    Raises:
        ValueError: contradictory arguments.
        NotImplementedError: a mode that does not go with the number of dims, or the dtype.
    """
    x, dims = input, input.ndim - 2
    _check_arguments(x, size, scale_factor, mode, align_corners, antialias)
    if recompute_scale_factor and size is not None:
        raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
    scales: tuple[float | None, ...] = (None,) * dims
    if size is not None:
        out = tuple(size) if isinstance(size, tuple) else (size,) * dims
        if any(isinstance(n, float) for n in out):
            raise TypeError(f"expected size to be one of int or a tuple of ints, but got {size}")
    else:
        given = scale_factor if isinstance(scale_factor, tuple) else (scale_factor,) * dims
        out = tuple(math.floor(n * float(s)) for n, s in zip(x.shape[2:], given, strict=True))
        if not recompute_scale_factor:
            scales = tuple(float(s) for s in given)
    if any(isinstance(n, int) and abs(n) >= 2**63 for n in out):
        raise RuntimeError("value cannot be converted to type int64_t without overflow")
    if any(n <= 0 for n in (*out, *x.shape[2:])):
        axes = "DHW"[-dims:]
        said = (", ".join(f"{a}: {n}" for a, n in zip(axes, s, strict=True)) for s in (x.shape[2:], out))
        had, wanted = said
        raise RuntimeError(
            f"Input and output sizes should be greater than 0, but got input ({had}) and output ({wanted})"
        )
    if mode == "area":
        return adaptive_mean(dims, x, out)
    refuse(f"upsample_{mode}{dims}d", x, when=is_integral(x) and x.dtype != np.uint8)
    if mode in ("nearest", "nearest-exact"):
        for axis in range(2, x.ndim):
            x = _take(x, _nearest(x.shape[axis], out[axis - 2], scales[axis - 2], mode == "nearest-exact"), axis)
        return x
    return _resample(x, out, scales, mode, bool(align_corners), antialias)


@op(namespaces=(), grad_name="UpsampleBackward0")
def _upsample_aa(input: Array, size: tuple[int, ...], scales: tuple[float | None, ...], mode: str, align_corners: bool):
    """Antialiased :func:`interpolate` of ``(N, C, H, W)`` to ``size``, with scales that need not follow from it."""
    refuse(f"_upsample_{mode}2d_aa", input, when=is_integral(input) and input.dtype != np.uint8)
    return _resample(input, size, scales, mode, align_corners, True)


def _take(x, index: np.ndarray, axis: int):
    """Elements along an axis; whole multiples are a repeat, whose gradient is a sum rather than a scatter."""
    n, o = x.shape[axis], len(index)
    if o % n == 0 and np.array_equal(index, np.repeat(np.arange(n), o // n)):
        return jnp.repeat(x, o // n, axis) if o > n else x
    if n % o == 0 and np.array_equal(index, np.arange(o) * (n // o)):
        return lax.slice_in_dim(x, 0, n, n // o, axis)
    return jnp.take(x, jnp.asarray(index), axis=axis)

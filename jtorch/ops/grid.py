"""``affine_grid`` and ``grid_sample``: images read at computed places."""

from __future__ import annotations

import itertools

import jax.numpy as jnp
import numpy as np
from jax import lax

from .creation import even_steps
from .elementwise import in_float32, is_half
from .registry import Array, op


def _unnormalized(x, n: int, align_corners: bool):
    """[-1, 1] as positions on ``n`` pixels: their centres at the ends, or their outer edges."""
    return (x + 1) * ((n - 1) / 2) if align_corners else (x + 1) * (n / 2) - 0.5


def _reflected(x, low: float, high: float):
    """Positions folded back between two edges."""
    if high <= low:
        return jnp.zeros_like(x)
    if is_half(x):  # the compiler would join the shift by ``low`` to the one before, and with it two roundings
        x = lax.optimization_barrier(x)
    period = 2 * (high - low)
    t = jnp.abs(x - low)
    t = t - jnp.trunc(t / period) * period
    return jnp.minimum(t, period - t) + low


def _placed(x, n: int, mode: str, align_corners: bool):
    """Positions brought inside, as the padding mode says."""
    if mode == "border":
        return _clipped(x, n)
    if mode == "reflection":
        x = _reflected(x, 0.0, n - 1.0) if align_corners else _reflected(x, -0.5, n - 0.5)
        return _clipped(x, n)
    return x


def _clipped(x, n: int):
    """Into [0, n - 1], with gradient 0 outside and at the ends, as PyTorch's."""
    return jnp.where(x <= 0, 0.0, jnp.where(x >= n - 1, n - 1.0, x)).astype(x.dtype)


def _read(image, indices):
    """``image (N, C, *D)`` at integer positions ``(N, *out)`` a dim; outside counts as 0. ``(N, C, *out)``."""
    inside = None
    flat = None
    for index, n in zip(indices, image.shape[2:], strict=True):
        ok = (index >= 0) & (index < n)
        inside = ok if inside is None else inside & ok
        i = jnp.clip(index, 0, n - 1).astype(np.int32)
        flat = i if flat is None else flat * n + i
    pixels = image.reshape(*image.shape[:2], -1)
    rows = flat.reshape(flat.shape[0], 1, -1)
    got = jnp.take_along_axis(pixels, rows, 2).reshape(*image.shape[:2], *flat.shape[1:])
    return jnp.where(inside[:, None], got, 0)


def _linear(image, places):
    low = [jnp.floor(p) for p in places]
    total = 0
    for corner in itertools.product((0, 1), repeat=len(places)):
        weight = 1
        for p, a, c in zip(places, low, corner, strict=True):
            weight = weight * ((p - a) if c else 1 - (p - a))
        total = total + _read(image, [a + c for a, c in zip(low, corner, strict=True)]) * weight[:, None]
    return total


def _cubic_weights(t, a: float = -0.75):
    """The four weights of Keys' kernel at fraction ``t``."""

    def near(d):
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d):
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    return far(t + 1), near(t), near(1 - t), far(2 - t)


def _cubic(image, places, padding_mode: str, align_corners: bool):
    low = [jnp.floor(p) for p in places]
    down, across = (_cubic_weights(p - a) for p, a in zip(places, low, strict=True))
    sizes = image.shape[2:]
    total = 0
    for i in range(4):
        row = 0
        for j in range(4):
            corner = zip(low, (i, j), sizes, strict=True)
            at = [_placed(a + (k - 1), n, padding_mode, align_corners) for a, k, n in corner]
            row = row + _read(image, at) * across[j][:, None]
        total = total + row * down[i][:, None]
    return total


def _sample(image, grid, mode: str, padding_mode: str, align_corners: bool):
    """In the dtype of the operands, each step rounded to it: half precision places an image as PyTorch's does."""
    sizes = image.shape[2:]
    # the grid's last dim is (x, y[, z]): the last spatial dim first
    places = [_unnormalized(grid[..., -1 - d], n, align_corners) for d, n in enumerate(sizes)]
    if mode == "bicubic":
        return _cubic(image, places, padding_mode, align_corners)
    places = [_placed(p, n, padding_mode, align_corners) for p, n in zip(places, sizes, strict=True)]
    if mode == "nearest":
        return _read(image, [jnp.round(p) for p in places])
    return _linear(image, places)


@op(namespaces=("nn.functional",), grad_name="GridSampler2DBackward0")
def grid_sample(
    input: Array,
    grid: Array,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
):
    """``input (N, C, H, W)`` read at ``grid (N, H', W', 2)`` of (x, y) in [-1, 1]; ``(N, C, H', W')``. Or with a depth.

    ``mode``: ``"bilinear"``, ``"nearest"``, ``"bicubic"`` (2-d only); ``padding_mode``: ``"zeros"``, ``"border"``,
    ``"reflection"``. With ``align_corners`` -1 and 1 are the centres of the corner pixels, else their outer edges.

    Raises:
        ValueError: an unknown mode.
        RuntimeError: shapes or dtypes that do not fit together.
    """
    for what, given, known in (
        ("mode", mode, ("bilinear", "nearest", "bicubic")),
        ("padding_mode", padding_mode, ("zeros", "border", "reflection")),
    ):
        if given not in known:
            listed = f"'{known[0]}', '{known[1]}' or '{known[2]}'"
            raise ValueError(f"nn.functional.grid_sample(): expected {what} to be {listed}, but got: '{given}'")
    shapes = f"input with sizes {list(input.shape)} and grid with sizes {list(grid.shape)}"
    if input.dtype != grid.dtype:
        raise RuntimeError(
            f"grid_sampler(): expected input and grid to have same dtype, but input has {input.dtype} and grid has "
            f"{grid.dtype}"
        )
    if grid.shape[-1] != input.ndim - 2:
        raise RuntimeError(
            f"grid_sampler(): expected grid to have size {input.ndim - 2} in last dimension, but got grid with sizes "
            f"{list(grid.shape)}"
        )
    if input.ndim not in (4, 5) or grid.ndim != input.ndim:
        raise RuntimeError(
            f"grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but got {shapes}"
        )
    if input.shape[0] != grid.shape[0]:
        raise RuntimeError(f"grid_sampler(): expected grid and input to have same batch size, but got {shapes}")
    if 0 in input.shape[2:]:
        raise RuntimeError(
            f"grid_sampler(): expected input to have non-empty spatial dimensions, but input has sizes "
            f"{list(input.shape)}"
        )
    if mode == "bicubic" and input.ndim != 4:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
    if 0 in input.shape:
        return jnp.zeros((*input.shape[:2], *grid.shape[1:-1]), input.dtype)
    return _sample(input, grid, mode, padding_mode, bool(align_corners))


@op(namespaces=("nn.functional",), grad_name="AffineGridGeneratorBackward0")
def affine_grid(theta: Array, size: tuple[int, ...], align_corners: bool | None = None):
    """The places ``theta (N, 2, 3)`` or ``(N, 3, 4)`` maps the pixels of an output of ``size (N, C, ...)`` to.

    Raises:
        ValueError: ``theta`` does not have the shape that goes with ``size``.
        NotImplementedError: ``size`` of other than 4 or 5 entries.
    """
    if len(size) not in (4, 5):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, respectively. Got size "
            f"{tuple(size)}."
        )
    d = len(size) - 2
    if not jnp.issubdtype(theta.dtype, jnp.floating):
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    if theta.shape != (size[0], d, d + 1):
        raise ValueError(
            f"Expected a batch of {d}D affine matrices of shape Nx{d}x{d + 1} for size {tuple(size)}. Got "
            f"torch.Size({list(theta.shape)})."
        )
    if any(n <= 0 for n in size):
        raise ValueError(f"Expected non-zero, positive output size. Got {tuple(size)}")
    mesh = jnp.meshgrid(*[_centres(n, align_corners, theta.dtype) for n in size[2:]], indexing="ij")
    base = jnp.stack([*mesh[::-1], jnp.ones_like(mesh[0])], -1).reshape(-1, d + 1)
    return _mapped(theta, base).reshape(size[0], *size[2:], d)


def _centres(n: int, align_corners: bool | None, dtype):
    """Where ``n`` pixels lie on [-1, 1], rounded as in PyTorch: under the identity, the places that ``grid_sample``
    reads are pixels or nearly so, and on which side of one a place lies decides its gradient."""
    if n <= 1:
        return jnp.zeros(n, dtype)
    ends = even_steps(-1.0, 1.0, n, dtype).astype(dtype)
    if align_corners:
        return ends
    # in doubles, whose quotients XLA may compute by reciprocals: they round to the same
    return (lax.optimization_barrier(ends * (n - 1)).astype(np.float64) / n).astype(dtype)


@in_float32
def _mapped(theta, base):
    return jnp.einsum("pk,ndk->npd", base, theta, precision="highest")

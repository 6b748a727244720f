"""Views that read the base's elements by another rule: windows, arbitrary strides, parts of complex numbers, bits.

Lenses as in :mod:`.view`.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax

from .registry import Array, Size, op
from .shapes import canonical_dim
from .view import SELF_OVERLAP, type_name

# --- windows and arbitrary strides ---------------------------------------------------------------------------------


def _window_layout(shape, dimension: int, size: int, step: int):
    dimension = canonical_dim(dimension, len(shape))
    n = shape[dimension] if shape else 1
    if size < 0:
        raise RuntimeError(f"size is {size} but must be >= 0")
    if size > n:
        raise RuntimeError(f"maximum size for tensor at dimension {dimension} is {n} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    return dimension, (n - size) // step + 1


def _window_positions(windows: int, size: int, step: int):
    return jnp.arange(windows, dtype=np.int32)[:, None] * step + jnp.arange(size, dtype=np.int32)


def _put_unfold(base, new, dimension, size, step):
    if base.ndim == 0:
        return new.reshape(()) if size else base
    dimension, windows = _window_layout(base.shape, dimension, size, step)
    if step < size and windows > 1:
        raise RuntimeError(SELF_OVERLAP)
    where = (slice(None),) * dimension + (_window_positions(windows, size, step),)
    new = jnp.moveaxis(new, -1, dimension + 1)
    return base.at[where].set(new, mode="promise_in_bounds", wrap_negative_indices=False)


@op(namespaces=(), name="_places", differentiable=False)
def places(input: Array):
    """The place of every element among them all, row by row."""
    kind = np.int32 if input.size < 2**31 else np.int64
    return lax.iota(kind, input.size).reshape(input.shape)


@op(namespaces=(), name="_put_places", grad_name="CopySlices")
def put_places(input: Array, at: Array, new: Array):
    """``input`` with the elements at the places ``at`` replaced by ``new``."""
    flat = input.reshape(-1).at[at.reshape(-1)]
    return flat.set(new.reshape(-1), mode="promise_in_bounds", wrap_negative_indices=False).reshape(input.shape)


@op(
    name="unfold_view", namespaces=(), put=_put_unfold, grad_name="UnfoldBackward0",
    repeats=lambda dimension, size, step: step < size,
)  # fmt: skip
def unfold_view(input: Array, dimension: int, size: int, step: int):
    """All windows of ``size`` elements, ``step`` apart, along ``dimension``; the window is a new last dimension.

    Raises:
        RuntimeError: a window is larger than the dimension, ``step`` is not positive, or overlapping windows are
            written to.
    """
    dimension, windows = _window_layout(input.shape, dimension, size, step)
    if input.ndim == 0:
        return input.reshape(1)[:size]
    if step == size:
        whole = lax.slice_in_dim(input, 0, windows * size, axis=dimension)
        grouped = whole.reshape(input.shape[:dimension] + (windows, size) + input.shape[dimension + 1 :])
        return jnp.moveaxis(grouped, dimension + 1, -1)
    where = (slice(None),) * dimension + (_window_positions(windows, size, step),)
    found = input.at[where].get(mode="promise_in_bounds", wrap_negative_indices=False)
    return jnp.moveaxis(found, dimension + 1, -1)


def _strided_positions(base, size, stride, storage_offset):
    """The place in the flattened base of every element, after the checks."""
    if len(size) != len(stride):
        raise RuntimeError("mismatch in length of strides and shape")
    if any(s < 0 for s in stride):
        raise RuntimeError(f"as_strided: Negative strides are not supported at the moment, got strides: {list(stride)}")
    offset = storage_offset or 0
    if offset < 0:
        raise RuntimeError(f"Tensor: invalid storage offset {offset}")
    needed = 0 if 0 in size else offset + 1 + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if needed > base.size:
        item = base.dtype.itemsize
        raise RuntimeError(
            f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {offset}, and itemsize {item} "
            f"requiring a storage size of {needed * item} are out of bounds for storage of size {base.size * item}"
        )
    kind = np.int32 if base.size < 2**31 else np.int64
    at = jnp.full(size, offset, kind)
    for d, s in enumerate(stride):
        at = at + lax.broadcasted_iota(kind, size, d) * s
    return at


def put_as_strided(base, new, size, stride, storage_offset=None):
    at = _strided_positions(base, size, stride, storage_offset)
    if any(n > 1 and s == 0 for n, s in zip(size, stride, strict=True)):
        raise RuntimeError(SELF_OVERLAP)
    flat = base.reshape(-1).at[at.reshape(-1)]
    return flat.set(new.reshape(-1), mode="promise_in_bounds", wrap_negative_indices=False).reshape(base.shape)


def _may_repeat(size, stride, storage_offset=None) -> bool:
    """Whether two places of the view could be one: some stride does not reach past all that lies within it."""
    reach = 0
    for s, n in sorted((s, n) for n, s in zip(size, stride, strict=True) if n > 1):
        if s <= reach:
            return True
        reach += s * (n - 1)
    return False


@op(put=put_as_strided, repeats=_may_repeat)
def as_strided(input: Array, size: Size, stride: tuple[int, ...], storage_offset: int | None = None):
    """Element ``i, j, ...`` is the one at ``storage_offset + i * stride[0] + j * stride[1] + ...`` of the operand's
    storage, which is the operand's elements in row-major order.

    Raises:
        RuntimeError: an element lies outside the storage, a stride is negative, or an expanded result is written to.
    """
    at = _strided_positions(input, size, stride, storage_offset)
    if 0 in size:
        return jnp.zeros(size, input.dtype)
    return input.reshape(-1).at[at].get(mode="promise_in_bounds", wrap_negative_indices=False)


@op(namespaces=(), name="_as_strided_beyond", grad_name="AsStridedBackward0")
def as_strided_beyond(
    input: Array, whole: Array, *, size: tuple[int, ...], stride: tuple[int, ...], storage_offset: int, at: tuple
):
    """:func:`as_strided` of ``whole``, of which ``input`` is the view with the strides and the offset ``at``: the
    gradient is ``input``'s where it has the element, none elsewhere."""
    place = _strided_positions(whole, input.shape, *at)
    flat = whole.reshape(-1).at[place.reshape(-1)]
    seen = flat.set(input.reshape(-1), mode="promise_in_bounds", wrap_negative_indices=False)
    return as_strided(seen, size, stride, storage_offset)


# --- parts of complex numbers, and other readings of the same bits -------------------------------------------------


def _put_real(base, new):
    return lax.complex(new, base.imag) if jnp.iscomplexobj(base) else new


@op(method=False, put=_put_real)
def real(input: Array):
    """The real part; a real tensor as it is."""
    return input.real if jnp.iscomplexobj(input) else input


@op(method=False, put=lambda base, new: lax.complex(base.real, new))
def imag(input: Array):
    """The imaginary part.

    Raises:
        RuntimeError: the tensor is not complex.
    """
    if not jnp.iscomplexobj(input):
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    return input.imag


@op(method=False, put=lambda base, new: lax.complex(new[..., 0], new[..., 1]))
def view_as_real(input: Array):
    """A complex tensor as a real one with a last dimension of real and imaginary part.

    Raises:
        RuntimeError: the tensor is not complex.
    """
    if not jnp.iscomplexobj(input):
        raise RuntimeError("view_as_real is only supported for complex tensors")
    return jnp.stack([input.real, input.imag], -1)


@op(method=False, put=lambda base, new: jnp.stack([new.real, new.imag], -1))
def view_as_complex(input: Array):
    """A real tensor whose last dimension has size 2 as a complex one.

    Raises:
        RuntimeError: the last dimension is not 2, or the type is not float32 or float64.
    """
    if input.dtype == np.float16:
        raise NotImplementedError(
            "view_as_complex of a float16 tensor would be of dtype torch.complex32, which XLA does not have; "
            "convert it with .to(torch.float32) first"
        )
    if input.dtype not in (np.float32, np.float64):
        raise RuntimeError(
            f"view_as_complex is only supported for float and double tensors, but got a tensor of scalar type: "
            f"{type_name(input.dtype)}; convert it with .to(torch.float32) first"
        )
    if not input.ndim:
        raise RuntimeError("Input tensor must have one or more dimensions")
    if input.shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    return lax.complex(input[..., 0], input[..., 1])


def _reinterpret(x, target: np.dtype):
    """``x``'s bits read as ``target``; sizes that differ multiply or divide the last dimension."""
    if jnp.iscomplexobj(x):  # XLA reinterprets neither complex numbers nor bools
        x = jnp.stack([x.real, x.imag], -1)
        x = x.reshape((*x.shape[:-2], 2 * x.shape[-2]))
    if x.dtype == np.bool_:
        x = x.astype(np.uint8)
    if target == np.bool_:
        return _reinterpret(x, np.dtype(np.uint8)) != 0
    if np.issubdtype(target, np.complexfloating):
        parts = _reinterpret(x, np.dtype(np.float32 if target.itemsize == 8 else np.float64))
        parts = parts.reshape((*parts.shape[:-1], parts.shape[-1] // 2, 2))
        return lax.complex(parts[..., 0], parts[..., 1])
    have, want = x.dtype.itemsize, target.itemsize
    if have < want:
        x = x.reshape((*x.shape[:-1], x.shape[-1] * have // want, want // have))
    out = lax.bitcast_convert_type(x, target)
    return out.reshape((*x.shape[:-1], x.shape[-1] * have // want)) if have > want else out


def _put_view_dtype(base, new, *, dtype):
    return _reinterpret(new, base.dtype).reshape(base.shape)


@op(name="view.dtype", namespaces=(), differentiable=False, put=_put_view_dtype)
def view_dtype(input: Array, *, dtype):
    """The same bits read as another type; where element sizes differ, the last dimension grows or shrinks.

    Raises:
        RuntimeError: the last dimension is not a multiple of the ratio, or a 0-d tensor would change size.
    """
    have, want = input.dtype.itemsize, dtype.np.itemsize
    names = f"{type_name(input.dtype)} as {type_name(dtype.np)}"
    if have != want:
        if not input.ndim:
            raise RuntimeError(f"self.dim() cannot be 0 to view {names} (different element sizes)")
        ratio = want // have
        if ratio and input.shape[-1] % ratio:
            raise RuntimeError(
                f"self.size(-1) must be divisible by {ratio} to view {names} (different element sizes), but got "
                f"{input.shape[-1]}"
            )
    if input.dtype == dtype.np:
        return input
    shape = input.shape if have == want else (*input.shape[:-1], input.shape[-1] * have // want)
    x = input.reshape((*input.shape, 1)) if not input.ndim else input
    return _reinterpret(x, dtype.np).reshape(shape)

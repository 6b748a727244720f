"""Shape and dimension rules shared by the op families, with PyTorch's error messages."""

from __future__ import annotations

import numpy as np


def known(*sizes) -> bool:
    """Whether the sizes are numbers, which can be compared; those that an export leaves open cannot."""
    return all(isinstance(n, int) for n in sizes)


def position_type(size: int):
    """The integer type for positions in ``size`` elements; a size that is a symbol (``jax.export``) may be large."""
    return np.int32 if known(size) and size < 2**31 else np.int64


def canonical_dim(dim: int, ndim: int) -> int:
    """``dim`` counted from the front; 0-d tensors accept 0 and -1.

    Raises:
        IndexError: outside ``[-ndim, ndim - 1]``.
        TypeError: no integer.
    """
    if dim.__class__ is bool or not hasattr(dim, "__index__"):
        raise TypeError(f"argument 'dim' must be int, not {type(dim).__name__}")
    span = max(ndim, 1)
    if not -span <= dim < span:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-span}, {span - 1}], but got {dim})")
    return dim % span


def existing_dim(dim: int, ndim: int) -> int:
    """:func:`canonical_dim` of a tensor that must have dimensions.

    Raises:
        IndexError: it has none, or ``dim`` is out of range.
    """
    if not ndim:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    return canonical_dim(dim, ndim)


def canonical_dims(dim: int | tuple[int, ...] | None, ndim: int) -> tuple[int, ...]:
    """All dims for ``None`` (and for ``()``, as PyTorch's reductions take it), else the given ones from the front.

    Raises:
        IndexError: one is out of range.
        RuntimeError: one appears twice, or there are more than 64, PyTorch's limit.
    """
    if ndim > 64:
        raise RuntimeError("only tensors with up to 64 dims are supported")
    if dim is None or dim == ():
        return tuple(range(ndim))
    if not isinstance(dim, (tuple, list)):
        return (canonical_dim(dim, ndim),) if ndim else ()
    dims = tuple(canonical_dim(d, ndim) for d in dim)
    if len(set(dims)) != len(dims):
        twice = next(d for d in dims if dims.count(d) > 1)
        raise RuntimeError(f"dim {twice} appears multiple times in the list of dims")
    return dims if ndim else ()


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The common shape of several operands.

    Raises:
        RuntimeError: two sizes differ and neither is 1.
    """
    result: tuple[int, ...] = ()
    for shape in shapes:
        n = max(len(result), len(shape))
        a = (1,) * (n - len(result)) + result
        b = (1,) * (n - len(shape)) + tuple(shape)
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            if x != y and x != 1 and y != 1:
                raise RuntimeError(
                    f"The size of tensor a ({x}) must match the size of tensor b ({y}) at non-singleton dimension {i}"
                )
        result = tuple(y if x == 1 else x for x, y in zip(a, b, strict=True))
    return result


def infer_size(shape: tuple[int, ...], numel: int) -> tuple[int, ...]:
    """``shape`` with its one ``-1`` worked out.

    Raises:
        RuntimeError: the sizes do not multiply to ``numel``, or -1 is ambiguous.
    """
    known, hole = 1, None
    for i, s in enumerate(shape):
        if s == -1:
            if hole is not None:
                raise RuntimeError("only one dimension can be inferred")
            hole = i
        elif s < 0:
            raise RuntimeError(f"invalid shape dimension {s}")
        else:
            known *= s
    if hole is None:
        if known != numel:
            raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {numel}")
        return tuple(shape)
    if known == 0:
        if numel:
            raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {numel}")
        raise RuntimeError(
            f"cannot reshape tensor of 0 elements into shape {list(shape)} because the unspecified dimension size -1 "
            "can be any value and is ambiguous"
        )
    if numel % known:
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {numel}")
    return tuple(numel // known if i == hole else s for i, s in enumerate(shape))


def pair(value, n: int, what: str = "kernel_size") -> tuple[int, ...]:
    """An int repeated ``n`` times, or a tuple checked to have ``n`` entries (or one).

    Raises:
        RuntimeError: a tuple of another length.
    """
    if isinstance(value, int):
        return (value,) * n
    value = tuple(value)
    if len(value) == 1:
        return value * n
    if len(value) != n:
        raise RuntimeError(f"{what} must be an int or a tuple of {n} ints, got {value}")
    return value

"""``x[index]`` and ``x[index] = value``.

An index is split in two, as PyTorch does: ints, slices, ``None`` and ``...`` become a chain of views; tensors of
indices (lists and arrays are made into tensors, masks into the indices of their true elements) are then taken from
that view. Start offsets are run-time numbers, so ``x[i]`` in a loop compiles once.
"""

from __future__ import annotations

import functools
import warnings

import numpy as np

from .. import dtypes
from ..ops import outputs
from ..ops.index import parse_basic, with_one_ellipsis
from ..ops.registry import OPS
from ..tape.node import node_type
from . import dispatch as _dispatch
from . import lens, overriding


def _compound() -> tuple[type, ...]:
    """What makes a list of indices a tuple of them."""
    return (slice, type(None), type(Ellipsis), list, tuple, np.ndarray, _dispatch.TENSOR)


class IndexingMixin:
    """Reading and writing parts of a Tensor."""

    def __getitem__(self, index):
        if index.__class__ is int:  # the commonest form, without the general parse
            shape = self.shape
            if shape and -shape[0] <= index < shape[0]:
                return _dispatch.dispatch(OPS["select"], (self, index % shape[0]), (0,))
        view, indices, spec = _split(self, index)
        if indices is None:
            return view
        return _dispatch.dispatch(OPS["index"], (view, tuple(indices)), (spec,))

    def __setitem__(self, index, value) -> None:
        self._check_inplace()
        mask = _only_mask(index)
        if mask is not None and mask.shape == self.shape[: mask.dim()] and _is_single(value):
            _fill_masked(self, mask, value)
            return
        view, indices, spec = _split(self, index)
        if isinstance(value, (list, tuple, np.ndarray)):
            value = _dispatch.TENSOR._from_numpy(_array(value, self.dtype), self.device)
        if indices is None:
            if _is_that_view(value, view):  # what `x[i] += 1` ends with
                view._storage.version += not (view if view._root is None else view._root)._uncounted
                return
            if isinstance(value, _dispatch.TENSOR):
                value = _without_leading_ones(value, view.dim())
                if value.device is not self.device:
                    value = value.to(self.device)
                outputs.in_place(None, view, (value,))
            else:
                value = _fitting(value, self.dtype)
            view._assign(_dispatch.dispatch(OPS["_copy"], (view, value), ()))
            return
        if not isinstance(value, _dispatch.TENSOR):
            from .creation import filled

            value = filled((), value, self.dtype, self.device)
        elif value.dtype is not self.dtype:
            if value.shape != ():
                raise RuntimeError(
                    "Index put requires the source and destination dtypes match, got "
                    f"{self.dtype.legacy_name} for the destination and {value.dtype.legacy_name} for the source."
                )
            value = value.to(self.dtype)
        if value.device is not self.device:
            value = value.to(self.device)
        outputs.apart(None, view, (value, *indices))
        view._assign(_dispatch.call("index_put", view, value, tuple(indices), spec=spec))

    def __delitem__(self, index) -> None:
        raise TypeError("Tensor does not support deleting items")


def _array(value, dtype: dtypes.dtype) -> np.ndarray:
    from .creation import to_numpy

    return to_numpy(value, dtype)


def _is_that_view(value, view) -> bool:
    """Whether ``value`` shows the part that ``view`` shows, with the same history: copying it there does nothing."""
    return (
        isinstance(value, _dispatch.TENSOR) and value._storage is view._storage and value._root is view._root
        and value._lens is not None and lens.same(value._lens, view._lens) and value.shape == view.shape
        and value.requires_grad == view.requires_grad == (value.grad_fn is not None)
        and value._handler is None and _dispatch.on_write is None
        and all(watching is overriding.intercept and overriding.idle() for watching in _dispatch.interceptors)
    )  # fmt: skip


def _is_single(value) -> bool:
    return isinstance(value, (int, float, bool, complex, np.generic)) or (
        isinstance(value, _dispatch.TENSOR) and value.numel() == 1
    )


def _fitting(value, dtype: dtypes.dtype):
    """What is assigned in place of a tensor; a number must fit the dtype."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None:
        raise TypeError(f"can't assign a NoneType to a torch.{dtype.legacy_name}Tensor")
    if isinstance(value, (int, float, complex)):
        dtypes.check_fits(value, dtype)
    return value


def _only_mask(index):
    if isinstance(index, tuple) and len(index) == 1:
        index = index[0]
    if isinstance(index, np.ndarray) and index.dtype == bool:
        index = _dispatch.TENSOR._from_numpy(index)
    if isinstance(index, _dispatch.TENSOR) and index.dtype in (dtypes.bool_, dtypes.uint8):
        return index if index.dtype is dtypes.bool_ else index != 0
    return None


def _fill_masked(x, mask, value) -> None:
    """``x[mask] = number``: a select, which needs neither the number of true elements nor a flush."""
    for _ in range(x.dim() - mask.dim()):
        mask = mask.unsqueeze(-1)
    if isinstance(value, _dispatch.TENSOR) and value.dim():
        value = value.reshape(())
    if not isinstance(value, _dispatch.TENSOR):
        value = _fitting(value, x.dtype)
    x._assign(_dispatch.dispatch(OPS["masked_fill"], (x, mask, value), ()))


def _without_leading_ones(value, ndim: int):
    extra = value.dim() - ndim
    if extra > 0 and all(n == 1 for n in value.shape[:extra]):
        return value.reshape(value.shape[extra:])
    return value


def _split(x, index):
    """``(view of the basic part, index tensors or None, spec)``."""
    key = _plain_key(index)
    if key is not None:
        return _apply(x, *_plan(tuple(x.shape), key)), None, None
    if not isinstance(index, tuple):
        if isinstance(index, list) and len(index) < 32 and any(isinstance(i, _compound()) for i in index):
            warnings.warn(
                "a list as an index for several dimensions is deprecated: it may come to mean one tensor of indices; "
                "write x[tuple(indices)], or x[torch.tensor(indices)] where that is what is meant",
                stacklevel=3,
            )
            index = tuple(index)  # as NumPy once did, a short list of anything but numbers is read as a tuple
        else:
            index = (index,)
    basic, advanced, used = [], [], 0
    expanded = []
    for entry in index:
        entry = _normal(entry)
        expanded.append(entry)
        used += _width(entry)
    expanded = with_one_ellipsis(expanded, x.dim() - used)
    if used <= x.dim() and any(_is_pending(e) for e in expanded):
        x, expanded = _select_pending(x, expanded, used)
        used = sum(_width(e) for e in expanded)
    if used > x.dim():
        if not x.dim() and all(isinstance(e, int) for e in expanded):
            parse_basic(tuple(expanded), tuple(x.shape))
        raise IndexError(f"too many indices for tensor of dimension {x.dim()}")
    dim = 0
    for entry in expanded:
        if entry is None:
            basic.append(None)
        elif entry is Ellipsis:
            rest = x.dim() - used
            basic.extend([slice(None)] * rest)
            dim += rest
        elif isinstance(entry, _dispatch.TENSOR):
            n = max(entry.dim(), 0) if entry.dtype is dtypes.bool_ else 1
            if entry.dtype is dtypes.bool_:
                if entry.shape != x.shape[dim : dim + n]:
                    bad = next((i for i in range(n) if entry.shape[i] != x.shape[dim + i]), 0)
                    raise IndexError(
                        f"The shape of the mask {list(entry.shape)} at index {bad} does not match the shape of the "
                        f"indexed tensor {list(x.shape)} at index {dim + bad}"
                    )
                if n == 0:  # a single truth value adds a dimension of size 0 or 1
                    basic.append(None)
                    advanced.append((len(basic) - 1, entry.reshape(1)))
                    continue
            advanced.append((len(basic), entry))
            basic.extend([slice(None)] * n)
            dim += n
        else:
            basic.append(entry)
            dim += 1
    view = _apply(x, *_steps(basic, tuple(x.shape)))
    if not advanced:
        return view, None, None
    # positions in the result: ints before an entry have disappeared from it
    spec = [":"] * view.dim()
    indices = []
    for position, entry in advanced:
        at = position - sum(1 for e in basic[:position] if isinstance(e, int))
        if entry.dtype is dtypes.bool_ and not overriding.is_wrapper(view):  # whose class sees the mask itself
            for k, found in enumerate(entry.nonzero(as_tuple=True)):
                spec[at + k] = "t"
                indices.append(found)
        else:
            spec[at] = "t"
            indices.append(entry)
    while spec and spec[-1] == ":":
        spec.pop()
    return view, indices, tuple(spec)


def _plain_key(index):
    """An index of ints, slices of ints, ``None`` and ``...`` as something to look up, or None of another one.

    A slice is a tuple in it: slices have no hash.
    """
    key: list = []
    for entry in index if index.__class__ is tuple else (index,):
        if entry.__class__ is slice:
            entry = entry.start, entry.stop, entry.step
            for part in entry:
                if part is not None and part.__class__ is not int:
                    return None
        elif entry is not None and entry is not Ellipsis and entry.__class__ is not int:
            return None
        key.append(entry)
    return tuple(key)


@functools.lru_cache(4096)
def _plan(shape: tuple[int, ...], key: tuple):
    """:func:`_steps` of an index by its :func:`_plain_key`: programs use few, over and over."""
    return _steps([slice(*e) if e.__class__ is tuple else e for e in key], shape)


def _steps(basic: list, shape: tuple[int, ...]):
    """The views of a basic index, ``(op, operands after the first, attributes)`` each, and its gradient's name."""
    steps = []
    for name, statics, numbers in parse_basic(tuple(basic), shape) if basic else ():
        op = OPS[name]
        attributes = tuple(_dispatch.hashable(statics[n]) for n in op.static_names)
        steps.append((op, (tuple(numbers),) if name == "slices" else tuple(numbers), attributes))
    return steps, _last_view(basic) if steps else None


def _apply(x, steps, gradient: str | None):
    view = x
    for op, numbers, attributes in steps:
        view = _dispatch.dispatch(op, (view, *numbers), attributes)
    if gradient is not None and view._edge is not None:
        view._edge[0].__class__ = node_type(gradient)
    return view if steps else _dispatch.dispatch(OPS["alias"], (x,), ())


def _last_view(basic) -> str:
    """The name of the gradient of an index's last entry, which PyTorch applies last."""
    kinds = [e for e in basic if e is not Ellipsis and not (isinstance(e, slice) and e == slice(None))]
    return {slice: "SliceBackward0", type(None): "UnsqueezeBackward0"}.get(type(kinds[-1]), "SelectBackward0")


def _width(entry) -> int:
    """How many dimensions of the indexed tensor an entry takes up."""
    if isinstance(entry, _dispatch.TENSOR) and entry.dtype is dtypes.bool_:
        return entry.dim()
    return int(entry is not None and entry is not Ellipsis)


def _is_pending(entry) -> bool:
    """Whether an entry is an int that is not known yet: a 0-d integer tensor (:func:`_normal` has read the others)."""
    return isinstance(entry, _dispatch.TENSOR) and entry.dtype is not dtypes.bool_ and not entry.shape


def _select_pending(x, entries, used: int):
    """``x`` with the 0-d tensors among the entries applied, each of which is a view as an int is, and the others."""
    rest, dim = [], 0
    for entry in entries:
        if _is_pending(entry):
            x = _dispatch.dispatch(OPS["select.tensor"], (x, entry), (dim,))
            used -= 1
            continue
        dim += x.dim() - used if entry is Ellipsis else _width(entry)
        rest.append(entry)
    return x, rest


def _normal(entry):
    """An index entry as int, slice, None, Ellipsis or Tensor."""
    if entry is None or entry is Ellipsis or entry.__class__ is int:
        return entry
    if isinstance(entry, slice):
        parts = (entry.start, entry.stop, entry.step)
        if all(p is None or p.__class__ is int for p in parts):
            return entry
        return slice(*(p if p is None else _slice_end(p) for p in parts))
    if isinstance(entry, (bool, np.bool_)):
        return _dispatch.TENSOR._from_numpy(np.array(bool(entry)))
    if isinstance(entry, _dispatch.TENSOR):
        if entry.dtype is dtypes.uint8:
            warnings.warn(
                "indexing with dtype torch.uint8 is now deprecated, please use a dtype torch.bool instead", stacklevel=4
            )
            return entry != 0
        if entry.dtype.category == dtypes.INT:
            if not entry.shape and entry._value().array is not None:
                return int(entry.item())
            return entry
        if entry.dtype is dtypes.bool_:
            return entry
        raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
    if isinstance(entry, np.ndarray):
        return _normal(_dispatch.TENSOR._from_numpy(entry))
    if isinstance(entry, (list, tuple, range)):
        array = np.array([_host_int(e) for e in entry]) if len(entry) else np.zeros(0, np.int64)
        if array.dtype.kind not in "iub":
            raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
        return _dispatch.TENSOR._from_numpy(array)
    if hasattr(entry, "__index__"):
        return entry.__index__()
    if isinstance(entry, str):
        raise TypeError(f"a text, {entry!r}, is not among a tensor's indices: they are integers, slices and tensors")
    raise IndexError(
        f"only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices (got "
        f"{type(entry).__name__})"
    )


def _slice_end(value) -> int:
    """A bound or step of a slice as an int."""
    if isinstance(value, _dispatch.TENSOR):
        return int(value)
    if not hasattr(value, "__index__"):
        raise TypeError("slice indices must be integers or None or have an __index__ method")
    return value.__index__()


def _host_int(e):
    if isinstance(e, _dispatch.TENSOR):
        return e.item() if e.dim() == 0 else e._host("index").tolist()
    return e

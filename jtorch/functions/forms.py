"""Tensor methods and properties that are other spellings of operations."""

from __future__ import annotations

import math
import warnings

import numpy as np

from .. import dtypes
from ..ops import outputs
from ..ops.registry import OPS
from ..ops.shapes import canonical_dim, infer_size
from ..ops.view import check_narrow, check_select
from ..tape import modes
from ..tensor import Tensor, layout
from ..tensor.creation import filled, unwritten
from ..tensor.dispatch import call, dispatch, wrap
from ..tensor.export import composite, function, sizes_given
from ..tensor.layout import dense_strides
from ..trace.value import put

# --- transposes ----------------------------------------------------------------------------------------------------


def _transposed(self):
    """All dimensions reversed."""
    return self.permute(tuple(range(self.dim() - 1, -1, -1)))


def _of_matrices(input, name: str):
    """The last two dimensions exchanged; a 0-d tensor as it is, which PyTorch deprecates.

    Raises:
        RuntimeError: one dimension.
    """
    if input.dim() == 1:
        raise RuntimeError(f"{name} is only supported on matrices or batches of matrices. Got 1-D tensor.")
    if not input.dim():
        warnings.warn(f"{name} is deprecated on 0-D tensors, where it changes nothing", stacklevel=3)
        return input
    return input.transpose(-2, -1)


def _matrix_transposed(self):
    """The last two dimensions exchanged."""
    return _of_matrices(self, "tensor.mT")


def _conjugate_transposed(self):
    """The conjugate transpose of a matrix."""
    if self.dim() not in (0, 2):
        raise RuntimeError(
            f"tensor.H is only supported on matrices (2-D tensors). Got {self.dim()}-D tensor. For batches of matrices "
            "use tensor.mH"
        )
    return _of_matrices(self, "tensor.H").conj()


Tensor.T = property(_transposed)
Tensor.mT = property(_matrix_transposed)
Tensor.H = property(_conjugate_transposed)
Tensor.mH = property(lambda self: _of_matrices(self, "tensor.mH").conj())


@composite("torch", method=True)
def positive(input):
    """``+x``: the tensor itself.

    Raises:
        RuntimeError: a bool tensor.
    """
    if input.dtype is dtypes.bool_:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


@composite("torch", method=True)
def adjoint(input):
    """The conjugate transpose of matrices."""
    return _of_matrices(input, "tensor.adjoint()").conj()


@composite("torch", method=True)
def conj(input):
    """The complex conjugate; real tensors as they are."""
    return dispatch(OPS["conj_physical"], (input,), ()) if input.is_complex() else input


composite("torch", name="resolve_conj", method=True)(lambda input: input)
composite("torch", name="resolve_neg", method=True)(lambda input: input)


def _set_part(name):
    def setter(self, value):
        getattr(self, name).copy_(value if isinstance(value, Tensor) else filled((), value, self.dtype.to_real()))

    return setter


def _real(input):
    """The real part, as a view; a real tensor as it is."""
    return dispatch(OPS["real"], (input,), ()) if input.is_complex() else input


Tensor.real = property(_real, _set_part("real"))
Tensor.imag = property(lambda self: dispatch(OPS["imag"], (self,), ()), _set_part("imag"))
composite("torch", name="real")(_real)


# --- shapes of other tensors ---------------------------------------------------------------------------------------


@composite(method=True)
def view_as(self, other):
    """A view in ``other``'s shape."""
    return self.view(tuple(other.shape))


@composite(method=True)
def reshape_as(self, other):
    """This tensor in ``other``'s shape."""
    return self.reshape(tuple(other.shape))


@composite(method=True)
def expand_as(self, other):
    """A view expanded to ``other``'s shape."""
    return self.expand(tuple(other.shape))


@composite(method=True)
def view(self, *shape, size=None, dtype=None):
    """A view in another shape (one size may be -1), or of the same bytes as another dtype.

    Raises:
        RuntimeError: the elements do not lie in memory so that a view of this shape exists; use ``reshape``.
    """
    if dtype is not None or (len(shape) == 1 and isinstance(shape[0], dtypes.dtype)):
        target = dtype or shape[0]
        return self if target is self.dtype else _view_as_dtype(self, target)
    new = sizes_given("view", "size", shape, size)
    if not _can_view(self, new):
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across "
            "two contiguous subspaces). Use .reshape(...) instead."
        )
    return dispatch(OPS["view"], (self,), (new,))


def _view_as_dtype(x, target):
    """The bytes of ``x`` as ``target``; elements of another size need those they are made of to lie together."""
    ratio = target.itemsize // x.dtype.itemsize
    if x.dim() and target.itemsize != x.dtype.itemsize and (ratio < 2 or not x.shape[-1] % ratio):
        names = f"{x.dtype.legacy_name} as {target.legacy_name} (different element sizes), but got"
        strides = x.stride()
        if ratio > 1 and (offset := x.storage_offset()) % ratio:
            raise RuntimeError(f"self.storage_offset() must be divisible by {ratio} to view {names} {offset}")
        if strides[-1] != 1:
            raise RuntimeError(f"self.stride(-1) must be 1 to view {names} {strides[-1]}")
        for d, s in enumerate(strides[:-1]):
            if ratio > 1 and s % ratio:
                raise RuntimeError(f"self.stride({d}) must be divisible by {ratio} to view {names} {s}")
    return call("view.dtype", x, dtype=target)


@composite("torch")
def view_as_complex(input):
    """A real tensor whose last dimension has size 2 as a complex one, a view of it.

    Raises:
        RuntimeError: the last dimension is not 2, the type is not float32 or float64, or the pairs do not lie as
            complex numbers do.
    """
    if (input._lens is not None or input._strides is not None) and input.shape[-1:] == (2,):
        strides = input.stride()
        if strides[-1] != 1:
            raise RuntimeError("Tensor must have a last dimension with stride 1")
        if any(s % 2 for s in strides[:-1]):
            raise RuntimeError("Tensor must have a stride divisible by 2 for all but last dimension")
        if input.storage_offset() % 2:
            raise RuntimeError("Tensor must have a storage_offset divisible by 2")
    return dispatch(OPS["view_as_complex"], (input,), ())


def _can_view(x, new) -> bool:
    """Whether ``x``'s elements lie so that a view of shape ``new`` exists."""
    if not isinstance(x, Tensor):
        return True  # its class is asked by dispatch
    if x._lens is None and x._strides is None:
        return True
    return layout.view_strides(tuple(x.shape), x.stride(), infer_size(new, x.numel())) is not None


@composite("torch", method=True)
def reshape(input, *shape_, shape=None):
    """The same elements under another shape; one size may be -1. A view where one exists, else a copy.

    Raises:
        RuntimeError: the sizes do not multiply to the number of elements.
    """
    new = sizes_given("reshape", "shape", shape_, shape)
    if not _can_view(input, new):
        input = dispatch(OPS["_identity"], (input,), ())
    return dispatch(OPS["reshape"], (input,), (new,))


@composite("torch", method=True)
def flatten(input, start_dim=0, end_dim=-1):
    """Dimensions ``start_dim`` to ``end_dim`` (inclusive) merged into one: a view where one exists, else a copy.

    Raises:
        RuntimeError: ``start_dim`` comes after ``end_dim``.
    """
    n = input.dim()
    first, last = canonical_dim(start_dim, n), canonical_dim(end_dim, n)
    if first == last and n:
        return input
    merged = math.prod(input.shape[first : last + 1])
    if first < last and not _can_view(input, (*input.shape[:first], merged, *input.shape[last + 1 :])):
        input = dispatch(OPS["_identity"], (input,), ())
    return dispatch(OPS["flatten"], (input,), (first, last))


@composite("torch", method=True)
def ravel(input):
    """All elements in one dimension, one after the other: a view of a contiguous tensor, else a copy."""
    return input.contiguous().view(-1)


# --- parts ---------------------------------------------------------------------------------------------------------


@composite("torch", method=True, names={"axis": "dim"})
def select(input, dim, index):
    """The sub-tensor at ``index`` of dimension ``dim``, which disappears, as a view.

    Raises:
        IndexError: ``dim`` or ``index`` is out of range.
    """
    return dispatch(OPS["select"], (input, check_select(tuple(input.shape), dim, int(index))), (dim,))


@composite("torch", method=True, names={"axis": "dim"})
def narrow(input, dim, start, length):
    """``length`` elements from ``start`` on along ``dim``, as a view.

    Raises:
        IndexError: ``start`` is out of range.
        RuntimeError: ``length`` is negative, or reaches beyond the end, or ``start`` is a tensor of another kind than
            a 0-d integer.
    """
    if isinstance(start, Tensor) and (start.dim() or start.dtype.category != dtypes.INT):
        raise RuntimeError("start must be an 0-dim integral Tensor.")
    start = check_narrow(tuple(input.shape), dim, int(start), int(length))
    return dispatch(OPS["narrow"], (input, start), (dim, int(length)))


@composite(method=True)
def unfold(self, dimension, size, step):
    """Windows of ``size`` elements, ``step`` apart, along ``dimension``, as a view with one more dimension."""
    return call("unfold_view", self, dimension=dimension, size=size, step=step)


@composite(method=True)
def repeat(self, *counts, repeats=None):
    """The tensor tiled ``repeats`` times along each dimension."""
    return dispatch(OPS["repeat"], (self,), (sizes_given("repeat", "repeats", counts, repeats),))


@composite("torch", method=True, names={"axis": "dim"})
def repeat_interleave(input=None, repeats=None, dim=None, *, output_size=None):
    """Each element repeated: by one number, or by a tensor of counts along ``dim``.

    Counts in a tensor decide the result's shape; give ``output_size`` to avoid reading them first.
    """
    if input is None or repeats is None:  # repeat_interleave(counts)
        counts = repeats if input is None else input
        total = int(counts.sum()) if output_size is None else output_size
        index = call("arange", 0, 1, length=counts.shape[0], dtype=dtypes.int64)
        return call("repeat_interleave.tensor", index, counts, dim=0, output_size=total)
    if isinstance(repeats, (int, np.integer)) or (isinstance(repeats, Tensor) and repeats.numel() == 1):
        return function(OPS["repeat_interleave"])(input, int(repeats), dim)
    if not isinstance(repeats, Tensor):
        repeats = wrap(put(np.asarray(repeats, np.int64), input.device))
    total = int(repeats.sum()) if output_size is None else output_size
    return call("repeat_interleave.tensor", input, repeats, dim=dim, output_size=total)


# --- filling -------------------------------------------------------------------------------------------------------


@composite("torch", method=True)
def fill_(input, value):
    """Overwrite every element with a number (or a 0-d tensor)."""
    if isinstance(value, Tensor):
        if value.dim():
            raise RuntimeError(
                f"fill_ only supports 0-dimension value tensor but got tensor with {value.dim()} dimensions."
            )
        return input.copy_(value)
    if input._lens is not None and not all(input.stride()):  # expanded, perhaps: each element is written once
        once = input[tuple([slice(None) if s else slice(0, 1) for s in input.stride()])]
        once._overwrite(filled(once.shape, value, input.dtype, input.device))
        return input
    return input._overwrite(filled(input.shape, value, input.dtype, input.device))


@composite("torch", method=True)
def zero_(input):
    """Overwrite every element with zero."""
    return fill_(input, 0)


@composite("torch")
def fill(input, value):
    """``input`` with every element replaced by ``value``."""
    if isinstance(value, Tensor) or input.requires_grad:  # a gradient goes to the value, zeros to the input
        return input.masked_fill(filled(input.shape, True, dtypes.bool_, input.device), value)
    return filled(input.shape, value, input.dtype, input.device)


@composite(method=True)
def fill_diagonal_(self, fill_value, wrap=False):
    """Overwrite the main diagonal; with ``wrap`` that of a tall matrix begins anew after every ``columns + 1`` rows.

    Raises:
        RuntimeError: fewer than two dimensions, or more of different sizes.
    """
    if self.dim() < 2:
        raise RuntimeError("dimensions must larger than 1")
    if self.dim() > 2 and len(set(self.shape)) > 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    if self.dim() > 2:
        self.as_strided((self.shape[0],), (sum(self.stride()),)).fill_(fill_value)
        return self
    rows, columns = self.shape
    self.diagonal().fill_(fill_value)
    for start in range(columns + 1, rows if wrap else 0, columns + 1):
        self[start:].diagonal().fill_(fill_value)
    return self


def _shape_inplace(name: str):
    op_form = name[:-1]

    def inplace(self, *args, **kwargs):
        self._check_inplace()
        # the storage holds its tensor's shape: that may change where nothing else looks at the storage
        if self._lens is not None or self._storage.shared() and not self._requires_grad:
            return self._become_view(lambda t: getattr(t, op_form)(*args, **kwargs))
        before, modes.state.grad = modes.state.grad, True  # what is recorded stays recorded where nothing new is
        try:
            new = getattr(self.detach() if self._edge is None else self, op_form)(*args, **kwargs)
        finally:
            modes.state.grad = before
        self._edge = new._edge
        strides = dense_strides(tuple(new.shape), new.stride())
        self._storage.write(new._value())
        self._strides = None if strides == layout.contiguous_strides(new.shape) else strides
        return self

    composite(method=True, name=name, doc=f"Change this tensor's own shape, as ``{op_form}`` would.")(inplace)


for _name in ("squeeze_", "unsqueeze_", "transpose_", "t_", "swapaxes_", "swapdims_"):
    _shape_inplace(_name)


@composite(method=True)
def resize_(self, *sizes, size=None, memory_format=None):
    """Change the shape in place; elements beyond the old ones are zero.

    Raises:
        RuntimeError: the tensor requires grad or is a view; or ``memory_format`` is ``preserve_format``, or none for as
            many dimensions as there are.
    """
    new = sizes_given("resize_", "size", sizes, size)
    if memory_format is layout.preserve_format:
        raise RuntimeError("Unsupported memory format Preserve: resize_ takes a format of its own, or none")
    if memory_format is None and tuple(self.shape) == new:
        return self
    strides = layout.format_strides(new, memory_format or layout.contiguous_format)
    if self.requires_grad:
        raise RuntimeError("cannot resize variables that require grad")
    total = math.prod(new)
    if self._lens is not None or self._storage.shared():  # it then shows other elements of the storage it shares
        if self.storage_offset() + total > math.prod(self._storage.value.aval.shape):
            raise RuntimeError("a tensor cannot be resized beyond the storage that it shares; clone() it first")
        return self.as_strided_(new, strides)
    flat = self.permute(_memory_order(self.stride())).reshape(-1)
    if total > self.numel():
        flat = call(
            "cat", (flat, filled((total - self.numel(),), unwritten(self.dtype), self.dtype, self.device)), dim=0
        )
    order = _memory_order(strides)
    laid = flat[:total].reshape([new[d] for d in order]).permute([order.index(d) for d in range(len(new))])
    self._storage.write(laid.clone()._value())
    self._strides = None if strides == layout.contiguous_strides(new) else strides
    return self


def _memory_order(strides) -> list[int]:
    """The dimensions from the outermost in memory to the innermost."""
    return sorted(range(len(strides)), key=lambda d: -strides[d])


@composite(method=True)
def resize_as_(self, the_template, memory_format=None):
    """Change the shape in place to ``the_template``'s; ``preserve_format`` is the memory format that it has."""
    if memory_format is layout.preserve_format:
        memory_format = layout.suggested_format(the_template)
    return resize_(self, tuple(the_template.shape), memory_format=memory_format)


# --- counting ------------------------------------------------------------------------------------------------------


@composite("torch", method=True)
def bincount(input, weights=None, minlength=0):
    """How often each integer occurs (or the sum of its weights); the length depends on the data, which is read."""
    if input.dtype.category >= dtypes.FLOAT:
        raise NotImplementedError(f"\"bincount_cpu\" not implemented for '{input.dtype.legacy_name}'")
    if input.dim() != 1:
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    low = int(input.min()) if input.numel() else 0
    if low < 0:
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    size = max(int(input.max()) + 1 if input.numel() else 0, minlength)
    return call("bincount", input, weights, size=size)


@composite("torch")
def _unique2(input, sorted=True, return_inverse=False, return_counts=False):
    return unique(input, sorted, return_inverse, return_counts)


@composite("torch", method=True)
def unique(input, sorted=True, return_inverse=False, return_counts=False, dim=None):
    """The distinct elements (or slices along ``dim``), sorted; with inverse indices and counts if asked for.

    The number of results depends on the data, which is read.
    """
    data = input.detach()._host("unique()")
    if dim is not None:
        dim = canonical_dim(dim, data.ndim)
        if not data.ndim:
            raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    # NaN equals nothing, itself included
    values, inverse, counts = np.unique(data, return_inverse=True, return_counts=True, axis=dim, equal_nan=False)
    inverse = inverse.reshape(data.shape if dim is None else (data.shape[dim],))
    found = [wrap(put(np.ascontiguousarray(values), input.device))]
    for wanted, array in ((return_inverse, inverse), (return_counts, counts)):
        if wanted:
            found.append(wrap(put(np.array(array, np.int64, order="C"), input.device)))
    return tuple(found) if len(found) > 1 else found[0]


@composite("torch", method=True)
def unique_consecutive(input, return_inverse=False, return_counts=False, dim=None):
    """Runs of equal elements (or slices along ``dim``) reduced to one each; the data is read."""
    dim = None if dim is None else canonical_dim(dim, input.dim())
    data = input.detach()._host("unique_consecutive()")
    rows = data.reshape(-1) if dim is None else np.moveaxis(data, dim, 0)
    flat = rows.reshape(len(rows), -1) if len(rows) else rows.reshape(0, 1)
    start = np.ones(len(rows), bool)
    start[1:] = (flat[1:] != flat[:-1]).any(1)
    values = rows[start] if dim is None else np.moveaxis(rows[start], 0, dim)
    inverse = np.cumsum(start) - 1
    counts = np.diff(np.append(np.flatnonzero(start), len(rows)))
    found = [wrap(put(np.ascontiguousarray(values), input.device))]
    if return_inverse:
        shaped = inverse.reshape(data.shape) if dim is None else inverse
        found.append(wrap(put(np.array(shaped, np.int64), input.device)))
    if return_counts:
        found.append(wrap(put(counts.astype(np.int64), input.device)))
    return tuple(found) if len(found) > 1 else found[0]


# --- indexed writes ------------------------------------------------------------------------------------------------


@composite("torch", method=True)
def index_put(input, indices, values, accumulate=False):
    """``input`` with ``input[indices] = values`` (added with ``accumulate``)."""
    return index_put_(input.clone(), indices, values, accumulate)


@composite("torch", method=True)
def index_put_(self, indices, values, accumulate=False):
    """``self[indices] = values``, or ``+=`` with ``accumulate`` (repeated indices all count).

    Raises:
        RuntimeError, TypeError: there is no index, or no tensor among them.
    """
    from ..tensor.indexing import _split

    if all(i is None for i in indices):
        error = TypeError if len(indices) else RuntimeError
        raise error(f"index_put_(): expected a tensor among the indices, but got {list(indices)}")
    self._check_inplace()
    view_, found, spec = _split(self, tuple(slice(None) if i is None else i for i in indices))
    if values.dtype is not self.dtype:
        raise RuntimeError(
            "Index put requires the source and destination dtypes match, got "
            f"{self.dtype.legacy_name} for the destination and {values.dtype.legacy_name} for the source."
        )
    outputs.apart(None, view_, (values, *(i for i in found if i is not None)))
    view_._assign(call("index_put", view_, values, tuple(found), spec=spec, accumulate=bool(accumulate)))
    return self


def _elementwise(fn, *tensors) -> Tensor:
    """A Python function of the elements of tensors, on the host; a result of the first one's dtype.

    Raises:
        TypeError: ``fn`` cannot be called, or does not return numbers.
    """
    if not callable(fn):
        raise TypeError(f"{type(fn).__name__!r} object is not callable")
    arrays = [t.detach().numpy() for t in tensors]
    try:
        return wrap(put(np.vectorize(fn, otypes=[arrays[0].dtype])(*arrays), tensors[0].device))
    except ValueError as error:
        raise TypeError(f"the function must return numbers: {error}") from error


@composite(method=True)
def map_(self, other, callable):
    """Apply a Python function to each pair of elements (on the host)."""
    return self.copy_(_elementwise(callable, self, other))


@composite(method=True)
def apply_(self, callable):
    """Apply a Python function to each element (on the host)."""
    return self.copy_(_elementwise(callable, self))

"""The nested tensor: sequences of different lengths, one after the other in an ordinary tensor.

``values`` has the shape of a batch without its first dimension, the ragged dimension being the rows of all sequences.
Autograd, devices and recording are those of ``values`` (``tensor/stored.py``). What functions do with nested tensors
stands in ``functions.py``.
"""

from __future__ import annotations

import numpy as np

from ..size import Size
from ..tensor import Tensor, overriding
from ..tensor.export import function
from ..tensor.layout import jagged, strided
from ..tensor.stored import StoredMixin
from .ragged import Ragged

#: name of a function or op -> what it does with nested arguments, filled by functions.py
HANDLERS: dict = {}


class NestedTensor(StoredMixin, Tensor):
    """A batch of tensors that differ in the size of one dimension; see the module docstring."""

    _stored: Tensor
    _ragged: Ragged
    _at: int  # which dimension is ragged
    _kind: object

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        op = getattr(func, "op", None)
        name = op.name if op is not None else func.__name__
        handler = HANDLERS.get(name)
        if handler is None and op is not None and op.elementwise:
            handler = HANDLERS["elementwise"]
        if handler is None:
            raise NotImplementedError(
                f"{name}() is not implemented for nested tensors; use unbind(), values() or to_padded_tensor()"
            )
        return handler(func, args, kwargs or {})

    def _handler(self, op, operands, statics):
        args, kwargs = overriding._arguments(op, operands, statics)
        return NestedTensor.__torch_function__(function(op), (NestedTensor,), args, kwargs)

    @property
    def _storage(self):
        raise NotImplementedError("Cannot access the storage of a nested tensor; use values()")

    def _value(self):
        raise NotImplementedError("this operation needs an ordinary tensor; use values() or to_padded_tensor() first")

    def _like(self, values, at: int | None = None) -> NestedTensor:
        """The same structure with other values."""
        return make(values, self._ragged, self._at if at is None else at, self._kind)

    # --- facts

    @property
    def shape(self) -> Size:
        sizes = list(self._stored.shape)
        sizes[self._at - 1] = self._ragged.size
        return Size((self._ragged.count, *sizes))

    is_nested = property(lambda self: True)
    _ragged_idx = property(lambda self: self._at)
    _max_seqlen = property(lambda self: self._ragged.longest)
    _min_seqlen = property(lambda self: int(self._ragged.sizes.min(initial=0)))

    def dim(self) -> int:
        """One more than the values have."""
        return self._stored.dim() + 1

    ndim = property(dim)
    ndimension = dim

    def size(self, dim: int | None = None):
        """The shape, or one size; that of the ragged dimension is ``j1`` or the like.

        Raises:
            RuntimeError: the layout is strided and the dimension ragged.
        """
        if dim is None:
            return self.shape
        found = self.shape[dim]
        if self._kind is strided and not isinstance(found, int):
            raise RuntimeError(f"Given dimension {dim} is irregular and does not have a size.")
        return found

    def numel(self) -> int:
        """The number of elements of all sequences."""
        if self._ragged.packed:
            return self._stored.numel()
        rows = self._stored.shape[self._at - 1]
        return self._stored.numel() // max(rows, 1) * int(self._ragged.sizes.sum())

    nelement = numel

    def __len__(self) -> int:
        return self._ragged.count

    def is_contiguous(self, memory_format=None) -> bool:
        """Whether the sequences lie one after the other, the ragged dimension first."""
        return self._ragged.packed and self._at == 1

    def _nested_tensor_size(self) -> Tensor:
        """The shape of every sequence: ``(sequences, dims)``, on the CPU."""
        sizes = np.tile(np.array(self._stored.shape, np.int64), (self._ragged.count, 1))
        sizes[:, self._at - 1] = self._ragged.sizes
        return Tensor._from_numpy(sizes)

    def stride(self, dim=None):
        raise RuntimeError("nested tensors have no strides of their own; use values().stride()")

    def values(self) -> Tensor:
        """The rows of all sequences, one after the other."""
        return self._stored

    def offsets(self) -> Tensor:
        """Where each sequence begins, and the end of the last."""
        return self._ragged.offsets

    def lengths(self) -> Tensor | None:
        """How long each sequence is, where they do not end where the next begins; else None."""
        return self._ragged.lengths

    # what libraries that take nested tensors apart read
    _values = property(lambda self: self._stored)
    _offsets = property(lambda self: self._ragged.offsets)
    _lengths = property(lambda self: self._ragged.lengths)

    def unbind(self, dim: int = 0) -> tuple[Tensor, ...]:
        """The sequences.

        Raises:
            RuntimeError: another dimension than the first.
        """
        if dim not in (0, -self.dim()):
            raise RuntimeError(f"unbind(): only supported for NestedTensor on dim=0, got {dim}")
        pairs = zip(self._ragged.starts.tolist(), self._ragged.sizes.tolist(), strict=True)
        return tuple(self._stored.narrow(self._at - 1, start, length) for start, length in pairs)

    def __iter__(self):
        return iter(self.unbind())

    def __getitem__(self, item):
        return HANDLERS["__getitem__"](None, (self, item), {})

    # --- autograd

    data = property(StoredMixin.detach)

    def register_hook(self, hook):
        """Call ``hook(gradient)``, a nested tensor, when the gradient arrives."""

        def called(g):
            return self._elements(hook(self._like(g)))

        return self._stored.register_hook(called)

    # --- writing

    def _store(self, result, what: str) -> NestedTensor:
        if not isinstance(result, NestedTensor) or result._ragged is not self._ragged:
            raise RuntimeError(f"{what}: the result has another structure than the nested tensor it is written to")
        self._stored = result._stored if result.dtype is self.dtype else result._stored.to(self.dtype)
        return self

    def copy_(self, src, non_blocking: bool = False) -> NestedTensor:
        """Overwrite the values with those of another nested tensor of the same structure.

        Raises:
            RuntimeError: the structures differ.
        """
        if not isinstance(src, NestedTensor) or not np.array_equal(src._ragged.sizes, self._ragged.sizes):
            raise RuntimeError("copy_ only supports tensors that are the same size for Nested implementations")
        self._stored.copy_(src._stored)
        return self

    # --- conversions

    def to_padded_tensor(self, padding, output_size=None) -> Tensor:
        """:func:`jtorch.nested.to_padded_tensor`."""
        return HANDLERS["to_padded_tensor"](None, (self, padding), {"output_size": output_size})

    def to(self, *args, **kwargs) -> NestedTensor:
        """Another dtype or device, as ``Tensor.to``."""
        values = self._stored.to(*args, **kwargs)
        if values is self._stored:
            return self
        ragged = self._ragged
        if values.device is not ragged.offsets.device:
            moved = None if ragged.lengths is None else ragged.lengths.to(values.device)
            ragged = Ragged(ragged.offsets.to(values.device), moved)
        return make(values, ragged, self._at, self._kind)

    def clone(self, *, memory_format=None) -> NestedTensor:
        """A copy."""
        return self._like(self._stored.clone())

    def contiguous(self, memory_format=None) -> NestedTensor:
        """The sequences one after the other: itself where they lie so."""
        if self._ragged.packed:
            return self if self._at == 1 else self._like(self._stored.contiguous())
        ragged = self._ragged
        offsets = ragged._tensor(np.concatenate([[0], np.cumsum(ragged.sizes)]).astype(np.int64))
        return make(self._stored.index_select(self._at - 1, ragged.rows()), Ragged(offsets), self._at, self._kind)

    def tolist(self) -> list:
        """The sequences as nested lists."""
        return [t.tolist() for t in self.unbind()]

    def _host(self, cause: str):
        raise TypeError(f"a nested tensor has no NumPy form; use unbind() or to_padded_tensor() first ({cause})")

    _seen = _host

    def numpy(self, *, force: bool = False):
        """Raises TypeError: the sequences have no common shape."""
        self._host("numpy()")

    def __deepcopy__(self, memo) -> NestedTensor:
        t = self.detach().clone().requires_grad_(self.requires_grad)
        memo[id(self)] = t
        return t

    def __reduce_ex__(self, protocol):
        ragged = self._ragged
        parts = self._stored.detach(), ragged.offsets, ragged.lengths, self._at, self._kind is jagged
        return rebuild, parts

    # --- text

    def __repr__(self, *, tensor_contents=None) -> str:
        if self._kind is strided:
            inner = ",\n".join("  " + repr(t.detach()).replace("\n", "\n  ") for t in self.unbind())
            return f"nested_tensor([\n{inner}\n])"
        grad = ""
        if self.grad_fn is not None:
            grad = f", grad_fn={self.grad_fn!r}"
        elif self.requires_grad:
            grad = ", requires_grad=True"
        shape = f"({', '.join(map(str, self.shape))})"
        return f"NestedTensor(size={shape}, offsets={self.offsets()}{grad}, contiguous={self.is_contiguous()})"

    __str__ = __repr__


def make(values, ragged: Ragged, at: int, kind=jagged) -> NestedTensor:
    """A nested tensor of these parts, unchecked."""
    t = object.__new__(NestedTensor)
    t._stored, t._ragged, t._at, t._kind = values, ragged, at, kind
    return t


def rebuild(values, offsets, lengths, at: int, is_jagged: bool) -> NestedTensor:
    """A nested tensor from what a pickle holds."""
    return make(values, Ragged(offsets, lengths), at, jagged if is_jagged else strided)

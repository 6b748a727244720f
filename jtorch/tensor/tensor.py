"""The Tensor: a storage seen through a lens, with autograd metadata.

This file holds what makes a Tensor a Tensor: reading and writing through views, and its place in the graph. Methods
that are operations are attached from the op registry (``export.py``); conversions to Python and NumPy, indexing and
the autograd interface are mixed in from their own files.
"""

from __future__ import annotations

import functools
import math

import jax.numpy as jnp
import numpy as np

from .. import dtypes
from ..ops.outputs import in_place
from ..ops.registry import OPS, Array, Number, op
from ..ops.view import SELF_OVERLAP
from ..tape import modes
from ..trace import capture
from ..trace.call import cast, intern
from ..trace.recorder import record
from ..trace.value import Value, move
from . import at_once, lens
from . import dispatch as _dispatch
from .autograd import AutogradMixin
from .conversion import ConversionMixin
from .indexing import IndexingMixin
from .metadata import MetadataMixin


@op(name="_copy", namespaces=(), promote="keep", inplace=False, elementwise=False, grad_name="CopyBackwards")
def _copy(input: Array, src: Array | Number):
    """``src`` in the shape and dtype of ``input``: what ``copy_`` writes."""
    if src.shape != input.shape:
        try:
            src = jnp.broadcast_to(src, input.shape)
        except ValueError:
            raise RuntimeError(
                f"The expanded size of the tensor {tuple(input.shape)} must match the existing size {tuple(src.shape)}"
                " or be broadcastable from it"
            ) from None
    return src if src.dtype == input.dtype else cast(src, dtypes.of_numpy(input.dtype))


def apply_values(op_, operands, statics):
    """Record one op on Values and numbers (tuples of them for ``Arrays``), outside autograd; its first result."""
    keys, flat = [], []
    for x in operands:
        if isinstance(x, Tensor):
            x = x._value()
        if isinstance(x, tuple):
            keys.append(tuple(y.__class__ for y in x))
            flat.extend(x)
        else:
            keys.append(x.aval if isinstance(x, Value) else x.__class__)
            flat.append(x)
    base = operands[0]
    return record(intern(op_, statics, tuple(keys), base.device.platform), flat, base.device)[0]


_EXPANDING = frozenset(("expand", "broadcast_to"))


def _of_function(name: str, i: int, several: bool) -> str:
    """Why output ``i`` of a custom Function, a view of an input, or one of several views is not written in place."""
    if several:
        return (
            f"Output {i} of {name} is a view and is being modified inplace. This view is the output of a function that "
            "returns multiple views. Such functions do not allow the output views to be modified inplace. You should "
            "replace the inplace operation by an out-of-place one."
        )
    return (
        f"Output {i} of {name} is a view and is being modified inplace. This view was created inside a custom Function "
        "(or because an input was returned as-is) and the autograd logic to handle view+inplace would override the "
        "custom backward associated with the custom Function, leading to incorrect gradients. This behavior is "
        "forbidden. You can fix this by cloning the output of the custom Function."
    )


_ATTRIBUTES = vars(MetadataMixin)["__dict__"]


@functools.cache
def _made_of(cls: type) -> frozenset[str]:
    """The attributes in which jtorch keeps what a tensor of this class is."""
    ours = [base for base in cls.__mro__ if _dispatch.is_own(base)]
    return frozenset(name for base in ours for name in (*vars(base), *base.__annotations__) if name[0] == "_")


class Tensor(MetadataMixin, ConversionMixin, IndexingMixin, AutogradMixin):
    """A multi-dimensional array of one dtype on one device, that can record how it was computed.

    Instances are made by factory functions (``jtorch.tensor``, ``jtorch.zeros``) and operations; calling the class
    itself is PyTorch's legacy constructor: ``Tensor(2, 3)`` is uninitialised, ``Tensor([1, 2])`` holds float32 data.
    """

    __module__ = "jtorch"

    # Defaults live on the class, so that making a Tensor sets only what differs from a plain base tensor.
    # What is not declared here was put on an instance by the program, and is copied and saved with it.
    _storage: _dispatch.Storage
    _retains: bool  # ``retain_grad()`` was called
    _tangent: tuple  # forward-mode: the level, and the derivative at it
    _ragged_of: tuple  # of offsets: the ragged size that they stand for
    _dynamic: frozenset  # dimensions that compiled functions take as varying
    _lens: tuple[lens.Step, ...] | None = None  # steps from the storage's value to this tensor
    _root: Tensor | None = None  # the base whose history a view shares
    _relative: tuple[lens.Step, ...] | None = None  # steps from the root to this tensor
    _aval = None  # of a view: its shape and dtype
    _memo: Value | None = None  # of a view: what was read last, None before the first read
    _memo_writes = 0
    _edge: tuple | None = None  # (node, output number) that made this tensor
    _edge_history = 0
    _history_count = 0  # of a root: how often its history was replaced by an in-place write
    _requires_grad = False
    _grad: Tensor | None = None
    _grad_dtype = "own"  # the dtype that ``grad`` must have: "own", or what ``grad_dtype`` was set to
    _accumulator = None
    _backward_step = -1  # the optimizer step a backward last reached this leaf in
    _accumulates = False  # several backwards per step reach this leaf
    _strides: tuple[int, ...] | None = None
    _geometry: tuple | None = None  # strides and offset, once asked for
    _made_without_grad = False
    # A Function that returned (a view of) an input, or what returned this view and others: its name, which output it
    # is, and whether one of more.
    _made_by: tuple | None = None
    _uncounted = False  # made by ``.data``: writes through it are not held against saved values
    _inference = False
    _hooks = None
    _post_accumulate_hooks = None
    _is_param = False
    _handler = None  # of tensors with another layout: runs an op on them, ``(op, operands, statics)``

    # Kept only where there is something to keep.
    _storage: _dispatch.Storage
    _retains: bool  # whether the gradient of this result is kept

    @property
    def __dict__(self) -> dict:
        """The attributes. Assigning replaces those that the program has set; what makes the tensor stays.

        Libraries carry attributes over from argument to result with ``result.__dict__ = copy(argument.__dict__)``.
        """
        return _ATTRIBUTES.__get__(self)

    @__dict__.setter
    def __dict__(self, given: dict) -> None:
        ours = _made_of(type(self))
        kept = {name: x for name, x in self.__dict__.items() if name in ours}
        _ATTRIBUTES.__set__(self, kept | {name: x for name, x in given.items() if name not in ours})

    def __new__(cls, *args, **kwargs):
        return cls._legacy_new(*args, **kwargs)

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        overriding.subclassed(cls)

    # --- reading

    def _value(self) -> Value:
        """The current Value (views are refreshed first)."""
        if self._lens is None and self._root is None:
            return self._storage.value
        self._refresh()
        return self._memo

    def _refresh(self) -> None:
        """Bring a view up to date with its storage, and its history with its root's."""
        storage, root = self._storage, self._root
        if root is not None and root._root is not None:
            root = self._root = root._root  # what it was a view of has become a view itself
        if root is not None and self._edge_history != root._history_count:
            if root.requires_grad and not self._made_without_grad:
                before, modes.state.grad = modes.state.grad, True
                try:
                    fresh = lens.get(_dispatch.dispatch, root, self._relative)
                finally:
                    modes.state.grad = before
                self._memo, self._memo_writes, self._edge = fresh._memo, storage.writes, fresh._edge
            else:
                self._edge = None
            self._edge_history = root._history_count
            if self._hooks is not None:
                self._hooks = None
            if "_retains" in self.__dict__:
                self._retain()
        if self._memo is None or self._memo_writes != storage.writes:
            if self._lens is None:
                self._memo = storage.value
            else:
                log = capture.state.log
                value, steps = (storage.value, self._lens) if log is None else log.origin(storage, self._lens)
                self._memo = at_once.seen(self, value) or lens.get(apply_values, value, steps)
            self._memo_writes = storage.writes

    def _become_view(self, form) -> Tensor:
        """Show the same storage as the view ``form(self)`` does, as ``unsqueeze_`` and its kin ask; returns self.

        A base leaves its place to a tensor that nobody else holds, so that the views of it keep what they are views of.
        """
        self._check_inplace()
        source = self
        if self._root is None:
            source = object.__new__(Tensor)
            source.__dict__.update(self.__dict__)
        before, modes.state.grad = modes.state.grad, True
        try:
            view = form(source)
        finally:
            modes.state.grad = before
        for name in ("_strides", "_geometry"):
            self.__dict__.pop(name, None)
        self.__dict__.update(view.__dict__)
        return self

    # --- writing

    def _check_inplace(self) -> None:
        """Refuse what PyTorch refuses: writing to a leaf that requires grad while the tape is on."""
        if self._inference and not modes.state.inference:
            raise RuntimeError(_dispatch.INFERENCE_WRITTEN)
        if not modes.state.grad:
            return
        if self._root is None:
            if self._requires_grad and self._edge is None:
                raise RuntimeError(
                    "a leaf Variable that requires grad is being used in an in-place operation. Use torch.no_grad(), "
                    "or write to .detach() if the write should not be recorded."
                )
            if self._made_by is not None:
                raise RuntimeError(_of_function(*self._made_by))
            return
        self._refresh()
        if self._made_without_grad and self._root.requires_grad:
            raise RuntimeError(
                "A view was created in no_grad mode and is being modified inplace with grad mode enabled. Create the "
                "view inside the same mode, or modify it under no_grad."
            )
        made_by = self._root._made_by or self._made_by
        if made_by is not None and (made_by is not self._made_by or self._root.requires_grad):
            raise RuntimeError(_of_function(*made_by))
        if self._root._edge is None and (self._root._requires_grad or self.requires_grad):
            raise RuntimeError(
                "a view of a leaf Variable that requires grad is being used in an in-place operation. Use "
                "torch.no_grad(), or write to .detach() if the write should not be recorded."
            )

    def _store(self, result: Tensor, what: str) -> Tensor:
        """Write an operation's result into this tensor, as its in-place form does; returns self."""
        if result.shape != self.shape:
            raise RuntimeError(
                f"output with shape {list(self.shape)} doesn't match the broadcast shape {list(result.shape)}"
            )
        self._assign(self._fitted(result, what))
        return self

    def _fitted(self, result: Tensor, what: str) -> Tensor:
        """A result as this tensor's dtype.

        Raises:
            RuntimeError: that dtype is of a lower kind.
        """
        if result.dtype is self.dtype:
            return result
        if not dtypes.can_cast(result.dtype, self.dtype) and not result.dtype.category == dtypes.BOOL:
            raise RuntimeError(
                f"result type {result.dtype.legacy_name} can't be cast to the desired output type "
                f"{self.dtype.legacy_name} ({what})"
            )
        return _dispatch.dispatch(OPS["to_dtype"], (result,), (self.dtype,))

    def _assign(self, new: Tensor) -> None:
        """Make ``new`` (same shape and dtype) the content of this tensor: every alias sees it, and so does autograd."""
        if _dispatch.on_write is not None:
            _dispatch.on_write(self, new)
        storage, value = self._storage, new._value()
        if value.device is not storage.value.device:
            value = move(value, storage.value.device)
        edge = new._history() if modes.state.grad and value.aval.is_float else None
        root = self._root
        counted = not (self if root is None else root)._uncounted
        if self._lens is not None and any(step.op.name in _EXPANDING for step in self._lens):
            self._check_expanded(edge is not None or root is not None and root.requires_grad)
        if root is None:
            if self._lens is None:
                storage.write(value, counted)
            else:  # a detached view: its own history, somebody else's storage
                storage.write(lens.put(apply_values, storage.value, self._lens, value), counted)
                self._memo, self._memo_writes = value, storage.writes
            if modes.state.grad and (edge is not None or self._edge is not None):
                self._take_history(edge)
            return
        if modes.state.grad and (edge is not None or root.requires_grad):
            whole = lens.put(_dispatch.dispatch, root, self._relative, new)
            root_value = whole._value()
            root._take_history(whole._history())
        else:
            whole, root_value = None, lens.put(apply_values, root._value(), self._relative, value)
        if root._lens is None:
            storage.write(root_value, counted)
        else:
            storage.write(lens.put(apply_values, storage.value, root._lens, root_value), counted)
            root._memo, root._memo_writes = root_value, storage.writes
        self._memo, self._memo_writes = value, storage.writes
        if whole is not None:  # its own is from now on that of the base, seen through it: made when it is next used
            self._leave_history()
            self._edge_history = -1
            if "_retains" in self.__dict__:
                self._refresh()

    def _take_history(self, edge) -> None:
        """A recorded write gives a base another history; its views get theirs from it when they are next used."""
        self._leave_history()
        self._edge, self._requires_grad = edge, False
        self._history_count += 1
        if "_retains" in self.__dict__:
            self._retain()

    def _check_expanded(self, recorded: bool) -> None:
        """Refuse a write through an expanded view unless it is to single elements, and has no derivative."""
        shapes = [self._storage.value.aval.shape, *(step.shape for step in self._lens)]
        grows = any(
            step.op.name in _EXPANDING and math.prod(step.shape) > math.prod(before)
            for before, step in zip(shapes, self._lens, strict=False)
        )
        repeats = any(n > 1 and not s for n, s in zip(self.shape, self.stride(), strict=True))
        if grows and (repeats or recorded and modes.state.grad):
            raise RuntimeError(SELF_OVERLAP)

    def _overwrite(self, new: Tensor) -> Tensor:
        """Replace the content, as ``fill_`` and samplers do: what was here gets a gradient of zero. Returns self."""
        self._check_inplace()
        if modes.state.grad and self.requires_grad:
            new = _dispatch.dispatch(OPS["_copy"], (self, new), ())
        self._assign(new)
        return self

    def _write_out(self, result: Tensor) -> None:
        """Write ``result`` as an ``out=`` argument: converted to this dtype, this tensor resized when it is empty.

        Raises:
            RuntimeError: the conversion would be to a lower kind of number (floats to integers).
        """
        if not dtypes.can_cast(result.dtype, self.dtype):
            raise RuntimeError(
                f"result type {result.dtype.legacy_name} can't be cast to the desired output type "
                f"{self.dtype.legacy_name}"
            )
        with modes.no_grad():
            if result.dtype is not self.dtype:
                result = _dispatch.dispatch(OPS["to_dtype"], (result,), (self.dtype,))
            if result.shape != self.shape:
                if self._lens is not None:
                    if any(n > 1 and not s for n, s in zip(self.shape, self.stride(), strict=True)):
                        raise RuntimeError(SELF_OVERLAP)
                if self.numel():
                    import warnings

                    warnings.warn(
                        f"An output with one or more elements was resized since it had shape {list(self.shape)}, which "
                        f"does not match the required output shape {list(result.shape)}. Resize it first with "
                        "resize_(0) to silence this.",
                        stacklevel=4,
                    )
                if self._lens is None:
                    self._storage.write(result._value())
                else:  # it grows out of what it was a view of
                    self.data = result
            else:
                self._assign(result)

    def copy_(self, other: Tensor, non_blocking: bool = False) -> Tensor:
        """Overwrite this tensor with ``other``, converted to this dtype and device and broadcast to this shape."""
        self._check_inplace()
        if isinstance(other, Tensor):
            if other.device is not self.device:
                other = other.to(self.device)
            in_place(None, self, (other,))
        elif not isinstance(other, (int, float, complex, np.generic)):
            raise TypeError(f"copy_(): argument 'other' must be Tensor, not {type(other).__name__}")
        self._assign(_dispatch.dispatch(OPS["_copy"], (self, other), ()))
        return self

    @property
    def data(self) -> Tensor:
        """The same storage outside autograd, where writes are not counted as changes of saved values.

        Assigning rebinds this tensor to the other one's storage.
        """
        t = self.detach()
        t._uncounted = True
        return t

    @data.setter
    def data(self, other: Tensor) -> None:
        if not isinstance(other, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(other).__name__}")
        if self._requires_grad and other.dtype.category < dtypes.FLOAT:
            raise RuntimeError("data set to a tensor that requires gradients must be floating point or complex dtype")
        self._storage, self._lens, self._strides = other._storage, other._lens, other._strides
        self._root = self._relative = self._accumulator = None
        self.__dict__.pop("_geometry", None)
        self._aval, self._memo, self._memo_writes = other._aval, None, 0

    def detach(self) -> Tensor:
        """The same storage without history: writes to either are seen by both.

        In what JAX differentiates (``vmap``, ``jvp``, Jacobians, an exported program) it is a copy, behind which JAX
        stops.
        """
        t = self._detach()
        if (modes.state.transformed or modes.state.exported) and t.dtype.category >= dtypes.FLOAT:
            return _dispatch.wrap(apply_values(OPS["_stopped"], (t._value(),), ()))
        return t

    def _detach(self) -> Tensor:
        """:meth:`detach` for this tape only: what JAX differentiates goes on through it."""
        t = object.__new__(Tensor)
        t._storage = self._storage  # what is at its default stays so: guards read an instance's own attributes
        if self._strides is not None:
            t._strides = self._strides
        if self._lens is not None:
            t._lens, t._aval, t._memo, t._memo_writes = self._lens, self._aval, self._memo, self._memo_writes
        if self._uncounted:
            t._uncounted = True
        return t

    def detach_(self) -> Tensor:
        """Cut this tensor from the graph that made it.

        Raises:
            RuntimeError: it is a view; detach the base, or use ``detach()``.
        """
        if self._root is not None:
            raise RuntimeError("Can't detach views in-place. Use detach() instead.")
        self._edge, self._requires_grad = None, False
        return self

    def _as_subclass(self, cls) -> Tensor:
        if not isinstance(cls, type):
            raise TypeError(f"cls must be a type (got {type(cls).__name__})")
        if not issubclass(cls, Tensor):
            raise TypeError(f"a Tensor subclass cannot be made from {cls.__name__}, which does not inherit from Tensor")
        t = object.__new__(cls)
        t.__dict__.update(self.__dict__)
        return t

    def as_subclass(self, cls) -> Tensor:
        """The same elements as an instance of ``cls``: a view, so that either's history knows of writes to the other.

        Raises:
            TypeError: ``cls`` is no subclass of Tensor.
        """
        if self._handler is not None or overriding.is_wrapper(self):  # without storage of their own
            return self._as_subclass(cls)
        with overriding._Setting(subclasses=False, modes=[], dispatch_modes=[]):
            return _dispatch.dispatch(OPS["alias"], (self,), ())._as_subclass(cls)

    @staticmethod
    def _make_wrapper_subclass(
        cls, size, strides=None, storage_offset=None, memory_format=None, dtype=None, layout=None, device=None,
        pin_memory=False, requires_grad=False, dispatch_sizes_strides_policy=None, dispatch_device=False,
        dispatch_layout=False, _extra_dispatch_keys=None, storage_size=None,
    ):  # fmt: skip
        """An instance of ``cls`` without content, for which ``cls.__torch_dispatch__`` answers every operation.

        It stands above autograd: gradients are those of what the class computes with. There are no dispatch keys to
        add to.

        Raises:
            NotImplementedError: ``storage_size``: there is no storage.
        """
        if storage_size is not None:
            raise NotImplementedError("_make_wrapper_subclass(storage_size=): it has no storage; leave it out")
        return overriding.wrapper(cls, size, dtype, device, strides, requires_grad)

    def _make_subclass(cls, data, require_grad=False):  # noqa: N805 (called as Tensor._make_subclass(cls, data))
        t = data.detach()._as_subclass(cls)
        t._requires_grad = bool(require_grad)
        return t


_dispatch.TENSOR = Tensor
_dispatch.DECLARED = frozenset(vars(Tensor)) | frozenset(Tensor.__annotations__)

from . import overriding  # noqa: E402  (it knows Tensor by way of dispatch)

Tensor.__torch_function__ = classmethod(overriding.default)

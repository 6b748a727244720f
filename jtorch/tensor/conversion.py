"""A Tensor as Python numbers, NumPy and jax arrays, text, copies and pickles."""

from __future__ import annotations

import copy

import numpy as np

from .. import devices, dtypes
from ..errors import warn_once
from ..ops.registry import OPS
from ..tape import modes
from ..trace import capture
from ..trace import value as values
from ..trace.jaxapi import x64
from . import dispatch as _dispatch
from . import layout, printing

_HAS_HISTORY = (
    "Converting a tensor with requires_grad=True to a scalar may lead to unexpected behavior.\n"
    "Consider using tensor.detach() first."
)


class ConversionMixin:
    """Reading a Tensor from Python: each of these runs the pending trace and waits for the result."""

    # --- to the host

    def _host(self, cause: str) -> np.ndarray:
        """The data as a read-only NumPy array (no copy on the CPU)."""
        seen = self._seen(cause)
        if seen is not None:
            return seen
        array = self._value().concrete(cause)
        with x64(True):
            return np.asarray(array)

    def _seen(self, cause: str) -> np.ndarray | None:
        """The data without running anything, where it lies in host memory already; else None. Do not write to it."""
        value = self._storage.value
        if value.array is None or value.sharding is not None or value.device is not devices.CPU:
            return None
        if self._lens is None:
            return np.asarray(value.concrete(cause))
        return layout.window(self, value.concrete(cause)) if self._root_is_plain() else None

    def _root_is_plain(self) -> bool:
        """Whether what this view shows is what lies in its storage (no history to bring up to date first)."""
        return self._root is None or self._edge_history == self._root._history_count

    def item(self):
        """The one element as a Python number.

        Raises:
            RuntimeError: there is not exactly one element.
        """
        if self.numel() != 1:
            raise RuntimeError(f"a Tensor with {self.numel()} elements cannot be converted to Scalar")
        log = capture.state.log
        if log is not None and log.ends():
            return log.read(self, lambda: _python(self._host("item()").reshape(())))
        return _python(self._host("item()").reshape(()))

    def tolist(self):
        """Nested lists of Python numbers (a number for a 0-d tensor)."""
        data = self._host("tolist()")
        return data.astype(np.float64).tolist() if data.dtype.kind == "V" else data.tolist()

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """A NumPy copy of the data.

        A copy, because XLA arrays are immutable: writing to it does not write to the tensor (use ``copy_``).

        Raises:
            RuntimeError: the tensor requires grad (``detach()`` first, ``force=True``, or ``no_grad``).
            TypeError: it is on an accelerator (``cpu()`` first, or ``force=True``), or NumPy lacks the dtype.
        """
        if not force:
            if self.requires_grad and modes.state.grad:
                raise RuntimeError(
                    "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."
                )
            if self.device.type not in ("cpu", "meta"):
                raise TypeError(
                    f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to "
                    "host memory first."
                )
        if self.dtype in (dtypes.bfloat16, *_FLOAT8):
            raise TypeError(f"Got unsupported ScalarType {self.dtype.legacy_name}: convert with .float() first")
        return np.array(self._host("numpy()"), order="C")

    def __array__(self, dtype=None, copy=None):
        array = self.numpy()
        return array if dtype is None else array.astype(dtype, copy=False)

    def __array_wrap__(self, array, context=None, return_scalar=False):
        return _dispatch.TENSOR._from_numpy(np.asarray(array))

    __array_priority__ = 1000  # NumPy operators defer to ours

    def __bool__(self) -> bool:
        if self.numel() != 1:
            if self.numel() == 0:
                raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
            raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
        return bool(self._host("bool()").reshape(()))

    def _one(self):
        if self.numel() != 1:
            raise ValueError(
                f"only one element tensors can be converted to Python scalars, got {self.numel()} elements"
            )
        return self.item()

    def __int__(self) -> int:
        return int(self._real("int64_t") if self.dtype.is_complex else self._one())

    def _real(self, kind: str) -> float:
        found = self._one()
        if found.imag:
            raise RuntimeError(f"value cannot be converted to type {kind} without overflow")
        return found.real

    def __float__(self) -> float:
        if self.requires_grad and modes.state.grad:
            warn_once(_HAS_HISTORY, 2)
        if self.dtype.is_complex:
            return self._real("double")
        log = capture.state.log
        if log is not None and log.ends():
            return log.read(self, lambda: float(self._one()))
        return float(self._one())

    def __complex__(self) -> complex:
        if self.requires_grad and modes.state.grad:
            warn_once(_HAS_HISTORY, 2)
        return complex(self._one())

    def __index__(self) -> int:
        if self.numel() != 1 or self.dtype.category > dtypes.INT:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    def __iter__(self):
        if not self.shape:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __reversed__(self):
        return self if not self.shape else self.flip(0)

    def __contains__(self, element) -> bool:
        if isinstance(element, (_dispatch.TENSOR, int, float, bool, complex, np.generic)):
            return bool((element == self).any())
        raise RuntimeError(f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}.")

    def __format__(self, spec: str) -> str:
        if not self.shape and not self.is_meta and type(self) is _dispatch.TENSOR:
            return format(self.item(), spec)
        return object.__format__(self, spec)

    def __repr__(self, *, tensor_contents=None) -> str:
        cls = type(self)
        if _dispatch.is_own(cls):
            return self._text("tensor(")
        text = self._text(f"{cls.__name__}(")
        return f"Parameter({text})" if self._is_param else text

    def _text(self, prefix: str) -> str:
        data = None if self.is_meta else self._host("print")
        return printing.format_tensor(
            data, self.dtype, tuple(self.shape), device=str(self.device), requires_grad=self.requires_grad,
            grad_fn=None if self.grad_fn is None else self.grad_fn.name(), prefix=prefix,
        )  # fmt: skip

    # --- from the host

    @classmethod
    def _from_numpy(cls, array: np.ndarray, device=None, copy: bool = True):
        """A tensor holding a copy of a NumPy array."""
        dtypes.of_numpy(array.dtype)  # raises TypeError for strings and objects
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        target = devices.resolve(device)
        # XLA may alias the memory it is given, and reads it later: it gets a private copy.
        return _dispatch.wrap(values.put(np.array(array, order="C") if copy else array, target))

    @classmethod
    def _legacy_new(cls, *args, data=None, device=None, dtype=None):
        from . import creation

        return creation.legacy(cls, args if data is None else (data,), dtype or dtypes.get_default_dtype(), device)

    # --- exchange

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        """A DLPack capsule sharing this tensor's buffer, which is never written again by jtorch."""
        if self.requires_grad:
            raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
        value = self._value()
        array = value.concrete("__dlpack__")
        value.pin()
        with x64(True):
            return array.__dlpack__(max_version=max_version)

    def __dlpack_device__(self):
        return self._value().concrete("__dlpack_device__").__dlpack_device__()

    # --- copies

    def __copy__(self):
        """Another Tensor over the same storage."""
        new = self.detach()._as_subclass(type(self))
        new._requires_grad = self.requires_grad
        new.__dict__.update(self._attributes())
        return new

    def _attributes(self) -> dict:
        """What the program has put on this tensor, by name."""
        return {k: v for k, v in self.__dict__.items() if k not in _dispatch.DECLARED}

    def __deepcopy__(self, memo):
        if id(self) in memo:
            return memo[id(self)]
        if not self.is_leaf:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the "
                "moment: detach() this one first."
            )
        new = self._deep(memo)
        memo[id(self)] = new
        if "_is_param" in self.__dict__:  # a parameter of another class than Parameter
            new._is_param = self._is_param
        if self._grad is not None:
            new._grad = self._grad.__deepcopy__(memo)
        new.__dict__.update(copy.deepcopy(self._attributes(), memo))
        return new

    def _deep(self, memo):
        key = ("jtorch storage", id(self._storage))
        storage = memo.get(key)
        if storage is None:
            storage = memo[key] = _dispatch.Storage(_copied(self._storage.value))
        t = object.__new__(type(self))
        t._storage = storage
        if self._strides is not None:
            t._strides = self._strides
        if self._lens is not None:
            t._lens, t._aval = self._lens, self._aval
        if self._requires_grad:
            t._requires_grad = True
        return t

    def __reduce_ex__(self, protocol):
        # A tensor with a history comes back as a leaf, as from PyTorch: the graph is not pickled.
        return _rebuild, (
            type(self), self._host("pickle"), str(self.device), self.requires_grad, self._attributes()
        )  # fmt: skip


_FLOAT8 = (dtypes.float8_e4m3fn, dtypes.float8_e5m2, dtypes.float8_e4m3fnuz, dtypes.float8_e5m2fnuz)


def scalar(value):
    """The one element of a Value as a Python number."""
    with x64(True):
        return _python(np.asarray(value.concrete("item() at the end of a compiled function")).reshape(()))


def _python(array: np.ndarray):
    return float(array) if array.dtype.kind == "V" or array.dtype not in _PLAIN else array.item()


_PLAIN = {d.np for d in dtypes.ALL if d.np.kind in "biufc" and d not in (dtypes.bfloat16, *_FLOAT8)}


def _copied(value):
    """The same content in a Value of its own (arrays are immutable: nothing is copied until one is donated)."""
    from .tensor import apply_values

    return apply_values(OPS["_identity"], (value,), ())


def _rebuild(cls, array, device, requires_grad, state):
    t = _dispatch.TENSOR._from_numpy(np.array(array), device)
    if cls is not _dispatch.TENSOR:
        t = t._as_subclass(cls)
    t._requires_grad = requires_grad
    t.__dict__.update(state)
    return t

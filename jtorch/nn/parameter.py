"""Parameters and buffers: tensors that a module registers when they are assigned to it."""

from __future__ import annotations

import jax

import jtorch

from .. import devices
from ..tensor import Tensor, overriding
from ..tensor.layout import dense_strides
from ..tensor.printing import format_parameter
from ..tensor.storage import Storage
from ..trace.jaxapi import x64
from ..trace.value import Value


class _Conversion:
    """What ``torch.__future__`` sets: put new parameters in the place of converted ones, or swap them."""

    overwrite = False
    swap = False


conversion = _Conversion()


class _ParameterMeta(type):
    """Tensors of other classes that were wrapped by ``Parameter(...)`` count as parameters too."""

    def __instancecheck__(cls, instance) -> bool:
        return super().__instancecheck__(instance) or (
            cls is Parameter and isinstance(instance, Tensor) and instance._is_param
        )


class Parameter(Tensor, metaclass=_ParameterMeta):
    """A tensor that is a module's parameter: assigned as an attribute, it appears in ``Module.parameters()``.

    Args:
        data: the tensor, whose storage is shared (default: an empty one).
        requires_grad: whether gradients are recorded for it, whatever grad mode is on now.
    """

    _is_param = True
    __torch_function__ = overriding.disabled  # what is computed from a parameter is a plain tensor

    def __new__(cls, data=None, requires_grad: bool = True, **own):
        if data is None:
            data = jtorch.empty(0)
        if not isinstance(data, Tensor):
            raise TypeError(
                f"Parameter(): argument 'data' must be Tensor, not {type(data).__name__}; make one with torch.tensor()"
            )
        kind = type(data)
        t = data.detach()
        if kind is Tensor or issubclass(kind, Parameter):
            t = t._as_subclass(cls)
        elif type(t) is not kind:
            t = t._as_subclass(kind)
        if not t._is_param:
            t._is_param = True
        t.requires_grad = requires_grad
        # Libraries pass `**vars(old)`: in PyTorch what a program set there, here also what a tensor is made of.
        for name in own:
            if name not in vars(t) and not hasattr(cls, name):
                raise TypeError(f"Parameter.__new__() got an unexpected keyword argument {name!r}")
        return t

    def __deepcopy__(self, memo):
        found = memo.get(id(self))
        if found is None:
            found = memo[id(self)] = _duplicate(self)
        return found

    def __repr__(self, *, tensor_contents=None) -> str:
        return format_parameter(super().__repr__())


def private_copy(value: Value, device=None) -> Value:
    """The same content in a buffer of its own, on the same device or another, made now and not recorded.

    Values are immutable and could be shared; but the first step that then uses both owners would be another program
    than the later ones, which use two.
    """
    device = value.device if device is None else device
    if device is devices.META:
        return Value(value.aval, device)
    array = value.concrete("copy of a parameter")
    with x64(True):
        target = array.sharding if device is value.device else devices.jax_device(device)
        out = Value(value.aval, device, jax.device_put(array, target, may_alias=False))
    out.sharding = value.sharding if device is value.device else None
    return out


def _duplicate(t: Tensor) -> Tensor:
    """A tensor of its own with the same content and flags."""
    new = object.__new__(type(t))
    new._storage = Storage(private_copy(t._value()))
    if not t.is_contiguous():
        new._strides = dense_strides(tuple(t.shape), t.stride())
    new._requires_grad = t.requires_grad
    for name in ("_is_param", "persistent"):
        if name in t.__dict__:
            new.__dict__[name] = t.__dict__[name]
    return new


class _BufferMeta(_ParameterMeta):
    def __instancecheck__(cls, instance) -> bool:
        return type.__instancecheck__(cls, instance) or (
            cls is Buffer and isinstance(instance, Tensor) and getattr(instance, "_is_buffer", False)
        )


class Buffer(Tensor, metaclass=_BufferMeta):
    """A tensor that is a module's state but no parameter: ``self.mean = Buffer(torch.zeros(3))``.

    Args:
        data: the tensor, whose storage is shared.
        persistent: whether it belongs to the module's ``state_dict``.
    """

    def __new__(cls, data=None, *, persistent: bool = True):
        if data is None:
            data = jtorch.empty(0)
        t = data.detach()
        t.requires_grad = data.requires_grad
        t.persistent = persistent
        t._is_buffer = True
        return t


#: What an uninitialized parameter allows.
_WITHOUT_SHAPE = frozenset(
    getattr(Tensor, name)
    for name in (
        "__hash__", "size", "copy_", "is_complex", "is_floating_point", "half", "float", "double", "bfloat16", "char",
        "short", "int", "long", "cuda", "cpu", "to", "get_device",
    )
)  # fmt: skip


class UninitializedTensorMixin:
    """What uninitialized parameters and buffers share: they know dtype and device, and learn their shape later."""

    _asked_once_made = True  # every program imports these classes, and few make an instance

    @classmethod
    def _new(cls, requires_grad: bool, device, dtype):
        overriding.switch_on()  # functions are to ask this class from now on
        t = jtorch.empty(0, device=device, dtype=dtype)._as_subclass(cls)
        t._requires_grad = requires_grad
        return t

    def materialize(self, shape, device=None, dtype=None) -> None:
        """Give it a shape; the content is uninitialised.

        Args:
            shape: the shape.
            device: default: where it was made.
            dtype: default: the one it was made with.
        """
        self.data = jtorch.empty(shape, device=device or self.device, dtype=dtype or self.dtype)
        self.__class__ = self.cls_to_become

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        """Attributes, copies and changes of dtype or device; all else has no meaning without a shape."""
        if func in _WITHOUT_SHAPE or type(func).__name__ == "method-wrapper":
            return super().__torch_function__(func, types, args, kwargs)
        raise ValueError(
            f"Attempted to use an uninitialized parameter in {func}. Lazy modules learn their shapes when they are "
            "first called: call `forward` before computing with their parameters."
        )

    @property
    def shape(self):
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually happens in "
            "`load_state_dict` when trying to load an uninitialized parameter into an initialized one. Call `forward` "
            "to initialize the parameters before accessing their attributes."
        )

    def share_memory_(self):
        raise RuntimeError("Can't share memory on an uninitialized parameter or buffer; call `forward` first")

    def __repr__(self, *, tensor_contents=None) -> str:
        return f"<{type(self).__name__}>"


class UninitializedParameter(UninitializedTensorMixin, Parameter):
    """A parameter whose shape is known only at the first forward (lazy modules)."""

    cls_to_become = Parameter

    def __new__(cls, requires_grad: bool = True, device=None, dtype=None):
        return cls._new(requires_grad, device, dtype)

    def __deepcopy__(self, memo):
        found = memo.get(id(self))
        if found is None:
            found = memo[id(self)] = type(self)(self.requires_grad, self.device, self.dtype)
        return found

    def __reduce_ex__(self, protocol):
        return type(self), (self.requires_grad, self.device, self.dtype)


class UninitializedBuffer(UninitializedTensorMixin, Tensor):
    """A buffer whose shape is known only at the first forward (lazy modules)."""

    cls_to_become = Tensor

    def __new__(cls, requires_grad: bool = False, device=None, dtype=None, persistent: bool = True):
        t = cls._new(requires_grad, device, dtype)
        t.persistent = persistent
        t._is_buffer = True
        return t

    def __reduce_ex__(self, protocol):
        return type(self), (self.requires_grad, self.device, self.dtype)


def is_lazy(t) -> bool:
    """Whether ``t`` is an uninitialized parameter or buffer."""
    return isinstance(t, UninitializedTensorMixin)

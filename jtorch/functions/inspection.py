"""What can be asked of tensors by function, and assertions."""

from __future__ import annotations

from .. import dtypes
from ..errors import warn_once
from ..tensor import Tensor
from ..tensor.export import composite


@composite("torch")
def is_signed(input) -> bool:
    """Whether the dtype has negative numbers."""
    return input.is_signed()


@composite("torch")
def is_conj(input) -> bool:
    """Whether conjugation is pending: never, conjugates are computed."""
    return input.is_conj()


@composite("torch")
def is_neg(input) -> bool:
    """Whether negation is pending: never."""
    return input.is_neg()


@composite("torch")
def is_inference(input) -> bool:
    """Whether the tensor was made in inference mode."""
    return input.is_inference()


@composite("torch")
def get_device(input) -> int:
    """The device's index; -1 for the CPU."""
    return input.get_device()


@composite(name="is_nonzero", method=True)
def _is_nonzero(self) -> bool:
    """The truth of a one-element tensor."""
    return bool(self)


@composite("torch", method=True)
def is_same_size(input, other) -> bool:
    """Whether both have the same shape."""
    return input.shape == other.shape


@composite("torch")
def typename(obj) -> str:
    """The type's name with its module, or that of a class or function: ``"torch.FloatTensor"``, ``"list"``."""
    if isinstance(obj, Tensor):
        return obj.type()
    kind = obj if hasattr(obj, "__qualname__") else type(obj)
    module = getattr(kind, "__module__", "")
    return f"{module}.{kind.__qualname__}" if module and module != "builtins" else kind.__qualname__


@composite("torch")
def set_default_tensor_type(t) -> None:
    """Deprecated: the default dtype (and device) as a tensor type, e.g. ``"torch.DoubleTensor"``.

    Raises:
        TypeError: no floating tensor type.
    """
    from ..devices import set_default_device

    warn_once(
        "torch.set_default_tensor_type() is deprecated as of PyTorch 2.1, please use torch.set_default_dtype() and "
        "torch.set_default_device() as alternatives.",
        2,
    )
    name = t if isinstance(t, str) else getattr(t, "__name__", str(t))
    found = [d for d in dtypes.ALL if f"{d.legacy_name}Tensor" == name.rsplit(".", 1)[-1]]
    if not found:
        raise TypeError(f"invalid type object: only floating-point types are supported as the default type, got {name}")
    dtypes.set_default_dtype(found[0])
    device = "cuda" if ".cuda." in name or getattr(t, "device_type", "cpu") == "cuda" else None
    set_default_device(device)


@composite("torch")
def _assert(condition, message) -> None:
    """``assert``, as a function; a tensor condition is read."""
    assert condition, message


def _message(message) -> str:
    if message is None:
        return "Expected cond to be True, but got False."
    if not callable(message):
        raise TypeError(f"message must be a callable, but got {message!r}: write lambda: {message!r}")
    return str(message())


def _demand(error: type, cond, message) -> None:
    if not isinstance(cond, bool):
        hint = "; _check_tensor_all() is for tensors" if isinstance(cond, Tensor) else ""
        raise TypeError(f"cond must be a bool, but got {type(cond)}{hint}")
    if not cond:
        raise error(_message(message))


def _checker(name: str, error: type):
    def check(cond, message=None):
        _demand(error, cond, message)

    doc = f"Raise {error.__name__} with what ``message`` returns unless ``cond``, a bool, holds."
    composite("torch", name=name, doc=doc)(check)


@composite("torch")
def _check_with(error_type, cond, message) -> None:
    """Raise ``error_type`` with what ``message`` returns unless ``cond``, a bool, holds."""
    _demand(error_type, cond, message)


@composite("torch")
def _check_tensor_all(cond, message=None) -> None:
    """Raise RuntimeError unless every element of a bool tensor is true; it is read."""
    if not isinstance(cond, Tensor) or cond.dtype is not dtypes.bool_:
        raise TypeError(f"cond must be a tensor of bools, but got {getattr(cond, 'dtype', type(cond))}")
    _demand(RuntimeError, bool(cond.all()), message)


for _name, _error in (
    ("_check", RuntimeError), ("_check_index", IndexError), ("_check_value", ValueError), ("_check_type", TypeError),
    ("_check_not_implemented", NotImplementedError),
):  # fmt: skip
    _checker(_name, _error)


@composite("torch")
def _check_is_size(i, message=None, *, max=None) -> None:
    """Raise RuntimeError unless ``i`` is a possible size."""
    if i < 0 or (max is not None and i > max):
        raise RuntimeError(_message(message))


@composite("torch")
def sym_int(a) -> int:
    """``a`` truncated to an int."""
    return int(a)


@composite("torch")
def sym_float(a) -> float:
    """``a`` as a float."""
    return float(a)


@composite("torch")
def sym_not(a) -> bool:
    """``not a``."""
    return not a


@composite("torch")
def sym_max(a, b):
    """The larger of two numbers."""
    return max(a, b)


@composite("torch")
def sym_min(a, b):
    """The smaller of two numbers."""
    return min(a, b)


@composite(method=True)
def record_stream(self, stream) -> None:
    """Nothing to do: XLA keeps buffers alive while they are used."""


@composite(method=True)
def to_dense(self, dtype=None, *, masked_grad=True):
    """Self (in another dtype if one is given): tensors are dense."""
    return self if dtype is None else self.to(dtype)

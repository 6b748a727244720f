"""``torch.utils._python_dispatch``: modes that see the operations themselves, under their ATen names."""

from __future__ import annotations

import contextlib

import jtorch
from jtorch.tensor import Tensor, dispatch, overriding
from jtorch.tensor.export import function

#: Ops whose ATen name depends on the operands, or differs.
_NAMES = {
    "linear": lambda x: "addmm" if len(x) > 2 and x[2] is not None else "mm",
    "matmul": lambda x: "mm" if x[0].dim() == x[1].dim() == 2 else "bmm",
    "_sdpa": lambda x: "_scaled_dot_product_flash_attention",
    "true_divide": lambda x: "div",
    **{f"conv{t}{n}d": lambda x: "convolution" for t in ("", "_transpose") for n in (1, 2, 3)},
    "to_dtype": lambda x: "_to_copy",
    "softmax": lambda x: "_softmax",
    "log_softmax": lambda x: "_log_softmax",
}


def aten_name(op, operands) -> str:
    """The name under which PyTorch's dispatcher would see this operation."""
    given = _NAMES.get(op.name)
    return given(operands) if given else op.name.partition(".")[0].removeprefix("_")


def overload(op, operands):
    """The operation as an overload of ``torch.ops.aten``: ``aten.mm.default``."""
    name = aten_name(op, operands)
    try:
        packet = getattr(jtorch.ops.aten, name)
    except AttributeError:
        packet = jtorch._ops.OpOverloadPacket("aten", name, function(op))
    return getattr(packet, _overload_name(name, operands))


#: Overloads of operations that have no default one.
_OVERLOADS = {"select": "int", "slice": "Tensor", "transpose": "int", "split": "Tensor", "index": "Tensor"}


def _overload_name(name: str, operands) -> str:
    if name in ("add", "sub", "mul", "div"):
        return "Tensor"  # a number stands there as a tensor
    if name in ("eq", "ne", "lt", "le", "gt", "ge"):
        return "Tensor" if all(isinstance(x, Tensor) for x in operands[:2]) else "Scalar"
    return _OVERLOADS.get(name, "default")


def bound(op, operands):
    """:func:`overload`, running the very operation that was met."""
    func = overload(op, operands)
    return func if func.overloadpacket._function is function(op) else _Bound(func, function(op))


def _index_arguments(input, indices, *, spec):
    """``(input, indices)`` with None for each whole dimension."""
    rest, found, inside = iter(indices), [], 0
    for entry in spec:
        if inside:  # further dimensions of a mask
            inside -= 1
            continue
        found.append(next(rest) if entry == "t" else None)
        if found[-1] is not None and found[-1].dtype is jtorch.bool:
            inside = found[-1].dim() - 1
    return (input, found), {}


#: Ops whose arguments differ from those of ATen's.
_ARGUMENTS = {"index": _index_arguments}


def as_aten(op, args, kwargs):
    """``(func, args, kwargs)`` as PyTorch's dispatcher would see this operation."""
    if op.name in _ARGUMENTS:
        return overload(op, args), *_ARGUMENTS[op.name](*args, **kwargs)
    return bound(op, args), args, kwargs


class Around:
    """A context in which each operation asks :meth:`_answer`, except for those that this runs itself."""

    _answering = False

    def _answer(self, op, operands, run):
        """What stands for the operation's result, which is ``run()``; None to let it run as if nobody were asked."""
        raise NotImplementedError

    def __enter__(self):
        dispatch.interceptors.append(self._intercept)
        return self

    def __exit__(self, *exc):
        dispatch.interceptors.remove(self._intercept)

    def _intercept(self, op, operands, statics):
        if self._answering:
            return operands, statics
        self._answering = True
        try:
            result = self._answer(op, operands, lambda: dispatch.dispatch(op, operands, statics))
        finally:
            self._answering = False
        return (operands, statics) if result is None else dispatch.Answer(result)


class TorchDispatchMode:
    """``with Mode():`` every operation asks ``self.__torch_dispatch__(func, types, args=(), kwargs=None)`` first.

    ``func`` is an overload of ``torch.ops.aten``. The mode stands above autograd, not below it: the operations of
    backward are not seen, and what ``func`` returns carries gradients.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        raise NotImplementedError

    def _dispatched(self, op, args, kwargs):
        func, args, kwargs = as_aten(op, args, kwargs)
        kinds = tuple({type(x): None for x in args if isinstance(x, Tensor)})
        return self.__torch_dispatch__(func, kinds, args, kwargs)

    def __enter__(self):
        overriding.switch_on()
        overriding.state.dispatch_modes = [*overriding.state.dispatch_modes, self]
        return self

    def __exit__(self, *exc):
        overriding.state.dispatch_modes = overriding.state.dispatch_modes[:-1]


def _Bound(func, call):  # noqa: N802 (makes an OpOverload)
    """``func`` by name, which runs the very operation that was met."""
    packet = jtorch._ops.OpOverloadPacket(func.namespace, func.overloadpacket.__name__, call)
    return jtorch._ops.OpOverload(packet, func._overload)


@contextlib.contextmanager
def _disable_current_modes():
    """Inside, no mode is asked."""
    with overriding._Setting(modes=[], dispatch_modes=[]):
        yield []


def is_traceable_wrapper_subclass(t) -> bool:
    """Whether ``t`` says of which tensors it consists: it has ``__tensor_flatten__`` and ``__tensor_unflatten__``."""
    return isinstance(t, Tensor) and hasattr(t, "__tensor_flatten__") and hasattr(t, "__tensor_unflatten__")


def _get_current_dispatch_mode():
    modes = overriding.state.dispatch_modes
    return modes[-1] if modes else None


def return_and_correct_aliasing(func, args, kwargs, out):
    """``out``: aliases are known to jtorch from the operation itself."""
    return out


__all__ = ["TorchDispatchMode", "is_traceable_wrapper_subclass", "return_and_correct_aliasing"]

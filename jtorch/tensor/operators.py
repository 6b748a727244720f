"""Python's operators on Tensors, derived from the ops."""

from __future__ import annotations

import numpy as np

from .. import dtypes
from ..ops.registry import OPS
from . import dispatch as _dispatch

#: method suffix -> (op name, has an in-place operator)
_BINARY = {
    "add": ("add", True), "sub": ("sub", True), "mul": ("mul", True), "truediv": ("true_divide", True),
    "floordiv": ("floor_divide", True), "mod": ("remainder", True), "pow": ("pow", True),
    "and": ("bitwise_and", True), "or": ("bitwise_or", True), "xor": ("bitwise_xor", True),
    "lshift": ("bitwise_left_shift", True), "rshift": ("bitwise_right_shift", True), "matmul": ("matmul", False),
}  # fmt: skip
_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
_UNARY = {"neg": "neg", "abs": "abs"}
_OPERANDS = (int, float, bool, complex, np.ndarray, np.generic)


def _as_numpy_promotes(x, array: np.ndarray, quotient: bool):
    """A Tensor and an array in the dtype of NumPy's result: in PyTorch an operator between them is NumPy's."""
    own, given = x.dtype.np, array.dtype
    if own.kind == "V" or given.kind not in "biufc":  # bfloat16 and the like, which NumPy lacks
        return x, array
    common = np.result_type(own, given)
    if quotient and common.kind in "biu":
        common = np.dtype(np.float64)
    return x.to(dtypes.of_numpy(common)), array.astype(common)


def attach_operators(cls: type) -> None:
    """Define the arithmetic, comparison and unary operators on the Tensor class."""
    dispatch = _dispatch.dispatch
    Tensor = _dispatch.TENSOR

    def binary(op, reflected):
        rest = (None,) * (len(op.operand_names) - 2)
        quotient = op.name == "true_divide"
        statics = tuple(next(p.default for p in op.parameters if p.name == n) for n in op.static_names)

        def forward(self, other):
            if not isinstance(other, Tensor) and not isinstance(other, _OPERANDS):
                return NotImplemented
            if isinstance(other, np.ndarray):
                self, other = _as_numpy_promotes(self, other, quotient)
            return dispatch(op, (self, other, *rest), statics)

        def backward(self, other):
            if not isinstance(self, Tensor):
                raise TypeError(f"a reflected operator of Tensor was called on a {type(self).__name__}, not a Tensor")
            if not isinstance(other, Tensor) and not isinstance(other, _OPERANDS):
                return NotImplemented
            if isinstance(other, np.ndarray):
                self, other = _as_numpy_promotes(self, other, quotient)
            return dispatch(op, (other, self, *rest), statics)

        def inplace(self, other):
            if not isinstance(other, Tensor) and not isinstance(other, _OPERANDS):
                return NotImplemented
            return _dispatch.inplace(op, (self, other, *rest), statics)

        return forward, backward, inplace

    for suffix, (name, has_inplace) in _BINARY.items():
        forward, backward, inplace = binary(OPS[name], True)
        setattr(cls, f"__{suffix}__", forward)
        setattr(cls, f"__r{suffix}__", backward)
        if has_inplace:
            setattr(cls, f"__i{suffix}__", inplace)
    times = cls.__mul__

    def divided_by(self, other):
        if not isinstance(other, Tensor) and not isinstance(other, _OPERANDS):
            return NotImplemented
        return times(dispatch(OPS["reciprocal"], (self,), ()), other)

    cls.__rtruediv__ = divided_by  # as PyTorch computes and prints it: two roundings, MulBackward0
    for name in _COMPARISONS:
        setattr(cls, f"__{name}__", binary(OPS[name], False)[0])

    def inverted(self):
        if self.dtype.category >= dtypes.FLOAT:
            raise TypeError("~ (operator.invert) is only implemented on integer and Boolean-type tensors")
        return dispatch(OPS["bitwise_not"], (self,), ())

    cls.__invert__ = inverted
    for suffix, name in _UNARY.items():
        op = OPS[name]
        setattr(cls, f"__{suffix}__", lambda self, op=op: dispatch(op, (self,), ()))
    cls.__pos__ = cls.positive
    cls.__hash__ = lambda self: id(self)

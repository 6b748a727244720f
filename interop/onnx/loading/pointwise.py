"""Elementwise operators."""

from __future__ import annotations

import math

import numpy as np
from onnx import helper

import jtorch
from jtorch.nn import functional as F

from .registry import DTYPES, dtype_of, handles, host, is_text, tensor


def _unary(table: dict) -> None:
    for name, fn in table.items():
        handles(name)(lambda n, x, fn=fn: fn(x))


_unary({
    "Abs": jtorch.abs, "Acos": jtorch.acos, "Acosh": jtorch.acosh, "Asin": jtorch.asin, "Asinh": jtorch.asinh,
    "Atan": jtorch.atan, "Atanh": jtorch.atanh, "Ceil": jtorch.ceil, "Cos": jtorch.cos, "Cosh": jtorch.cosh,
    "Erf": jtorch.erf, "Exp": jtorch.exp, "Floor": jtorch.floor, "IsNaN": jtorch.isnan, "Log": jtorch.log,
    "Mish": F.mish, "Neg": jtorch.neg, "Reciprocal": jtorch.reciprocal, "Relu": jtorch.relu, "Round": jtorch.round,
    "Sigmoid": jtorch.sigmoid, "Sign": jtorch.sign, "Sin": jtorch.sin, "Sinh": jtorch.sinh, "Softsign": F.softsign,
    "Sqrt": jtorch.sqrt, "Tan": jtorch.tan, "Tanh": jtorch.tanh, "Softplus": lambda x: jtorch.logaddexp(x, x * 0),
    "BitwiseNot": jtorch.bitwise_not, "Not": jtorch.logical_not, "HardSwish": F.hardswish,
})  # fmt: skip


# --- two operands ----------------------------------------------------------------------------------------------------


def aligned(n, a, b):
    """``b`` shaped to broadcast against ``a``: before opset 7 an attribute said where its dimensions stand."""
    if n.opset < 7 and n.get("broadcast", 0) and b.dim() and b.dim() <= a.dim():
        axis = n.get("axis")
        axis = a.dim() - b.dim() if axis is None else axis % a.dim()
        return b.reshape((*b.shape, *((1,) * (a.dim() - axis - b.dim()))))
    return b


def _binary(table: dict) -> None:
    for name, fn in table.items():
        handles(name)(lambda n, a, b, fn=fn: fn(a, aligned(n, a, b)))


def _divide(a, b):
    return jtorch.div(a, b) if a.is_floating_point() else jtorch.div(a, b, rounding_mode="trunc")


_binary({
    "Add": jtorch.add, "Sub": jtorch.sub, "Mul": jtorch.mul, "Div": _divide, "Equal": jtorch.eq, "Less": jtorch.lt,
    "LessOrEqual": jtorch.le, "Greater": jtorch.gt, "GreaterOrEqual": jtorch.ge, "And": jtorch.logical_and,
    "Or": jtorch.logical_or, "Xor": jtorch.logical_xor, "BitwiseAnd": jtorch.bitwise_and,
    "BitwiseOr": jtorch.bitwise_or, "BitwiseXor": jtorch.bitwise_xor,
})  # fmt: skip


@handles("Equal", since=19, host="all")
def equal(n, a, b):
    if is_text(a) or is_text(b):
        return np.equal(a, b).astype(bool)
    return jtorch.eq(tensor(a, n.interpreter.device), tensor(b, n.interpreter.device))


@handles("Pow")
def pow_(n, a, b):
    b = aligned(n, a, b)
    if a.is_floating_point():
        return jtorch.pow(a, b.to(a.dtype))
    if b.is_floating_point():
        return jtorch.pow(a.to(b.dtype), b).to(a.dtype)
    return jtorch.pow(a, b).to(a.dtype)


@handles("Mod")
def mod(n, a, b):
    return jtorch.fmod(a, b) if n.get("fmod", 0) else jtorch.remainder(a, b)


@handles("BitShift")
def bit_shift(n, a, b):
    return jtorch.bitwise_left_shift(a, b) if n.get("direction") == "LEFT" else jtorch.bitwise_right_shift(a, b)


def _fold(combine):
    def run(n, *xs):
        out = xs[0]
        for x in xs[1:]:
            out = combine(out, x)
        return out

    return run


handles("Sum")(_fold(jtorch.add))
handles("Max")(_fold(jtorch.maximum))
handles("Min")(_fold(jtorch.minimum))


@handles("Mean")
def mean(n, *xs):
    return _fold(jtorch.add)(n, *xs) / len(xs)


@handles("Where", host="all")
def where(n, condition, a, b):
    if is_text(a):
        return np.where(host(condition), a, b)
    d = n.interpreter.device
    return jtorch.where(tensor(condition, d), tensor(a, d), tensor(b, d))


# --- with attributes -------------------------------------------------------------------------------------------------


@handles("Elu")
def elu(n, x):
    return F.elu(x, n.get("alpha", 1.0))


@handles("Celu")
def celu(n, x):
    return F.celu(x, n.get("alpha", 1.0))


@handles("Selu")
def selu(n, x):
    alpha, gamma = n.get("alpha", 1.6732632423543772), n.get("gamma", 1.0507009873554805)
    return jtorch.where(x > 0, x, alpha * (jtorch.exp(jtorch.clamp(x, max=0)) - 1)) * gamma


@handles("LeakyRelu")
def leaky_relu(n, x):
    return F.leaky_relu(x, n.get("alpha", 0.01))


@handles("ThresholdedRelu")
def thresholded_relu(n, x):
    return jtorch.where(x > n.get("alpha", 1.0), x, jtorch.zeros_like(x))


@handles("HardSigmoid")
def hard_sigmoid(n, x):
    return jtorch.clamp(x * n.get("alpha", 0.2) + n.get("beta", 0.5), 0, 1)


@handles("Shrink")
def shrink(n, x):
    lambd, bias = n.get("lambd", 0.5), n.get("bias", 0.0)
    zero = jtorch.zeros_like(x)
    return jtorch.where(x < -lambd, x + bias, jtorch.where(x > lambd, x - bias, zero)).to(x.dtype)


@handles("Gelu")
def gelu(n, x):
    return F.gelu(x, approximate=n.get("approximate", "none"))


@handles("Swish")
def swish(n, x):
    return x * jtorch.sigmoid(x * n.get("alpha", 1.0))


@handles("PRelu")
def prelu(n, x, slope):
    if n.opset < 7 and slope.dim() == 1 and slope.numel() > 1 and x.dim() > 1:
        slope = slope.reshape((-1, *((1,) * (x.dim() - 2))))
    return jtorch.where(x < 0, x * slope, x)


@handles("Clip")
def clip_by_attributes(n, x):
    return jtorch.clamp(x, n.get("min", -math.inf), n.get("max", math.inf))


@handles("Clip", since=11)
def clip(n, x, low=None, high=None):
    out = x if low is None else jtorch.maximum(x, low)
    return out if high is None else jtorch.minimum(out, high)


@handles("IsInf")
def is_inf(n, x):
    low, high = n.get("detect_negative", 1), n.get("detect_positive", 1)
    if low and high:
        return jtorch.isinf(x)
    return jtorch.isposinf(x) if high else jtorch.isneginf(x) if low else jtorch.zeros_like(x, dtype=jtorch.bool)


@handles("Dropout", host=(1, 2))
def dropout(n, x, ratio=None, training=None):
    p = n.get("ratio", 0.5) if ratio is None else float(ratio)
    on = n.interpreter.training if training is None else bool(training)
    if n.opset < 7 and n.get("is_test") is not None:
        on = not n.get("is_test") and n.interpreter.training
    if not on or p == 0:
        return (x, jtorch.ones_like(x, dtype=jtorch.bool)) if n.wants(1) else x
    if n.get("seed") is not None:
        raise n.unsupported("dropout from a given seed")
    keep = jtorch.rand(x.shape, device=x.device) >= p
    out = jtorch.where(keep, x / (1 - p), jtorch.zeros_like(x))
    return (out, keep) if n.wants(1) else out


# --- types -----------------------------------------------------------------------------------------------------------

_NAMES = {"FLOAT": 1, "UINT8": 2, "INT8": 3, "UINT16": 4, "INT16": 5, "INT32": 6, "INT64": 7, "BOOL": 9, "FLOAT16": 10,
          "DOUBLE": 11, "UINT32": 12, "UINT64": 13, "BFLOAT16": 16}  # fmt: skip


def convert(n, x, to: int, saturate: bool = True):
    """A Tensor as another element type; float8 saturates unless told not to."""
    target = dtype_of(to)
    name = str(target)
    if "float8" in name:
        wide = x.to(jtorch.float32)
        if saturate:
            top = jtorch.finfo(target).max
            kept = jtorch.isnan(wide) if "fnuz" in name or "e4m3" in name or "e5m2" in name else wide
            wide = jtorch.where(kept, wide, jtorch.clamp(wide, -top, top))
        return wide.to(target)
    return x.to(target)


@handles("Cast", host="all")
def cast(n, x):
    to = n.get("to")
    to = _NAMES[to] if isinstance(to, str) else to
    if is_text(x):
        if to == 8:
            return x
        kind = np.dtype(dtype_of(to).np)
        if kind.kind in "iu":
            return tensor(np.array([int(s) for s in x.reshape(-1)], kind).reshape(x.shape))
        return tensor(np.array([float(s) for s in x.reshape(-1)], kind).reshape(x.shape))
    if to == 8:
        return _as_text(host(x))
    if to not in DTYPES:
        return narrowed(host(x), to)
    return convert(n, tensor(x, n.interpreter.device), to, bool(n.get("saturate", 1)))


def narrowed(x: np.ndarray, to: int) -> np.ndarray:
    """An array in one of the types narrower than a byte, which stay on the host."""
    target = helper.tensor_dtype_to_np_dtype(to)
    if "int" in str(target) and x.dtype.kind not in "iub":
        x = np.rint(x.astype(np.float32)).astype(np.int32)
    return x.astype(target)


def _as_text(x: np.ndarray) -> np.ndarray:
    return np.array([str(v) for v in x.reshape(-1).tolist()] if x.dtype.kind != "f" else
                    [np.format_float_positional(v, trim="-") if np.isfinite(v) and v != int(v) else
                     str(int(v)) if np.isfinite(v) else {"nan": "NaN", "inf": "INF", "-inf": "-INF"}[str(v)]
                     for v in x.reshape(-1)], object).reshape(x.shape)  # fmt: skip


@handles("CastLike", host="all")
def cast_like(n, x, like):
    from .interpreter import _element_type

    return cast(_Cast(n, _element_type(like)), x)


class _Cast:
    """A Cast node seen through a CastLike."""

    def __init__(self, n, to: int):
        self._n, self._to, self.interpreter = n, to, n.interpreter

    def get(self, name: str, default=None):
        return self._to if name == "to" else self._n.get(name, default)


@handles("BitCast")
def bit_cast(n, x):
    return x.view(dtype_of(n.get("to")))

"""Elementwise operations."""

from __future__ import annotations

import math

import numpy as np

import jtorch

from .builder import Value, short
from .table import axis_of, refuse, simple, translates

simple({
    "abs": "Abs", "neg": "Neg", "sign": "Sign", "sgn": "Sign", "exp": "Exp", "log": "Log", "sqrt": "Sqrt",
    "reciprocal": "Reciprocal", "sin": "Sin", "cos": "Cos", "tan": "Tan", "asin": "Asin", "acos": "Acos",
    "atan": "Atan", "sinh": "Sinh", "cosh": "Cosh", "tanh": "Tanh", "asinh": "Asinh", "acosh": "Acosh",
    "atanh": "Atanh", "sigmoid": "Sigmoid", "erf": "Erf", 
    "relu": "Relu", "softsign": "Softsign", "mish": "Mish", "hardswish": "HardSwish",
    "true_divide": "Div", "pow": "Pow",
})  # fmt: skip


def _is_int(x: Value) -> bool:
    return short(x.dtype).startswith(("int", "uint"))


def _is_bool(x: Value) -> bool:
    return short(x.dtype) == "bool"


def _with_numbers(name: str, make):
    """A unary operation written with constants of the operand's dtype: ``make(g, x, c)``, ``c(number)``."""

    def translate(g, node, input):
        return make(g, input, lambda number: g.scalar(number, input))

    translates(name)(translate)


for _name, _make in {
    "exp2": lambda g, x, c: g.Pow(c(2), x),
    "expm1": lambda g, x, c: g.Sub(g.Exp(x), c(1)),
    "log1p": lambda g, x, c: g.Log(g.Add(x, c(1))),
    "log2": lambda g, x, c: g.Div(g.Log(x), c(math.log(2))),
    "log10": lambda g, x, c: g.Div(g.Log(x), c(math.log(10))),
    "rsqrt": lambda g, x, c: g.Reciprocal(g.Sqrt(x)),
    "square": lambda g, x, c: g.Mul(x, x),
    "deg2rad": lambda g, x, c: g.Mul(x, c(math.pi / 180)),
    "rad2deg": lambda g, x, c: g.Mul(x, c(180 / math.pi)),
    "erfc": lambda g, x, c: g.Sub(c(1), g.Erf(x)),
    "ndtr": lambda g, x, c: g.Mul(g.Add(g.Erf(g.Mul(x, c(math.sqrt(0.5)))), c(1)), c(0.5)),
    "trunc": lambda g, x, c: x if _is_int(x) else _truncated(g, x),
    "frac": lambda g, x, c: g.Sub(x, _truncated(g, x)),
    "isposinf": lambda g, x, c: g.IsInf(x, detect_negative=0),
    "isneginf": lambda g, x, c: g.IsInf(x, detect_positive=0),
    "relu6": lambda g, x, c: g.Clip(x, c(0), c(6)),
    "silu": lambda g, x, c: g.Mul(x, g.Sigmoid(x)),
    "logsigmoid": lambda g, x, c: g.Neg(g.Softplus(g.Neg(x))),
    "tanhshrink": lambda g, x, c: g.Sub(x, g.Tanh(x)),
    "hardsigmoid": lambda g, x, c: g.HardSigmoid(x, alpha=1 / 6, beta=0.5),
    "signbit": lambda g, x, c: g.Or(g.Less(x, c(0)), g.And(g.Equal(x, c(0)), g.Less(g.Reciprocal(x), c(0)))),
    "entr": lambda g, x, c: _entropy(g, x, c),
    "sinc": lambda g, x, c: _sinc(g, x, c),
    "selu": lambda g, x, c: g.Selu(x, alpha=1.6732632423543772, gamma=1.0507009873554805),
}.items():
    _with_numbers(_name, _make)


def _entropy(g, x, c):
    inside = g.Where(g.Greater(x, c(0)), x, c(1))
    out = g.Where(g.Less(x, c(0)), c(-math.inf), g.Neg(g.Mul(inside, g.Log(inside))))
    return g.Where(g.IsNaN(x), x, out)


def _truncated(g, x):
    return g.Mul(g.Sign(x), g.Floor(g.Abs(x)))


def _sinc(g, x, c):
    angle = g.Mul(x, c(math.pi))
    zero = g.Equal(x, c(0))
    return g.Where(zero, c(1), g.Div(g.Sin(angle), g.Where(zero, c(1), angle)))


@translates("round")
def _round(g, node, input, decimals):
    if _is_int(input):
        return input
    if not decimals:
        return g.Round(input)
    factor = g.scalar(10.0**decimals, input)
    return g.Div(g.Round(g.Mul(input, factor)), factor)


@translates("nan_to_num")
def _nan_to_num(g, node, input, nan, posinf, neginf):
    if _is_int(input) or _is_bool(input):
        return input
    limits = jtorch.finfo(input.dtype)
    x = g.Where(g.IsNaN(input), g.scalar(0.0 if nan is None else nan, input), input)
    x = g.Where(g.IsInf(x, detect_negative=0), g.scalar(limits.max if posinf is None else posinf, input), x)
    return g.Where(g.IsInf(x, detect_positive=0), g.scalar(limits.min if neginf is None else neginf, input), x)


@translates("logit")
def _logit(g, node, input, eps):
    one = g.scalar(1, input)
    x = input if eps is None else g.Clip(input, g.scalar(eps, input), g.scalar(1 - eps, input))
    return g.Log(g.Div(x, g.Sub(one, x)))


# --- activations with parameters -------------------------------------------------------------------------------------


@translates("elu")
def _elu(g, node, input, alpha):
    return g.Elu(input, alpha=float(alpha))


@translates("celu")
def _celu(g, node, input, alpha):
    return g.Celu(input, alpha=float(alpha))


@translates("leaky_relu")
def _leaky_relu(g, node, input, negative_slope):
    return g.LeakyRelu(input, alpha=float(negative_slope))


@translates("_rrelu_eval")
def _rrelu_eval(g, node, input, lower, upper):
    return g.LeakyRelu(input, alpha=(float(lower) + float(upper)) / 2)


@translates("prelu")
def _prelu(g, node, input, weight):
    if weight.ndim == 1 and weight.shape[0] != 1 and input.ndim > 2:
        weight = g.Reshape(weight, g.ints([-1] + [1] * (input.ndim - 2)))
    if not input.ndim and weight.ndim:
        weight = g.Reshape(weight, g.ints([]))
    return g.PRelu(input, weight)


@translates("gelu")
def _gelu(g, node, input, approximate):
    if g.opset >= 20:
        return g.Gelu(input, approximate=approximate)
    if approximate == "tanh":
        cube = g.Mul(input, g.Mul(input, input))
        inner = g.Add(input, g.Mul(g.scalar(0.044715, input), cube))
        bend = g.Tanh(g.Mul(g.scalar(math.sqrt(2 / math.pi), input), inner))
    else:
        bend = g.Erf(g.Mul(input, g.scalar(math.sqrt(0.5), input)))
    return g.Mul(g.Mul(input, g.scalar(0.5, input)), g.Add(bend, g.scalar(1, input)))


@translates("hardtanh")
def _hardtanh(g, node, input, min_val, max_val):
    return g.Clip(input, g.scalar(min_val, input), g.scalar(max_val, input))


@translates("threshold")
def _threshold(g, node, input, threshold, value):
    return g.Where(g.Greater(input, g.scalar(threshold, input)), input, g.scalar(value, input))


@translates("softplus")
def _softplus(g, node, input, beta, threshold):
    if beta == 1:
        soft, scaled = g.Softplus(input), input
    else:
        scaled = g.Mul(input, g.scalar(beta, input))
        soft = g.Div(g.Softplus(scaled), g.scalar(beta, input))
    return g.Where(g.Greater(scaled, g.scalar(threshold, input)), input, soft)


@translates("hardshrink")
def _hardshrink(g, node, input, lambd):
    return g.Shrink(input, lambd=float(lambd), bias=0.0)


@translates("softshrink")
def _softshrink(g, node, input, lambd):
    return g.Shrink(input, lambd=float(lambd), bias=float(lambd))


@translates("glu")
def _glu(g, node, input, dim):
    a, b = g.Split(input, _outputs=2, axis=axis_of(dim, input.ndim), num_outputs=2)
    return g.Mul(a, g.Sigmoid(b))


@translates("_dropout", "_alpha_dropout", "_rrelu")
def _random(g, node, **_):
    refuse(node, "the model is in training mode and draws random numbers; call model.eval() first")


# --- two operands ----------------------------------------------------------------------------------------------------


def _scaled(g, x, alpha, like):
    return x if alpha is None or alpha == 1 else g.Mul(x, g.const(alpha, like.dtype))


@translates("add")
def _add(g, node, input, other, alpha):
    if _is_bool(input):
        return g.Or(input, other)
    return g.Add(input, _scaled(g, other, alpha, input))


@translates("sub")
def _sub(g, node, input, other, alpha):
    return g.Sub(input, _scaled(g, other, alpha, input))


@translates("rsub")
def _rsub(g, node, input, other, alpha):
    return g.Sub(other, _scaled(g, input, alpha, input))


def _floor_divide(g, a, b):
    if not _is_int(a):
        return g.Floor(g.Div(a, b))
    quotient = g.Div(a, b)  # towards zero
    rest = g.Sub(a, g.Mul(quotient, b))
    zero = g.scalar(0, a)
    down = g.And(g.Not(g.Equal(rest, zero)), g.Xor(g.Less(rest, zero), g.Less(b, zero)))
    return g.Sub(quotient, g.cast(down, a.dtype))


@translates("floor_divide")
def _floor_divide_(g, node, input, other):
    return _floor_divide(g, input, other)


@translates("div.mode")
def _div_mode(g, node, input, other, rounding_mode):
    if rounding_mode == "floor":
        return _floor_divide(g, input, other)
    quotient = g.Div(input, other)
    return quotient if rounding_mode is None or _is_int(input) else _truncated(g, quotient)


@translates("remainder")
def _remainder(g, node, input, other):
    if _is_int(input):
        return g.Mod(input, other)
    return g.Sub(input, g.Mul(g.Floor(g.Div(input, other)), other))


@translates("fmod")
def _fmod(g, node, input, other):
    return g.Mod(input, other, fmod=1)


@translates("clamp", "clamp_min", "clamp_max")
def _clamp(g, node, input, min=None, max=None):
    if (min is None or min.shape == ()) and (max is None or max.shape == ()) and input.shape != ():
        return g.Clip(input, min, max)
    x = input if min is None else g.Max(input, min)
    return x if max is None else g.Min(x, max)


@translates("lerp")
def _lerp(g, node, input, end, weight):
    return g.Add(input, g.Mul(weight, g.Sub(end, input)))


@translates("addcmul")
def _addcmul(g, node, input, tensor1, tensor2, value):
    return g.Add(input, _scaled(g, g.Mul(tensor1, tensor2), value, input))


@translates("addcdiv")
def _addcdiv(g, node, input, tensor1, tensor2, value):
    return g.Add(input, _scaled(g, g.Div(tensor1, tensor2), value, input))


@translates("hypot")
def _hypot(g, node, input, other):
    a, b = g.Abs(input), g.Abs(other)
    high, low = g.Max(a, b), g.Min(a, b)  # neither square may overflow
    safe = g.Where(g.Equal(high, g.scalar(0, input)), g.scalar(1, input), high)
    ratio = g.Div(low, safe)
    return g.Where(g.IsInf(high), high, g.Mul(high, g.Sqrt(g.Add(g.scalar(1, input), g.Mul(ratio, ratio)))))


@translates("logaddexp")
def _logaddexp(g, node, input, other):
    gap, top = g.Neg(g.Abs(g.Sub(input, other))), g.Max(input, other)
    out = g.Add(top, g.Log(g.Add(g.scalar(1, input), g.Exp(gap))))
    return g.Where(g.Equal(input, other), g.Add(top, g.scalar(math.log(2), input)), out)  # of equal infinities too


@translates("xlogy")
def _xlogy(g, node, input, other):
    zero = g.scalar(0, input)
    return g.Where(g.And(g.Equal(input, zero), g.Not(g.IsNaN(other))), zero, g.Mul(input, g.Log(other)))


@translates("atan2")
def _atan2(g, node, input, other):
    zero, pi = g.scalar(0, input), g.scalar(math.pi, input)
    up = g.Or(g.Less(input, zero), g.Less(g.Reciprocal(input), zero))  # -0 counts as negative
    turn = g.Where(up, g.Neg(pi), pi)
    angle = g.Atan(g.Div(input, other))
    angle = g.Where(g.Less(other, zero), g.Add(angle, turn), angle)
    straight = g.Where(
        g.Equal(input, zero), zero, g.Where(up, g.scalar(-math.pi / 2, input), g.scalar(math.pi / 2, input))
    )
    return g.Where(g.Equal(other, zero), straight, angle)


@translates("heaviside")
def _heaviside(g, node, input, values):
    zero = g.scalar(0, input)
    return g.Where(g.Equal(input, zero), values, g.cast(g.Greater(input, zero), input.dtype))


@translates("float_power")
def _float_power(g, node, input, exponent):
    double = jtorch.float64
    return g.Pow(g.const(input, double), g.const(exponent, double))


# --- comparisons, logic, bits ----------------------------------------------------------------------------------------


@translates("eq")
def _eq(g, node, input, other):
    return g.Equal(input, other)


@translates("ne")
def _ne(g, node, input, other):
    return g.Not(g.Equal(input, other))


def _ordered(name: str, op_type: str) -> None:
    def translate(g, node, input, other):
        if _is_bool(input):
            input, other = (g.cast(x, jtorch.int32) for x in (input, other))
        return g.node(op_type, [input, other])

    translates(name)(translate)


for _name, _type in {"lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual"}.items():
    _ordered(_name, _type)


@translates("isclose")
def _isclose(g, node, input, other, rtol, atol, equal_nan):
    if equal_nan:
        refuse(node, "equal_nan=True")
    allowed = g.Add(g.scalar(atol, input), g.Mul(g.scalar(rtol, input), g.Abs(other)))
    return g.Or(g.Equal(input, other), g.LessOrEqual(g.Abs(g.Sub(input, other)), allowed))


def _truth(g, x):
    return g.cast(x, jtorch.bool)


@translates("logical_not")
def _logical_not(g, node, input):
    return g.Not(_truth(g, input))


def _logic(name: str, bits: str, op_type: str, bit_type: str) -> None:
    def logical(g, node, input, other):
        return g.node(op_type, [_truth(g, input), _truth(g, other)])

    def bitwise(g, node, input, other):
        return g.node(op_type if _is_bool(input) else bit_type, [input, other])

    translates(name)(logical)
    translates(bits)(bitwise)


_logic("logical_and", "bitwise_and", "And", "BitwiseAnd")
_logic("logical_or", "bitwise_or", "Or", "BitwiseOr")
_logic("logical_xor", "bitwise_xor", "Xor", "BitwiseXor")


@translates("bitwise_not")
def _bitwise_not(g, node, input):
    return g.Not(input) if _is_bool(input) else g.BitwiseNot(input)


@translates("where")
def _where(g, node, condition, input, other):
    return g.Where(_truth(g, condition), input, other)


@translates("masked_fill")
def _masked_fill(g, node, input, mask, value):
    return g.Where(mask, g.const(value, input.dtype), input)


@translates("to_dtype")
def _to_dtype(g, node, input, dtype):
    if short(dtype) == "bool" and np.dtype(input.dtype.np).kind == "f":
        return g.Not(g.Equal(input, g.scalar(0, input)))
    return g.cast(input, dtype)


@translates("_copy")
def _copy(g, node, input, src):
    src = g.const(src, input.dtype)
    return g.expand(src, node.outputs[0].shape)


@translates("mul")
def _mul(g, node, input, other):
    return g.And(input, other) if _is_bool(input) else g.Mul(input, other)


@translates("positive", "detach", "alias", "_identity", "clone")
def _same(g, node, input, **_):
    return input


@translates("fmax", "fmin")
def _fmax(g, node, input, other):
    op_type = "Max" if node.name == "fmax" else "Min"
    if _is_int(input) or _is_bool(input):
        return g.node(op_type, [input, other])
    return g.Where(g.IsNaN(input), other, g.Where(g.IsNaN(other), input, g.node(op_type, [input, other])))


@translates("xlog1py")
def _xlog1py(g, node, input, other):
    zero = g.scalar(0, input)
    product = g.Mul(input, g.Log(g.Add(other, g.scalar(1, input))))
    return g.Where(g.And(g.Equal(input, zero), g.Not(g.IsNaN(other))), zero, product)


@translates("logaddexp2")
def _logaddexp2(g, node, input, other):
    gap = g.Neg(g.Abs(g.Sub(input, other)))
    bits = g.Log(g.Add(g.scalar(1, input), g.Pow(g.scalar(2, input), gap)))
    return g.Add(g.Max(input, other), g.Div(bits, g.scalar(math.log(2), input)))


@translates("ldexp")
def _ldexp(g, node, input, other):
    return g.Mul(input, g.Pow(g.scalar(2, input), other))


@translates("isin")
def _isin(g, node, elements, test_elements, assume_unique, invert):
    kind = jtorch.promote_types(elements.dtype, test_elements.dtype)
    each = g.Unsqueeze(g.cast(elements, kind), g.const(np.array([-1], np.int64)))
    among = g.Reshape(g.cast(test_elements, kind), g.ints([-1]))
    hits = g.reduce("Max", g.Cast(g.Equal(each, among), to=6), [-1], False)
    found = g.cast(Value(hits, jtorch.int32), jtorch.bool)
    return g.Not(found) if invert else found


@translates("floor", "ceil")
def _floor(g, node, input):
    return input if _is_int(input) else g.node(node.name.capitalize(), [input])


@translates("isnan", "isinf", "isfinite")
def _isnan(g, node, input):
    if _is_int(input) or _is_bool(input):  # never, or always
        return g.expand(g.const(node.name == "isfinite", jtorch.bool), input.shape)
    if node.name == "isfinite":
        return g.Not(g.Or(g.IsInf(input), g.IsNaN(input)))
    return g.IsNaN(input) if node.name == "isnan" else g.IsInf(input)


@translates("maximum", "minimum")
def _maximum(g, node, input, other):
    if _is_bool(input):
        return g.Or(input, other) if node.name == "maximum" else g.And(input, other)
    return g.node("Max" if node.name == "maximum" else "Min", [input, other])

"""JAX's primitives in NumPy: what :mod:`.host` runs small programs with.

A rule makes, from a primitive's parameters and the avals of its operands and results, a function of NumPy arrays.
It raises :class:`Unsupported` for what it cannot do exactly as XLA does; then the program is compiled. Where NumPy
differs from XLA (division by zero, conversions out of range, shifts by too much, indices out of bounds) the rule is
XLA's. https://openxla.org/stablehlo/spec defines the operations.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..tables import by_name


class Unsupported(Exception):
    """No rule, or none for these parameters or values."""


#: by name of the primitive: ``rule(params, inputs, outputs) -> function(*arrays)``
RULES: dict[str, Callable] = {}
#: of what takes NumPy longer than a pass over its results: ``(params, inputs, outputs) -> passes over an element more``
WORK: dict[str, Callable] = {}
#: of matrix products, multiplications for each such pass
PRODUCTS = {"dot_general": 8, "conv_general_dilated": 1}


rule, work = by_name(RULES), by_name(WORK)


def passes(n: int) -> Callable:
    """The work of ``n`` passes over the first operand."""
    return lambda params, inputs, outputs: n * math.prod(inputs[0].shape)


def _plain(names: dict[str, Callable]) -> None:
    """Primitives without parameters that matter."""
    for name, function in names.items():
        RULES[name] = lambda params, inputs, outputs, function=function: function


def _kind(aval) -> str:
    """``b``, ``i``, ``u``, ``f`` or ``c``."""
    return aval.dtype.kind


# --- elementwise ---------------------------------------------------------------------------------------------------

_plain({
    "add": np.add, "add_any": np.add, "sub": np.subtract, "mul": np.multiply, "neg": np.negative,
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log1p": np.log1p,
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan,
    "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
    "atan2": np.arctan2, "sqrt": np.sqrt, "cbrt": np.cbrt, "square": np.square, "abs": np.abs, "floor": np.floor,
    "ceil": np.ceil, "is_finite": np.isfinite, "nextafter": np.nextafter, "not": np.invert, "and": np.bitwise_and,
    "or": np.bitwise_or, "xor": np.bitwise_xor, "eq": np.equal, "ne": np.not_equal, "real": np.real, "imag": np.imag,
    "conj": np.conj, "copy": lambda x: x, "layout_constraint": lambda x: x, "stop_gradient": lambda x: x,
    "optimization_barrier": lambda *x: x,
})  # fmt: skip


def _real_only(names: dict[str, Callable]) -> None:
    """NumPy orders complex numbers, XLA refuses or compares otherwise."""
    for name, function in names.items():

        def make(params, inputs, outputs, function=function):
            if _kind(inputs[0]) == "c":
                raise Unsupported
            return function

        RULES[name] = make


_real_only({
    "max": np.maximum, "min": np.minimum, "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal, "clamp": lambda low, x, high: np.minimum(np.maximum(x, low), high),
})  # fmt: skip


def _total_order(function):
    def make(params, inputs, outputs):
        if _kind(inputs[0]) in "fc":  # where NaN and -0.0 have a place in the order
            raise Unsupported
        return function

    return make


#: comparisons in the order that sorting uses
RULES |= {name: _total_order(f) for name, f in (("lt_to", np.less), ("le_to", np.less_equal), ("eq_to", np.equal))}


@rule("sign")
def _sign(params, inputs, outputs):
    if _kind(inputs[0]) == "f":
        return lambda x: np.where((x == 0) | np.isnan(x), x, np.copysign(x.dtype.type(1), x))
    if _kind(inputs[0]) == "c":
        raise Unsupported
    return np.sign


@rule("rsqrt")
def _rsqrt(params, inputs, outputs):
    one = inputs[0].dtype.type(1)
    return lambda x: one / np.sqrt(x)


@rule("logistic")
def _logistic(params, inputs, outputs):
    one = inputs[0].dtype.type(1)
    return lambda x: one / (one + np.exp(-x))


@rule("round")
def _round(params, inputs, outputs):
    if int(params["rounding_method"]) == 1:
        return np.rint

    def away_from_zero(x):
        whole = np.trunc(x)
        return np.where(np.abs(x - whole) >= 0.5, whole + np.copysign(x.dtype.type(1), x), whole)

    return away_from_zero


def _by_element(function):
    """A function of Python floats, computed in double precision. SciPy's take a quarter of a second to import."""
    each = np.frompyfunc(function, 1, 1)

    def make(params, inputs, outputs):
        dtype = outputs[0].dtype
        return lambda x: np.asarray(each(x.astype(np.float64))).astype(np.float64).astype(dtype)

    return make


def _lgamma(x: float) -> float:
    if x <= 0 and (math.isinf(x) or x == math.floor(x)):
        return math.inf
    return math.lgamma(x)


RULES["erf"], RULES["erfc"], RULES["lgamma"] = map(_by_element, (math.erf, math.erfc, _lgamma))
WORK["erf"] = WORK["erfc"] = WORK["lgamma"] = passes(50)


def _special(names: dict[str, str]) -> None:
    """What only SciPy has, under names of its own."""
    for name, theirs in names.items():

        def make(params, inputs, outputs, theirs=theirs):
            from scipy import special

            function, dtype = getattr(special, theirs), outputs[0].dtype
            return lambda *x: function(*x).astype(dtype)

        RULES[name], WORK[name] = make, passes(10)


_special({
    "erf_inv": "erfinv", "bessel_i0e": "i0e", "bessel_i1e": "i1e", "igamma": "gammainc", "igammac": "gammaincc",
})  # fmt: skip


@rule("digamma")
def _digamma(params, inputs, outputs):
    from scipy.special import psi

    def function(x):
        if not np.all(x):  # at 0, JAX's releases differ
            raise Unsupported
        return psi(x).astype(x.dtype)

    return function


@rule("integer_pow")
def _integer_pow(params, inputs, outputs):
    y, dtype = params["y"], inputs[0].dtype

    def power(x):
        result, base, n = np.ones_like(x), x, abs(y)
        while n:
            if n & 1:
                result = result * base
            base, n = base * base, n >> 1
        return result if y >= 0 else dtype.type(1) / result

    if y < 0 and dtype.kind in "iub":
        raise Unsupported
    return power


@rule("pow")
def _pow(params, inputs, outputs):
    if inputs[0].dtype.kind not in "fc":
        raise Unsupported
    dtype = outputs[0].dtype
    return lambda x, y: np.power(x, y.astype(dtype))


@rule("div")
def _div(params, inputs, outputs):
    kind = _kind(inputs[0])
    return {"i": _divide, "u": _divide_unsigned}.get(kind, np.true_divide)


def _divide(x, y):
    by_zero = y == 0
    y = np.where(by_zero, y.dtype.type(1), y)
    quotient = np.floor_divide(x, y)
    quotient = quotient + ((x - quotient * y != 0) & ((x < 0) != (y < 0))).astype(x.dtype)
    return np.where(by_zero, x.dtype.type(-1), quotient)


def _divide_unsigned(x, y):
    by_zero = y == 0
    return np.where(by_zero, np.iinfo(x.dtype).max, np.floor_divide(x, np.where(by_zero, y.dtype.type(1), y)))


@rule("rem")
def _rem(params, inputs, outputs):
    if _kind(inputs[0]) == "f":
        return np.fmod
    return lambda x, y: np.where(y == 0, x, np.fmod(x, np.where(y == 0, y.dtype.type(1), y)))


def _shifts(shift, too_far):
    def make(params, inputs, outputs):
        dtype = inputs[0].dtype
        bits, unsigned = dtype.itemsize * 8, np.dtype(f"u{dtype.itemsize}")

        def function(x, by):
            far = by.view(unsigned) >= bits
            return np.where(far, too_far(x, bits), shift(x, np.where(far, by.dtype.type(0), by), unsigned)).astype(
                dtype
            )

        return function

    return make


def _halved(x, by):
    """Shifted right, with the first bit as the sign also where the type has none."""
    signed = np.dtype(f"i{x.dtype.itemsize}")
    return np.right_shift(x.view(signed), np.asarray(by).astype(signed)).view(x.dtype)


RULES["shift_left"] = _shifts(lambda x, by, u: np.left_shift(x, by), lambda x, bits: x.dtype.type(0))
RULES["shift_right_arithmetic"] = _shifts(lambda x, by, u: _halved(x, by), lambda x, bits: _halved(x, bits - 1))
RULES["shift_right_logical"] = _shifts(
    lambda x, by, u: np.right_shift(x.view(u), by.view(u)).view(x.dtype), lambda x, bits: x.dtype.type(0)
)


@rule("complex")
def _complex(params, inputs, outputs):
    dtype = outputs[0].dtype

    def function(real, imag):
        result = np.empty(np.broadcast_shapes(real.shape, imag.shape), dtype)
        result.real, result.imag = real, imag
        return result

    return function


@rule("select_n")
def _select_n(params, inputs, outputs):
    if len(inputs) == 2:
        return lambda which, only: only
    if len(inputs) == 3:
        return lambda which, no, yes: np.where(which, yes, no)
    raise Unsupported


@rule("convert_element_type")
def _convert(params, inputs, outputs):
    old, new = inputs[0].dtype, outputs[0].dtype
    if old == new:
        return lambda x: x
    if new.kind == "b":
        return lambda x: x != 0
    if old.kind == "c" and new.kind != "c":
        raise Unsupported
    if old.kind == "f" and new.kind in "iu":
        limits = np.iinfo(new)
        low, high = float(limits.min), float(limits.max) + 1  # of 64 bits, rounded to a power of two

        def saturate(x):
            wide = x.astype(np.float64)
            inside = (wide > low - 1) & (wide < high)
            limit = np.where(wide > 0, limits.max, limits.min).astype(new)
            limit = np.where(np.isnan(wide), new.type(0), limit)
            return np.where(inside, np.where(inside, wide, 0).astype(new), limit)

        return saturate
    return lambda x: x.astype(new)


@rule("bitcast_convert_type")
def _bitcast(params, inputs, outputs):
    new = outputs[0].dtype
    if inputs[0].dtype.itemsize != new.itemsize or "b" in (inputs[0].dtype.kind, new.kind):
        raise Unsupported
    return lambda x: np.ascontiguousarray(x).view(new).reshape(x.shape)


@rule("reduce_precision")
def _reduce_precision(params, inputs, outputs):
    info = np.finfo(inputs[0].dtype)
    if params["exponent_bits"] != info.nexp or params["mantissa_bits"] != info.nmant:
        raise Unsupported
    return lambda x: x


# --- shapes --------------------------------------------------------------------------------------------------------


#: elements up to which a copy takes less time than NumPy's making of a repeating view
_COPIED = 4096


@rule("broadcast_in_dim")
def _broadcast_in_dim(params, inputs, outputs):
    shape = tuple(params["shape"])
    ones = [1] * len(shape)
    for d, n in zip(params["broadcast_dimensions"], inputs[0].shape, strict=True):
        ones[d] = n
    if math.prod(shape) > _COPIED:
        return lambda x, *_: np.broadcast_to(x.reshape(ones), shape)
    dtype = outputs[0].dtype

    def copied(x, *_):
        result = np.empty(shape, dtype)
        result[...] = x.reshape(ones)
        return result

    return copied


@rule("reshape", "squeeze")
def _reshape(params, inputs, outputs):
    shape = outputs[0].shape
    order = params["dimensions"] if "new_sizes" in params else None  # the others' are the dims of size 1
    return lambda x, *_: (x if order is None else x.transpose(order)).reshape(shape)


@rule("transpose")
def _transpose(params, inputs, outputs):
    order = tuple(params["permutation"])
    return lambda x: x.transpose(order)


@rule("rev")
def _rev(params, inputs, outputs):
    where = tuple([slice(None, None, -1 if d in params["dimensions"] else 1) for d in range(len(inputs[0].shape))])
    return lambda x: x[where]


@rule("concatenate")
def _concatenate(params, inputs, outputs):
    axis = params["dimension"]
    return lambda *x: np.concatenate(x, axis)


@rule("stack")
def _stack(params, inputs, outputs):
    axis = params["axis"]
    return lambda *x: np.stack(x, axis)


@rule("split")
def _split(params, inputs, outputs):
    ends, axis = np.cumsum(params["sizes"])[:-1], params["axis"]
    return lambda x: np.split(x, ends, axis)


@rule("tile")
def _tile(params, inputs, outputs):
    reps = tuple(params["reps"])
    return lambda x: np.tile(x, reps)


@rule("pad")
def _pad(params, inputs, outputs):
    shape, targets, sources = outputs[0].shape, [], []
    for (low, _, inside), n, length in zip(params["padding_config"], inputs[0].shape, shape, strict=True):
        places = low + (inside + 1) * np.arange(n)
        kept = np.flatnonzero((places >= 0) & (places < length))
        targets.append(places[kept])
        sources.append(kept)

    def function(x, value):
        result = np.full(shape, value, x.dtype)
        result[np.ix_(*targets)] = x[np.ix_(*sources)]
        return result

    return function


@rule("slice")
def _slice(params, inputs, outputs):
    steps = params["strides"] or (1,) * len(inputs[0].shape)
    where = tuple(map(slice, params["start_indices"], params["limit_indices"], steps))
    return lambda x: x[where]


def _clipped(starts, sizes, shape) -> tuple[slice, ...]:
    starts = [min(max(int(s), 0), n - size) for s, n, size in zip(starts, shape, sizes, strict=True)]
    return tuple([slice(s, s + size) for s, size in zip(starts, sizes, strict=True)])


@rule("dynamic_slice")
def _dynamic_slice(params, inputs, outputs):
    sizes = params["slice_sizes"]
    return lambda x, *starts: x[_clipped(starts[: x.ndim], sizes, x.shape)]


@rule("dynamic_update_slice")
def _dynamic_update_slice(params, inputs, outputs):
    def function(x, update, *starts):
        result = x.copy()
        result[_clipped(starts, update.shape, x.shape)] = update
        return result

    return function


@rule("iota")
def _iota(params, inputs, outputs):
    shape, dtype, dimension = tuple(params["shape"]), outputs[0].dtype, params["dimension"]
    ones = [1] * len(shape)
    ones[dimension] = shape[dimension]
    return lambda *_: np.broadcast_to(np.arange(shape[dimension]).astype(dtype).reshape(ones), shape)


@rule("platform_index")
def _platform_index(params, inputs, outputs):
    index = next((i for i, names in enumerate(params["platforms"]) if names is None or "cpu" in names), None)
    if index is None:
        raise Unsupported
    return lambda: np.asarray(index, outputs[0].dtype)


# --- reductions ----------------------------------------------------------------------------------------------------


def lowest(dtype):
    return dtype.type(-np.inf) if dtype.kind == "f" else np.iinfo(dtype).min


def highest(dtype):
    return dtype.type(np.inf) if dtype.kind == "f" else np.iinfo(dtype).max


def _reduction(function, start):
    def make(params, inputs, outputs):
        axes, dtype, shape = tuple(params["axes"]), outputs[0].dtype, outputs[0].shape
        if params.get("out_sharding") is not None or (dtype.kind == "c" and start is None):
            raise Unsupported
        if start is None and math.prod(inputs[0].shape) == 0:
            if dtype.kind == "b":
                value = function is np.minimum
            else:
                value = lowest(dtype) if function is np.maximum else highest(dtype)
            return lambda x: np.full(shape, value, dtype)
        reduce = function.reduce
        if function in (np.add, np.multiply):
            return lambda x: reduce(x, axes, dtype)
        return lambda x: reduce(x, axes)

    return make


RULES["reduce_sum"], RULES["reduce_prod"] = _reduction(np.add, 0), _reduction(np.multiply, 1)
RULES["reduce_max"], RULES["reduce_min"] = _reduction(np.maximum, None), _reduction(np.minimum, None)


def _bitwise_reduction(function):
    def make(params, inputs, outputs):
        axes, dtype = tuple(params["axes"]), outputs[0].dtype
        return lambda x: np.asarray(function.reduce(x, axes)).astype(dtype)

    return make


RULES["reduce_and"], RULES["reduce_or"] = _bitwise_reduction(np.bitwise_and), _bitwise_reduction(np.bitwise_or)
RULES["reduce_xor"] = _bitwise_reduction(np.bitwise_xor)


def _arg_reduction(function):
    def make(params, inputs, outputs):
        (axis,), dtype = params["axes"], outputs[0].dtype
        if _kind(inputs[0]) == "c" or not inputs[0].shape[axis]:
            raise Unsupported
        return lambda x: function(x, axis).astype(dtype)

    return make


RULES["argmax"], RULES["argmin"] = _arg_reduction(np.argmax), _arg_reduction(np.argmin)


def _cumulation(function):
    def make(params, inputs, outputs):
        axis, dtype = params["axis"], outputs[0].dtype
        if dtype.kind == "c" and function in (np.maximum, np.minimum):
            raise Unsupported
        back = tuple([slice(None, None, -1 if d == axis else 1) for d in range(len(inputs[0].shape))])
        if params["reverse"]:
            return lambda x: function.accumulate(x[back], axis, dtype)[back]
        return lambda x: function.accumulate(x, axis, dtype)

    return make


RULES["cumsum"], RULES["cumprod"] = _cumulation(np.add), _cumulation(np.multiply)
RULES["cummax"], RULES["cummin"] = _cumulation(np.maximum), _cumulation(np.minimum)
RULES["cumlogsumexp"] = _cumulation(np.logaddexp)


@rule("dot_general")
def _dot_general(params, inputs, outputs):
    (contract_x, contract_y), (batch_x, batch_y) = params["dimension_numbers"]
    dtype, shape = outputs[0].dtype, outputs[0].shape
    if dtype.kind == "b":
        raise Unsupported
    free_x = [d for d in range(len(inputs[0].shape)) if d not in (*contract_x, *batch_x)]
    free_y = [d for d in range(len(inputs[1].shape)) if d not in (*contract_y, *batch_y)]
    order_x, order_y = (*batch_x, *free_x, *contract_x), (*batch_y, *contract_y, *free_y)
    batch = math.prod(inputs[0].shape[d] for d in batch_x)
    inner = math.prod(inputs[0].shape[d] for d in contract_x)
    rows = math.prod(inputs[0].shape[d] for d in free_x)
    columns = math.prod(inputs[1].shape[d] for d in free_y)

    def function(x, y):
        x = x.astype(dtype).transpose(order_x).reshape(batch, rows, inner)
        y = y.astype(dtype).transpose(order_y).reshape(batch, inner, columns)
        return np.matmul(x, y).reshape(shape)

    return function


@work("dot_general")
def _dot_general_work(params, inputs, outputs):
    (contracted, _), _ = params["dimension_numbers"]
    return math.prod(outputs[0].shape) * math.prod(inputs[0].shape[d] for d in contracted) // PRODUCTS["dot_general"]


# --- order ---------------------------------------------------------------------------------------------------------

WORK["sort"] = WORK["top_k"] = passes(20)


@rule("sort")
def _sort(params, inputs, outputs):
    axis, keys = params["dimension"], params["num_keys"]
    if any(_kind(a) == "c" for a in inputs[:keys]):
        raise Unsupported

    def function(*arrays):
        if keys == 1:
            order = np.argsort(arrays[0], axis, kind="stable")
        else:
            order = np.lexsort(arrays[keys - 1 :: -1], axis)
        return [np.take_along_axis(x, order, axis) for x in arrays]

    return function


@rule("top_k")
def _top_k(params, inputs, outputs):
    k, dtype = params["k"], outputs[1].dtype
    if params.get("axis", len(inputs[0].shape) - 1) != len(inputs[0].shape) - 1 or _kind(inputs[0]) == "c":
        raise Unsupported

    def function(x):
        backwards = np.argsort(_total_order(x)[..., ::-1], -1, kind="stable")[..., ::-1]
        order = (x.shape[-1] - 1 - backwards)[..., :k]
        return np.take_along_axis(x, order, -1), order.astype(dtype)

    return function


def _total_order(x):
    """Integers in the order of floats, with -NaN before and NaN behind all others and -0 before 0."""
    if x.dtype.kind != "f":
        return x
    bits = np.ascontiguousarray(x).view(f"i{x.dtype.itemsize}")
    return bits ^ ((bits >> (8 * x.dtype.itemsize - 1)) & np.iinfo(bits.dtype).max)

"""Samples of the elementwise families: unary, binary, bitwise, comparisons, special functions."""

from .table import S, T, rows

INF, NAN = float("inf"), float("nan")
EDGES = T(values=[0.0, -0.0, 1.0, -1.0, 2.5, -2.5, INF, -INF, NAN], grad=False)
INTS = T(3, 4, dtype="int64", low=-4, high=5)
SMALL = T(2, 3, dtype="int32", low=-4, high=5)
BOOLS = T(5, dtype="bool")
COMPLEX = T(2, 3, dtype="complex64")


def S0(*args, why, **kwargs):
    """A row without gradient checks, and the reason."""
    return S(*args, gradcheck=False, why=why, **kwargs)


KINK = "the values sit on kinks or are infinite"

# --- unary: any real x -----------------------------------------------------------------------------------------------

FLAT = T(3, 4, grad=False)
rows("torch.sgn", S(FLAT), S(INTS), S(COMPLEX), S(EDGES))
for name in ("abs", "neg", "square", "conj_physical"):
    rows(f"torch.{name}", S(T(3, 4)), S(T()), S(T(0, 2)), S(INTS), S(COMPLEX), S0(EDGES, why=KINK))
for name in ("absolute", "negative"):
    rows(f"torch.{name}", S(T(3, 4)), S(INTS))
rows("torch.positive", S(T(3, 4)), S(INTS), S(COMPLEX))
rows("torch.sign", S(T(3, 4)), S(INTS), S(BOOLS), S0(EDGES, why=KINK))
rows("torch.signbit", S(T(3, 4)), S(INTS), S(BOOLS), S(EDGES))
rows("torch.angle", S(T(3, 4)), S(COMPLEX), S(INTS), S(BOOLS))

for name in ("exp", "sin", "cos", "tan", "sinh", "cosh", "tanh", "asinh", "atan", "sigmoid"):
    rows(f"torch.{name}", S(T(3, 4)), S(T()), S(T(0, 2)), S(INTS), S(BOOLS), S(COMPLEX, rtol=1e-4, atol=1e-5))
for name in ("exp2", "expm1", "erf", "erfc", "i0", "sinc", "deg2rad", "rad2deg"):
    rows(f"torch.{name}", S(T(3, 4)), S(T(1)), S(T(0, 2)), S(INTS), S(BOOLS))
for name in ("arcsinh", "arctan"):
    rows(f"torch.{name}", S(T(3, 4)))
for name in ("log", "log2", "log10", "sqrt", "rsqrt"):
    rows(
        f"torch.{name}",
        S(T(3, 4, low=0.1, high=9)),
        S(T(low=0.1)),
        S(T(4, dtype="int64", low=1, high=9)),
        S(T(2, 3, dtype="complex64", low=0.1)),
        S(EDGES),
    )
rows("torch.log1p", S(T(3, 4, low=-0.9, high=5)), S(INTS), S(EDGES))
rows("torch.reciprocal", S(T(3, 4, low=0.2)), S(T(2, 3, dtype="int32", low=1, high=9)), S(COMPLEX), S(EDGES))
for name in ("asin", "acos", "atanh", "arcsin", "arccos", "arctanh"):
    rows(f"torch.{name}", S(T(3, 4, low=-0.9, high=0.9)), S(BOOLS), S(EDGES))
for name in ("acosh", "arccosh"):
    rows(f"torch.{name}", S(T(3, 4, low=1.1, high=9)), S(EDGES))

for name in ("floor", "ceil", "trunc", "fix"):
    rows(f"torch.{name}", S(T(3, 4)), S(INTS), S(EDGES))
rows("torch.frac", S(T(3, 4)))
rows(
    "torch.round",
    S(T(3, 4)),
    S(INTS),
    S(T(values=[0.5, 1.5, 2.5, -0.5, -1.5], grad=False)),
    S(T(3), decimals=2),
    S(T(3, low=-900, high=900), decimals=-2),
)

for name in ("isnan", "isinf", "isfinite"):
    rows(f"torch.{name}", S(EDGES), S(INTS), S(COMPLEX))
for name in ("isposinf", "isneginf"):
    rows(f"torch.{name}", S(EDGES), S(INTS))
rows("torch.isreal", S(EDGES), S(INTS), S0(T(values=[1 + 0j, 1 + 2j], dtype="complex64", grad=False), why="complex"))
rows(
    "torch.nan_to_num",
    S(T(3, 4)),
    S(EDGES),
    S(EDGES, 1.0, 2.0, -3.0),
    S(EDGES, nan=7.0),
    S(INTS),
    S0(T(values=[complex(NAN, 1), complex(1, INF)], dtype="complex64", grad=False), why="complex"),
)

# --- special functions -----------------------------------------------------------------------------------------------

rows("torch.erfinv", S(T(3, 4, low=-0.9, high=0.9)), S(T(values=[0.0, 1.0, -1.0, 2.0], grad=False)))
rows(
    "torch.lgamma",
    S(T(3, 4, low=0.2, high=6)),
    S(T(values=[0.0, -1.0, -2.5, 1.0, 2.0], grad=False)),
    S(T(3, dtype="int64", low=1)),
)
# PyTorch's trigamma is right to nine digits only
rows("torch.digamma", S(T(3, 4, low=0.2, high=6), rtol=1e-5), S(T(values=[0.0, -0.0, -1.0, -2.5], grad=False)))
rows(
    "torch.polygamma",
    *(S(n, T(3, 4, low=0.3, high=6), rtol=1e-5) for n in range(4)),
    S0(1, T(values=[-0.5, -2.3]), why=KINK),
)
rows("torch.mvlgamma", S(T(3, 4, low=2, high=6), 3))
rows(
    "torch.logit",
    S(T(3, 4, low=0.1, high=0.9)),
    S(T(3, 4, low=-0.5, high=1.5), eps=0.2),
    S(T(4, low=0.1, high=0.9), 1e-6),
)
rows(
    "torch.xlogy",
    S(T(3, 4), T(4, low=0.2)),
    S(T(3), 2.5),
    S(2.0, T(3, low=0.2)),
    S(INTS, T(4, dtype="int64", low=1)),
    S(T(values=[0.0, 0.0, 1.0, NAN], grad=False), T(values=[0.0, -1.0, 0.0, 2.0], grad=False)),
    S(T(values=[0.0], grad=False), T(values=[INF], grad=False)),
)
rows("torch.special.xlog1py", S(T(3, 4), T(4, low=-0.5)), S(T(3), 2.5))
rows("torch.special.entr", S(T(3, 4, low=0.1)), S(T(values=[0.0, -1.0, 0.5, NAN], grad=False)))
for name in ("ndtr", "log_ndtr", "i0e", "i1", "i1e"):
    rows(f"torch.special.{name}", S(T(3, 4)), S(INTS))
rows("torch.special.erfcx", S(T(3, 4)), S(T(3, low=4, high=40)))
rows("torch.special.ndtri", S(T(3, 4, low=0.1, high=0.9)))
for name in ("gammainc", "gammaincc"):
    rows(
        f"torch.special.{name}",
        S(T(3, 4, low=0.5, grad=False), T(4, low=0.2)),
    )
rows(
    "torch.special.zeta",
    S(T(3, 4, low=1.5, high=3, grad=False), T(4, low=0.5, grad=False)),
)

# --- arithmetic ------------------------------------------------------------------------------------------------------

MIXED = (
    S(T(3, 4), T(4)),
    S(T(3, 1), T(2, 1, 4)),
    S(T(3, 4), T()),
    S(T(0, 2), T(2)),
    S(INTS, T(4)),
    S(INTS, T(4, dtype="int32")),
    S(T(3, 4), 2.5),
    S(INTS, 3),
    S(INTS, 1.5),
    S(COMPLEX, T(3)),
)
rows("torch.add", *MIXED, S(T(3), T(3), alpha=2.5), S(INTS, 2, alpha=3), S(BOOLS, BOOLS), S(BOOLS, 1))
rows("torch.sub", *MIXED, S(T(3), T(3), alpha=2.5), S(T(dtype="uint8", values=[1]), T(dtype="uint8", values=[2])))
rows("torch.rsub", S(T(3), T(3)), S(T(3), 1, alpha=2), S(INTS, 5))
rows("torch.mul", *MIXED, S(BOOLS, BOOLS))
for name in ("subtract", "multiply"):
    rows(f"torch.{name}", S(T(3), T(3)), S(INTS, 2))
rows("torch.addcmul", S(T(3, 4), T(3, 1), T(4)), S(T(3), T(3), T(3), value=0.5), S(INTS, INTS, INTS, value=2))
rows("torch.addcdiv", S(T(3, 4), T(3, 1), T(4, low=0.5)), S(T(3), T(3), T(3, low=0.5), value=0.5))
rows("torch.lerp", S(T(3, 4), T(3, 4), 0.3), S(T(3, 4), T(4), T(3, 4)), S(T(3), T(3), 1.0))

NONZERO = T(3, 4, dtype="int64", low=1, high=5)
SIGNED = T(values=[7.5, -7.5, 7.5, -7.5, 6.0, -6.0, 1.0, 0.0, 0.1], grad=False)
DIVISORS = T(values=[2.0, 2.0, -2.0, -2.0, 3.0, 3.0, 0.0, 0.0, 0.01], grad=False)
INT_SIGNED = T(dtype="int64", values=[7, -7, 7, -7, 6, -6])
INT_DIVISORS = T(dtype="int64", values=[2, 2, -2, -2, 3, -3])
QUOTIENTS = (
    S(T(3, 4), T(4, low=0.3)),
    S(INTS, NONZERO),
    S(INTS, 2),
    S(2.0, T(3, low=0.3)),
    S(COMPLEX, COMPLEX),
    S(SIGNED, DIVISORS),
)
ROUNDED = tuple(
    S(a, b, rounding_mode=mode)
    for mode in ("trunc", "floor")
    for a, b in ((SIGNED, DIVISORS), (INT_SIGNED, INT_DIVISORS), (T(3, 4), T(4, low=0.3)), (INTS, 2.0))
)
rows("torch.true_divide", *QUOTIENTS)
for name in ("div", "divide"):
    rows(f"torch.{name}", *QUOTIENTS, *ROUNDED)
DIVIDED = (S(SIGNED, DIVISORS), S(INT_SIGNED, INT_DIVISORS), S(INTS, 3), S(INTS, 1.5))
rows("torch.floor_divide", *DIVIDED, S(T(3, 4, grad=False), T(4, low=0.3, grad=False)))
for name in ("remainder", "fmod"):
    rows(f"torch.{name}", *DIVIDED, S(T(3, 4), T(4, low=0.3)), S(T(3, 4), 0.7))
rows("torch.gcd", S(INTS, NONZERO), S(T(dtype="int64", values=[0, 12]), T(dtype="int64", values=[0, -18])))
rows("torch.lcm", S(INTS, NONZERO), S(T(dtype="int64", values=[0, 12]), T(dtype="int64", values=[0, -18])))

rows(
    "torch.pow",
    S(T(3, 4, low=0.2), T(4)),
    S(T(3, 4), 2),
    S(T(3, 4), 3),
    S(T(3, low=0.1), 0.5),
    S(T(3), 0),
    S(T(3), -1),
    S(2, T(3)),
    S(2.5, T(3)),
    S(2, INTS),
    S(T(dtype="int64", values=[2, 1, -1, -1, 0, 3]), T(dtype="int64", values=[-1, -1, -1, -2, 0, 4])),
    S(INTS, 2),
    S(INTS, 2.0),
    S(COMPLEX, 2),
    S0(T(values=[0.0, 0.0, -1.0]), T(values=[0.0, 2.0, 2.0]), why=KINK),
)
rows("torch.float_power", S(T(3, low=0.2), 2), S(INTS, 2), S(2, T(3)), S(T(3, low=0.2), T(3)))
rows("torch.ldexp", S(T(3, 4), T(4, dtype="int32", low=0, high=4)), S(T(3), T(3)), S(INTS, T(4, dtype="int64")))

# --- extremes, clamping ----------------------------------------------------------------------------------------------

for name in ("maximum", "minimum", "fmax", "fmin"):
    rows(
        f"torch.{name}",
        S(T(3, 4), T(4)),
        S(INTS, T(4)),
        S(INTS, NONZERO),
        S(BOOLS, BOOLS),
        S0(T(values=[1.0, -1.0]), T(values=[1.0, -1.0]), why=KINK),
        S(T(values=[1.0, NAN, 1.0], grad=False), T(values=[1.0, 1.0, NAN], grad=False)),
    )
for name in ("clamp", "clip"):
    rows(
        f"torch.{name}",
        S(T(3, 4), -1.0, 1.0),
        S(T(3, 4), min=0.5),
        S(T(3, 4), max=0.5),
        S(T(3, 4), T(4), T(3, 1)),
        S(T(3, 4), T(4), None),
        S(INTS, 0, 3),
        S(INTS, 0.5),
        S(T(3, 4), 1.0, -1.0),
        S0(T(values=[-1.0, 0.0, 1.0]), -1.0, 1.0, why=KINK),
        S(EDGES, -1.0, 1.0),
        S0(T(values=[-1.0, 0.0]), T(values=[-1.0, 0.0]), T(values=[0.0, 0.0]), why=KINK),
    )
rows("torch.clamp_min", S(T(3, 4), 0.5), S(T(3, 4), T(4)), S(INTS, 1))
rows("torch.clamp_max", S(T(3, 4), 0.5), S(T(3, 4), T(4)), S(INTS, 1))
rows("torch.nextafter", S(T(3, 4, grad=False), T(4, grad=False)))
rows(
    "torch.heaviside",
    S(T(values=[-1.0, 0.0, 2.0, NAN], grad=False), T(values=[0.5], grad=False)),
    S(INTS, INTS),
)

rows(
    "torch.logaddexp",
    S(T(3, 4), T(4)),
    S(T(values=[INF, -INF, 1.0], grad=False), T(values=[INF, -INF, NAN], grad=False)),
)
rows("torch.logaddexp2", S(T(3, 4), T(4)))
for name in ("atan2", "arctan2"):
    rows(
        f"torch.{name}",
        S(T(3, 4), T(4)),
        S(INTS, NONZERO),
        S0(T(values=[0.0, -0.0, 1.0]), T(values=[0.0, -1.0, 0.0]), why=KINK),
    )
rows(
    "torch.hypot",
    S(T(3, 4), T(4)),
    S(T(values=[0.0, INF, 3e30, NAN, 1.0], grad=False), T(values=[0.0, NAN, 4e30, -INF, NAN], grad=False)),
    S(T(values=[0.0], grad=False), T(values=[0.0], grad=False)),
)
rows(
    "torch.copysign",
    S(T(3, 4), T(4)),
    S(T(3, 4), -0.0),
    S(INTS, T(4)),
    S0(T(values=[0.0, -0.0]), T(values=[-1.0, 1.0]), why=KINK),
)

# --- bits, truth, comparisons ----------------------------------------------------------------------------------------

rows("torch.bitwise_not", S(INTS), S(BOOLS), S(T(3, dtype="uint8")))
for name in ("and", "or", "xor"):
    rows(
        f"torch.bitwise_{name}",
        S(INTS, NONZERO),
        S(INTS, 3),
        S(BOOLS, BOOLS),
        S(INTS, T(4, dtype="bool")),
        S(SMALL, T(3, dtype="int64")),
    )
    rows(f"torch.logical_{name}", S(INTS, NONZERO), S(BOOLS, BOOLS), S(T(3, 4), T(4, dtype="bool")))
SHIFTS = T(dtype="int64", values=[0, 1, 3, 63, 64, 70])
for name in ("left", "right"):
    rows(
        f"torch.bitwise_{name}_shift",
        S(T(dtype="int64", values=[5, -5, 8, -1, 9, -9]), SHIFTS),
        S(INTS, 1),
        S(T(3, dtype="uint8"), 2),
    )
rows("torch.logical_not", S(INTS), S(BOOLS), S(EDGES))
for name in ("eq", "ne", "not_equal", "lt", "less", "le", "less_equal", "gt", "greater", "ge", "greater_equal"):
    rows(
        f"torch.{name}", S(T(3, 4), T(4)), S(INTS, NONZERO), S(INTS, 1), S(INTS, 0.5), S(EDGES, EDGES), S(BOOLS, BOOLS)
    )
rows(
    "torch.isclose",
    S(EDGES, EDGES),
    S(EDGES, EDGES, equal_nan=True),
    S(INTS, NONZERO),
    S(INTS, INTS, rtol=0.5),
    S(T(values=[1.0, 1.0], grad=False), T(values=[1.0 + 1e-6, 1.1], grad=False), atol=1e-3),
)
rows("torch.isin", S(INTS, NONZERO), S(INTS, 2), S(T(3), T(3), invert=True))

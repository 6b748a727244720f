"""Element types, with PyTorch's names and PyTorch's promotion lattice.

A :class:`dtype` is a singleton; ``dtype.np`` is the NumPy type (from ``ml_dtypes`` where NumPy has none) that
XLA uses for it. Promotion between operands is decided here and nowhere else; JAX's own rules never apply.
"""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np

BOOL, INT, FLOAT, COMPLEX = 0, 1, 2, 3  # categories, in promotion order


class dtype:
    """An element type, e.g. ``jtorch.float32``. Compared by identity; pickles by name."""

    __slots__ = ("name", "np", "category", "itemsize", "is_signed", "abbr")

    def __init__(self, name: str, np_type, category: int, is_signed: bool, abbr: str):
        self.name, self.np, self.category = name, np.dtype(np_type), category
        self.itemsize, self.is_signed, self.abbr = self.np.itemsize, is_signed, abbr

    @property
    def is_floating_point(self) -> bool:
        return self.category == FLOAT

    @property
    def is_complex(self) -> bool:
        return self.category == COMPLEX

    def to_real(self) -> dtype:
        """The real counterpart of a complex type (itself, otherwise)."""
        return {"complex64": float32, "complex128": float64}.get(self.name, self)

    def to_complex(self) -> dtype:
        """The complex counterpart of a real floating type."""
        return {"float64": complex128, "complex128": complex128}.get(self.name, complex64)

    @property
    def legacy_name(self) -> str:
        """The name PyTorch's error messages and tensor types use: ``Float``, ``Long``, ``Byte``."""
        return _LEGACY.get(self.name, self.name.capitalize())

    def __repr__(self) -> str:
        return f"torch.{self.name}"  # PyTorch programs print and parse this form

    def __reduce__(self):
        return of_name, (self.name,)


_LEGACY = {
    "float32": "Float", "float64": "Double", "float16": "Half", "bfloat16": "BFloat16", "int64": "Long",
    "int32": "Int", "int16": "Short", "int8": "Char", "uint8": "Byte", "bool": "Bool", "complex64": "ComplexFloat",
    "complex128": "ComplexDouble", "uint16": "UInt16", "uint32": "UInt32", "uint64": "UInt64",
}  # fmt: skip

float64 = dtype("float64", np.float64, FLOAT, True, "f64")
float32 = dtype("float32", np.float32, FLOAT, True, "f32")
float16 = dtype("float16", np.float16, FLOAT, True, "f16")
bfloat16 = dtype("bfloat16", ml_dtypes.bfloat16, FLOAT, True, "bf16")
float8_e4m3fn = dtype("float8_e4m3fn", ml_dtypes.float8_e4m3fn, FLOAT, True, "f8e4m3fn")
float8_e5m2 = dtype("float8_e5m2", ml_dtypes.float8_e5m2, FLOAT, True, "f8e5m2")
float8_e4m3fnuz = dtype("float8_e4m3fnuz", ml_dtypes.float8_e4m3fnuz, FLOAT, True, "f8e4m3fnuz")
float8_e5m2fnuz = dtype("float8_e5m2fnuz", ml_dtypes.float8_e5m2fnuz, FLOAT, True, "f8e5m2fnuz")
complex64 = dtype("complex64", np.complex64, COMPLEX, True, "c64")
complex128 = dtype("complex128", np.complex128, COMPLEX, True, "c128")
int64 = dtype("int64", np.int64, INT, True, "i64")
int32 = dtype("int32", np.int32, INT, True, "i32")
int16 = dtype("int16", np.int16, INT, True, "i16")
int8 = dtype("int8", np.int8, INT, True, "i8")
uint8 = dtype("uint8", np.uint8, INT, False, "u8")
uint16 = dtype("uint16", np.uint16, INT, False, "u16")
uint32 = dtype("uint32", np.uint32, INT, False, "u32")
uint64 = dtype("uint64", np.uint64, INT, False, "u64")
bool_ = dtype("bool", np.bool_, BOOL, False, "b8")

ALL = (
    float64, float32, float16, bfloat16, float8_e4m3fn, float8_e5m2, float8_e4m3fnuz, float8_e5m2fnuz,
    complex64, complex128, int64, int32, int16, int8, uint8, uint16, uint32, uint64, bool_,
)  # fmt: skip
#: Second names, as PyTorch exports them.
ALIASES = {
    "double": float64, "float": float32, "half": float16, "long": int64, "int": int32, "short": int16,
    "cfloat": complex64, "cdouble": complex128,
}  # fmt: skip


class named_dtype(dtype):
    """A dtype of PyTorch that XLA has no counterpart of: it can be named and compared, but no tensor made of it."""

    __slots__ = ()

    def __init__(self, name: str, itemsize: int, category: int):
        self.name, self.category, self.itemsize, self.is_signed, self.abbr = name, category, itemsize, True, name

    def __getattr__(self, attribute):
        if attribute == "np":
            raise NotImplementedError(f"tensors of dtype {self} are not supported: XLA has no such type")
        raise AttributeError(attribute)


_NAMED = (
    ("complex32", 4, COMPLEX),
    ("float4_e2m1fn_x2", 1, FLOAT),
    ("float8_e8m0fnu", 1, FLOAT),
    ("quint2x4", 1, INT),
    *((f"{u}int{bits}", 1, INT) for u in ("", "u") for bits in range(1, 8)),
    *((f"bits{bits}", size, INT) for bits, size in (("8", 1), ("16", 2), ("1x8", 1), ("2x4", 1), ("4x2", 1))),
)
#: The dtypes that can only be named.
NAMED = {name: named_dtype(name, size, category) for name, size, category in _NAMED}
NAMED["chalf"] = NAMED["complex32"]
_BY_NAME = {d.name: d for d in ALL} | ALIASES | NAMED
_BY_NUMPY = {d.np: d for d in ALL}


def of_name(name: str) -> dtype:
    """The dtype called ``name`` (``"float32"``, or an alias such as ``"long"``)."""
    return _BY_NAME[name]


def of_numpy(np_type) -> dtype:
    """The dtype of a NumPy (or ``ml_dtypes``) type.

    Raises:
        TypeError: the type has no counterpart (strings, objects, structured types).
    """
    found = _BY_NUMPY.get(np_type)
    if found is None:
        found = _BY_NUMPY.get(np.dtype(np_type).newbyteorder("="))
    if found is None:
        raise TypeError(
            f"can't convert np.ndarray of type {np.dtype(np_type)}. The only supported types are: float64, float32, "
            "float16, complex64, complex128, int64, int32, int16, int8, uint64, uint32, uint16, uint8, and bool."
        )
    return found


_default = float32
#: Called when the default dtype changes: what was memoised under the old one no longer holds.
on_default_change: list = []


def get_default_dtype() -> dtype:
    """The floating type of new tensors made from Python floats, and of ``int / int``."""
    return _default


def set_default_dtype(d: dtype) -> None:
    """Set the default floating type.

    Raises:
        TypeError: ``d`` is not a floating type.
    """
    global _default
    if not isinstance(d, dtype) or not d.is_floating_point:
        raise TypeError(f"only floating-point types are supported as the default type, got {d!r}")
    if d is not _default:
        _default = d
        for callback in on_default_change:
            callback()


def of_python(kind: type) -> dtype:
    """The dtype a bare Python number of this type stands for (``float`` is the default dtype)."""
    if kind is bool:
        return bool_
    if kind is int:
        return int64
    if kind is float:
        return _default
    return _default.to_complex()


# --- promotion -----------------------------------------------------------------------------------------------------

_INT_RANK = {uint8: 8, int8: 8, int16: 16, int32: 32, int64: 64}
_WIDE_UNSIGNED = (uint16, uint32, uint64)
_FLOAT_RANK = {bfloat16: 1, float16: 1, float32: 2, float64: 3}


def promote_types(type1: dtype, type2: dtype) -> dtype:
    """The smallest type both can be converted to, in PyTorch's lattice.

    Raises:
        RuntimeError: two different 8-bit floats, or a wide unsigned integer with another type that is not floating.
    """
    a, b = type1, type2
    if a is b:
        return a
    if a.category < b.category:
        a, b = b, a
    if a.category != FLOAT and (a in _WIDE_UNSIGNED or b in _WIDE_UNSIGNED):
        raise RuntimeError(
            f"Promotion for uint16, uint32, uint64 types is not supported, attempted to promote {a} and {b}; "
            "convert one operand with .to(dtype) first"
        )
    if a.category == COMPLEX:
        if b.category == COMPLEX:
            return complex128
        return complex128 if b is float64 else a
    if a.category == FLOAT:
        if b.category != FLOAT:
            return a
        if a.itemsize == 1 or b.itemsize == 1:
            if a.itemsize == b.itemsize or min(a.itemsize, b.itemsize) != 1:
                raise RuntimeError(f"Promotion for Float8 Types is not supported, attempted to promote {a} and {b}")
            return a if a.itemsize > b.itemsize else b
        if _FLOAT_RANK[a] == _FLOAT_RANK[b]:  # bfloat16 with float16
            return float32
        return a if _FLOAT_RANK[a] > _FLOAT_RANK[b] else b
    if b.category == BOOL:
        return a
    ra, rb = _INT_RANK[a], _INT_RANK[b]
    if a.is_signed == b.is_signed:
        return a if ra > rb else b
    signed = a if a.is_signed else b
    return int16 if signed is int8 else signed  # the other is uint8


def result_of(dimensioned: dtype | None, zero_dim: dtype | None, scalar: dtype | None) -> dtype | None:
    """Combine the three priorities of PyTorch's ``result_type``.

    Tensors with dimensions outrank 0-d tensors, which outrank Python scalars: a lower priority changes the result
    only when its *category* (bool < int < float < complex) is higher.
    """
    result = dimensioned
    for lower in (zero_dim, scalar):
        if lower is None:
            continue
        if result is None:
            result = lower
        elif lower.category > result.category:
            if lower.category == COMPLEX and result.category == FLOAT:
                result = result.to_complex()  # the tensor's precision is kept
            else:
                result = promote_types(result, lower) if result.category == BOOL else lower
    return result


#: dtype -> what PyTorch's messages about numbers that do not fit call it
_C_NAMES = {
    float64: "double", float32: "float", float16: "at::Half", bfloat16: "at::BFloat16", int64: "int64_t", int32: "int",
    int16: "int16_t", int8: "int8_t", uint8: "uint8_t", uint16: "uint16_t", uint32: "uint32_t", uint64: "uint64_t",
    complex64: "c10::complex<float>", complex128: "c10::complex<double>",
}  # fmt: skip


def fits(value, to: dtype) -> bool:
    """Whether a Python number can stand in a tensor of a dtype.

    Floats are rounded and fractions dropped; what is beyond the largest number, an imaginary part where there is none,
    and NaN or an infinity among integers are not. A negative integer may stand for the unsigned one it wraps around to.
    """
    if to.category == BOOL or isinstance(value, bool):
        return True
    if isinstance(value, complex):
        if to.category == COMPLEX:
            return fits(value.real, to) and fits(value.imag, to)
        if value.imag:
            return False
        value = value.real
    if to.category >= FLOAT:
        infinite = value != value or value in (math.inf, -math.inf)
        return infinite or to not in _C_NAMES or abs(value) <= float(ml_dtypes.finfo(to.np).max)
    if value != value:
        return False
    limits = np.iinfo(to.np)
    low = -int(limits.max) if not limits.min and isinstance(value, int) else int(limits.min)
    return low <= value <= int(limits.max)


def check_fits(value, to: dtype, name: str | None = None) -> None:
    """Raises:
    RuntimeError: a Python number that does not fit a dtype (:func:`fits`).
    """
    if not fits(value, to):
        name = name or _C_NAMES.get(to, to.name)  # torch.tensor names the dtype, other functions the type of C++
        raise RuntimeError(f"value cannot be converted to type {name} without overflow")


def can_cast(from_: dtype, to: dtype) -> bool:
    """Whether an in-place operation may store a ``from_`` result in a ``to`` tensor (no category may be lost)."""
    return from_.category <= to.category and not (to.category == BOOL and from_.category != BOOL)

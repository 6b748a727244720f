"""What the elementwise and reduction families share: dtype questions, their error messages, half-precision rules."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from .. import dtypes
from .shapes import broadcast_shapes

#: NumPy type name -> (the name PyTorch's messages use, the C++ name its matrix products use)
_NAMES = {
    "float64": ("Double", "double"), "float32": ("Float", "float"), "float16": ("Half", "c10::Half"),
    "bfloat16": ("BFloat16", "c10::BFloat16"), "int64": ("Long", "long int"), "int32": ("Int", "int"),
    "int16": ("Short", "short int"), "int8": ("Char", "signed char"), "uint8": ("Byte", "unsigned char"),
    "uint16": ("UInt16", "short unsigned int"), "uint32": ("UInt32", "unsigned int"),
    "uint64": ("UInt64", "long unsigned int"), "bool": ("Bool", "bool"),
    "complex64": ("ComplexFloat", "c10::complex<float>"), "complex128": ("ComplexDouble", "c10::complex<double>"),
}  # fmt: skip


def type_name(x) -> str:
    """The dtype of ``x`` as PyTorch's messages spell it: ``"Float"``, ``"Long"``."""
    name = getattr(x.dtype, "name", str(x.dtype))
    return _NAMES.get(name, (name,))[0]


def require_type(x, *others) -> None:
    """Raises:
    RuntimeError: one of ``others`` (None: not there) is of another dtype than ``x``.
    """
    for other in others:
        if other is not None and other.dtype != x.dtype:
            raise RuntimeError(f"expected scalar type {type_name(x)} but found {type_name(other)}")


def require_scale(target, **scales) -> None:
    """Refuse factors that would be rounded to the result's dtype, given as a ``types`` rule gets them.

    Raises:
        RuntimeError: a float for integers, a complex number for real ones, a bool for numbers.
    """
    for name, kind in scales.items():
        if not isinstance(kind, type):
            continue
        if kind is bool and target is not dtypes.bool_:
            raise RuntimeError(f"Boolean {name} only supported for Boolean results.")
        if kind is not bool and kind is not int and target.category < dtypes.FLOAT:
            raise RuntimeError(f"For integral input tensors, argument {name} must not be a floating point number.")
        if kind is complex and not target.is_complex:
            raise RuntimeError(f"For non-complex input tensors, argument {name} must not be a complex number.")


def c_type_name(x) -> str:
    """The dtype of ``x`` as PyTorch's matrix products spell it: ``"float"``, ``"long int"``."""
    name = getattr(x.dtype, "name", str(x.dtype))
    return _NAMES.get(name, (name,) * 2)[1]


def is_bool(x) -> bool:
    return x.dtype == np.bool_


def is_integral(x) -> bool:
    """An integer or bool array."""
    return is_bool(x) or jnp.issubdtype(x.dtype, jnp.integer)


def is_complex(x) -> bool:
    return jnp.issubdtype(x.dtype, jnp.complexfloating)


def is_half(x) -> bool:
    return str(getattr(x, "dtype", "")) in ("float16", "bfloat16")


@jax.custom_jvp
def hypotenuse(x, y):
    """``sqrt(x^2 + y^2)``, without overflow; where either is infinite, so is that. The gradient at the origin is 0."""
    a, b = jnp.abs(x), jnp.abs(y)
    big, small = jnp.maximum(a, b), jnp.minimum(a, b)
    ratio = small / jnp.where(big == 0, 1, big)
    return jnp.where((a == jnp.inf) | (b == jnp.inf), jnp.inf, big * jnp.sqrt(1 + ratio * ratio))


def _over(x, r):
    return jnp.where(r == 0, 0, x / jnp.where(r == 0, 1, r))


hypotenuse.defjvps(lambda dx, r, x, y: _over(x, r) * dx, lambda dy, r, x, y: _over(y, r) * dy)


def by_input(function, slope):
    """``function`` with the gradient ``slope(x, g)``.

    JAX's own keeps what the slope is made of in arrays of its own. The input is there anyway, and it is what backward
    refuses to go on with where it has been written to.
    """
    f = jax.custom_vjp(function)
    f.defvjp(lambda x: (f(x), x), lambda x, g: (slope(x, g),))
    return f


_abs = by_input(jnp.abs, lambda x, g: jnp.where(x > 0, g, jnp.where(x < 0, -g, 0)))


def magnitude(x):
    """``|x|`` with gradient 0 at 0 and at NaN, where JAX's own is 1 and -1.

    That of complex numbers is written out: XLA's own has other last bits in one loop than in the next, so that the
    largest of them may be equal to none.
    """
    if is_complex(x):
        return hypotenuse(jnp.real(x), jnp.imag(x))
    return jnp.abs(x) if is_integral(x) else _abs(x)


def refuse(kernel: str, x, *, when: bool) -> None:
    """Raise PyTorch's "not implemented for this dtype" error if ``when``."""
    if when:
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{type_name(x)}'")


def same_shape(*arrays):
    """The arrays broadcast to their common shape.

    Raises:
        RuntimeError: the shapes do not broadcast.
    """
    shape = broadcast_shapes(*(a.shape for a in arrays))
    return tuple(a if a.shape == shape else jnp.broadcast_to(a, shape) for a in arrays)


def in_float32(fn):
    """Run ``fn`` in float32 when it is given half or bfloat16 arrays, and round the results once, at the end."""

    @functools.wraps(fn)
    def wrapper(*args, **kwargs):
        halves = [a.dtype for a in (*args, *kwargs.values()) if is_half(a)]
        if not halves:
            return fn(*args, **kwargs)

        def widen(a):
            return a.astype(np.float32) if is_half(a) else a

        def narrow(r):
            return r.astype(halves[0]) if r.dtype == np.float32 else r

        out = fn(*map(widen, args), **{k: widen(v) for k, v in kwargs.items()})
        return tuple(map(narrow, out)) if isinstance(out, tuple) else narrow(out)

    return wrapper


@in_float32
def added(base, at, values, **mode):
    """``base`` with ``values`` added at the places ``at``; in half precision the 257th 1 would add nothing.

    The sum of bools is whether any is true.
    """
    return base.at[at].max(values, **mode) if is_bool(base) else base.at[at].add(values, **mode)

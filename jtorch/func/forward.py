"""Forward-mode derivatives and Jacobians: JAX's transformations of the recorded function."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from .. import dtypes
from ..tensor import Tensor
from ..trace.aval import aval
from ..utils import _pytree as pytree
from .program import Program

_READS = (
    "the function needs the value of a tensor while it is recorded for forward-mode derivatives or a Jacobian; use "
    "jtorch.where instead of a choice in Python"
)


def _tensors(tree, name: str):
    leaves, form = pytree.tree_flatten(tree)
    for x in leaves:
        if not isinstance(x, Tensor):
            raise ValueError(f"{name}: Expected all primals to be Tensors, got {type(x).__name__}")
    if not leaves:
        raise RuntimeError(f"{name}: Expected at least one Tensor to differentiate with respect to, got none")
    return leaves, form


def _real(name: str, what: str, leaves) -> None:
    """Raises:
    RuntimeError: one is complex: a Jacobian is that of a real function.
    """
    for i, x in enumerate(leaves):
        if isinstance(x, Tensor) and x.is_complex():
            raise RuntimeError(
                f"{name}: Expected all {what}s to be real but received complex tensor at flattened {what} idx: {i}. "
                "Take view_as_real() of it"
            )


def _recorded(func, leaves, form, name: str, has_aux: bool, kwargs):
    """``(program, structure of the result, number of its tensors, structure of aux)``."""
    shapes: dict = {}

    def function(*tensors):
        result = func(*pytree.tree_unflatten(list(tensors), form), **kwargs)
        if has_aux and not (isinstance(result, tuple) and len(result) == 2):
            raise RuntimeError(
                f"{name}(f, ...): output of function f should be a tuple: (output, aux) if has_aux is True"
            )
        out, aux = result if has_aux else (result, ())
        flat, shapes["out"] = pytree.tree_flatten(out)
        if name == "jacrev":
            _real(name, "output", flat)
        rest, shapes["aux"] = pytree.tree_flatten(aux)
        shapes["count"] = len(flat)
        return [*flat, *rest]

    avals = [aval(tuple(x.shape), x.dtype) for x in leaves]
    program = Program(function, avals, leaves[0].device, name=name, reads=_READS)
    if program.written:
        raise RuntimeError(f"{name}: the function writes its argument in place; clone it first")
    return program, shapes["out"], shapes["count"], shapes["aux"]


def _backwards_only(of, arguments) -> bool:
    """Whether an operation of ``of`` has a gradient of its own making (``linear``, convolutions, norms, losses):
    through such JAX goes backwards only."""
    return "custom_vjp" in str(jax.make_jaxpr(of)(*arguments))


def _pushed(of, primal, tangent):
    """``jax.jvp(of, primal, tangent, has_aux=True)`` by going backwards twice: g ↦ gᵀJ is linear, its transpose J."""

    def floats(*xs):
        out, aux = of(*xs)
        return [o for o in out if jnp.issubdtype(o.dtype, jnp.inexact)], (out, aux)

    found, pull, (out, aux) = jax.vjp(floats, *primal, has_aux=True)
    _, push = jax.vjp(pull, [jnp.zeros_like(o) for o in found])
    change = iter(push(tuple(tangent))[0])
    inexact = [jnp.issubdtype(o.dtype, jnp.inexact) for o in out]
    return out, [next(change) if i else jnp.zeros_like(o) for o, i in zip(out, inexact, strict=True)], aux


def _jacobian_forwards(of, argnums, has_aux):
    def found(*xs):
        differentiate = jax.jacrev if _backwards_only(of, xs) else jax.jacfwd
        return differentiate(of, argnums, has_aux=has_aux)(*xs)

    return found


def jvp(func, primals: tuple, tangents: tuple, *, strict: bool = False, has_aux: bool = False):
    """``(func(*primals), J @ tangents)``; with ``has_aux`` a third result, what the function returned beside.

    Raises:
        RuntimeError: primals and tangents are no tuples of like structure, or shapes differ.
        ValueError: a tangent of integers.
    """
    if not isinstance(primals, tuple) or not isinstance(tangents, tuple):
        raise RuntimeError(f"jvp: Expected primals and tangents to be tuples, got {type(primals)} and {type(tangents)}")
    leaves, form = _tensors(primals, "jvp")
    vectors, other = _tensors(tangents, "jvp")
    if other != form:
        raise RuntimeError("jvp(f, primals, tangents): Expected primals and tangents to have the same python structure")
    for x, v in zip(leaves, vectors, strict=True):
        if v.dtype.category < dtypes.FLOAT:
            raise ValueError(f"Expected tangent to be floating point or complex, but got: {v.dtype}")
        if tuple(x.shape) != tuple(v.shape):
            raise RuntimeError(
                f"jvp: primal of shape {tuple(x.shape)} and tangent of shape {tuple(v.shape)} must match"
            )
    program, structure, count, rest = _recorded(func, leaves, form, "jvp", has_aux, {})
    n = len(leaves)

    def transformed(*arrays):
        primal, tangent, outside = arrays[:n], arrays[n : 2 * n], arrays[2 * n :]

        def of(*xs):
            out = program.run((*xs, *outside))
            return out[:count], out[count:]

        if _backwards_only(of, primal):
            out, change, aux = _pushed(of, primal, tangent)
        else:
            out, change, aux = jax.jvp(of, primal, tangent, has_aux=True)
        change = [
            t if t.dtype != jax.dtypes.float0 else jnp.zeros(o.shape, o.dtype) for o, t in zip(out, change, strict=True)
        ]
        return (*out, *change, *aux)

    found = program.apply(("jvp", n, count), transformed, [*leaves, *vectors])
    out = pytree.tree_unflatten(list(found[:count]), structure)
    change = pytree.tree_unflatten(list(found[count : 2 * count]), structure)
    return (out, change, pytree.tree_unflatten(list(found[2 * count :]), rest)) if has_aux else (out, change)


def _jacobian(name: str, differentiate):
    def transform(func, argnums=0, has_aux: bool = False):
        @functools.wraps(func)
        def wrapper(*args, **kwargs):
            from . import _selected

            chosen, put = _selected(args, argnums)
            leaves, form = _tensors(chosen, name)
            _real(name, "input", leaves)
            whole = pytree.tree_structure((chosen,))
            program, structure, count, rest = _recorded(
                lambda tree, **kw: func(*put(tree), **kw), leaves, whole, name, has_aux, kwargs
            )
            n = len(leaves)
            if not count:
                raise RuntimeError(f"{name}: Expected f to return at least one tensor, got none")

            def transformed(*arrays):
                def of(*xs):
                    out = program.run((*xs, *arrays[n:]))
                    return out[:count], out[count:]

                found, aux = differentiate(of, argnums=tuple(range(n)), has_aux=True)(*arrays[:n])
                return (*(j for row in found for j in row), *aux)

            found = program.apply((name, n, count), transformed, leaves)
            rows = [
                pytree.tree_unflatten(list(found[i * n : (i + 1) * n]), form) for i in range(count)
            ]  # fmt: skip
            result = pytree.tree_unflatten(rows, structure)
            return (result, pytree.tree_unflatten(list(found[count * n :]), rest)) if has_aux else result

        return wrapper

    return transform


_jacrev, _jacfwd = _jacobian("jacrev", jax.jacrev), _jacobian("jacfwd", _jacobian_forwards)


def jacrev(func, argnums=0, *, has_aux: bool = False, chunk_size=None, _preallocate_and_copy=False):
    """``f(*args) -> Jacobian`` by reverse mode: shape ``(*output, *input)``, nested as outputs, then arguments.

    ``chunk_size`` is accepted; XLA decides how much of the Jacobian it computes at a time.
    """
    return _jacrev(func, argnums, has_aux)


def jacfwd(func, argnums=0, has_aux: bool = False, *, randomness: str = "error"):
    """``f(*args) -> Jacobian`` by forward mode; see :func:`jacrev`."""
    return _jacfwd(func, argnums, has_aux)


def hessian(func, argnums=0):
    """``f(*args) -> Hessian``: forward mode over reverse mode, shape ``(*output, *input, *input)``."""
    return jacfwd(jacrev(func, argnums), argnums)


def linearize(func, *primals):
    """``(func(*primals), jvp_fn)``, where ``jvp_fn(*tangents)`` is the derivative at ``primals``."""
    out, _ = jvp(func, primals, pytree.tree_map(lambda x: x.detach() * 0, primals))
    return out, lambda *tangents: jvp(func, primals, tangents)[1]


def functionalize(func, *, remove: str = "mutations"):
    """``func`` itself: what it records is free of views and in-place writes already."""
    if remove not in ("mutations", "mutations_and_views"):
        raise RuntimeError(f"functionalize(f, remove='mutations'): got remove={remove!r}")
    return func


__all__ = ["functionalize", "hessian", "jacfwd", "jacrev", "jvp", "linearize"]

"""Forward-mode derivatives and Jacobians: JAX's transformations of the recorded function."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp

from .. import dtypes
from ..tensor import Tensor
from ..trace.aval import aval
from ..utils import _pytree as pytree
from .checks import split, tensors_of
from .program import Program

_READS = (
    "the function needs the value of a tensor while it is recorded for forward-mode derivatives or a Jacobian; use "
    "jtorch.where instead of a choice in Python"
)


def _tensors(tree, name: str, what: str = "primals"):
    leaves, form = pytree.tree_flatten(tree)
    if not leaves:
        raise RuntimeError(f"{name}: Expected {what} to contain at least one Tensor.")
    for x in leaves:
        if not isinstance(x, Tensor):
            raise RuntimeError(f"{name}: Expected {what} to only contain Tensors, got {type(x)}")
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
    api = "vjp(f, *primals)" if name == "jacrev" else "jvp(f, primals, tangents)"

    def function(*tensors):
        result = func(*pytree.tree_unflatten(list(tensors), form), **kwargs)
        out, aux = split(api, result, has_aux)
        flat, shapes["out"] = tensors_of(api, out)
        if name == "jacrev":
            _real(name, "output", flat)
        rest, shapes["aux"] = pytree.tree_flatten(() if aux is None else aux)
        shapes["count"] = len(flat)
        return [*flat, *rest]

    avals = [aval(tuple(x.shape), x.dtype) for x in leaves]
    program = Program(function, avals, leaves[0].device, name=name, reads=_READS)
    return program, shapes["out"], shapes["count"], shapes["aux"]


def _parted(results, count: int, program):
    """``(results to differentiate, the others)``, of which the former are ``count`` and what arguments were written."""
    end = len(results) - len(program.written)
    return [*results[:count], *results[end:]], results[count:end]


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
    api = "jvp(f, primals, tangents)"
    if not isinstance(primals, tuple):
        raise RuntimeError(f"{api}: Expected primals to be a tuple. E.g. it should be valid to call f(*primals).")
    other, form = pytree.tree_structure(tangents), pytree.tree_structure(primals)
    if other != form:
        raise RuntimeError(
            f"{api}: Expected primals and tangents to have the same python structure. For example, if primals is a "
            f"tuple of 3 tensors, tangents also must be. Got primals with structure {form} and tangents with structure "
            f"{other}"
        )
    leaves, form = _tensors(primals, api)
    vectors, _ = _tensors(tangents, api, "tangents")
    for x, v in zip(leaves, vectors, strict=True):
        if v.dtype.category < dtypes.FLOAT:
            raise ValueError(f"Expected tangent to be floating point or complex, but got: {v.dtype}")
        if tuple(x.shape) != tuple(v.shape):
            raise RuntimeError(
                "Trying to set a forward gradient that has a different size than that of the original Tensor, this is "
                f"not supported. Tensor is of size {list(x.shape)} while the given forward gradient is of size "
                f"{list(v.shape)}."
            )
    program, structure, count, rest = _recorded(func, leaves, form, "jvp", has_aux, {})
    n, written = len(leaves), len(program.written)

    def transformed(*arrays):
        primal, tangent, outside = arrays[:n], arrays[n : 2 * n], arrays[2 * n :]

        def of(*xs):
            return _parted(program.run((*xs, *outside)), count, program)

        if _backwards_only(of, primal):
            out, change, aux = _pushed(of, primal, tangent)
        else:
            out, change, aux = jax.jvp(of, primal, tangent, has_aux=True)
        change = [
            t if t.dtype != jax.dtypes.float0 else jnp.zeros(o.shape, o.dtype) for o, t in zip(out, change, strict=True)
        ]
        return (*out, *change, *aux)

    found = iter(program.apply(("jvp", n, count, written), transformed, [*leaves, *vectors]))
    out, change = (
        (pytree.tree_unflatten(list(itertools.islice(found, count)), structure), list(itertools.islice(found, written)))
        for _ in range(2)
    )
    for to, new in ((leaves, out[1]), (vectors, change[1])):
        for i, value in zip(program.written, new, strict=True):
            to[i].copy_(value)
    return (out[0], change[0], pytree.tree_unflatten(list(found), rest)) if has_aux else (out[0], change[0])


def _jacobian(name: str, differentiate):
    def transform(func, argnums=0, has_aux: bool = False):
        @functools.wraps(func)
        def wrapper(*args, **kwargs):
            from . import _selected

            chosen, put = _selected(args, argnums)
            leaves, form = _tensors(chosen, name)
            _real(name, "input", leaves)
            # The function may write the arguments that it is not differentiated by.
            nothing = None if isinstance(argnums, int) else [None] * len(chosen)
            beside, layout = pytree.tree_flatten(put(nothing))
            at = [i for i, x in enumerate(beside) if isinstance(x, Tensor)]
            n, others = len(leaves), [beside[i] for i in at]

            def function(tree, *tensors, **kw):
                for i, x in zip(at, tensors, strict=True):
                    beside[i] = x
                return func(*put(tree, pytree.tree_unflatten(beside, layout)), **kw)

            whole = pytree.tree_structure((chosen, *others))
            program, structure, count, rest = _recorded(function, [*leaves, *others], whole, name, has_aux, kwargs)
            if name == "jacrev" and any(i < n for i in program.written):
                raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")

            def transformed(*arrays):
                def of(*xs):
                    out = program.run((*xs, *arrays[n:]))
                    return out[:count], out[count:]

                found, aux = differentiate(of, argnums=tuple(range(n)), has_aux=True)(*arrays[:n])
                return (*(j for row in found for j in row), *aux)

            found = iter(program.apply((name, n, count, len(program.written)), transformed, [*leaves, *others]))
            rows = [pytree.tree_unflatten(list(itertools.islice(found, n)), form) for _ in range(count)]
            result, found = pytree.tree_unflatten(rows, structure), list(found)
            end = len(found) - len(program.written)
            for i, value in zip(program.written, found[end:], strict=True):
                (leaves + others)[i].copy_(value)
            return (result, pytree.tree_unflatten(found[:end], rest)) if has_aux else result

        return wrapper

    return transform


_jacrev, _jacfwd = _jacobian("jacrev", jax.jacrev), _jacobian("jacfwd", _jacobian_forwards)


def jacrev(func, argnums=0, *, has_aux: bool = False, chunk_size=None, _preallocate_and_copy=False):
    """``f(*args) -> Jacobian`` by reverse mode: shape ``(*output, *input)``, nested as outputs, then arguments.

    ``chunk_size`` is accepted; XLA decides how much of the Jacobian it computes at a time.
    """
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError("jacrev: `chunk_size` should be greater than 0.")
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

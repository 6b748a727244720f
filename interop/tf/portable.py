"""A JAX function in terms of primitives that TensorFlow and its converters know.

JAX writes a newer StableHLO than TensorFlow reads; the operations that are new to it (``erf``, ``top_k``, ``sinh``, …)
fail only when the model runs. They are replaced here by plain arithmetic before the function is lowered, and what has
no replacement is named at export.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Literal

_UNSUPPORTED = {
    "cholesky": "cholesky", "lu": "lu", "qr": "qr", "geqrf": "qr", "geqp3": "qr", "householder_product": "qr",
    "eigh": "eigh", "eig": "eig", "svd": "svd", "schur": "schur", "hessenberg": "hessenberg",
    "tridiagonal": "tridiagonal", "triangular_solve": "triangular_solve", "pure_callback": "a Python callback",
    "io_callback": "a Python callback", "debug_callback": "a Python callback", "ragged_dot_general": "ragged_dot",
}  # fmt: skip


class UnsupportedOperatorError(RuntimeError):
    """An operation has no form that TensorFlow can run."""


def _wide(fn):
    """``fn`` of half-precision arrays, in float32."""

    def run(x, **_):
        if x.dtype in (jnp.float16, jnp.bfloat16):
            return fn(x.astype(jnp.float32)).astype(x.dtype)
        return fn(x)

    return run


def _erf(x):
    """erf through erfc, which TensorFlow knows; near 0, where 1 - erfc cancels, its Taylor series."""
    square = x * x
    series = jnp.zeros_like(x)
    for n in range(12 if x.dtype == jnp.float64 else 7, -1, -1):
        term = (-1.0) ** n / (math.factorial(n) * (2 * n + 1))
        series = series * square + term
    series = series * x * (2 / math.sqrt(math.pi))
    return jnp.where(jnp.abs(x) < 0.4, series, 1 - lax.erfc(x))


def _short_erf(x):
    """erf to 1.5e-7 in few operations (Abramowitz and Stegun 7.1.26): TFLite's quantizer gives up on erfc."""
    a = jnp.abs(x)
    t = 1 / (1 + 0.3275911 * a)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return jnp.sign(x) * (1 - series * jnp.exp(-a * a))


def _coarse_erf(x):
    """erf to 5e-4 as a tanh (the formula of the approximate gelu), below what int8 tells apart; no division."""
    x = jnp.clip(x, -4, 4)
    return jnp.tanh(2 / math.sqrt(math.pi) * (x + 0.08943 * x * x * x))


def _sinh(x):
    half = lax.expm1(jnp.abs(x) - math.log(2))  # exp(|x|) / 2 - 1, so that it overflows where sinh does
    large = (half + 1) - 0.25 / (half + 1)
    small = lax.expm1(x)
    return jnp.where(jnp.abs(x) < 1, 0.5 * (small + small / (small + 1)), jnp.sign(x) * large)


def _cosh(x):
    half = jnp.exp(jnp.abs(x) - math.log(2))
    return half + 0.25 / half


def _asinh(x):
    a = jnp.abs(x)
    bounded = jnp.minimum(a, 1e18)
    small = lax.log1p(bounded + bounded * bounded / (1 + jnp.sqrt(bounded * bounded + 1)))
    return jnp.sign(x) * jnp.where(a < 1e8, small, jnp.log(jnp.maximum(a, 1)) + math.log(2))


def _acosh(x):
    below = jnp.minimum(x, 1e8) - 1
    return jnp.where(x < 1e8, lax.log1p(below + jnp.sqrt(below * (below + 2))), jnp.log(x) + math.log(2))


def _atanh(x):
    return 0.5 * (lax.log1p(x) - lax.log1p(-x))


def _asin(x):
    return lax.atan2(x, jnp.sqrt((1 - x) * (1 + x)))


def _acos(x):
    return lax.atan2(jnp.sqrt((1 - x) * (1 + x)), x)


def _top_k(x, *, k, axis=-1, **_):
    """Sorted descending, the first ``k``; ties keep their order."""
    axis = axis % x.ndim
    if jnp.issubdtype(x.dtype, jnp.floating):
        keys = jnp.where(jnp.isnan(x), -jnp.inf, -x)
    else:
        keys = ~x  # falls where x rises, for signed and unsigned integers alike
    place = lax.broadcasted_iota(jnp.int32, x.shape, axis)
    _, order, values = lax.sort((keys, place, x), dimension=axis, num_keys=2)
    return [lax.slice_in_dim(values, 0, k, axis=axis), lax.slice_in_dim(order, 0, k, axis=axis)]


_REPLACED = {
    "erf": _wide(_erf), "sinh": _wide(_sinh), "cosh": _wide(_cosh), "asinh": _wide(_asinh), "acosh": _wide(_acosh),
    "atanh": _wide(_atanh), "asin": _wide(_asin), "acos": _wide(_acos), "top_k": _top_k,
}  # fmt: skip


def _symmetric_transposed(x, w, *, window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers, **options):
    """A transposed convolution as the full one, sliced: TFLite's converter gets asymmetric padding wrong."""
    spatial = dimension_numbers.rhs_spec[2:]
    reach = [d * (w.shape[i] - 1) for i, d in zip(spatial, rhs_dilation, strict=True)]
    y = lax.conv_general_dilated(
        x, w, window_strides=window_strides, padding=[(r, r) for r in reach], lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation, dimension_numbers=dimension_numbers,
        **{k: v for k, v in options.items() if k in ("feature_group_count", "batch_group_count", "precision",
                                                     "preferred_element_type")},
    )  # fmt: skip
    config = [(0, 0, 0)] * y.ndim
    for axis, r, (lo, hi) in zip(dimension_numbers.out_spec[2:], reach, padding, strict=True):
        config[axis] = (lo - r, hi - r, 0)  # negative: a slice
    start = [max(0, -lo) for lo, _, _ in config]
    stop = [n - max(0, -hi) for n, (_, hi, _) in zip(y.shape, config, strict=True)]
    y = lax.slice(y, start, stop)
    grow = [(max(0, lo), max(0, hi), 0) for lo, hi, _ in config]
    return lax.pad(y, jnp.zeros((), y.dtype), grow) if any(lo or hi for lo, hi, _ in grow) else y


def portable(fn, *, lite: bool | str = False):
    """``fn``, with what TensorFlow does not know replaced.

    Args:
        lite: also what TFLite's converter gets wrong; ``"int8"``: what its int8 arithmetic does.

    The gradient is that of ``fn``, by its own rules, and only then made portable.

    Raises:
        UnsupportedOperatorError: when it is traced, for an operation without a replacement; it names it.
    """
    replaced = dict(_REPLACED)
    if lite:

        def convolution(x, w, **params):
            unit = all(s == 1 for s in params["window_strides"])
            if unit and any(d != 1 for d in params["lhs_dilation"]):
                return _symmetric_transposed(x, w, **params)
            return NotImplemented

        replaced["conv_general_dilated"] = convolution
        erf = _coarse_erf if lite == "int8" else _short_erf
        replaced["erf"], replaced["erfc"] = _wide(erf), _wide(lambda x: 1 - erf(x))
        replaced["optimization_barrier"] = lambda *xs: list(xs)

    return _with_gradient(fn, lambda f: _rewritten(f, replaced))


def _with_gradient(fn, rewrite):
    forward = jax.custom_vjp(rewrite(fn))

    def backward(args, cotangents):
        leaves, form = jax.tree.flatten(args)
        active = [i for i, x in enumerate(leaves) if jnp.issubdtype(x.dtype, jnp.inexact)]

        def gradients(leaves, cotangents):
            def of(*chosen):
                full = list(leaves)
                for i, x in zip(active, chosen, strict=True):
                    full[i] = x
                return fn(*jax.tree.unflatten(form, full))

            return jax.vjp(of, *(leaves[i] for i in active))[1](cotangents)

        found = [None] * len(leaves)
        for i, g in zip(active, rewrite(gradients)(leaves, cotangents), strict=True):
            found[i] = g
        return jax.tree.unflatten(form, found)

    forward.defvjp(lambda *args: (forward(*args), args), backward)
    return forward


def _rewritten(fn, replaced):
    def run(*args):
        leaves, form = jax.tree.flatten(args)
        result: list = []

        def flat(*xs):
            out, structure = jax.tree.flatten(fn(*jax.tree.unflatten(form, xs)))
            result[:] = [structure]
            return out

        closed = jax.make_jaxpr(flat)(*leaves)
        return jax.tree.unflatten(result[0], _evaluate(closed.jaxpr, closed.consts, leaves, replaced))

    return run


def _line(eqn) -> str:
    """Which operation of the program it belongs to: replayed operations are scopes."""
    scopes = [part for part in str(eqn.source_info.name_stack).split("/") if ":" in part]
    return f" (needed by {scopes[0]})" if scopes else ""


def _evaluate(jaxpr, consts, args, replaced, where: str = "") -> list:
    """Run a jaxpr, its inner ones included, with replacements; ``where``: what the program was doing around it."""
    env = dict(zip(jaxpr.constvars, consts, strict=True))
    env.update(zip(jaxpr.invars, args, strict=True))

    for eqn in jaxpr.eqns:
        line = _line(eqn) or where
        xs = [v.val if isinstance(v, Literal) else env[v] for v in eqn.invars]
        name, params = eqn.primitive.name, eqn.params
        if name in _UNSUPPORTED:
            raise UnsupportedOperatorError(
                f"{_UNSUPPORTED[name]} cannot be exported to TensorFlow{line}: it has no kernel there. Take it "
                "out of the exported function"
            )
        out = NotImplemented
        if name in replaced:
            out = replaced[name](*xs, **params)
        if out is NotImplemented:
            out = _inner(eqn, xs, replaced, line)
        if out is NotImplemented:
            out = eqn.primitive.bind(*xs, **eqn.primitive.get_bind_params(params))
        out = out if eqn.primitive.multiple_results else [out]
        env.update(zip(eqn.outvars, out, strict=True))
    return [v.val if isinstance(v, Literal) else env[v] for v in jaxpr.outvars]


def _inner(eqn, xs, replaced, line: str):
    """The results of a primitive that holds jaxprs, or NotImplemented for one that holds none."""
    name, params = eqn.primitive.name, eqn.params

    def inner(closed):
        consts = getattr(closed, "consts", [])
        return lambda *xs: _evaluate(getattr(closed, "jaxpr", closed), consts, xs, replaced, line)

    if name in (
        "jit",
        "pjit",
        "closed_call",
        "remat2",
        "checkpoint",
        "custom_jvp_call",
        "custom_vjp_call",
        "core_call",
    ):
        closed = next(v for v in params.values() if hasattr(v, "jaxpr") or hasattr(v, "eqns"))
        return inner(closed)(*xs)
    if name == "while":
        c, b = params["cond_nconsts"], params["body_nconsts"]
        cond, body, start = inner(params["cond_jaxpr"]), inner(params["body_jaxpr"]), xs[c + b :]
        return lax.while_loop(
            lambda s: cond(*xs[:c], *s)[0], lambda s: tuple(body(*xs[c : c + b], *s)), tuple(start)
        )  # fmt: skip
    if name == "cond":
        return lax.switch(xs[0], [inner(b) for b in params["branches"]], *xs[1:])
    if name == "scan":
        n, m = params["num_consts"], params["num_carry"]
        body = inner(params["jaxpr"])

        def step(carry, x):
            out = body(*xs[:n], *carry, *x)
            return tuple(out[:m]), tuple(out[m:])

        carry, ys = lax.scan(
            step, tuple(xs[n : n + m]), tuple(xs[n + m :]), length=params["length"], reverse=params["reverse"],
            unroll=params["unroll"],
        )  # fmt: skip
        return [*carry, *ys]
    return NotImplemented


__all__ = ["UnsupportedOperatorError", "portable"]

"""A custom ``Function`` called in a function that is being recorded, by ``vmap`` for one.

What is recorded there is differentiated as JAX code, which would pass by the Function's own backward. So its call is
recorded as one operation that has both as programs: ``jax.custom_vjp`` of its forward.
"""

from __future__ import annotations

import copy

import jax
import jax.numpy as jnp
import numpy as np

from ..autograd import function
from ..tape import modes
from ..tensor import Tensor
from ..tensor.creation import filled
from ..trace.aval import aval
from .program import Program

_READS = (
    "a custom Function reads the value of a tensor while the function that calls it is recorded; use jtorch.where "
    "instead of a choice in Python, and ctx.save_for_backward for what backward needs"
)


def _one_operation(cls, args: tuple, kwargs: dict):
    """``(outputs,)`` of a custom Function as one operation, or None where its forward may be recorded as it is."""
    if not modes.state.transformed or not modes.state.grad or kwargs:
        return None
    if cls.backward is function.Function.backward and cls.vjp is function.Function.vjp:
        return None
    where = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
    tensors = [args[i] for i in where]
    if not any(t._value().aval.is_float for t in tensors) or any(t._handler is not None for t in tensors):
        return None
    found: dict = {}

    def forward(*given):
        ctx = function.FunctionCtx()
        full = list(args)
        for i, t in zip(where, given, strict=True):
            full[i] = t
        ctx.needs_input_grad = tuple(isinstance(a, Tensor) and a._value().aval.is_float for a in args)
        with modes.no_grad():
            outputs = cls._forward(ctx, tuple(full), {})
        listed = outputs if isinstance(outputs, tuple) else (outputs,)
        places = [i for i, o in enumerate(listed) if isinstance(o, Tensor)]
        constant = [any(listed[i] is n for n in ctx._non_differentiable) for i in places]
        saved = [s for s in ctx._saved if s is not None]
        found.update(ctx=ctx, outputs=outputs, places=places, constant=constant, avals=[s._value().aval for s in saved])
        return [*(listed[i] for i in places), *saved]

    device, name = tensors[0].device, cls.__name__
    avals = [t._value().aval for t in tensors]
    ahead = Program(forward, avals, device, name=name, reads=_READS)
    ctx, outputs, places, constant = found["ctx"], found["outputs"], found["places"], found["constant"]
    if ctx._dirty or ahead.written:
        return None
    n, listed = len(places), outputs if isinstance(outputs, tuple) else (outputs,)
    out_avals = [aval(tuple(listed[i].shape), listed[i].dtype) for i in places]
    floats = [i for i, a in enumerate(out_avals) if a.is_float]

    def backward(*given):
        again = copy.copy(ctx)
        saved, grads = iter(given[: len(found["avals"])]), iter(given[len(found["avals"]) :])
        again._saved = tuple(None if s is None else next(saved) for s in ctx._saved)
        again._versions, again._own = (), {}
        full = [next(grads) if i in floats else None for i in range(n)]
        spread = dict(zip(places, full, strict=True))
        results = cls._run_backward(again, *(spread.get(i) for i in range(len(listed))))
        results = results if isinstance(results, tuple) else (results,)
        return [
            filled(a.shape, 0, a.dtype, device) if results[i] is None else results[i].to(a.dtype).sum_to_size(a.shape)
            for i, a in zip(where, avals, strict=True)
            if a.is_float
        ]

    with modes.no_grad():
        back = Program(
            backward, [*found["avals"], *(out_avals[i] for i in floats)], device, name=name, reads=_READS
        )  # fmt: skip
    m = len(tensors)

    @jax.custom_vjp
    def run(*arrays):
        return tuple(ahead.run((*arrays[:m], *arrays[m + len(back.leaves) :]))[:n])

    def first(*arrays):
        made = ahead.run((*arrays[:m], *arrays[m + len(back.leaves) :]))
        return tuple(made[:n]), (made[n:], arrays)

    def second(kept, cotangents):
        saved, arrays = kept
        grads = [jnp.conj(cotangents[i]) for i in floats]
        results = iter(back.run((*saved, *grads, *arrays[m : m + len(back.leaves)])))
        return tuple(
            jnp.conj(next(results)) if k < m and avals[k].is_float
            else jnp.zeros_like(a) if jnp.issubdtype(a.dtype, jnp.inexact) else np.zeros(a.shape, jax.dtypes.float0)
            for k, a in enumerate(arrays)
        )  # fmt: skip

    run.defvjp(first, second)
    made = ahead.apply(("custom", back.key), run, [*tensors, *back.leaves])
    result = list(listed)
    for i, t, plain in zip(places, made, constant, strict=True):
        result[i] = t._detach() if plain else t
    return (tuple(result) if isinstance(outputs, tuple) else result[0],)


function.recorded = _one_operation

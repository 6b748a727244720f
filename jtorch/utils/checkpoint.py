"""Less memory for more time: a function's intermediate results are not kept, but computed again in the backward pass.

The recomputation is recorded behind a barrier that waits for the output's gradients. Without it XLA, which sees forward
and backward in one program, would notice that both compute the same and keep the results after all. On the CPU XLA
drops such barriers before it looks, so there nothing is saved, as with ``jax.checkpoint``.
"""

from __future__ import annotations

import contextlib
import warnings

from jax import lax

from jtorch import autograd, random
from jtorch.ops.registry import Arrays, op
from jtorch.tape import modes
from jtorch.tensor import Tensor
from jtorch.tensor.creation import empty
from jtorch.tensor.dispatch import call
from jtorch.utils._pytree import tree_flatten, tree_unflatten


@op(namespaces=(), differentiable=False)
def _after(values: Arrays, awaited: Arrays):
    """``values``, not before ``awaited`` is there, and not to be merged with what else is computed from them."""
    return tuple(lax.optimization_barrier((tuple(values), tuple(awaited)))[0])


def noop_context_fn():
    """Two contexts that do nothing: the default ``context_fn``."""
    return contextlib.nullcontext(), contextlib.nullcontext()


class CheckpointFunction(autograd.Function):
    """``run(leaves)`` without keeping what lies between; tensors among the leaves receive gradients."""

    @staticmethod
    def forward(ctx, run, preserve_rng_state, trigger, *leaves):
        ctx.run = run
        ctx.rng_state = random.get_rng_state() if preserve_rng_state else None
        ctx.leaves = [None if isinstance(x, Tensor) else x for x in leaves]
        ctx.where = [i for i, x in enumerate(leaves) if isinstance(x, Tensor)]
        ctx.save_for_backward(*(leaves[i] for i in ctx.where))
        return run(leaves)

    @staticmethod
    @autograd.once_differentiable
    def backward(ctx, *grads):
        saved = ctx.saved_tensors
        inputs = _barrier(saved, [g for g in grads if g is not None])
        inputs = [x.detach().requires_grad_(s.requires_grad) for x, s in zip(inputs, saved, strict=True)]
        leaves = list(ctx.leaves)
        for i, x in zip(ctx.where, inputs, strict=True):
            leaves[i] = x
        with random.fork_rng(enabled=ctx.rng_state is not None), modes.enable_grad():
            if ctx.rng_state is not None:
                random.set_rng_state(ctx.rng_state)
            outputs = ctx.run(leaves)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        pairs = [
            (o, g) for o, g in zip(outputs, grads, strict=True) if isinstance(o, Tensor) and o.requires_grad
        ]  # fmt: skip
        if not pairs:
            raise RuntimeError("none of output has requires_grad=True, this checkpoint() is not necessary")
        autograd.backward([o for o, _ in pairs], [g for _, g in pairs])
        found = [None] * len(leaves)
        for i, x in zip(ctx.where, inputs, strict=True):
            found[i] = x.grad
        return None, None, None, *found


def _barrier(tensors, awaited):
    if not tensors or not awaited:
        return tensors
    with modes.no_grad():
        return call("_after", tuple(tensors), tuple(awaited))


def checkpoint(
    function, *args, use_reentrant: bool | None = None, context_fn=noop_context_fn, determinism_check: str = "default",
    debug: bool = False, early_stop: bool = True, **kwargs,
):  # fmt: skip
    """``function(*args, **kwargs)``, whose intermediate results are computed again in the backward pass.

    Both variants of PyTorch run the whole function again. They differ here as follows: with ``use_reentrant=True``
    keyword arguments are refused, and the result requires grad only if a tensor directly among ``args`` does; with
    ``False`` tensors inside lists, tuples and dicts count as well, and so do the parameters that the function uses.
    Gradients of these parameters arrive in ``.grad``, by ``backward()``; ``autograd.grad`` does not reach them, and
    there are no second derivatives.

    Args:
        preserve_rng_state: the second run draws the same random numbers of the CPU generator as the first (default).
        early_stop, determinism_check: accepted.

    Raises:
        NotImplementedError: ``context_fn`` or ``debug``.
        ValueError: keyword arguments with ``use_reentrant=True``.
    """
    if use_reentrant is None:
        warnings.warn(
            "torch.utils.checkpoint: pass use_reentrant explicitly; False is recommended, True is assumed",
            stacklevel=2,
        )
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if context_fn is not noop_context_fn or debug:
        raise NotImplementedError("checkpoint: context_fn and debug are not supported; leave them at their defaults")
    if use_reentrant:
        if kwargs:
            raise ValueError("Unexpected keyword arguments: " + ", ".join(kwargs))
        return CheckpointFunction.apply(lambda leaves: function(*leaves), preserve, None, *args)
    if not modes.is_grad_enabled():
        return function(*args, **kwargs)
    leaves, form = tree_flatten((args, kwargs))

    def run(leaves):
        positional, named = tree_unflatten(leaves, form)
        return function(*positional, **named)

    # The trigger makes the result require grad for the sake of the function's own parameters.
    return CheckpointFunction.apply(run, preserve, empty(0, requires_grad=True), *leaves)


def checkpoint_sequential(functions, segments: int, input, use_reentrant: bool | None = None, **kwargs):  # noqa: A002
    """Run modules one after the other, in ``segments`` stretches of which all but the last are checkpointed."""
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ", ".join(kwargs))
    functions = list(functions.children()) if hasattr(functions, "children") else list(functions)

    def stretch(start, stop):
        def run(x):
            for function in functions[start:stop]:
                x = function(x)
            return x

        return run

    size, start = len(functions) // segments, 0
    for _ in range(segments - 1):
        input = checkpoint(  # noqa: A001
            stretch(start, start + size), input, use_reentrant=use_reentrant, preserve_rng_state=preserve
        )
        start += size
    return stretch(start, len(functions))(input)


__all__ = ["CheckpointFunction", "checkpoint", "checkpoint_sequential", "noop_context_fn"]

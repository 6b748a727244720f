"""Less memory for more time: a function's intermediate results are not kept, but computed again in the backward pass.

The recomputation is recorded behind a barrier that waits for the output's gradients. Without it XLA, which sees forward
and backward in one program, would notice that both compute the same and keep the results after all. On the CPU XLA
drops such barriers before it looks, so there nothing is saved, as with ``jax.checkpoint``.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import warnings

from jax import lax

import jtorch
from jtorch import autograd, random
from jtorch.ops.registry import Arrays, op
from jtorch.tape import modes
from jtorch.tensor import Tensor
from jtorch.tensor.dispatch import call
from jtorch.utils._python_dispatch import Around, overload
from jtorch.utils._pytree import tree_flatten, tree_unflatten
from jtorch.utils.checkpoint_frame import CHECKS, CheckpointError, Frame, set_checkpoint_early_stop, settings


@op(namespaces=(), differentiable=False)
def _after(values: Arrays, awaited: Arrays):
    """``values``, not before ``awaited`` is there, and not to be merged with what else is computed from them."""
    return tuple(lax.optimization_barrier((tuple(values), tuple(awaited)))[0])


def noop_context_fn():
    """Two contexts that do nothing: the default ``context_fn``."""
    return contextlib.nullcontext(), contextlib.nullcontext()


class CheckpointPolicy(enum.Enum):
    """What becomes of an operation's result in a checkpointed region: kept, or computed again.

    Who prefers something leaves the choice to a compiler; jtorch follows the preference.
    """

    MUST_SAVE = 0
    PREFER_SAVE = 1
    MUST_RECOMPUTE = 2
    PREFER_RECOMPUTE = 3
    MUST_CPU_OFFLOAD = 4


class SelectiveCheckpointContext:
    """The first argument of a policy: whether the region runs for the second time."""

    def __init__(self, *, is_recompute: bool, op_output=None):
        self.is_recompute, self.op_output = is_recompute, op_output


class _Selective(Around):
    """Keeps the results that a policy says to save; the second run takes them instead of its own.

    The second run records the operations again, so that they have their place in the graph. Where nothing else needs
    what they compute, XLA drops it.
    """

    def __init__(self, policy, kept: dict, is_recompute: bool):
        self.policy, self.kept, self.context = policy, kept, SelectiveCheckpointContext(is_recompute=is_recompute)

    def __enter__(self):
        self.taken = {}
        return super().__enter__()

    def _answer(self, op, operands, run):
        if op.put is not None:
            return None
        func = overload(op, operands)
        choice = self.policy(self.context, func, *operands)
        if isinstance(choice, bool):
            choice = CheckpointPolicy.MUST_SAVE if choice else CheckpointPolicy.PREFER_RECOMPUTE
        if choice not in (CheckpointPolicy.MUST_SAVE, CheckpointPolicy.PREFER_SAVE):
            return None
        result = run()
        outputs = result if isinstance(result, tuple) else (result,)
        place = op.name, self.taken.get(op.name, 0)
        self.taken[op.name] = place[1] + 1
        if not self.context.is_recompute:
            self.kept[place] = [t._value() for t in outputs]
        elif place not in self.kept:
            raise RuntimeError(
                f"checkpoint: {func} was not met in the first run; a policy must decide alike in both runs"
            )
        else:
            for t, value in zip(outputs, self.kept[place], strict=True):
                t._storage.value = value
        return result


def create_selective_checkpoint_contexts(policy_fn_or_list, allow_cache_entry_mutation: bool = False):
    """The two contexts of a ``context_fn`` for :func:`checkpoint` that keeps some operations' results.

    Args:
        policy_fn_or_list: ``f(ctx, op, *args, **kwargs) -> CheckpointPolicy`` (or bool: save), or a list of the
            operations to save, ``[jtorch.ops.aten.mm.default, ...]``.
        allow_cache_entry_mutation: accepted: what is kept is a value, which nobody can write to.

    Raises:
        TypeError: neither a function nor a list of operations.
    """
    if isinstance(policy_fn_or_list, (list, tuple, set)):
        wanted = {str(op) for op in policy_fn_or_list}
        if any("." not in w for w in wanted):
            raise TypeError("create_selective_checkpoint_contexts: give overloads such as torch.ops.aten.mm.default")

        def policy(ctx, op, *args, **kwargs):
            return CheckpointPolicy.MUST_SAVE if str(op) in wanted else CheckpointPolicy.PREFER_RECOMPUTE

    elif callable(policy_fn_or_list):
        policy = policy_fn_or_list
    else:
        raise TypeError("policy_fn_or_list must be either a function or a list of ops.")
    kept: dict = {}
    return _Selective(policy, kept, False), _Selective(policy, kept, True)


def get_device_states(*args) -> tuple[list[int], list]:
    """``(devices, states)``: the GPUs that tensors in ``args`` lie on, and the states of their random streams."""
    found = {x.device.index or 0 for x in tree_flatten(args)[0] if isinstance(x, Tensor) and x.is_cuda}
    return sorted(found), [jtorch.cuda.get_rng_state(i) for i in sorted(found)]


def set_device_states(devices, states, *, device_type: str | None = None) -> None:
    """Set the random streams of these GPUs to states from :func:`get_device_states`."""
    for index, state in zip(devices, states, strict=True):
        jtorch.cuda.set_rng_state(state, index)


class CheckpointFunction(autograd.Function):
    """The reentrant variant: ``run(*leaves)`` is one node, whose backward runs it again and a backward through it."""

    @staticmethod
    def forward(ctx, run, preserve_rng_state, *leaves):
        check_backward_validity(leaves)
        ctx.run = run
        ctx.precision = _precision()
        ctx.rng_state = random.get_rng_state() if preserve_rng_state else None
        ctx.leaves = [None if isinstance(x, Tensor) else x for x in leaves]
        ctx.where = [i for i, x in enumerate(leaves) if isinstance(x, Tensor)]
        ctx.save_for_backward(*(leaves[i] for i in ctx.where))
        return run(*leaves)

    @staticmethod
    @autograd.once_differentiable
    def backward(ctx, *grads):
        if not autograd._is_checkpoint_valid():
            raise RuntimeError(
                "When use_reentrant=True, torch.utils.checkpoint is incompatible with .grad() or passing an `inputs` "
                "parameter to .backward(). To resolve this error, set use_reentrant=False, or call .backward() without "
                "`inputs`."
            )
        saved = ctx.saved_tensors
        inputs = _barrier(saved, [g for g in grads if g is not None])
        inputs = [x._detach().requires_grad_(s.requires_grad) for x, s in zip(inputs, saved, strict=True)]
        leaves = list(ctx.leaves)
        for i, x in zip(ctx.where, inputs, strict=True):
            leaves[i] = x
        with random.fork_rng(enabled=ctx.rng_state is not None), modes.enable_grad():
            if ctx.rng_state is not None:
                random.set_rng_state(ctx.rng_state)
            with _with_precision(ctx.precision):
                outputs = ctx.run(*leaves)
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
        return None, None, *found


def _precision() -> dict:
    """Per device type, whether autocast is on and its dtype: backward runs outside of the region forward ran in."""
    mode = jtorch.amp.autocast_mode
    return {d: (mode.is_autocast_enabled(d), mode.get_autocast_dtype(d)) for d in mode.DEVICE_TYPES}


@contextlib.contextmanager
def _with_precision(settings: dict):
    """With autocast as :func:`_precision` found it."""
    with contextlib.ExitStack() as regions:
        for device, (enabled, dtype) in settings.items():
            regions.enter_context(jtorch.amp.autocast(device, dtype, enabled))
        yield


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

    With ``use_reentrant=False`` what the operations of the function save for backward is forgotten, and computed by
    a second run when backward first needs some of it; the graph is that of the function, so that ``autograd.grad``,
    hooks and second derivatives work as without. With ``use_reentrant=True`` the call is one node, whose backward
    runs the function and a backward through it: only ``backward()`` without ``inputs`` may be used, and the result
    requires grad only if a tensor directly among ``args`` does.

    Args:
        preserve_rng_state: the second run draws the same random numbers of the CPU generator as the first (default).

    The others are for ``use_reentrant=False``:
        context_fn: returns two contexts, for the first run and for the second one (see
            :func:`create_selective_checkpoint_contexts`).
        determinism_check: ``"default"``: what the second run saves must have the shapes, dtypes and devices of what
            the first one saved; ``"none"``: it need not.
        early_stop: end the second run when it has computed all that is needed.

    Raises:
        NotImplementedError: ``debug``.
        ValueError: keyword arguments with ``use_reentrant=True``, or an unknown ``determinism_check``.
        CheckpointError: in backward: the second run did not do what the first one did.
    """
    if use_reentrant is None:
        _warn_of_default("checkpoint")
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if debug or settings.debug:
        raise NotImplementedError("checkpoint: debug is not supported; leave it at its default")
    if modes.state.exported:  # what an exported program keeps for backward is JAX's to choose
        return function(*args, **kwargs)
    if use_reentrant:
        if kwargs:
            raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
        if context_fn is not noop_context_fn:
            raise ValueError("Passing `context_fn` or `debug` is only supported when use_reentrant=False.")
        return CheckpointFunction.apply(function, preserve, *args)
    if determinism_check not in CHECKS:
        raise ValueError(f"determinism_check should be one of {list(CHECKS)}, but got {determinism_check}")
    if not modes.is_grad_enabled():
        return function(*args, **kwargs)
    leaves, form = tree_flatten((args, kwargs))
    where = [i for i, x in enumerate(leaves) if isinstance(x, Tensor)]
    others = [None if isinstance(x, Tensor) else x for x in leaves]

    def run(tensors):
        leaves = list(others)
        for i, t in zip(where, tensors, strict=True):
            leaves[i] = t
        positional, named = tree_unflatten(leaves, form)
        return function(*positional, **named)

    first, again = context_fn()
    frame = Frame(
        run, [leaves[i] for i in where], again, functools.partial(_with_precision, _precision()),
        random.get_rng_state() if preserve else None, CHECKS[determinism_check],
        early_stop if settings.early_stop is None else settings.early_stop, _barrier,
    )  # fmt: skip
    with frame.hooks(), first:
        result = function(*args, **kwargs)
    frame.completed = True
    return result


def _warn_of_default(name: str) -> None:
    warnings.warn(
        f"torch.utils.checkpoint.{name}: the use_reentrant parameter should be passed explicitly. "
        "use_reentrant=False is recommended; without it, use_reentrant=True is assumed.",
        stacklevel=3,
    )


class set_checkpoint_debug_enabled:
    """Inside, ``debug`` of every :func:`checkpoint` is this (None: what each says); True is not supported."""

    def __init__(self, enabled: bool | None):
        self.enabled = enabled

    def __enter__(self):
        self.before, settings.debug = settings.debug, self.enabled
        return self

    def __exit__(self, *exc):
        settings.debug = self.before


class DefaultDeviceType:
    """The kind of accelerator whose random streams a checkpoint would keep if its arguments are on none."""

    _type = "cuda"

    @staticmethod
    def set_device_type(device: str = "cuda") -> None:
        DefaultDeviceType._type = device

    @staticmethod
    def get_device_type() -> str:
        return DefaultDeviceType._type


def checkpoint_sequential(functions, segments: int, input, use_reentrant: bool | None = None, **kwargs):  # noqa: A002
    """Run modules one after the other, in ``segments`` stretches of which all but the last are checkpointed."""
    if use_reentrant is None:
        _warn_of_default("checkpoint_sequential")
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
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


def detach_variable(inputs: tuple) -> tuple:
    """Each tensor of a tuple detached, requiring grad as before."""
    if not isinstance(inputs, tuple):
        raise RuntimeError(f"Only tuple of tensors is supported. Got Unsupported input type: {type(inputs).__name__}")
    return tuple(x._detach().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x for x in inputs)


def check_backward_validity(inputs) -> None:
    """Warn if no tensor among ``inputs`` requires grad: then no gradient comes out of a reentrant checkpoint."""
    if not any(isinstance(x, Tensor) and x.requires_grad for x in inputs):
        warnings.warn("None of the inputs have requires_grad=True. Gradients will be None", stacklevel=2)


__all__ = [
    "CheckpointError", "CheckpointFunction", "CheckpointPolicy", "DefaultDeviceType", "SelectiveCheckpointContext",
    "check_backward_validity", "checkpoint", "checkpoint_sequential", "create_selective_checkpoint_contexts",
    "detach_variable", "noop_context_fn", "set_checkpoint_debug_enabled", "set_checkpoint_early_stop",
]  # fmt: skip

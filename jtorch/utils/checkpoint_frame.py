"""A checkpointed call: what its operations saved for backward is computed again when backward asks for it.

While the function runs, whatever its operations save is replaced by a place in a list (:class:`_Place`): the graph is
the function's own, so that every kind of backward goes through it. The first place that backward reads runs the
function again, and what this second run saves is what the first one had saved, in the same order.
"""

from __future__ import annotations

import contextlib
import itertools
import weakref

from jtorch import random
from jtorch.autograd.graph import saved_tensors_hooks
from jtorch.tape import engine, modes
from jtorch.tensor import Tensor
from jtorch.tensor.dispatch import wrap


class CheckpointError(RuntimeError):
    """The second run of a checkpointed function did not do what the first one did."""


class _Stop(Exception):
    """All that was asked for has been computed."""


class _Settings:
    """What :class:`set_checkpoint_early_stop` and :class:`set_checkpoint_debug_enabled` say, or None."""

    early_stop: bool | None = None
    debug: bool | None = None


settings = _Settings()
_walks_by_hand = itertools.count(1)


def metadata(t: Tensor) -> dict:
    """What has to be the same in both runs."""
    return {"shape": t.shape, "dtype": t.dtype, "device": t.device}


def _anything(t: Tensor) -> None:
    return None


#: ``determinism_check``
CHECKS = {"default": metadata, "none": _anything}


class _Place:
    """Stands for one saved tensor."""

    __slots__ = ("frame", "number", "__weakref__")

    def __init__(self, frame: Frame, number: int):
        self.frame, self.number = frame, number


class Frame:
    """One checkpointed call.

    Args:
        run: ``run(tensors)`` calls the function with these in the places of the tensors it was given.
        tensors: those tensors.
        again: the context of the second run.
        surroundings: makes a context with the settings (autocast) of the first run.
        rng_state: of the CPU's generator, or None.
        describe: of :data:`CHECKS`.
        barrier: ``barrier(tensors, awaited)``.
    """

    def __init__(self, run, tensors, again, surroundings, rng_state, describe, early_stop, barrier):
        self.run, self.again, self.surroundings, self.rng_state = run, again, surroundings, rng_state
        self.describe, self.early_stop, self.barrier = describe, early_stop, barrier
        self.completed = False  # the first run
        self.places: list[weakref.ref] = []
        self.described: list = []
        self.found: dict[int, dict[int, Tensor]] = {}  # by backward: what it has computed and not read yet
        self.plain = [t if t._handler is not None else None for t in tensors]
        self.requires_grad = [t.requires_grad for t in tensors]
        self.strides = [t._strides for t in tensors]
        values = [None if t._handler is not None else t._value() for t in tensors]
        # A checkpoint inside another one saves its inputs there.
        hooks = engine.saving.hooks
        self.values = hooks[-1].packed(values) if hooks else values

    def inputs(self) -> list[Tensor]:
        """The tensors the function was given, to run it again with."""
        awaited = engine.saving.awaited
        values = self.values if isinstance(self.values, list) else self.values.values()
        ordinary = self.barrier([wrap(v) for v in values if v is not None], [wrap(v) for v in awaited])
        ordinary = iter(ordinary)
        made = []
        for t, requires_grad, strides in zip(self.plain, self.requires_grad, self.strides, strict=True):
            t = next(ordinary) if t is None else t
            t = t._detach().requires_grad_(requires_grad)
            if strides is not None:
                t._strides = strides
            made.append(t)
        return made

    def compute(self, walk: int) -> None:
        """Run the function again and keep what its operations save."""
        found = self.found[walk] = {}
        tensors = self.inputs()
        count = 0

        def keep(t):
            nonlocal count
            number, count = count, count + 1
            if number >= len(self.places):
                if self.early_stop:
                    raise _Stop
                if not self.completed:  # the function takes gradients itself
                    return t._detach()
                raise CheckpointError(
                    "torch.utils.checkpoint: trying to save more tensors during recomputation than during the original "
                    "forward pass."
                )
            if self.places[number]() is not None:
                found[number] = t._detach()
            if self.early_stop and count == len(self.places):
                raise _Stop
            return t._detach()

        def give_back(t):
            return t

        try:
            with contextlib.ExitStack() as around:
                if self.rng_state is not None:
                    around.enter_context(random.fork_rng())
                    random.set_rng_state(self.rng_state)
                around.enter_context(modes.enable_grad())
                around.enter_context(self.surroundings())
                around.enter_context(self.again)
                around.enter_context(_FrameHooks(keep, give_back))
                self.run(tensors)
        except _Stop:
            pass
        if count < len(self.places):
            raise CheckpointError(
                "torch.utils.checkpoint: A different number of tensors was saved during the original forward and "
                f"recomputation.\nNumber of tensors saved during forward: {len(self.places)}\nNumber of tensors saved "
                f"during recomputation: {count}."
            )
        different = []
        for number, t in found.items():
            before, now = self.described[number], self.describe(t)
            if before != now:
                different.append(f"tensor at position {number}:\nsaved metadata: {before}\nrecomputed metadata: {now}")
        if different:
            raise CheckpointError(
                "torch.utils.checkpoint: Recomputed values for the following tensors have different metadata than "
                "during the forward pass.\n" + "\n".join(different) + "."
            )

    def hooks(self) -> saved_tensors_hooks:
        """What the function runs under the first time."""

        def pack(t):
            place = _Place(self, len(self.places))
            self.places.append(weakref.ref(place))
            self.described.append(self.describe(t))
            return place

        def unpack(place):
            running = engine.running()
            walk = -next(_walks_by_hand) if running is None else running.id
            if walk not in self.found:
                self.compute(walk)
                if running is not None:
                    running.callbacks.append(lambda: self.found.pop(walk, None))
            if place.number not in self.found[walk]:
                raise CheckpointError(
                    "torch.utils.checkpoint: Unpack is being triggered for a tensor that was already unpacked once. If "
                    "you are calling ctx.saved_tensors in backward, make sure to do so only once."
                )
            if running is None:
                return self.found.pop(walk)[place.number]
            return self.found[walk].pop(place.number)

        return _FrameHooks(pack, unpack)


class _FrameHooks(saved_tensors_hooks):
    """Those of a frame, for both runs."""

    everything = True


class set_checkpoint_early_stop(contextlib.ContextDecorator):
    """Inside, whether the second run of a checkpointed function ends as soon as all that it saves is computed."""

    def __init__(self, enable: bool):
        self.enable = bool(enable)

    def __enter__(self):
        self.before, settings.early_stop = settings.early_stop, self.enable
        return self

    def __exit__(self, *exc):
        settings.early_stop = self.before


__all__ = ["CHECKS", "CheckpointError", "Frame", "set_checkpoint_early_stop", "settings"]

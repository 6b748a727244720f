"""A trace's calls without its arrays: what is lowered, and what the debug views print."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from . import skipping
from .aval import Aval, Hyper, aval_of
from .call import Call
from .layout import Layout


class Step(NamedTuple):
    """One call.

    Attributes:
        operands: per operand ``("slot", s)``, ``("hyper", position)`` or ``("scalar", position)``.
        outs: the slots of its results.
    """

    call: Call
    operands: tuple[tuple[str, int], ...]
    outs: tuple[int, ...]


class Program:
    """Steps over slots: those >= 0 are results, the others leaves, counted down from -1.

    Attributes:
        outputs: the slots to return.
        guards: ``{output slot: leaf slot}``: results that keep the leaf's value should a check fail.
        checks: the steps whose indices are checked.
        leaf_avals, n_hypers, scalar_kinds: what the program is given.
    """

    __slots__ = ("steps", "outputs", "guards", "leaf_avals", "checks", "n_hypers", "scalar_kinds")

    def __init__(self, steps, outputs, guards, checks, leaf_avals, n_hypers, scalar_kinds):
        self.steps: list[Step] = steps
        self.outputs: tuple[int, ...] = outputs
        self.guards: dict[int, int] = guards
        self.checks: tuple[int, ...] = checks
        self.leaf_avals: list[Aval] = leaf_avals
        self.n_hypers: int = n_hypers
        self.scalar_kinds: list[type] = scalar_kinds

    @staticmethod
    def of(trace, outputs: tuple[int, ...], rewritten: tuple[tuple[int, int], ...]) -> Program:
        """The program of a recorded trace."""
        steps, scalar_kinds = [], []
        position = slot = hyper = 0
        for call in trace.calls:
            position += 1
            operands = []
            for kind in call.in_kinds:
                if kind is None:
                    operands.append(("slot", trace.program[position]))
                    position += 1
                elif kind is Hyper:
                    operands.append(("hyper", hyper))
                    hyper += 1
                else:
                    operands.append(("scalar", len(scalar_kinds)))
                    scalar_kinds.append(kind)
            end = slot + len(call.out_avals)
            steps.append(Step(call, tuple(operands), tuple(range(slot, end))))
            slot = end
        guards = dict(rewritten) if trace.checks else {}
        checks = tuple([i for i, _ in trace.checks])
        return Program(steps, outputs, guards, checks, [aval_of(a) for a in trace.leaf_arrays], hyper, scalar_kinds)

    def live(self) -> list[bool]:
        """Which steps something depends on."""
        needed = set(self.outputs)
        keep = [False] * len(self.steps)
        checked = set(self.checks)
        for i in range(len(self.steps) - 1, -1, -1):
            step = self.steps[i]
            if i in checked or not needed.isdisjoint(step.outs):
                keep[i] = True
                needed.update(s for kind, s in step.operands if kind == "slot")
        return keep

    def spoiled(self, index: int) -> set[int]:
        """The slots that are worth nothing where the check of step ``index`` failed: those it contributes to, its own
        included, and those that a write contributes to which was skipped for it."""
        causes = {index}.union(*skipping.writes(self).values())
        found: set[int] = set()
        for i, step in enumerate(self.steps):
            if i in causes or any(kind == "slot" and s in found for kind, s in step.operands):
                found.update(step.outs)
        return found

    def function(self, constants: dict[int, object], varying: tuple[int, ...]):
        """A JAX function ``(leaves, hypers, floats, ints, complexes, failed before) -> (outputs, check)``.

        The check is None without index operands or guards, else ``(flags, failed)``: whether an earlier program had
        failed and whether each checked call did, and whether anything has failed so far.
        """
        keep, checked, skip = self.live(), set(self.checks), skipping.Skipping(self)
        first = sorted(skip.first)
        rest = [i for i, live in enumerate(keep) if live and i not in skip.first]
        places = {}
        counts = {"f": 0, "i": 0, "c": 0}
        for p in varying:
            bank = self.bank(p)
            places[p] = (bank, counts[bank])
            counts[bank] += 1

        def program(leaves, hypers, floats, ints, complexes, before):
            banks = {"f": floats, "i": ints, "c": complexes}
            env, layout, bad, failed = {}, Layout(), {}, None

            def array(kind, where):
                if kind == "slot":
                    return env[where] if where >= 0 else leaves[-1 - where]
                if kind == "hyper":
                    return hypers[where]
                if where not in places:
                    return NUMPY_KIND[self.scalar_kinds[where]](constants[where])
                bank, j = places[where]
                number = banks[bank][j]
                return number != 0 if self.scalar_kinds[where] is bool else number

            def run(i):
                call, operands, outs = self.steps[i]
                arrays = [array(*operand) for operand in operands]
                if i in skip.steps:
                    results = skipping.run(call, arrays, failed)
                elif i in skip.keeping:
                    results = skipping.keep(skip.keeping[i], arrays, failed)
                else:
                    slots = [where if kind == "slot" else None for kind, where in operands]
                    results = layout.run(call, slots, arrays, outs)
                env.update(zip(outs, results, strict=True))

            def check(i):  # an operand that is still to come has only a shape, and only that matters then
                call, operands, _ = self.steps[i]
                missing = [kind == "slot" and where >= 0 and where not in env for kind, where in operands]
                return call.check(*[
                    jnp.zeros(a.shape, a.dtype.np) if absent else array(*operand)
                    for operand, a, absent in zip(operands, call.in_avals, missing, strict=True)
                ])  # fmt: skip

            for i in first:
                run(i)
            if skip.steps or skip.keeping:
                bad = {i: check(i) for i in self.checks}
                failed = jnp.stack([before, *bad.values()]).any()
            for i in rest:
                run(i)
                if i in checked and i not in bad:
                    bad[i] = check(i)
            if not bad and not self.guards:
                return tuple(env[s] for s in self.outputs), None
            flags = jnp.stack([before, *bad.values()])
            failed = flags.any()
            for slot, leaf in skip.whole.items():
                env[slot] = jnp.where(failed, leaves[-1 - leaf], env[slot])
            return tuple(env[s] for s in self.outputs), (flags, failed)

        return program, counts

    def bank(self, position: int) -> str:
        """Which of the run-time number arrays the Python number at ``position`` goes to, once it varies."""
        kind = self.scalar_kinds[position]
        return "f" if kind is float else "c" if kind is complex else "i"

    def donations(self, wanted, rewritten: dict[int, int]) -> tuple[int, ...]:
        """The leaves whose buffers XLA can use: each for an output of the same shape and dtype, once.

        A leaf that is rewritten keeps its buffer for its new value, which stands among the outputs in the leaves'
        order; other leaves come in for what outputs are left, where they cannot take a rewritten one's place.

        Args:
            wanted: per leaf, whether nobody holds its buffer any more.
            rewritten: ``{output slot: leaf slot}``.
        """
        avals = {s: a for step in self.steps for s, a in zip(step.outs, step.call.out_avals, strict=True)}
        free = Counter(avals[s] for s in self.outputs)
        chosen, last = [], {}
        for slot, leaf in rewritten.items():
            i = -1 - leaf
            if wanted[i] and avals.get(slot) is self.leaf_avals[i] and free[avals[slot]] > 0:
                free[avals[slot]] -= 1
                chosen.append(i)
                last[avals[slot]] = max(i, last.get(avals[slot], i))
        for i, may in enumerate(wanted):
            a = self.leaf_avals[i]
            if may and free[a] > 0 and i > last.get(a, -1):
                free[a] -= 1
                chosen.append(i)
        return tuple(sorted(chosen))


NUMPY_KIND = {float: np.float64, int: np.int64, bool: np.bool_, complex: np.complex128}


def output_order(slots, rewritten: dict[int, int], wanted) -> list[int]:
    """Output slots in an order that gives storages their own buffers back.

    JAX gives the first donated buffer of a shape to the first output of that shape: in this order a storage's new
    value takes its old one's place, and XLA need not save the old one first.
    """
    places = {slot: -1 - leaf for slot, leaf in rewritten.items() if wanted[-1 - leaf]}
    return sorted(slots, key=lambda s: (0, places[s]) if s in places else (1, s))

"""Writes to parts of a storage that are skipped where an index check failed, so that the storage stays as it was.

A storage that is rewritten keeps its old value should a check fail. Choosing between the old value and the new one as a
whole needs both: XLA then copies the storage before a row of it is written, and each generated token would cost several
passes over the whole cache of keys and values. So the checks, and what they depend on, are computed first, and a write
is a loop of one turn, or of none where a check has failed: XLA runs its body in place, and once, where it would write a
plain result anew in each fusion that reads it (6 layers with caches of 147 kB, one token: 3.7 -> 2.7 ms).

On the CPU only: on a GPU the host would wait for each loop's condition, for longer than the copies take.

Optimizers choose between old and new state themselves (operations declared ``keeps``), before they go on with it:
chosen afterwards, XLA computes the new state for the parameter and reads it again to choose (an MLP's step: 1.29 ->
0.95 ms of thread time).
"""

from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp

from .. import dtypes
from .aval import aval
from .call import Call, intern
from .jaxapi import is_literal, jaxpr_parts, live_equations, traced

#: Bytes of the smallest storage that it is worth a loop for, which takes some 10 us.
_LEAST = 1 << 16


class Skipping:
    """Which steps of a program write nothing where a check failed.

    Attributes:
        first: the steps that the checks need, which come before all others; none where neither ``steps`` nor
            ``keeping`` has any.
        steps: the steps that may write nothing.
        keeping: ``{step: its call with the verdict as one more operand}``.
        whole: ``{output slot: leaf slot}``: the storages that are chosen as a whole.
    """

    def __init__(self, program):
        self.first, self.steps, self.whole, self.keeping = set(), set(), dict(program.guards), {}
        found, keeping = writes(program), _keeping(program)
        if not found and not keeping:
            return
        producer = {slot: i for i, step in enumerate(program.steps) for slot in step.outs}

        def makers(i: int, among) -> list[int]:
            slots = [program.steps[i].operands[k][1] for k in among if program.steps[i].operands[k][0] == "slot"]
            return [producer[s] for s in slots if s >= 0]

        stack = [j for i in program.checks for j in makers(i, checked_operands(program.steps[i].call))]
        while stack:
            i = stack.pop()
            if i not in self.first:
                self.first.add(i)
                stack += makers(i, range(len(program.steps[i].operands)))
        for slot, steps in found.items():
            if self.first.isdisjoint(steps):
                self.steps |= steps
                del self.whole[slot]
        for i in keeping.keys() - self.first:
            self.keeping[i] = keeping[i]
            for slot in program.steps[i].outs:
                self.whole.pop(slot, None)
        if not self.steps and not self.keeping:
            self.first = set()


def _keeping(program) -> dict[int, Call]:
    """The steps, with their calls, that can leave all that is guarded of their results as it was."""
    found = {}
    for i, step in enumerate(program.steps if program.guards else ()):
        op = step.call.op
        guarded = {slot: program.guards[slot] for slot in step.outs if slot in program.guards}
        if op is None or not op.keeps or not guarded:
            continue
        statics, keys = step.call.key
        names = dict(zip(op.operand_names, keys, strict=True))
        operands, it = {}, iter(step.operands)
        for name, key in names.items():
            operands[name] = list(itertools.islice(it, len(key) if isinstance(key, tuple) else key is not None))
        old = [where for name in op.keeps for _, where in operands[name]]
        if len(old) == len(step.outs) and guarded.items() <= dict(zip(step.outs, old, strict=True)).items():
            names["failed"] = aval((), dtypes.bool_)  # which a step may have of its own
            found[i] = intern(op, statics, tuple(names.values()), step.call.platform)
    return found


def writes(program) -> dict[int, set[int]]:
    """``{guarded output slot: steps}``: where those steps write nothing, the result is the leaf it is guarded by.

    Each slot is described by what it shows in that case: a leaf, or a view of one.
    """
    leaves = {s for s in program.guards.values() if program.leaf_avals[-1 - s].nbytes >= _LEAST}
    if not leaves or program.steps[0].call.platform != "cpu":
        return {}
    shows: dict[int, object] = {leaf: leaf for leaf in leaves}
    through: dict[int, set[int]] = {leaf: set() for leaf in leaves}  # the steps that it takes
    for i, (step, live) in enumerate(zip(program.steps, program.live(), strict=True)):
        op, operands = step.call.op, step.operands
        kind, base = operands[0] if operands else (None, None)
        if not live or op is None or kind != "slot" or base not in shows or len(step.outs) > 1:
            continue
        out = step.outs[0]
        if op.put is not None:
            shows[out] = (op, step.call.key[0], operands[1:], shows[base])
            through[out] = through[base]
        elif op.overwrites:
            shows[out], through[out] = shows[base], through[base] | {i}
        elif op.view is not None:
            new = operands[1][1]
            if shows.get(new) == (op.view, step.call.key[0], operands[2:], shows[base]):
                shows[out], through[out] = shows[base], through[base] | through[new]
            elif math.prod(step.call.in_avals[1].shape) < math.prod(step.call.in_avals[0].shape):
                shows[out], through[out] = shows[base], through[base] | {i}
    return {slot: through[slot] for slot, leaf in program.guards.items() if shows.get(slot) == leaf and through[slot]}


def run(call: Call, arrays: list, failed) -> tuple:
    """The result of a step of :attr:`Skipping.steps`: its first operand where ``failed`` is true."""

    def write(state):
        with call.lowering():
            return jnp.asarray(True), call.fn(state[1], *arrays[1:])

    return jax.lax.while_loop(lambda state: ~state[0], write, (failed, arrays[0]))[1:]


def keep(call: Call, arrays: list, failed) -> tuple:
    """The results of a step of :attr:`Skipping.keeping`, by its call with the verdict."""
    if len(arrays) == len(call.in_avals):
        *arrays, skip = arrays
        failed = failed | skip
    return call.jitted(*arrays, failed)


def checked_operands(call: Call) -> list[int]:
    """The operands that decide its check; of the others it knows the shape."""
    jaxpr, _ = jaxpr_parts(traced(jax.jit(call.check), [a.sds for a in call.in_avals]))
    needed = {v for equation in live_equations(jaxpr, jaxpr.outvars) for v in equation.invars if not is_literal(v)}
    return [i for i, v in enumerate(jaxpr.invars) if v in needed or v in jaxpr.outvars]

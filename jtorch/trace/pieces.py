"""Programs that repeat themselves, compiled a piece at a time.

XLA's time to compile is linear in a program's length, and a network of 48 equal layers says the same thing 48 times:
forward, backward and in the optimizer. Where a long program repeats itself it is cut at the repetitions; pieces that
are the same are compiled once. What is lost is fusion across the cuts, and a call from the host per piece.

An update of many parameters at once (an operation declared ``each``) is divided into updates of a few of one shape.
"""

from __future__ import annotations

import itertools
import os
import weakref
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import config
from . import checks
from .call import intern
from .executable import Executable
from .jaxapi import x64
from .program import Program, Step, output_order

#: a repetition counts from so many times so many calls
_TIMES, _CALLS = 8, 8
#: repetitions are put together until a stretch of them makes no more than so many pieces
_PIECES = 16
#: in programs of all lengths: so many repetitions are put together, and it is worth cutting from so many calls on
_FEW, _SHORT = 4, 64
#: parameters of one shape that are updated together
_TOGETHER = 8

_known: weakref.WeakValueDictionary[tuple, Executable] = weakref.WeakValueDictionary()


@dataclass
class Piece:
    """Some consecutive steps as a program of their own.

    Attributes:
        inputs: the leaves of ``program``, as slots of the whole.
        outputs: its outputs, likewise.
        hypers, scalars: its numbers, as positions in those of the whole.
        last: the inputs nothing after this piece needs.
    """

    program: Program
    donate: tuple[int, ...]
    inputs: list[int]
    outputs: list[int]
    hypers: list[int]
    scalars: list[int]
    last: list[int]

    def key(self, fixed: list, varying: set[int], device, quick: bool) -> tuple:
        """Equal for pieces that are one program."""
        program = self.program
        numbers = [None if p in varying else (type(fixed[p]), repr(fixed[p])) for p in self.scalars]
        return (
            device, tuple((s.call.id, s.operands) for s in program.steps), program.outputs,
            tuple(program.guards.items()), program.checks, tuple(a.id for a in program.leaf_avals), self.donate,
            tuple(numbers), quick,
        )  # fmt: skip

    def compile(self, fixed: list, varying: set[int], device, quick: bool) -> Executable:
        vary = tuple([i for i, p in enumerate(self.scalars) if p in varying])
        constants = {i: fixed[p] for i, p in enumerate(self.scalars) if p not in varying}
        return Executable(self.program, constants, vary, self.donate, device, None, quick)


class Pieces:
    """Pieces that run one after the other; called as an :class:`Executable` is."""

    def __init__(self, pieces: list[Piece], outputs: tuple, fixed: list, varying: tuple, device, quick: bool):
        self._outputs = outputs
        varies = set(varying)
        keys = [p.key(fixed, varies, device, quick) for p in pieces]
        found = {k: e for k in keys if (e := _known.get(k)) is not None}
        new = {k: p for k, p in zip(keys, pieces, strict=True) if k not in found}
        # XLA compiles small programs on one thread each
        with ThreadPoolExecutor(min(len(new), os.cpu_count() or 1) or 1) as threads:
            made = threads.map(lambda p: p.compile(fixed, varies, device, quick), new.values())
            found.update(zip(new, made, strict=True))
        _known.update(found)
        self._steps = [(p, found[k]) for k, p in zip(keys, pieces, strict=True)]

    def __call__(self, leaves, hypers: list, scalars: list, before) -> tuple:
        env: dict = {-1 - i: a for i, a in enumerate(leaves)}
        failed, flags = before, []
        for piece, executable in self._steps:
            results, check = executable(
                [env[s] for s in piece.inputs], [hypers[i] for i in piece.hypers], [scalars[i] for i in piece.scalars],
                failed if piece.program.checks or piece.program.guards else checks.NOTHING_FAILED,
            )  # fmt: skip
            for s in piece.last:
                del env[s]
            env.update(zip(piece.outputs, results, strict=True))
            if piece.program.checks:
                flags.append(check[0])
                failed = check[1]
        outputs = tuple([env[s] for s in self._outputs])
        if not flags:
            return outputs, None
        if len(flags) > 1:
            with x64(True):
                flags = [_one_word(flags)]
        return outputs, (flags[0], failed)

    def text(self) -> str:
        """The pieces as XLA optimised them, each once."""
        return "\n".join({id(e): e.text() for _, e in self._steps}.values())

    def cost(self) -> dict[str, float]:
        """The sum of what XLA estimates for each piece."""
        total = Counter()
        for _, executable in self._steps:
            total.update(executable.cost())
        return dict(total)

    def memory(self) -> Memory:
        """As XLA's memory analysis of one program: what pieces hand on counts as temporary."""
        held: dict[int, int] = {}  # of results that are still needed, the bytes
        first: dict[int, int] = {}  # of leaves
        alias = peak = 0
        for piece, executable in self._steps:
            sizes = dict(zip(piece.inputs, (a.nbytes for a in piece.program.leaf_avals), strict=True))
            first.update((s, n) for s, n in sizes.items() if s < 0)
            m = executable.memory()
            here = m.output_size_in_bytes - m.alias_size_in_bytes + m.temp_size_in_bytes
            peak = max(peak, sum(held.values()) + here)
            alias += sum(sizes[piece.inputs[i]] for i in piece.donate if piece.inputs[i] < 0)
            for s in piece.last:
                held.pop(s, None)
            avals = {s: a for step in piece.program.steps for s, a in zip(step.outs, step.call.out_avals, strict=True)}
            held.update((s, avals[k].nbytes) for s, k in zip(piece.outputs, piece.program.outputs, strict=True))
        output = sum(held[s] for s in self._outputs)
        return Memory(sum(first.values()), output, alias, max(0, peak - output + alias))


class Memory(NamedTuple):
    """What JAX calls ``CompiledMemoryStats``."""

    argument_size_in_bytes: int
    output_size_in_bytes: int
    alias_size_in_bytes: int
    temp_size_in_bytes: int


@jax.jit
def _one_word(flags):
    """The flags of several programs as those of one: each begins with what it was told of the ones before."""
    return jnp.concatenate([flags[0], *(f[1:] for f in flags[1:])])


def cut(program: Program, wanted, rewritten: dict[int, int], any_length: bool = False) -> list[Piece] | None:
    """The pieces of a program, or None where it is short, or does not repeat itself enough.

    Args:
        any_length: programs of many lengths are expected that repeat the same: pieces are small, to be theirs as well.
        wanted: per leaf, whether its buffer may be reused.
        rewritten: ``{output slot: leaf slot}`` of the storages that are written.
    """
    if len(program.steps) <= (min(_SHORT, config.max_whole) if any_length else config.max_whole):
        return None
    checked = set(program.checks)
    steps, is_checked = [], []
    fresh = itertools.count(sum(len(s.outs) for s in program.steps))
    for i, (step, live) in enumerate(zip(program.steps, program.live(), strict=True)):
        if live:
            several = _divided(step, fresh)
            steps += several
            is_checked += [i in checked] * len(several)
    cuts = _boundaries(steps, any_length)
    if len(cuts) < _TIMES:
        return None
    parts = [(steps[a:b], is_checked[a:b]) for a, b in itertools.pairwise([0, *cuts, len(steps)])]
    producer, last_use, last_checked = {}, {}, -1
    for n, (some, checked_here) in enumerate(parts):
        for step in some:
            producer.update(dict.fromkeys(step.outs, n))
            last_use.update((s, n) for kind, s in step.operands if kind == "slot")
        last_use.update((leaf, n) for slot, leaf in program.guards.items() if producer.get(slot) == n)
        if any(checked_here):
            last_checked = n
    if any(producer.get(slot, -1) < last_checked for slot in program.guards):
        return None  # a storage is written before the last check that may forbid it
    last_use.update(dict.fromkeys(program.outputs, len(parts)))
    return [_piece(n, *part, program, last_use, wanted, rewritten) for n, part in enumerate(parts)]


def _piece(n, steps, is_checked, program: Program, last_use, wanted, rewritten) -> Piece:
    inputs, hypers, scalars, inside = {}, {}, {}, {}
    avals = {}
    local = []
    for step in steps:
        operands = []
        for (kind, where), aval in zip(step.operands, step.call.in_avals, strict=True):
            if kind == "slot" and where in inside:
                operands.append((kind, inside[where]))
            elif kind == "slot":
                operands.append((kind, -1 - inputs.setdefault(where, len(inputs))))
                avals[where] = aval
            else:
                table = hypers if kind == "hyper" else scalars
                operands.append((kind, table.setdefault(where, len(table))))
        start = len(inside)
        inside.update((s, start + j) for j, s in enumerate(step.outs))
        local.append(Step(step.call, tuple(operands), tuple(range(start, len(inside)))))
    guards = {}
    for slot, leaf in program.guards.items():
        if slot in inside:
            avals.setdefault(leaf, program.leaf_avals[-1 - leaf])
            guards[inside[slot]] = -1 - inputs.setdefault(leaf, len(inputs))
    may = [last_use[s] == n and (s >= 0 or wanted[-1 - s]) for s in inputs]
    rebound = {inside[slot]: -1 - inputs[leaf] for slot, leaf in rewritten.items() if slot in inside and leaf in inputs}
    globally = {s: slot for slot, s in inside.items()}
    needed = [s for slot, s in inside.items() if last_use.get(slot, -1) > n]
    outputs = output_order(needed, rebound, may)
    made = Program(
        local, tuple(outputs), guards, tuple([i for i, c in enumerate(is_checked) if c]), [avals[s] for s in inputs],
        len(hypers), [program.scalar_kinds[p] for p in scalars],
    )  # fmt: skip
    return Piece(
        made, made.donations(may, rebound), list(inputs), [globally[s] for s in outputs], list(hypers), list(scalars),
        [s for s in inputs if last_use[s] == n],
    )  # fmt: skip


def _divided(step: Step, fresh) -> list[Step]:
    """The step, or steps that each do it for a few members of its tuples.

    Args:
        fresh: slots nobody uses, for results that each of these steps has and one is enough of.
    """
    call = step.call
    if call.op is None or not call.op.each:
        return [step]
    statics, keys = call.key
    columns = [k for k in keys if isinstance(k, tuple) and k]
    count = len(columns[0])
    if count < 2 * _TOGETHER or any(len(k) != count for k in columns):
        return [step]
    operands, it = [], iter(step.operands)
    for key in keys:
        operands.append([next(it) for _ in key] if isinstance(key, tuple) else None if key is None else next(it))
    alike = defaultdict(list)
    for i, key in enumerate(zip(*columns, strict=True)):
        alike[key].append(i)
    groups, rest = [], []
    for members in alike.values():
        full = len(members) - len(members) % _TOGETHER
        groups += [members[i : i + _TOGETHER] for i in range(0, full, _TOGETHER)]
        rest += members[full:]
    if rest:
        groups.append(rest)
    n_columns, n_shared = divmod(len(step.outs), count)
    shared = step.outs[len(step.outs) - n_shared :]
    divided = []
    for members in groups:
        few = tuple(tuple([k[i] for i in members]) if isinstance(k, tuple) and k else k for k in keys)
        given = []
        for key, operand in zip(keys, operands, strict=True):
            if isinstance(key, tuple):
                given += [operand[i] for i in members if key]
            elif key is not None:
                given.append(operand)
        outs = [step.outs[c * count + i] for c in range(n_columns) for i in members]
        divided.append(Step(intern(call.op, statics, few, call.platform), tuple(given), (*outs, *shared)))
        shared = [next(fresh) for _ in shared]
    return divided


def _boundaries(steps: list[Step], any_length: bool) -> list[int]:
    """Where to cut: at repetitions, and around each part of a divided step."""
    ids = np.array([s.call.id for s in steps])
    crossing = _crossing(steps)
    cuts = {i + k for i, s in enumerate(steps) if s.call.op is not None and s.call.op.each for k in (0, 1)}
    todo = [(0, len(steps))]
    while todo:
        start, end = todo.pop()
        found = _repetition(ids[start:end])
        if found is None:
            continue
        first, period, length = found
        first += start
        # begin where the least is handed on
        first += min(range(length % period + 1), key=lambda k: crossing[first + k + period])
        times = (start + found[0] + length - first) // period
        together = _FEW if any_length else -(-times // _PIECES)
        cuts.update(range(first, first + times * period + 1, together * period))
        cuts.add(first + times * period)
        todo += [(start, first), (first + times * period, end)]
    return sorted(cuts - {0, len(steps)})


def _crossing(steps: list[Step]) -> list[int]:
    """Per position, how many results of before it are used not far behind it."""
    made, total = {}, np.zeros(len(steps) + 1, int)
    last: dict[int, int] = {}
    for i, step in enumerate(steps):
        made.update(dict.fromkeys(step.outs, i))
        last.update((s, i) for kind, s in step.operands if kind == "slot" and s >= 0)
    for s, i in last.items():
        if i - made[s] < 4 * _CALLS:
            total[made[s] + 1 : i + 1] += 1
    return total.tolist()


def _repetition(ids) -> tuple[int, int, int] | None:
    """The longest stretch that repeats itself often enough: where it begins, its period, its length."""
    best = None
    for period in range(_CALLS, len(ids) // _TIMES + 1):
        breaks = np.flatnonzero(ids[period:] != ids[:-period])
        edges = np.concatenate([[-1], breaks, [len(ids) - period]])
        gaps = np.diff(edges) - 1
        k = int(gaps.argmax())
        length = int(gaps[k]) + period
        if length >= _TIMES * period and (best is None or length > best[2]):
            best = int(edges[k]) + 1, period, length
    return best

"""A stretch of a trace that is appended again: what a captured function recorded, with other leaves.

The calls, and so the program XLA compiles, are those of the run that was watched; appending them costs a copy of a
list of integers instead of a Python call per operation.
"""

from __future__ import annotations

import copy
import weakref
from dataclasses import dataclass

from .. import config
from .call import Call
from .recorder import Trace, fetch, trace_for, unread
from .value import Value

_DEAD = weakref.ref(type("_Gone", (), {"__slots__": ("__weakref__",)})())


@dataclass(frozen=True)
class Mark:
    """How long a trace was at some moment."""

    calls: int = 0
    program: int = 0
    slots: int = 0
    scalars: int = 0
    hypers: int = 0
    checks: int = 0
    negative_zeros: int = 0

    @staticmethod
    def of(trace: Trace) -> Mark:
        return Mark(
            len(trace.calls), len(trace.program), trace.n_slots, len(trace.scalars), len(trace.hypers),
            len(trace.checks), len(trace.negative_zeros),
        )  # fmt: skip


class Stretch:
    """The calls of ``trace`` since ``mark``.

    Attributes:
        external: per operand from outside, its slot in ``trace``, in the order of first use.
        n_slots: how many results the calls have.
        hypers: the run-time numbers as they were, by position.
    """

    def __init__(self, trace: Trace, mark: Mark):
        trace.recurs = True
        self.device = trace.device
        self.calls: list[Call] = trace.calls[mark.calls :]
        self.scalars = trace.scalars[mark.scalars :]
        self.hypers = trace.hypers[mark.hypers :]
        self.checks = [(i - mark.calls, line) for i, line in trace.checks[mark.checks :]]
        self.negative_zeros = [i - mark.scalars for i in trace.negative_zeros[mark.negative_zeros :]]
        self.n_slots = trace.n_slots - mark.slots
        self.avals = [a for call in self.calls for a in call.out_avals]
        self.external: list[int] = []
        self._program = trace.program[mark.program :]
        self._inside: list[int] = []  # positions of results of this stretch
        self._outside: list[tuple[int, int]] = []  # (position, number of the external operand)
        numbers: dict[int, int] = {}
        position = 0
        for call in self.calls:
            position += 1
            for kind in call.in_kinds:
                if kind is None:
                    slot = self._program[position]
                    if slot >= mark.slots:
                        self._program[position] = slot - mark.slots
                        self._inside.append(position)
                    else:
                        number = numbers.get(slot)
                        if number is None:
                            number = numbers[slot] = len(self.external)
                            self.external.append(slot)
                        self._program[position] = -1 - number
                        self._outside.append((position, number))
                    position += 1
        self._offset = mark.slots

    def inside(self, value: Value, trace: Trace) -> int | None:
        """The number of the result that ``value`` is, or None for a value from outside (call before ``trace`` runs)."""
        return value.slot - self._offset if value.trace is trace and value.slot >= self._offset else None

    def walk(self):
        """Yield each call with its operands: ``("slot", result)``, ``("external", i)`` or ``("number", None)``."""
        position = 0
        for call in self.calls:
            position += 1
            operands = []
            for kind in call.in_kinds:
                if kind is None:
                    slot = self._program[position]
                    operands.append(("slot", slot) if slot >= 0 else ("external", -1 - slot))
                    position += 1
                else:
                    operands.append(("number", None))
            yield call, operands

    def with_calls(self, calls: list[Call]) -> Stretch:
        """The same operations on operands of other shapes: ``calls`` in place of these, connected as they are."""
        other = copy.copy(self)
        other.calls, other.avals = calls, [a for call in calls for a in call.out_avals]
        other._program = self._program.copy()
        position = 0
        for call in calls:
            other._program[position] = call.id
            position += 1 + call.in_kinds.count(None)
        return other

    def append(self, operands: list[Value], wanted: tuple[int, ...], hypers: list[float]) -> list[Value]:
        """Record the calls once more.

        Args:
            operands: the external values, in the order of :attr:`external`.
            wanted: the results somebody will hold.
            hypers: the run-time numbers.

        Returns:
            The wanted results.
        """
        trace = trace_for(self.device)
        waiting = [v for v in operands if (v.array is None or v.error is not None) and v.trace is not trace]
        for value in waiting:
            if unread(value):
                fetch(value)
        trace = trace_for(self.device)
        with trace.lock:
            if trace.closed:  # another thread flushed it just now
                return self.append(operands, wanted, hypers)
            trace.recurs = True
            slots = trace.leaves(operands)
            start = trace.n_slots
            if start == 0 and slots == list(range(-1, -1 - len(slots), -1)):
                trace.program += self._program
            else:
                program = self._program.copy()
                if start:
                    for i in self._inside:
                        program[i] += start
                for i, number in self._outside:
                    program[i] = slots[number]
                trace.program += program
            first_call, first_scalar = len(trace.calls), len(trace.scalars)
            trace.calls += self.calls
            trace.scalars += self.scalars
            trace.hypers += hypers
            if self.checks:
                trace.checks += [(first_call + i, line) for i, line in self.checks]
            if self.negative_zeros:
                trace.negative_zeros += [first_scalar + i for i in self.negative_zeros]
            refs = [_DEAD] * self.n_slots
            found = []
            for k in wanted:
                value = Value(self.avals[k], self.device)
                value.trace, value.slot = trace, start + k
                refs[k] = weakref.ref(value)
                found.append(value)
            trace.refs += refs
            trace.n_slots = start + self.n_slots
            if len(trace.calls) >= config.max_trace:
                trace.flush(f"trace length {config.max_trace}")
        return found

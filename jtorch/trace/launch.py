"""A stretch that is run by itself, without being recorded.

A captured training step begins with nothing pending and ends with a flush, so that its program is the same one each
time. Once that has been seen, a replay starts the program at once on the arrays it reads: no calls are appended, and
there is no signature to look up. Where anything stands in the way (operands that are still to be computed, a buffer
that somebody else has come to hold) the replay records as always.
"""

from __future__ import annotations

import operator
import sys
from itertools import repeat

from . import checks, executor, explain
from .recorder import idle
from .stretch import Stretch
from .value import Value, any_pinned


def _holders(values: list[Value]) -> list[int]:
    """How many references there are to each of these values, the ones on the way here among them."""
    return list(map(sys.getrefcount, values))


class _Cell:
    """Holds a value, as a storage does."""

    __slots__ = ("value",)


def _held_once() -> int:
    """What :func:`_holders` gives for a value that only a storage holds."""
    cell = _Cell()
    cell.value = Value(None, None)
    return _holders([cell.value])[0]


_ONCE = _held_once()


class _Run:
    """What an entry is told of the trace it runs."""

    __slots__ = ("device", "calls", "checks", "scalars", "hypers", "leaf_arrays")
    recurs, mesh = True, None

    def __init__(self, stretch: Stretch, hypers: list, leaf_arrays: list):
        self.device, self.calls, self.checks, self.scalars = (
            stretch.device, stretch.calls, stretch.checks, stretch.scalars,
        )  # fmt: skip
        self.hypers, self.leaf_arrays = hypers, leaf_arrays


class Launch:
    """A stretch with the program it has become.

    Attributes:
        proved: whether the stretch has been run by the same program twice in a row.
    """

    def __init__(self, stretch: Stretch, entry: executor.Entry, wanted: tuple[int, ...]):
        self.stretch, self.entry, self.wanted = stretch, entry, wanted
        self.proved = False
        program = entry.program
        avals = stretch.avals
        position = {slot: j for j, slot in enumerate(wanted)}
        #: per output of the program, what it looks like and its number among those wanted
        self._outputs = [(avals[slot], position[slot]) for slot in program.outputs]
        #: the outputs that are worth nothing where a check fails
        self._at_stake = [(slot, position[slot]) for slot in program.outputs if slot not in entry.rewritten]
        # what may be donated must be held by its storage only; of the others it does not matter
        self._limits = [_ONCE if gone else sys.maxsize for gone in entry.wanted]

    @staticmethod
    def of(stretch: Stretch, wanted: tuple[int, ...], replaced: list[bool]) -> Launch | None:
        """The launch of a stretch that is the program this thread has just run.

        Args:
            replaced: per operand, whether nobody needs its value once the stretch has run. If others were donated, as
                they had been dropped by the time the program ran, there is no launch.
        """
        entry = explain.last()
        if entry is None or entry.device is not stretch.device or entry.shardings is not None:
            return None
        program = entry.program
        alone = len(program.steps) == len(stretch.calls) and len(program.leaf_avals) == len(stretch.external)
        if not alone or any(step.call is not call for step, call in zip(program.steps, stretch.calls, strict=True)):
            return None
        if any(map(operator.gt, entry.wanted, replaced)):
            return None
        return Launch(stretch, entry, wanted) if set(program.outputs) <= set(wanted) else None

    def run(
        self, operands: list[Value], hypers: list[float], cause: str
    ) -> tuple[list[Value | None], IndexError | None] | None:
        """Run the program, or give None where the stretch has to be recorded. ``cause`` is what the log prints.

        Returns:
            The wanted results (None for what nobody held), and what an earlier program's check was found to say, to be
            raised once the results are in place.

        Raises:
            RuntimeError: execution failed.
        """
        stretch, entry = self.stretch, self.entry
        if entry.dropped or any_pinned() or not idle(stretch.device):
            return None
        if any([(v.trace is not None or v.error is not None) and not _settled(v) for v in operands]):
            return None
        if not all(map(operator.le, _holders(operands), self._limits)):
            return None
        arrays = [v.array for v in operands]
        if not all(map(operator.is_not, arrays, repeat(None))):
            return None
        found = None
        try:
            checks.poll(_UNREAD) if stretch.checks else checks.settle()
        except IndexError as error:
            found = error
        run = _Run(stretch, hypers, arrays)
        try:
            outputs, word = executor.again(entry, run, cause)
        except BaseException as error:
            _fail(operands, error)
            raise
        device = stretch.device
        made: list[Value | None] = [None] * len(self.wanted)
        for (aval, j), array in zip(self._outputs, outputs, strict=True):
            made[j] = Value(aval, device, array)
        if word is not None:
            checks.expect(word, run, entry, [(slot, made[j]) for slot, j in self._at_stake])
        return made, found


#: words of earlier programs that may wait to be read
_UNREAD = 8


def _settled(value: Value) -> bool:
    """Whether an operand may be handed to a program of this thread as it is."""
    if isinstance(value.error, checks.Check):
        if not value.error.mine():
            return False
    elif value.error is not None:
        return False
    if value.trace is not None:
        if not value.trace.closed:
            return False  # pending, or another thread's program is about to read it too
        value.trace = None
    return True


def _fail(operands: list[Value], error: BaseException) -> None:
    """Give the error to the values whose buffers the program had taken over."""
    for value in operands:
        if value.array.is_deleted():
            value.array = None
            value.error = error if isinstance(error, Exception) else RuntimeError(
                f"the program that computes this was interrupted ({error!r})"
            )  # fmt: skip

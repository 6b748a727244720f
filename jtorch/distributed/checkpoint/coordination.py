"""How the ranks of a job act together in a save or load.

Messages go over a channel of this save's own, so that an asynchronous one, in its thread, does not disturb the
collectives of the training.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from typing import Any

from .. import objects
from ..group import ProcessGroup, is_initialized, resolve
from .api import CheckpointException


class Ranks:
    """The processes that take part.

    Args:
        group: which (default: all); without a process group, or with ``alone``, this one only.
    """

    def __init__(self, group: ProcessGroup | None, alone: bool, name: str):
        self._group = None if alone or not is_initialized() else resolve(group)
        if self._group is not None and self._group.size() == 1:
            self._group = None
        self.rank = 0 if self._group is None else self._group.rank()
        self.is_coordinator = self.rank == 0
        self._channel = "" if self._group is None else objects._begin(self._group, name)

    def together(self, step: str, local: Callable[[], Any], combine: Callable[[list], list]) -> Any:
        """``combine`` the results of ``local`` of all ranks, on the first rank, into one for each rank; this rank's.

        Raises:
            CheckpointException: on all ranks, if one of them failed.
        """
        mine = _attempt(self.rank, local)
        if self._group is None:
            return _unwrapped(step, self._combined([mine], combine)[0])
        job, root = self._group._job, self._group._ranks[0]
        up, down = f"{self._channel}/{step}", f"{self._channel}/{step}/answer"
        if not self.is_coordinator:
            objects._settle(self._group, [objects._send(self._group, root, up, _portable(mine))])
            return _unwrapped(step, objects._take(self._group, root, down))
        others = [r for r in self._group._ranks if r != job.rank]
        every = [mine, *(objects._take(self._group, r, up) for r in others)]
        answers = self._combined(every, combine)
        posted = [objects._send(self._group, r, down, _portable(a)) for r, a in zip(others, answers[1:], strict=True)]
        objects._settle(self._group, posted)
        return _unwrapped(step, answers[0])

    def _combined(self, every: list, combine: Callable[[list], list]) -> list:
        failures = {}
        for answer, _ in every:
            failures.update(answer)
        if not failures:
            failures, results = _attempt(self.rank, lambda: combine([result for _, result in every]))
        return [(failures, None)] * len(every) if failures else [({}, result) for result in results]


def _attempt(rank: int, run: Callable[[], Any]) -> tuple[dict, Any]:
    try:
        return {}, run()
    except Exception as error:
        return {rank: (error, traceback.extract_tb(error.__traceback__))}, None


def _portable(answer: tuple[dict, Any]) -> tuple[dict, Any]:
    """Failures in a form that can be sent."""
    failures, result = answer
    out = {}
    for rank, (error, stack) in failures.items():
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            error = RuntimeError(f"{type(error).__name__}: {error}")
        plain = [(f.filename, f.lineno, f.name, f.line) for f in stack]
        out[rank] = (error, traceback.StackSummary.from_list(plain))
    return out, result


def _unwrapped(step: str, answer: tuple[dict, Any]) -> Any:
    failures, result = answer
    if failures:
        raise CheckpointException(step, failures) from next(iter(failures.values()))[0]
    return result

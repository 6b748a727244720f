"""What a failed save or load raises, and what an older name warns of."""

from __future__ import annotations

import traceback
import warnings

WRAPPED_EXCEPTION = tuple[BaseException, traceback.StackSummary]


class CheckpointException(BaseException):
    """A step of a save or load failed, on the ranks that ``failures`` names. (As in PyTorch, no ``Exception``.)"""

    def __init__(self, msg: str, failures: dict[int, WRAPPED_EXCEPTION]):
        super().__init__(msg, failures)
        self._failures = failures

    @property
    def failures(self) -> dict[int, WRAPPED_EXCEPTION]:
        """Rank → (exception, where it was raised)."""
        return self._failures

    def __str__(self) -> str:
        lines = [f"CheckpointException ranks:{self._failures.keys()}\n"]
        for rank, (error, stack) in self._failures.items():
            lines.append(f"Traceback (most recent call last): (RANK {rank})\n")
            lines += traceback.format_list(stack) if stack is not None else []
            lines += traceback.format_exception_only(type(error), error)
        return "".join(lines)


def deprecated(old: str, new: str) -> None:
    """Warn about an older name."""
    warnings.warn(
        f"`{old}` is deprecated and will be removed in future versions. Please use `{new}` instead.",
        FutureWarning,
        stacklevel=3,
    )

"""``TORCH_DISTRIBUTED_DEBUG=DETAIL``: before each collective the ranks compare what they are about to call.

Without it, ranks that call different collectives hang, or pair what does not belong together. It costs a few messages
to rank 0 per call.
"""

from __future__ import annotations

import enum
import os
from datetime import timedelta

from .constants import DistBackendError, DistNetworkError, DistStoreError


class DebugLevel(enum.Enum):
    """How much is checked; only ``DETAIL`` differs from ``OFF`` here."""

    OFF = 0
    INFO = 1
    DETAIL = 2


_level: DebugLevel | None = None


def get_debug_level() -> DebugLevel:
    """The level in force: what was set, else ``TORCH_DISTRIBUTED_DEBUG``.

    Raises:
        ValueError: the variable holds something else.
    """
    global _level
    if _level is None:
        set_debug_level_from_env()
    return _level


def set_debug_level(level: DebugLevel) -> None:
    """Set the level; on all ranks alike."""
    global _level
    _level = level


def set_debug_level_from_env() -> None:
    """Set the level that ``TORCH_DISTRIBUTED_DEBUG`` names."""
    name = os.environ.get("TORCH_DISTRIBUTED_DEBUG", "OFF").upper() or "OFF"
    if name not in DebugLevel.__members__:
        raise ValueError(f"TORCH_DISTRIBUTED_DEBUG must be one of OFF, INFO and DETAIL, but is {name!r}")
    set_debug_level(DebugLevel[name])


def agree(group, name: str, what: str) -> None:
    """Compare ``name`` and ``what`` with the other ranks' (in the mode DETAIL).

    Raises:
        RuntimeError: they call something else.
        DistBackendError: they do not call anything in time, or are gone.
    """
    job = group._job
    if job.tcp is None or get_debug_level() is not DebugLevel.DETAIL:
        return
    number = group._sequence + 1
    mine = f"{name}({what})"
    key = f"{group._name}/check"
    for r in group._ranks:
        try:
            if r == job.rank:
                job.tcp.set(f"{key}/{number}/{r}", mine)
                continue
            with job.during(name, group._ranks):
                theirs = job.tcp.get(f"{key}/{number}/{r}", timedelta(seconds=group._timeout)).decode()
        except DistStoreError:
            raise DistBackendError(
                f"[rank {job.rank}] {mine} is collective number {number} of group {group._name!r} here; rank {r} has "
                f"not come to its own within {group._timeout:.0f} s"
            ) from None
        except DistNetworkError:
            raise DistBackendError(
                f"[rank {job.rank}] {mine} is collective number {number} of group {group._name!r} here; rank 0 died, "
                "or ended, before this could be compared: it serves what the ranks compare. Its own output says why"
            ) from None
        if theirs != mine:
            raise RuntimeError(
                f"Detected mismatch between collectives on ranks. Rank {job.rank} is running collective number "
                f"{number}: {mine}, but Rank {r} is running collective number {number}: {theirs}."
            )
    job.tcp.delete_key(f"{key}/{number - 1}/{job.rank}")  # all have read it: they are here now

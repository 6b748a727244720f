"""``torch.jit.annotations``: names for annotations of functions, which jtorch does not read."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple  # noqa: UP035 (programs import them from here)

__all__ = ["Any", "Dict", "List", "Optional", "Tuple"]


class _BroadcastingList:
    """``BroadcastingList2[int]``: two numbers, or one that stands for both."""

    def __init__(self, length: int):
        self._length = length

    def __getitem__(self, element):
        return element | tuple[(element,) * self._length] | list[element]


BroadcastingList1, BroadcastingList2, BroadcastingList3 = map(_BroadcastingList, (1, 2, 3))
BroadcastingList4, BroadcastingList5, BroadcastingList6 = map(_BroadcastingList, (4, 5, 6))

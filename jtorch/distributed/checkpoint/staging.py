"""Copying a state dict, so that training can go on while the copy is written."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from ...tensor import Tensor
from . import blocks


@runtime_checkable
class AsyncStager(Protocol):
    """Makes the copy that ``async_save`` writes."""

    def stage(self, state_dict: dict) -> Any:
        """The copy, or a ``concurrent.futures.Future`` of it."""
        ...


def _copied(value):
    if isinstance(value, Tensor):
        return blocks.to_host(value)
    if isinstance(value, Mapping):
        return {key: _copied(inner) for key, inner in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_copied(inner) for inner in value)
    return copy.deepcopy(value)


class BlockingAsyncStager:
    """Copies to the host before it returns.

    Args:
        cache_staged_state_dict, type_check: accepted; each copy is a new one.
    """

    should_synchronize_after_execute = False

    def __init__(self, cache_staged_state_dict: bool = False, type_check: bool = False):
        self.cache_staged_state_dict = cache_staged_state_dict

    def stage(self, state_dict: dict) -> dict:
        """The copy."""
        return _copied(state_dict)

    def synchronize_staging(self) -> None:
        """Nothing to wait for."""

    def close(self) -> None:
        """Nothing to give back."""


@dataclass
class StagingOptions:
    """How :class:`DefaultStager` copies; only ``use_async_staging`` changes something: what ``async_save`` returns."""

    use_pinned_memory: bool = True
    use_shared_memory: bool = True
    use_async_staging: bool = True
    use_non_blocking_copy: bool = True


class DefaultStager(BlockingAsyncStager):
    """A :class:`BlockingAsyncStager`; with ``use_async_staging`` its copy comes as a future, which is done already."""

    def __init__(self, config: StagingOptions | None = None):
        super().__init__()
        self._config = config or StagingOptions()

    def stage(self, state_dict: dict, **kwargs) -> Any:
        staged = super().stage(state_dict)
        if not self._config.use_async_staging:
            return staged
        out: Future = Future()
        out.set_result(staged)
        return out

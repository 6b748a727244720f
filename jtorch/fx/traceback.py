"""``torch.fx.traceback``: notes that Nodes take over while a graph is run."""

from __future__ import annotations

import contextlib
import copy
import threading
import traceback as _traceback
from typing import Any


class _State(threading.local):
    def __init__(self):
        self.meta: dict[str, Any] = {}
        self.preserve = False


_state = _State()


@contextlib.contextmanager
def preserve_node_meta(enable: bool = True):
    """Inside, an :class:`Interpreter` makes the ``meta`` of the Node that runs known (:func:`get_current_meta`)."""
    before = _state.preserve, _state.meta
    _state.preserve, _state.meta = enable, dict(_state.meta)
    try:
        yield
    finally:
        _state.preserve, _state.meta = before


def has_preserved_node_meta() -> bool:
    """Whether :func:`preserve_node_meta` is active."""
    return _state.preserve


@contextlib.contextmanager
def set_current_meta(node, pass_name: str = ""):
    """Inside, ``node`` is the one that runs."""
    if not (_state.preserve and node.meta):
        yield
        return
    before = _state.meta
    _state.meta = copy.copy(node.meta)
    try:
        yield
    finally:
        _state.meta = before


def get_current_meta() -> dict[str, Any]:
    """The ``meta`` of the Node that runs."""
    return _state.meta


@contextlib.contextmanager
def annotate(annotation_dict: dict):
    """Inside, Nodes that are traced get these entries under ``meta["custom"]``."""
    before = _state.meta
    _state.meta = {**before, "custom": {**before.get("custom", {}), **annotation_dict}}
    try:
        yield
    finally:
        _state.meta = before


def set_stack_trace(stack: list[str]) -> None:
    """Give the Node that runs this origin."""
    if _state.preserve and stack:
        _state.meta["stack_trace"] = "".join(stack)


def format_stack() -> list[str]:
    """The origin of the Node that runs, or where the program is."""
    if _state.preserve:
        return [_state.meta.get("stack_trace", "")]
    return _traceback.format_list(_traceback.extract_stack()[:-1])

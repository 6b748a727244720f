"""Walking nested state dicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...tensor import Tensor

OBJ_PATH = tuple[str | int, ...]


def _holds_tensors(values) -> bool:
    return any(
        isinstance(v, Tensor) or isinstance(v, Mapping | list) and not _is_leaf(v, _holds_tensors) for v in values
    )


def _holds_tensors_or_dicts(values) -> bool:
    return any(isinstance(v, Tensor | Mapping) or isinstance(v, list) and _holds_tensors_or_dicts(v) for v in values)


def _is_leaf(value, opens) -> bool:
    if isinstance(value, Mapping):
        return not opens(value.values())
    return not (isinstance(value, list) and opens(value))


def traverse_state_dict(state_dict: Mapping, visitor: Callable[[OBJ_PATH, Any], None]) -> None:
    """Call ``visitor(path, value)`` for each leaf: mappings are entered, and lists in which tensors or mappings are."""

    def walk(path, value):
        if isinstance(value, Mapping):
            for key, inner in value.items():
                walk((*path, str(key)), inner)
        elif isinstance(value, list) and _holds_tensors_or_dicts(value):
            for i, inner in enumerate(value):
                walk((*path, i), inner)
        else:
            visitor(path, value)

    for key, value in state_dict.items():
        walk((str(key),), value)


def traverse_state_dict_v_2_3(state_dict: Mapping, visitor: Callable[[OBJ_PATH, Any], None]) -> None:
    """As PyTorch did it before 2.4: containers without a tensor in them are leaves."""

    def walk(path, value):
        if _is_leaf(value, _holds_tensors):
            visitor(path, value)
        else:
            items = ((str(k), v) for k, v in value.items()) if isinstance(value, Mapping) else enumerate(value)
            for key, inner in items:
                walk((*path, key), inner)

    for key, value in state_dict.items():
        walk((str(key),), value)


def set_element(root_dict, path: OBJ_PATH, value) -> None:
    """Put ``value`` at a path of a nested dict, making the dicts and lists on the way (numbers are lists' indices)."""
    here = root_dict
    for key, following in zip(path, (*path[1:], None), strict=True):
        if isinstance(here, list):
            here.extend([None] * (key + 1 - len(here)))
        if following is None:
            here[key] = value
            return
        inner = here[key] if isinstance(here, list) else here.get(key)
        if inner is None:
            inner = here[key] = {} if isinstance(following, str) else []
        here = inner


def get_element(root_dict, path: OBJ_PATH, default_value=None):
    """The value at a path of a nested dict, or the default."""
    here = root_dict
    for key in path:
        try:
            here = here[key]
        except (KeyError, IndexError, TypeError):
            return default_value
    return here

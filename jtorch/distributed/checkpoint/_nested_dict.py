"""Nested state dicts as flat ones, whose names are the paths joined by dots."""

from __future__ import annotations

from ._traverse import OBJ_PATH, set_element, traverse_state_dict, traverse_state_dict_v_2_3

FLATTEN_MAPPING = dict[str, OBJ_PATH]


def flatten_state_dict(state_dict, traverse=traverse_state_dict) -> tuple[dict, FLATTEN_MAPPING]:
    """The flat dict, and the path that each of its names stands for.

    Raises:
        ValueError: two paths have one name.
    """
    flat: dict = {}
    paths: FLATTEN_MAPPING = {}

    def visit(path: OBJ_PATH, value) -> None:
        name = ".".join(map(str, path))
        if name in flat:
            raise ValueError(f"duplicated flatten key {name}")
        flat[name], paths[name] = value, path

    traverse(state_dict, visit)
    return flat, paths


def flatten_state_dict_v_2_3(state_dict) -> tuple[dict, FLATTEN_MAPPING]:
    """:func:`flatten_state_dict` as PyTorch did it before 2.4."""
    return flatten_state_dict(state_dict, traverse_state_dict_v_2_3)


def unflatten_state_dict(state_dict, mapping: FLATTEN_MAPPING) -> dict:
    """The nested dict of a flat one."""
    nested: dict = {}
    for name, value in state_dict.items():
        set_element(nested, mapping[name], value)
    return nested

"""Loading an optimizer's state that was saved under a name of its own."""

from __future__ import annotations

import jtorch

from .. import layout
from ._traverse import set_element
from .default_planner import DefaultLoadPlanner
from .metadata import TensorStorageMetadata
from .state_dict_loader import _load_state_dict
from .storage import StorageReader


def load_sharded_optimizer_state_dict(
    model_state_dict: dict, optimizer_key: str, storage_reader: StorageReader, planner=None
) -> dict:
    """``{optimizer_key: state}`` from a checkpoint; state of a parameter's shape is laid out as the parameter is.

    Args:
        model_state_dict: the (loaded) model's state, whose layouts count.
        optimizer_key: the name the optimizer's state was saved under.

    Raises:
        CheckpointException: the checkpoint cannot be read.
    """
    metadata = storage_reader.read_metadata()
    paths = metadata.planner_data or {}
    state_dict: dict = {}
    for fqn, entry in metadata.state_dict_metadata.items():
        path = paths.get(fqn, (fqn,))
        if path[0] == optimizer_key:
            value = _empty_like_saved(path, entry, model_state_dict)
            set_element(state_dict, path, value)
    _load_state_dict(state_dict, storage_reader, planner=planner or DefaultLoadPlanner())
    return state_dict


def _empty_like_saved(path: tuple, entry, model_state_dict: dict):
    if not isinstance(entry, TensorStorageMetadata):
        return None
    owner = next((model_state_dict[p] for p in path if isinstance(p, str) and p in model_state_dict), None)
    if not isinstance(owner, jtorch.Tensor):
        return jtorch.empty(entry.size, dtype=entry.properties.dtype)
    out = jtorch.empty(entry.size, dtype=entry.properties.dtype, device=owner.device)
    sharding = layout.sharding_of(owner._value())
    if sharding is not None and out.shape == owner.shape:
        layout.relocate(out, sharding, owner.device)
    return out

"""Checkpoints as files of ``jtorch.save``, and back.

``python -m jtorch.distributed.checkpoint.format_utils`` does both.
"""

from __future__ import annotations

import argparse
import itertools
import os

import jtorch

from ... import serialization
from ...futures import Future
from ...size import Size
from .. import collectives
from ..distributed_c10d import get_world_size, is_initialized  # as `torch.distributed.group` is a class, for `-m torch`
from . import blocks
from ._nested_dict import flatten_state_dict
from .default_planner import DefaultLoadPlanner, _EmptyStateDictLoadPlanner
from .filesystem import FileSystemReader, FileSystemWriter
from .metadata import ChunkStorageMetadata, Metadata, TensorProperties, TensorStorageMetadata
from .planner import LoadPlan, LoadPlanner
from .state_dict_loader import _load_state_dict
from .state_dict_saver import _save_state_dict
from .storage import StorageReader


class BroadcastingTorchSaveReader(StorageReader):
    """Reads a file of ``jtorch.save`` on one rank, which gives each tensor to the others; with
    :class:`DynamicMetaLoadPlanner`. The file is read safely, as ``jtorch.load`` does by default.

    Args:
        checkpoint_id: the file.
        coordinator_rank: only 0.
    """

    def __init__(self, checkpoint_id: str | os.PathLike | None = None, coordinator_rank: int = 0):
        if coordinator_rank:
            raise NotImplementedError(f"coordinator_rank={coordinator_rank} is not supported: rank 0 reads")
        self.checkpoint_id = checkpoint_id

    def reset(self, checkpoint_id: str | os.PathLike | None = None) -> None:
        self.checkpoint_id = checkpoint_id or self.checkpoint_id

    def read_metadata(self, *args, **kwargs) -> Metadata:
        """Nothing: the planner knows."""
        return Metadata({})

    def set_up_storage_reader(self, metadata: Metadata, is_coordinator: bool, *args, **kwargs) -> None:
        self.is_coordinator = is_coordinator

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        return plans

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future:
        """
        Raises:
            KeyError: the file lacks a tensor.
        """
        stored: dict = {}
        if self.is_coordinator:
            stored = serialization.load(self.checkpoint_id, map_location="cpu")
            stored = flatten_state_dict(stored)[0] if getattr(planner, "flatten_state_dict", True) else stored
        for fqn, items in itertools.groupby(plan.items, lambda item: item.storage_index.fqn):
            tensor = stored[fqn] if self.is_coordinator else jtorch.empty_like(planner.state_dict[fqn], device="cpu")
            if is_initialized() and get_world_size() > 1:
                tensor = tensor.detach().clone()
                collectives.broadcast(tensor, 0)
            for item in items:
                planner.load_tensor(item, blocks.part(tensor, item.storage_offsets, item.lengths))
        out: Future = Future()
        out.set_result(None)
        return out


class DynamicMetaLoadPlanner(DefaultLoadPlanner):
    """Reads whatever tensors the state dict has, for files without metadata.

    Raises:
        RuntimeError: the state dict has something else than tensors.
    """

    def set_up_planner(self, state_dict: dict, metadata: Metadata | None = None, is_coordinator: bool = False) -> None:
        super().set_up_planner(state_dict, metadata, is_coordinator)
        entries = {}
        for fqn, t in self.state_dict.items():
            if not isinstance(t, jtorch.Tensor):
                raise RuntimeError(f"Non-tensor value identified at {fqn}: {type(self).__name__} only loads tensors.")
            whole = ChunkStorageMetadata(Size([0] * t.dim()), Size(t.shape))
            entries[fqn] = TensorStorageMetadata(TensorProperties(t.dtype), Size(t.shape), [whole])
        self.metadata = Metadata(entries)


def dcp_to_torch_save(dcp_checkpoint_dir: str | os.PathLike, torch_save_path: str | os.PathLike) -> None:
    """Everything in a checkpoint as one file of ``jtorch.save``."""
    state_dict: dict = {}
    reader = FileSystemReader(dcp_checkpoint_dir)
    _load_state_dict(state_dict, reader, planner=_EmptyStateDictLoadPlanner(), no_dist=True)
    serialization.save(state_dict, torch_save_path)


def torch_save_to_dcp(torch_save_path: str | os.PathLike, dcp_checkpoint_dir: str | os.PathLike) -> None:
    """A file of ``jtorch.save`` as a checkpoint. It is read safely, as ``jtorch.load`` does by default."""
    state_dict = serialization.load(torch_save_path, map_location="cpu")
    _save_state_dict(state_dict, FileSystemWriter(dcp_checkpoint_dir), no_dist=True)


def main(args: list[str] | None = None) -> None:
    """The command line: a mode, the source, the destination."""
    modes = {"torch_to_dcp": torch_save_to_dcp, "dcp_to_torch": dcp_to_torch_save}
    parser = argparse.ArgumentParser(description="Convert between checkpoint folders and files of torch.save.")
    parser.add_argument("mode", choices=list(modes))
    parser.add_argument("src", help="what to convert")
    parser.add_argument("dst", help="where to write")
    given = parser.parse_args(args)
    modes[given.mode](given.src, given.dst)


if __name__ == "__main__":
    main()

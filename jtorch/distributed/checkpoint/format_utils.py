"""Checkpoints as files of ``jtorch.save``, and back.

``python -m jtorch.distributed.checkpoint.format_utils`` does both.
"""

from __future__ import annotations

import argparse
import os

from ... import serialization
from .default_planner import _EmptyStateDictLoadPlanner
from .filesystem import FileSystemReader, FileSystemWriter
from .state_dict_loader import _load_state_dict
from .state_dict_saver import _save_state_dict


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

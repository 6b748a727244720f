"""What a checkpoint says about itself: which tensors it has, in which pieces, and where they lie.

The classes are PyTorch's in name and fields, because its file ``.metadata`` is a pickle of them (``metadata_file.py``).
"""

from __future__ import annotations

import enum
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jtorch

from ... import dtypes
from ...size import Size
from ...tensor import layout as layouts


@dataclass
class ChunkStorageMetadata:
    """A block of a tensor: where it begins, and its extent."""

    offsets: Size
    sizes: Size


class _MEM_FORMAT_ENCODING(enum.Enum):
    """How the file writes memory formats."""

    TORCH_CONTIGUOUS_FORMAT = 0
    TORCH_CHANNELS_LAST = 1
    TORCH_PRESERVE_FORMAT = 2


_FORMATS = {
    _MEM_FORMAT_ENCODING.TORCH_CONTIGUOUS_FORMAT: layouts.contiguous_format,
    _MEM_FORMAT_ENCODING.TORCH_CHANNELS_LAST: layouts.channels_last,
    _MEM_FORMAT_ENCODING.TORCH_PRESERVE_FORMAT: layouts.preserve_format,
}


@dataclass
class TensorProperties:
    """A tensor's dtype; the other fields are there for older readers."""

    dtype: dtypes.dtype = field(default_factory=lambda: jtorch.get_default_dtype())
    layout: layouts.layout = layouts.strided
    requires_grad: bool = False
    memory_format: layouts.memory_format = layouts.contiguous_format
    pin_memory: bool = False

    def __getstate__(self):
        encoded = next(code for code, form in _FORMATS.items() if form is self.memory_format)
        return self.dtype, self.layout, self.requires_grad, encoded, self.pin_memory

    def __setstate__(self, state) -> None:
        self.dtype, self.layout, self.requires_grad, encoded, self.pin_memory = state
        self.memory_format = _FORMATS[encoded]

    @staticmethod
    def create_from_tensor(tensor) -> TensorProperties:
        """The properties of ``tensor``."""
        return TensorProperties(dtype=tensor.dtype, requires_grad=tensor.requires_grad)


@dataclass
class TensorStorageMetadata:
    """A tensor: its dtype, its shape, and the blocks it is stored in."""

    properties: TensorProperties
    size: Size
    chunks: list[ChunkStorageMetadata]


@dataclass
class BytesStorageMetadata:
    """An object other than a tensor, pickled."""


STORAGE_TYPES = TensorStorageMetadata | BytesStorageMetadata
STATE_DICT_TYPE = dict[str, Any]


@dataclass
class StorageMeta:
    """Which save made the checkpoint."""

    checkpoint_id: str | os.PathLike | None = None
    save_id: str | None = None
    load_id: str | None = None
    modules: list[str] = field(default_factory=list)


@dataclass
class Metadata:
    """The content of a checkpoint.

    Args:
        state_dict_metadata: what is stored under each (flattened) name.
        planner_data: the path in the nested dict that each flattened name stands for.
        storage_data: where each block lies: :class:`MetadataIndex` → what the storage knows.
    """

    state_dict_metadata: dict[str, STORAGE_TYPES]
    planner_data: Any = None
    storage_data: Any = None
    storage_meta: StorageMeta | None = None
    version: str | None = None


@dataclass(frozen=True)
class MetadataIndex:
    """The name of a stored block; ``index`` only hints at its place in the list of blocks."""

    fqn: str
    offset: Size | None = None
    index: int | None = field(hash=False, compare=False, default=None)

    def __init__(self, fqn: str, offset: Sequence[int] | None = None, index: int | None = None):
        object.__setattr__(self, "fqn", fqn)
        object.__setattr__(self, "index", index)
        if offset is not None:
            object.__setattr__(self, "offset", Size(offset))

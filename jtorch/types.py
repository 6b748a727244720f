"""Names for annotations, as ``torch.types`` spells them."""

import os
from typing import IO, TypeAlias

from . import devices, dtypes
from .size import Size
from .tensor import Tensor, layout

Number: TypeAlias = int | float | bool
Device: TypeAlias = devices.device | str | int | None
FileLike: TypeAlias = str | os.PathLike[str] | IO[bytes]

_bool, _int, _float, _complex = bool, int, float, complex
_device, _dtype, _layout = devices.device, dtypes.dtype, layout.layout
_size: TypeAlias = Size | list[int] | tuple[int, ...]
_TensorOrTensors: TypeAlias = Tensor | tuple[Tensor, ...]

__all__ = ["Device", "FileLike", "Number"]

"""Names for annotations, as ``torch.types`` spells them."""

import os
from typing import IO, TypeAlias

from .devices import device as _device
from .dtypes import dtype as _dtype
from .size import Size
from .tensor import Tensor
from .tensor.layout import layout as _layout

Number: TypeAlias = int | float | bool
Device: TypeAlias = _device | str | int | None
FileLike: TypeAlias = str | os.PathLike[str] | IO[bytes]

_bool, _int, _float, _complex = bool, int, float, complex
_size: TypeAlias = Size | list[int] | tuple[int, ...]
_TensorOrTensors: TypeAlias = Tensor | tuple[Tensor, ...]

__all__ = ["Device", "FileLike", "Number"]

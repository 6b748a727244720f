"""jtorch: PyTorch's API on JAX/XLA. Eager to write, recorded underneath, compiled whole.

``import jtorch as torch`` and a PyTorch program runs: operations are recorded into a trace, and when a value is needed
the trace is compiled to one XLA program for CPU, GPU or TPU and cached.
"""

__version__ = "0.1.0"

from . import dtypes as _dtypes
from .devices import device, get_default_device, set_default_device
from .dtypes import can_cast, dtype, get_default_dtype, promote_types, set_default_dtype
from .size import Size
from .tape.modes import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from .tensor import Tensor
from . import functions as _functions  # noqa: I001 (completes the Tensor class)
from . import autograd
from .tensor import export as _export
from .tensor.layout import (
    channels_last,
    channels_last_3d,
    contiguous_format,
    layout,
    memory_format,
    preserve_format,
    sparse_coo,
    sparse_csr,
    strided,
)
from .tensor.random import Generator, default_generator as _default_generator
from .trace.recorder import sync

for _d in _dtypes.ALL:
    globals()[_d.name] = _d
globals().update(_dtypes.ALIASES)
for _name, _function in _export.functions("torch").items():
    globals()[_name] = _function

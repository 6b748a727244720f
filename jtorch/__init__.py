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
from .tensor.random import Generator
from .trace.recorder import sync

from math import e, inf, nan, pi

from . import backends, config, cuda, debug, linalg, nn, optim, random, special, utils, version
from .functions.legacy import TYPES as _types
from .limits import finfo, iinfo
from .switches import (
    are_deterministic_algorithms_enabled,
    get_float32_matmul_precision,
    get_num_interop_threads,
    get_num_threads,
    is_deterministic_algorithms_warn_only_enabled,
    set_float32_matmul_precision,
    set_num_interop_threads,
    set_num_threads,
    use_deterministic_algorithms,
)
from .serialization import load, save
from .tensor.printing import get_printoptions, set_printoptions


newaxis = None

for _d in _dtypes.ALL:
    globals()[_d.name] = _d
globals().update(_dtypes.ALIASES)
for _name, _function in _export.functions("torch").items():
    globals()[_name] = _function
globals().update(_types)
for _name, _function in nn.torch_names.FUNCTIONS.items():
    globals().setdefault(_name, _function)


def __getattr__(name):
    if name == "default_generator":  # made on first use: importing seeds nothing
        from .tensor.random import default_generator as default

        return default()
    raise AttributeError(f"module 'jtorch' has no attribute {name!r}")

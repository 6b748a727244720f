"""jtorch: PyTorch's API on JAX/XLA. Eager to write, recorded underneath, compiled whole.

``import jtorch as torch`` and a PyTorch program runs: operations are recorded into a trace, and when a value is needed
the trace is compiled to one XLA program for CPU, GPU or TPU and cached.
"""

__version__ = "0.1.0"

from . import collector as _collector

_pause = _collector.Pause()  # before JAX is imported

from . import autograd
from . import dtypes as _dtypes
from . import functions as _functions  # noqa: I001 (completes the Tensor class)
from . import paths as _paths
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
from .tensor import export as _export
from .tensor.layout import (
    channels_last,
    channels_last_3d,
    contiguous_format,
    jagged,
    layout,
    memory_format,
    preserve_format,
    sparse_bsc,
    sparse_bsr,
    sparse_coo,
    sparse_csc,
    sparse_csr,
    strided,
)
from .tensor.random import Generator
from .trace.recorder import sync

# The packages below use the functions above at import.
for _d in _dtypes.ALL:
    globals()[_d.name] = _d
globals().update(_dtypes.ALIASES)
globals().update(_dtypes.NAMED)
globals().update(_export.functions("torch"))

from importlib import import_module as _import_module
from os import path as _path
from math import e, inf, nan, pi

from . import (
    amp,
    ao,
    backends,
    config,
    cuda,
    debug,
    distributed,
    fft,
    linalg,
    nn,
    optim,
    quantization,
    random,
    special,
    utils,
    version,
)
from .amp import (
    GradScaler,
    autocast,
    autocast_decrement_nesting,
    autocast_increment_nesting,
    clear_autocast_cache,
    get_autocast_dtype,
    is_autocast_cache_enabled,
    is_autocast_enabled,
    set_autocast_cache_enabled,
    set_autocast_dtype,
    set_autocast_enabled,
)
from .amp.legacy import (
    get_autocast_cpu_dtype,
    get_autocast_gpu_dtype,
    is_autocast_cpu_enabled,
    set_autocast_cpu_dtype,
    set_autocast_cpu_enabled,
    set_autocast_gpu_dtype,
)
from .ao.qtensor import (
    dequantize,
    int_repr,
    q_per_channel_axis,
    q_per_channel_scales,
    q_per_channel_zero_points,
    q_scale,
    q_zero_point,
    quantize_per_channel,
    quantize_per_tensor,
    quantize_per_tensor_dynamic,
)
from .ao.qtypes import (
    per_channel_affine,
    per_channel_affine_float_qparams,
    per_channel_symmetric,
    per_tensor_affine,
    per_tensor_symmetric,
    qint8,
    qint32,
    qscheme,
    quint4x2,
    quint8,
)
from .dispatch_keys import DispatchKey, DispatchKeySet
from .dispatch_keys import excluding as ExcludeDispatchKeyGuard
from .errors import AcceleratorError, OutOfMemoryError
from .functions.legacy import TYPES as _types
from .functions.storages import EXPORTS as _storages
from .limits import finfo, iinfo
from .serialization import load, save
from .symbolic import SymBool, SymFloat, SymInt
from .switches import (
    are_deterministic_algorithms_enabled,
    get_deterministic_debug_mode,
    get_float32_matmul_precision,
    get_num_interop_threads,
    get_num_threads,
    is_deterministic_algorithms_warn_only_enabled,
    set_deterministic_debug_mode,
    set_float32_matmul_precision,
    set_num_interop_threads,
    set_num_threads,
    use_deterministic_algorithms,
)
from .tensor.overriding import without_all as DisableTorchFunction
from .tensor.overriding import without_subclasses as DisableTorchFunctionSubclass
from .tensor.printing import get_printoptions, set_printoptions

from ._classes import classes
from ._ops import ops  # PyTorch's name for operations by namespace; the package stays importable as jtorch.ops

newaxis = None
has_lapack = has_mkl = has_openmp = has_spectral = True
legacy_contiguous_format = contiguous_format

globals().update(_types)
globals().update(_storages)
for _name, _function in nn.torch_names.FUNCTIONS.items():
    globals().setdefault(_name, _function)


def get_device_module(device=None):  # noqa: F811 (PyTorch's parameter name)
    """The package of a kind of device (``torch.cuda`` of ``"cuda:1"``): by default that of the accelerator, or the CPU.

    Raises:
        RuntimeError: there is no such package.
    """
    from .devices import device as kind

    if device is None:
        device = "cuda" if cuda.is_available() else "cpu"
    name = kind(device).type if not isinstance(device, kind) else device.type
    if name not in ("cpu", "cuda", "mps", "xpu"):
        raise RuntimeError(f"Invalid device_module of {name!r}; device types are 'cpu', 'cuda', 'mps' and 'xpu'")
    return _import_module(f"jtorch.{name}")


def _disable_dynamo(fn=None, recursive=True):
    """:func:`jtorch.compiler.disable`."""
    return _import_module("jtorch.compiler").disable(fn, recursive)


def get_file_path(*path_components: str) -> str:
    """A path below the folder that this package lies in."""
    return _path.join(_path.dirname(_path.dirname(__file__)), *path_components)


_LOADED_ON_USE = (
    "_C", "__config__", "__future__", "_dynamo", "_functorch", "_higher_order_ops", "_inductor", "_logging",
    "_tensor_str", "_utils", "accelerator", "compiler", "cpu", "distributions", "export", "func", "functional",
    "functorch", "futures", "fx", "hub", "jit", "library", "masked", "monitor", "mps", "mtia", "multiprocessing",
    "nested", "onnx", "overrides", "profiler", "return_types", "quasirandom", "signal", "storage", "testing",
    "types", "xpu",
)  # fmt: skip


def __getattr__(name):
    if name in _LOADED_ON_USE:
        return _import_module(f"jtorch.{name}")  # importing jtorch stays quick
    if name == "compile":
        return _import_module("jtorch.compiler").compile
    if name == "vmap":
        return _import_module("jtorch.func").vmap
    if name in ("cond", "while_loop"):
        return getattr(_import_module(f"jtorch._higher_order_ops.{name}"), name)
    if name in ("Stream", "Event"):
        return getattr(_import_module("jtorch.cuda.streams"), name)
    if name == "default_generator":  # made on first use: importing seeds nothing
        from .tensor.random import default_generator as default

        return default()
    if name == "torch":  # PyTorch's package, too, has itself as an attribute
        return _import_module("jtorch")
    if name == "Future":
        return _import_module("jtorch.futures").Future
    if name == "PyTorchFileReader":
        return _import_module("jtorch.serialization.reader").PyTorchFileReader
    if name in ("ScriptFunction", "ScriptModule", "fork", "wait"):
        return getattr(_import_module("jtorch.jit"), name)
    if name == "binomial":
        return _import_module("jtorch.distributions.counts").binomial
    if name == "Tag":
        return _import_module("jtorch.library").Tag
    if name == "TensorType":
        return _import_module("jtorch._C").TensorType
    raise AttributeError(f"module 'jtorch' has no attribute {name!r}")


_paths.install()
_pause.end()

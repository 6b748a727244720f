"""``torch.cuda`` as programs use it: true answers about the GPUs JAX sees, and harmless where there is none."""

from __future__ import annotations

import contextlib
import importlib
import os
from types import SimpleNamespace

from .. import devices
from ..errors import AcceleratorError, NoDeviceError, OutOfMemoryError
from ..functions.legacy import TYPES as _cpu_types
from ..functions.legacy import tensor_type as _tensor_type
from ..functions.storages import CLASSES as _cpu_storages
from ..functions.storages import storage_type as _storage_type
from ..tensor.random import default_generator
from ..trace.jaxapi import backend_started
from ..trace.recorder import sync
from . import amp, driver, nccl
from .sensors import clock_rate, device_memory_used, memory_usage, power_draw, temperature, utilization
from .streams import DeviceEvent as Event
from .streams import ExternalStream, Stream, StreamContext, current_stream, default_stream, set_stream, stream


def _gpus() -> list:
    import jax

    try:
        return jax.local_devices(backend="cuda")
    except RuntimeError:
        return []


def is_available() -> bool:
    """Whether JAX sees an NVIDIA GPU."""
    return device_count() > 0


def device_count() -> int:
    """How many GPUs JAX sees, or will see once it starts."""
    return len(_gpus()) if backend_started() else driver.count()


_current = 0


def current_device() -> int:
    """The index ``cuda`` without one stands for.

    Raises:
        RuntimeError: there is no GPU.
    """
    _require()
    return _current


def set_device(device) -> None:
    """Choose the GPU that ``cuda`` without an index stands for."""
    global _current
    index = devices.device(device).index if not isinstance(device, int) else device
    if index is not None and index >= 0:
        _require()
        _current = index


def _require() -> None:
    if not is_available():
        raise NoDeviceError(
            "No CUDA GPUs are available to JAX; use device='cpu', or install the extra: pip install 'jtorch[cuda13]'"
        )


class device(contextlib.ContextDecorator):
    """``with cuda.device(i):`` make ``i`` the current GPU inside the block (nothing for None or negative indices)."""

    def __init__(self, device):
        self.index = -1 if device is None else device if isinstance(device, int) else devices.device(device).index or 0

    def __enter__(self):
        global _current
        self.before = _current
        if self.index >= 0:
            set_device(self.index)
        return self

    def __exit__(self, *exc):
        global _current
        _current = self.before


class device_of(device):
    """``with cuda.device_of(x):`` make the GPU that ``x`` lies on the current one inside the block."""

    def __init__(self, obj):
        super().__init__(obj.get_device() if obj.is_cuda else -1)


def _index(device) -> int:
    """The number of a GPU, given as one, as a device or as nothing for the current one."""
    return _current if device is None else device if isinstance(device, int) else devices.device(device).index or 0


def _stats(device) -> dict:
    gpus = _gpus()
    return (gpus[_index(device)].memory_stats() or {}) if gpus else {}


def memory_allocated(device=None) -> int:
    """Bytes in use by arrays on the GPU; 0 without one."""
    return _stats(device).get("bytes_in_use", 0)


def max_memory_allocated(device=None) -> int:
    """The peak of :func:`memory_allocated`."""
    return _stats(device).get("peak_bytes_in_use", 0)


def memory_reserved(device=None) -> int:
    """Bytes XLA's allocator holds on the GPU."""
    return _stats(device).get("pool_bytes", memory_allocated(device))


max_memory_reserved = memory_reserved


def mem_get_info(device=None) -> tuple[int, int]:
    """(free, total) bytes of the GPU's memory."""
    stats = _stats(device)
    total = stats.get("bytes_limit", 0)
    return total - stats.get("bytes_in_use", 0), total


def memory_stats(device=None) -> dict:
    """XLA's allocator statistics, under XLA's names; empty without a GPU."""
    return dict(_stats(device))


def memory_stats_as_nested_dict(device=None) -> dict:
    """:func:`memory_stats`; XLA's names have no parts to nest by."""
    return memory_stats(device)


def host_memory_stats() -> dict:
    """Empty: XLA keeps no count of the memory it pins for transfers."""
    return {}


host_memory_stats_as_nested_dict = host_memory_stats


def memory_summary(device=None, abbreviated: bool = False) -> str:
    """:func:`memory_stats` as a table."""
    return "\n".join(f"{name:>32}  {value}" for name, value in _stats(device).items())


def reset_peak_memory_stats(device=None) -> None:
    """Accepted: XLA's peak counter cannot be reset."""


reset_max_memory_allocated = reset_max_memory_cached = reset_accumulated_memory_stats = reset_peak_memory_stats


def reset_peak_host_memory_stats() -> None:
    """Nothing to reset: see :func:`host_memory_stats`."""


reset_accumulated_host_memory_stats = reset_peak_host_memory_stats


def set_per_process_memory_fraction(fraction: float, device=None) -> None:
    """Accepted before JAX starts, as ``XLA_PYTHON_CLIENT_MEM_FRACTION``: the share of a GPU's memory XLA may take.

    Raises:
        TypeError, ValueError: ``fraction`` is no float, or outside [0, 1].
        RuntimeError: there is no GPU, or JAX has started.
    """
    if not isinstance(fraction, float):
        raise TypeError("Invalid type for fraction argument, must be `float`")
    if not 0 <= fraction <= 1:
        raise ValueError(f"Invalid fraction value: {fraction}. Allowed range: 0~1")
    _require()
    if backend_started():
        raise RuntimeError(
            "set_per_process_memory_fraction: call this before any tensor is made, when JAX takes its memory"
        )
    os.environ[_FRACTION] = str(fraction)


def get_per_process_memory_fraction(device=None) -> float:
    """The share of a GPU's memory that XLA may take: three quarters unless it was told otherwise."""
    _require()
    return float(os.environ.get(_FRACTION, "0.75"))


_FRACTION = "XLA_PYTHON_CLIENT_MEM_FRACTION"


def empty_cache() -> None:
    """Accepted: XLA's allocator returns memory by itself."""


def ipc_collect() -> None:
    """Accepted: tensors are sent between processes by value."""


def synchronize(device=None) -> None:
    """Run what is recorded and wait for it."""
    sync()


def manual_seed(seed: int) -> None:
    """Seed the current GPU's generator."""
    if is_available():
        default_generator(devices.resolve("cuda")).manual_seed(int(seed))


def manual_seed_all(seed: int) -> None:
    """Seed every GPU's generator."""
    for i in range(device_count()):
        default_generator(devices.resolve(f"cuda:{i}")).manual_seed(int(seed))


def seed() -> None:
    """Seed the current GPU's generator with a number of the machine's."""
    if is_available():
        default_generator(devices.resolve("cuda")).seed()


def seed_all() -> None:
    """Seed every GPU's generator with one number of the machine's."""
    if is_available():
        manual_seed_all(default_generator(devices.resolve("cuda")).seed())


def initial_seed() -> int:
    """The seed of the current GPU's generator."""
    _require()
    return default_generator(devices.resolve("cuda")).initial_seed()


def get_device_name(device=None) -> str:
    """The GPU's name."""
    _require()
    return _gpus()[_index(device)].device_kind


def get_device_properties(device=None):
    """Name, compute capability, total memory and multiprocessor count of the GPU."""
    _require()
    index = _index(device)
    gpu = _gpus()[index]
    major, minor = get_device_capability(device)
    return SimpleNamespace(
        name=gpu.device_kind, major=major, minor=minor, total_memory=_stats(index).get("bytes_limit", 0),
        multi_processor_count=getattr(gpu, "core_count", None),
    )  # fmt: skip


def get_device_capability(device=None) -> tuple[int, int]:
    """The GPU's compute capability."""
    _require()
    major, minor = str(_gpus()[0].compute_capability).split(".")
    return int(major), int(minor)


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether the GPU computes in bfloat16."""
    return is_available()


def is_tf32_supported() -> bool:
    """Whether the GPU multiplies in TF32: compute capability 8.0 or more."""
    return is_available() and get_device_capability()[0] >= 8


def is_initialized() -> bool:
    return is_available()


def init() -> None:
    """Accepted: JAX initialises on first use."""


def get_rng_state(device="cuda"):
    """The GPU generator's state."""
    return default_generator(devices.resolve(device)).get_state()


def set_rng_state(new_state, device="cuda") -> None:
    """Continue the GPU generator from a state."""
    default_generator(devices.resolve(device)).set_state(new_state)


def get_rng_state_all() -> list:
    return [get_rng_state(f"cuda:{i}") for i in range(device_count())]


def set_rng_state_all(new_states) -> None:
    for i, state in enumerate(new_states):
        set_rng_state(state, f"cuda:{i}")


def is_current_stream_capturing() -> bool:
    """False: programs are captured by :func:`jtorch.compile`."""
    return False


def can_device_access_peer(device, peer_device) -> bool:
    """Whether there are two such GPUs: XLA moves arrays between the GPUs of a process."""
    return (
        max(devices.device(d).index or 0 if not isinstance(d, int) else d for d in (device, peer_device))
        < device_count()
    )


def get_arch_list() -> list[str]:
    """Empty: XLA compiles for the GPU it finds."""
    return []


def get_gencode_flags() -> str:
    """Empty: no compiler of CUDA's takes part."""
    return ""


def get_sync_debug_mode() -> int:
    """0: waiting for the GPU is not reported; ``JTORCH_LOGS=flushes`` says what waits."""
    _require()
    return 0


def set_sync_debug_mode(debug_mode: int | str) -> None:
    """Takes 0 or ``"default"``.

    Raises:
        RuntimeError: there is no GPU, or there is no such mode.
        NotImplementedError: a mode that warns or raises where the program waits.
    """
    _require()
    modes = ("default", "warn", "error")
    if debug_mode not in (*modes, 0, 1, 2):
        raise RuntimeError(f"invalid value of debug_mode {debug_mode!r}, expected one of `default`, `warn`, `error`")
    if debug_mode not in ("default", 0):
        raise NotImplementedError("set_sync_debug_mode: JTORCH_LOGS=flushes says which lines wait for the GPU")


def get_allocator_backend() -> str:
    """``"native"``: XLA's own."""
    return "native"


def check_error(res: int) -> None:
    """Raise CudaError unless a status of CUDA's runtime is 0."""
    if res != 0:
        raise CudaError(res)


class CudaError(RuntimeError):
    """A status of CUDA's runtime other than 0."""

    def __init__(self, code: int):
        super().__init__(f"CUDA error ({code})")


class DeferredCudaCallError(Exception):
    """A call that had to wait for CUDA to start failed. JAX starts on use, and so nothing waits."""


def get_stream_from_external(data_ptr: int, device=None) -> ExternalStream:
    """A stream that another library has made: :class:`ExternalStream`, which refuses."""
    return ExternalStream(data_ptr, device)


def _refusal(name: str, way_out: str):
    """A function, or class, of PyTorch's that has no meaning on XLA.

    It raises RuntimeError where there is no GPU, and else NotImplementedError naming the way out.
    """

    def refuse(*args, **kwargs):
        _require()
        raise NotImplementedError(f"torch.cuda.{name}: {way_out}")

    refuse.__name__ = refuse.__qualname__ = name
    refuse.__doc__ = f"Refuses: {way_out}"
    return refuse


for _name in ("caching_allocator_alloc", "caching_allocator_delete", "caching_allocator_disabled",
              "caching_allocator_enable", "change_current_allocator", "CUDAPluggableAllocator", "MemPool",
              "use_mem_pool"):  # fmt: skip
    globals()[_name] = _refusal(_name, "XLA allocates; XLA_PYTHON_CLIENT_ALLOCATOR chooses how")
for _name in ("cudart", "current_blas_handle", "current_solver_handle"):
    globals()[_name] = _refusal(_name, "XLA keeps its libraries to itself; jax.ffi calls CUDA code of one's own")
for _name in ("list_gpu_processes", "memory_snapshot"):
    globals()[_name] = _refusal(_name, "nvidia-smi lists processes; jax.profiler.save_device_memory_profile, arrays")
for _name in ("graph_pool_handle", "GreenContext"):
    globals()[_name] = _refusal(_name, "wrap the function in jtorch.compile, which captures whole steps")

has_half, has_magma = True, False


class CUDAGraph:
    """Refuses, naming the way out."""

    def __init__(self, *args, **kwargs):
        raise NotImplementedError(
            "CUDAGraph: wrap the function in jtorch.compile, which captures whole steps; XLA makes CUDA graphs itself"
        )


graph = make_graphed_callables = CUDAGraph

globals().update({name: _tensor_type(kind.dtype, "cuda") for name, kind in _cpu_types.items()})
globals().update({kind.__name__: _storage_type(d, "cuda") for d, kind in _cpu_storages.items()})


memory_cached, max_memory_cached = memory_reserved, max_memory_reserved


def _is_in_bad_fork() -> bool:
    """False: a forked process that uses JAX is refused by JAX itself."""
    return False


def _lazy_call(callable, **kwargs) -> None:
    """Call it now: JAX initialises on first use by itself."""
    callable()


def __getattr__(name):
    if name == "default_generators":
        return tuple(default_generator(devices.resolve(f"cuda:{i}")) for i in range(device_count()))
    if name == "_initialized":  # read by layers that are run again backwards, from the same random state
        return is_initialized()
    if name in ("comm", "graphs", "memory", "nvtx", "profiler", "random"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'torch.cuda' has no attribute {name!r}")

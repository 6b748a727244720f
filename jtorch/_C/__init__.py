"""``torch._C``: names that programs take from PyTorch's extension module. What is there is what jtorch can mean by it.

Switches of PyTorch's own machinery (its JIT's fusers) are accepted, because they change nothing that a program sees.
"""

from __future__ import annotations

from importlib import import_module

import jtorch

from .. import dispatch_keys
from ..devices import device
from ..dtypes import dtype
from ..linalg import LinAlgError
from ..size import Size
from ..tape import engine, modes
from ..tape.engine import queue_callback as _queue_callback
from ..tape.node import Node as AutogradNode
from ..tensor import Tensor, overriding
from ..tensor.autograd import AccumulateGrad
from ..tensor.layout import layout, memory_format
from ..tensor.random import Generator

_TensorBase = TensorBase = Tensor
_LinAlgError = LinAlgError
_TensorMeta = type(Tensor)
_GLIBCXX_USE_CXX11_ABI = True
_has_cuda = has_cuda = False
has_mkl = has_openmp = has_lapack = True

DispatchKey, DispatchKeySet = dispatch_keys.DispatchKey, dispatch_keys.DispatchKeySet
_ExcludeDispatchKeyGuard, _AutoDispatchBelowAutograd = dispatch_keys.excluding, dispatch_keys.below_autograd

_disabled_torch_function_impl = overriding.disabled
DisableTorchFunctionSubclass = overriding.without_subclasses
DisableTorchFunction = overriding.without_all


def _log_api_usage_once(event: str) -> None:
    """Accepted: nothing is logged about use."""


def _accepted(name: str):
    def switch(*args, **kwargs):
        return False

    switch.__name__ = switch.__qualname__ = name
    switch.__doc__ = "Accepted: a switch of PyTorch's own machinery. False: it was off."
    return switch


for _name in (
    "_jit_set_texpr_fuser_enabled", "_jit_set_profiling_executor", "_jit_set_profiling_mode",
    "_jit_set_nvfuser_enabled", "_jit_override_can_fuse_on_gpu", "_jit_override_can_fuse_on_cpu",
    "_jit_set_nvfuser_single_node_mode", "_jit_set_bailout_depth", "_jit_set_num_profiled_runs",
    "_debug_set_autodiff_subgraph_inlining", "_jit_can_fuse_on_cpu",
    "_jit_can_fuse_on_gpu", "_jit_set_nvfuser_guard_mode", "_set_graph_executor_optimize",
):  # fmt: skip
    globals()[_name] = _accepted(_name)


def _get_tracing_state():
    """None, or while :mod:`jtorch.jit` traces something true."""
    return True if jtorch.jit.is_tracing() else None


def _is_tracing() -> bool:
    """Whether :mod:`jtorch.jit` traces."""
    return jtorch.jit.is_tracing()


def _are_functorch_transforms_active() -> bool:
    """Whether a function of :mod:`jtorch.func` (``vmap``, ``grad``) encloses the code that runs."""
    from ..func.levels import level

    return level.depth > 0 or modes.state.transformed > 0


def _is_torch_function_mode_enabled() -> bool:
    """Whether a ``TorchFunctionMode`` is active on this thread."""
    return bool(overriding.state.modes)


def _is_alias_of(a, b) -> bool:
    """Whether two tensors show one storage."""
    return a._storage is b._storage


def _get_accelerator():
    """The accelerator's device, or the CPU's."""
    return jtorch.accelerator.current_accelerator() or device("cpu")


def _current_graph_task_id() -> int:
    """-1 outside backward; inside, the number of this backward."""
    walk = engine.running()
    return -1 if walk is None else walk.id


def _current_autograd_node():
    """None: nodes do not know the walk they are in."""
    return None


def _will_engine_execute_node(node) -> bool:
    """Whether the backward that is running runs ``node``.

    Raises:
        RuntimeError: no backward is running, ``node`` is none, or gradients of leaves are returned and not accumulated.
    """
    if not isinstance(node, AutogradNode):
        raise RuntimeError(f"_will_engine_execute_node expects an grad_fn, but got {type(node).__name__}")
    walk = engine.running()
    if walk is None:
        raise RuntimeError("_get_should_execute_nodes should only be called during the backward pass")
    if walk.wanted is not None and any(isinstance(end, AccumulateGrad) for end, _ in walk.wanted):
        raise RuntimeError(
            "A leaf node was passed to _will_engine_execute_node but we are currently running autograd.grad(). This is "
            "currently not supported."
        )
    return walk.runs(node)


def _storage_Use_Count(pointer) -> int:
    """Raises NotImplementedError: storages are not counted."""
    raise NotImplementedError("torch._C._storage_Use_Count: jtorch's storages are Python objects and are not counted")


def _dispatch_has_kernel_for_dispatch_key(name: str, key: str) -> bool:
    """Whether there is such an operation: one implementation serves all devices."""
    namespace, _, op = name.partition("::")
    return hasattr(getattr(jtorch.ops, namespace), op.partition(".")[0])


def is_grad_enabled() -> bool:
    """Whether gradients are recorded."""
    return modes.state.grad


def _set_grad_enabled(mode: bool) -> None:
    modes.state.grad = bool(mode)


def _get_default_device() -> str:
    return jtorch.get_default_device().type


def _cuda_getDeviceCount() -> int:
    return jtorch.cuda.device_count()


class _Never(type):
    def __call__(cls, *args, **kwargs):
        raise NotImplementedError(
            f"torch._C.{cls.__name__}: there is no such thing in jtorch; nothing is an instance of it"
        )


def _never(name: str) -> type:
    return _Never(name, (), {"__doc__": "For isinstance only: jtorch makes none.", "__module__": __name__})


Value, Node, Graph, Block = _never("Value"), _never("Node"), _never("Graph"), _never("Block")
TensorType, Type, NoneType = _never("TensorType"), _never("Type"), _never("NoneType")
ScriptFunction, ScriptMethod, ScriptObject = _never("ScriptFunction"), _never("ScriptMethod"), _never("ScriptObject")


class _ImperativeEngine:
    """The backward engine, as far as programs speak to it."""

    def queue_callback(self, callback) -> None:
        """Call ``callback()`` when the backward that is running has ended."""
        _queue_callback(callback)


_EngineBase = _ImperativeEngine


def _parse_to(*args, **kwargs):
    """``(device, dtype, non_blocking, memory_format)`` of arguments of ``Module.to``.

    Raises:
        TypeError: they are no device, dtype or tensor.
    """
    found = {"device": None, "dtype": None, "non_blocking": False, "memory_format": None}
    found.update({k: v for k, v in kwargs.items() if k in found})
    flags = iter(("non_blocking", "copy"))
    for x in args:
        if isinstance(x, dtype):
            found["dtype"] = x
        elif isinstance(x, bool):
            found[next(flags)] = x
        elif isinstance(x, Tensor):
            found["device"], found["dtype"] = x.device, x.dtype
        elif x is None or isinstance(x, (str, int, device)):
            found["device"] = x
        else:
            raise TypeError(f"to() received an invalid combination of arguments - got ({type(x).__name__})")
    if found["device"] is not None:
        found["device"] = device(found["device"])
    return found["device"], found["dtype"], found["non_blocking"], found["memory_format"]


class _Namespace:
    """Functions of a public module under the names that PyTorch's extension has for them.

    Args:
        path: the module.
        prefix: stands before each name.
        names: names that differ otherwise.
    """

    def __init__(self, path: str, prefix: str = "", **names):
        self._path, self._prefix = path, prefix
        self.__dict__.update(names)

    def __getattr__(self, name: str):
        if name.startswith("__") or not name.startswith(self._prefix):
            raise AttributeError(name)
        return getattr(import_module(self._path), name.removeprefix(self._prefix))


def _is_fwd_grad_enabled() -> bool:
    """Whether operations carry tangents along inside a dual level."""
    return jtorch.autograd.forward_ad._is_fwd_grad_enabled()


def _set_fwd_grad_enabled(mode: bool) -> None:
    jtorch.autograd.forward_ad._set_fwd_grad_enabled(mode)


_autograd = _Namespace("jtorch.autograd.graph", SavedTensor=jtorch.autograd.SavedTensor)
_nn = _Namespace("jtorch.nn.functional", _parse_to=_parse_to, log_sigmoid=jtorch.nn.functional.logsigmoid)
_linalg = _Namespace("jtorch.linalg", "linalg_")
_special = _Namespace("jtorch.special", "special_")
_fft = _Namespace("jtorch.fft", "fft_")

__all__ = ["DispatchKey", "DispatchKeySet", "Generator", "Size", "Tensor", "device", "dtype", "layout", "memory_format"]

"""``autocast``: mixed precision by casting the operands of each operation as its policy says.

Casts are operations like any other: they are recorded, differentiated (a gradient comes back in the type of what was
cast), and XLA merges those of the same weight within a program.
"""

from __future__ import annotations

import functools
import threading
import warnings

from .. import dtypes
from ..tensor import dispatch as _dispatch
from ..tensor.tensor import Tensor
from . import policies

DEVICE_TYPES = ("cpu", "cuda", "tpu", "xla", "mps", "xpu")
_LOWER = {"cpu": (dtypes.bfloat16, dtypes.float16), "tpu": (dtypes.bfloat16,), "xla": (dtypes.bfloat16,)}


def _lower_types(device_type: str) -> tuple:
    return _LOWER.get(device_type, (dtypes.float16, dtypes.bfloat16))


class _State(threading.local):
    """Of one thread: which device types cast, and to what."""

    def __init__(self):
        self.enabled: dict[str, bool] = {}
        self.dtype: dict[str, dtypes.dtype] = {}
        self.cache = True
        self.nesting = 0


_state = _State()
_lock = threading.Lock()
_active = 0  # threads and device types that cast now


def _check(device_type: str) -> str:
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    if device_type not in DEVICE_TYPES:
        if not device_type.isidentifier():
            raise RuntimeError(f"Invalid device string: '{device_type}'")
        raise RuntimeError(
            f"User specified an unsupported autocast device_type '{device_type}'; expected one of {DEVICE_TYPES}"
        )
    return device_type


def is_autocast_available(device_type: str) -> bool:
    """Whether autocast knows the device type."""
    return device_type in DEVICE_TYPES


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether autocast is on for the device type on this thread."""
    return _state.enabled.get(_check(device_type), False)


def set_autocast_enabled(device_type, enabled: bool | None = None) -> None:
    """Turn autocast on or off for a device type (``cuda`` when only the flag is given)."""
    global _active
    if enabled is None:
        device_type, enabled = "cuda", device_type
    was, enabled = is_autocast_enabled(device_type), bool(enabled)
    if was == enabled:
        return
    _state.enabled[device_type] = enabled
    with _lock:  # dispatch asks nobody while nothing casts
        _active += 1 if enabled else -1
        if enabled and _active == 1:
            _dispatch.interceptors.append(_cast_operands)
        elif not _active:
            _dispatch.interceptors.remove(_cast_operands)


def get_autocast_dtype(device_type: str):
    """The type autocast casts to on a device type: bfloat16, or float16 on GPUs, unless set."""
    return _state.dtype.get(_check(device_type), _lower_types(device_type)[0])


def set_autocast_dtype(device_type: str, dtype) -> None:
    """Set what autocast casts to on a device type."""
    _state.dtype[_check(device_type)] = dtype


def is_autocast_cache_enabled() -> bool:
    """The flag as it was set. XLA merges the casts of a weight within a program in any case."""
    return _state.cache


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Set the flag that :func:`is_autocast_cache_enabled` returns."""
    _state.cache = bool(enabled)


def clear_autocast_cache() -> None:
    """Nothing is kept between operations, so there is nothing to clear."""


def autocast_increment_nesting() -> int:
    """Enter one more level; returns how many there are."""
    _state.nesting += 1
    return _state.nesting


def autocast_decrement_nesting() -> int:
    """Leave a level; returns how many are left."""
    _state.nesting -= 1
    return _state.nesting


# --- what dispatch asks ---------------------------------------------------------------------------------------------


def _cast_operands(op, operands, statics):
    tensors = [y for x in operands for y in (x if isinstance(x, (tuple, list)) else (x,)) if isinstance(y, Tensor)]
    if not tensors:
        return operands, statics
    device_type = tensors[0].device.type
    if not _state.enabled.get(device_type, False):
        return operands, statics
    policy = policies.of(device_type, op, statics)
    if policy is None:
        return operands, statics
    if policy == "refuse":
        raise RuntimeError(
            "torch.nn.functional.binary_cross_entropy and torch.nn.BCELoss are unsafe to autocast: a float16 "
            "probability close to 1 or 0 has no finite logarithm. Use binary_cross_entropy_with_logits or "
            "BCEWithLogitsLoss, or call it in a region with autocast disabled, on float32."
        )
    if policy == "lower":
        target = get_autocast_dtype(device_type)
    elif policy == "full" or any(t.dtype is dtypes.float32 for t in tensors):
        target = dtypes.float32
    else:
        target = get_autocast_dtype(device_type)
    kept = policies.KEPT.get(op.name) if device_type == "cpu" else None
    return tuple(x if i == kept else _cast(x, target) for i, x in enumerate(operands)), statics


def _cast(x, target):
    """``x``, if it is a tensor of floats and not of float64; of a sequence, each. No closure over the tensors: one that
    calls itself is a cycle, which would hold them, and make them results of the program, until a collection."""
    if isinstance(x, (tuple, list)):
        return tuple(_cast(y, target) for y in x)
    if isinstance(x, Tensor) and x.dtype is not target and x.dtype.is_floating_point and x.dtype is not dtypes.float64:
        return x.to(target)
    return x


class autocast:
    """A region, or the body of a decorated function, in which operations choose their precision.

    Args:
        device_type: of the tensors to cast: ``"cpu"``, ``"cuda"``, ``"tpu"``, ``"xla"``.
        dtype: the lower precision; bfloat16 on CPU and TPU and float16 on GPUs by default.
        enabled: False turns autocast off inside a region where it is on.
        cache_enabled: accepted; casts of a weight are merged by XLA in any case.

    Raises:
        RuntimeError: the device type is unknown.

    A dtype that autocast does not support there warns and disables it, as in PyTorch.
    """

    def __init__(self, device_type: str, dtype=None, enabled: bool = True, cache_enabled: bool | None = None):
        self.device = _check(device_type)
        self.fast_dtype = get_autocast_dtype(device_type) if dtype is None else dtype
        self._enabled = bool(enabled)
        self._cache_enabled = is_autocast_cache_enabled() if cache_enabled is None else cache_enabled
        allowed = _lower_types(device_type)
        if self._enabled and self.fast_dtype not in allowed:
            warnings.warn(
                f"In {device_type.upper()} autocast, but the target dtype {self.fast_dtype} is not supported. "
                f"Disabling autocast. It supports {', '.join(map(str, allowed))}.",
                stacklevel=2,
            )
            self._enabled = False
        self._before: list[tuple] = []

    def __enter__(self):
        device = self.device
        self._before.append((is_autocast_enabled(device), _state.dtype.get(device), _state.cache))
        set_autocast_enabled(device, self._enabled)
        set_autocast_dtype(device, self.fast_dtype)
        set_autocast_cache_enabled(self._cache_enabled)
        autocast_increment_nesting()
        return self

    def __exit__(self, *_):
        autocast_decrement_nesting()
        enabled, dtype, cache = self._before.pop()
        set_autocast_enabled(self.device, enabled)
        if dtype is None:
            _state.dtype.pop(self.device, None)
        else:
            set_autocast_dtype(self.device, dtype)
        set_autocast_cache_enabled(cache)
        return False

    def __call__(self, func):
        @functools.wraps(func)
        def decorated(*args, **kwargs):
            with self:
                return func(*args, **kwargs)

        return decorated


# --- custom autograd functions --------------------------------------------------------------------------------------


def _cast_tree(x, device_type: str, dtype):
    if isinstance(x, Tensor):
        eligible = x.dtype.is_floating_point and x.device.type == device_type and x.dtype is not dtypes.float64
        return x.to(dtype) if eligible else x
    if isinstance(x, dict):
        return {k: _cast_tree(v, device_type, dtype) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return type(x)(_cast_tree(v, device_type, dtype) for v in x)
    return x


def custom_fwd(fwd=None, *, device_type: str, cast_inputs=None):
    """For the ``forward`` of a ``torch.autograd.Function``: remember autocast's state for :func:`custom_bwd`.

    Args:
        cast_inputs: when given and autocast is on, cast floating inputs to it and run with autocast off.
    """
    _check(device_type)
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def decorated(*args, **kwargs):
        args[0]._dtype = get_autocast_dtype(device_type)
        on = is_autocast_enabled(device_type)
        if cast_inputs is None:
            args[0]._fwd_used_autocast = on
            return fwd(*args, **kwargs)
        args[0]._fwd_used_autocast = False
        if not on:
            return fwd(*args, **kwargs)
        with autocast(device_type, enabled=False):
            return fwd(*_cast_tree(args, device_type, cast_inputs), **_cast_tree(kwargs, device_type, cast_inputs))

    return decorated


def custom_bwd(bwd=None, *, device_type: str):
    """For the ``backward`` of a ``torch.autograd.Function``: run it in the autocast state of its ``forward``."""
    _check(device_type)
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def decorated(*args, **kwargs):
        with autocast(device_type, enabled=args[0]._fwd_used_autocast, dtype=args[0]._dtype):
            return bwd(*args, **kwargs)

    return decorated

"""Devices, named as PyTorch names them and resolved to JAX devices on first use.

``cpu`` is the host, ``cuda`` an NVIDIA GPU, ``tpu`` a TPU core, ``xla`` whatever JAX's default backend offers (so
``xla:3`` is the fourth fake device under ``--xla_force_host_platform_device_count``), ``meta`` no device: shapes and
dtypes only. Naming a device starts no backend; putting a tensor on it does.
"""

from __future__ import annotations

import functools
import threading

from .errors import NoDeviceError

_TYPES = frozenset(
    "cpu cuda tpu xla meta mps xpu hpu ipu mkldnn opengl opencl ideep hip ve fpga maia lazy vulkan mtia privateuseone"
    .split()
)  # fmt: skip
_defaults = threading.local()


class device:
    """``device("cuda:1")``, ``device("cuda", 1)``, ``device(0)`` (an accelerator's index), or another device.

    As a context manager it is the default device of factory functions inside the block.

    Raises:
        RuntimeError: the string names no device type, or has a malformed index.
    """

    __slots__ = ("type", "index", "platform")  # platform is known once the device is resolved

    def __new__(cls, type: str | int | device = "cpu", index: int | None = None):  # noqa: A002 (PyTorch's name)
        if isinstance(type, device):
            return type
        if isinstance(type, int) and not isinstance(type, bool):
            type, index = _accelerator_type(), type
        if not isinstance(type, str):
            raise TypeError(f"device(): argument 'type' must be str, int or device, not {type.__class__.__name__}")
        if ":" in type:
            if index is not None:
                raise RuntimeError(f"type (string) must not include an index because index was passed: {type}")
            type, _, text = type.partition(":")
            if not text.isdigit():
                raise RuntimeError(f"Invalid device string: '{type}:{text}'")
            index = int(text)
        if type not in _TYPES:
            raise RuntimeError(
                "Expected one of cpu, cuda, tpu, xla, meta (or another of PyTorch's device types) at start of device "
                f"string: {type}"
            )
        if index is not None and index < 0:
            raise RuntimeError(f"Device index must not be negative, got {index}")
        self = object.__new__(cls)
        object.__setattr__(self, "type", type)
        object.__setattr__(self, "index", index)
        return self

    def __setattr__(self, name, value):
        raise AttributeError(f"attribute '{name}' of 'torch.device' objects is not writable")

    def __eq__(self, other):
        return isinstance(other, device) and self.type == other.type and self.index == other.index

    def __hash__(self):
        return hash((self.type, self.index))

    def __repr__(self):
        return (
            f"device(type='{self.type}')" if self.index is None else f"device(type='{self.type}', index={self.index})"
        )

    def __str__(self):
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __reduce__(self):
        return device, (self.type, self.index)

    def __enter__(self):
        _stack().append(self)
        return self

    def __exit__(self, *exc):
        _stack().pop()

    def __call__(self, fn):
        """As a decorator: the default device inside the function."""

        @functools.wraps(fn)
        def wrapper(*args, **kwargs):
            with self:
                return fn(*args, **kwargs)

        return wrapper


def _stack() -> list:
    stack = getattr(_defaults, "stack", None)
    if stack is None:
        stack = _defaults.stack = []
    return stack


_Device = device  # where a parameter has the class's name
_process_default: device | None = None


def set_default_device(device: _Device | str | None) -> None:
    """Where factory functions put tensors when no ``device=`` is given (``None``: the CPU)."""
    global _process_default
    _process_default = None if device is None else _Device(device)


def get_default_device() -> device:
    """The device factory functions use now."""
    stack = getattr(_defaults, "stack", None)
    if stack:
        return stack[-1]
    return _process_default or CPU


def _accelerator_type() -> str:
    import jax

    return {"gpu": "cuda", "cuda": "cuda", "tpu": "tpu"}.get(jax.default_backend(), "cuda")


CPU = device("cpu")
META = device("meta")
_resolved: dict[device, device] = {CPU: CPU, META: META, device("cpu", 0): CPU, device("meta", 0): META}
_jax_devices: dict[device, object] = {}
#: called with each ``jax.Device`` that comes into use
on_first_use: list = []
_PLATFORM = {"cuda": "cuda", "tpu": "tpu", "cpu": "cpu"}
_PLATFORM_KIND = {"cpu": "cpu", "gpu": "cuda", "cuda": "cuda", "rocm": "cuda", "tpu": "tpu"}
for _d in (CPU, META):
    object.__setattr__(_d, "platform", "cpu")


def resolve(spec: device | str | int | None) -> device:
    """The canonical, interned device of a tensor put on ``spec``: accelerators carry an index, the CPU does not.

    Raises:
        RuntimeError: the machine has no such device.
    """
    d = get_default_device() if spec is None else device(spec)
    found = _resolved.get(d)
    if found is None:
        jax_device(device(d.type, d.index or 0))  # raises where there is none
        canonical = device(d.type, d.index or 0)
        found = _resolved.setdefault(canonical, canonical)
        object.__setattr__(found, "platform", _PLATFORM_KIND[jax_device(found).platform])
        _resolved[d] = found
    return found


def jax_device(d: device):
    """The ``jax.Device`` behind a device.

    Raises:
        RuntimeError: there is no such device, or it is ``meta``.
    """
    found = _jax_devices.get(d)
    if found is not None:
        return found
    import jax

    if d.type == "meta":
        raise RuntimeError("meta tensors hold no data and live on no device; create the tensor on a real device")
    try:
        available = jax.local_devices(backend=None if d.type == "xla" else _PLATFORM[d.type])
    except (RuntimeError, KeyError):
        raise NoDeviceError(
            f"no {d.type} device is available to JAX on this machine (its backend is '{jax.default_backend()}'); "
            "use device='cpu', or install the matching extra, e.g. pip install 'jtorch[cuda13]'"
        ) from None
    index = d.index or 0
    if d.type == "cuda":  # one of several processes sees its own GPU only, under the number it has in the machine
        index = next((i for i, x in enumerate(available) if x.local_hardware_id == index), index)
    if index >= len(available):
        raise RuntimeError(f"device {d} does not exist: there are {len(available)} {d.type} devices")
    found = _jax_devices[d] = available[index]
    for call in on_first_use:
        call(found)
    return found

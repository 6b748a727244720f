"""Control flow, switches and attributes that programs mention in passing."""

from __future__ import annotations

import math

import numpy as np

from .. import dtypes
from ..errors import once
from ..tape import engine
from ..tensor import Tensor
from ..tensor.creation import dtype_of, factory
from ..tensor.export import composite
from ..tensor.layout import memory_format

# --- numbers and conditions ------------------------------------------------------------------------------------------


@composite("torch")
def sym_ite(b, t, f):
    """``t`` if ``b`` holds, else ``f``."""
    return t if b else f


@composite("torch")
def sym_sqrt(a):
    """The square root of a number."""
    return math.sqrt(a)


@composite("torch")
def sym_sum(args):
    """The sum of numbers."""
    return sum(args)


# --- switches --------------------------------------------------------------------------------------------------------


@composite("torch")
def set_warn_always(b: bool) -> None:
    """Whether what a process warns of once is warned of every time; Python's filters decide what is shown."""
    once.always = bool(b)


@composite("torch")
def is_warn_always_enabled() -> bool:
    """What :func:`set_warn_always` was last given."""
    return once.always


@composite("torch")
def set_flush_denormal(mode: bool) -> bool:
    """Whether the processor was told to treat denormal numbers as 0: never, XLA sets this for its own threads."""
    return False


@composite("torch")
def is_anomaly_enabled() -> bool:
    """Whether anomaly detection is on."""
    return engine.anomaly.enabled


@composite("torch")
def set_anomaly_enabled(enabled: bool, check_nan: bool = True) -> None:
    """Switch anomaly detection, of which looking for NaN is a part."""
    engine.anomaly.enabled, engine.anomaly.check_nan = bool(enabled), bool(enabled) and bool(check_nan)


@composite("torch")
def is_anomaly_check_nan_enabled() -> bool:
    """Whether anomaly detection looks for NaN."""
    return engine.anomaly.check_nan


for _name, _doc in (("is_vulkan_available", "Whether there is a Vulkan backend: no."),
                    ("is_distributed", "Whether the tensor is a distributed one of old: no.")):  # fmt: skip

    def _never(*args) -> bool:
        return False

    composite("torch", method=_name == "is_distributed", name=_name, doc=_doc)(_never)


@composite("torch")
def compiled_with_cxx11_abi() -> bool:
    """Whether C++ extensions use the newer ABI of GCC."""
    return True


# --- data ------------------------------------------------------------------------------------------------------------


@composite("torch")
def to_dlpack(tensor):
    """A DLPack capsule of the tensor's data."""
    return tensor.__dlpack__()


@composite("torch")
@factory()
def from_file(filename, shared=None, size=0, *, dtype=None, device=None):
    """A 1-d tensor of the first ``size`` numbers of a file (read, not mapped).

    Raises:
        NotImplementedError: ``shared=True``.
        RuntimeError: the file is shorter.
    """
    if shared:
        raise NotImplementedError("from_file(shared=True): writing to the file through a tensor is not supported")
    kind = dtype_of(dtype)
    data = np.fromfile(filename, kind.np, size)
    if data.size < size:
        raise RuntimeError(f"from_file: {filename} holds {data.size} elements of {kind}, but {size} were asked for")
    return Tensor._from_numpy(data, device)


# --- attributes of tensors -------------------------------------------------------------------------------------------


@composite(method=True)
def const_data_ptr(self) -> int:
    """See ``data_ptr``."""
    return self.data_ptr()


@composite(method=True)
def dim_order(self, *, ambiguity_check=False) -> tuple[int, ...]:
    """The dims from the one with the largest stride to the one with the smallest.

    Raises:
        RuntimeError: with ``ambiguity_check``, sizes of 1 or equal strides let another order fit as well; of a list of
            memory formats, the tensor has not exactly one either.
        TypeError: ``ambiguity_check`` is neither a bool nor a list of memory formats.
    """
    strides = self.stride()
    order = tuple(sorted(range(self.dim()), key=lambda d: (-strides[d], d)))
    formats = ambiguity_check if isinstance(ambiguity_check, list) else []
    if not isinstance(ambiguity_check, (bool, list)) or not all(isinstance(f, memory_format) for f in formats):
        raise TypeError("The ambiguity_check argument must be a bool or a list of memory formats.")
    several = 1 in self.shape or len(set(strides)) < len(strides)
    if ambiguity_check and several and sum(self.is_contiguous(memory_format=f) for f in formats) != 1:
        raise RuntimeError(
            "The tensor does not have unique dim order, or cannot map to exact one of the given memory formats."
        )
    return order


@composite(method=True)
def module_load(self, other, assign=False):
    """What ``Module.load_state_dict`` puts in this tensor's place, under ``set_swap_module_params_on_conversion``."""
    return other.detach() if assign else self.copy_(other).detach()


@composite(method=True)
def resize(self, *sizes):
    """Deprecated: the tensor under another shape."""
    return self.reshape(*sizes)


@composite(method=True)
def resize_as(self, tensor):
    """Deprecated: the tensor under another's shape."""
    return self.reshape(tuple(tensor.shape))


@composite(method=True)
def reinforce(self, reward):
    """Removed.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError("reinforce() was removed. Use torch.distributions instead, and backward() of log_prob * reward")


def _not_quantized(name: str) -> None:
    def refuse(self):
        raise RuntimeError(f"{name}() needs a quantized tensor, but this one is of dtype {self.dtype}")

    doc = "Of quantized tensors only.\n\nRaises:\n    RuntimeError: the tensor is not quantized."
    composite(method=True, name=name, doc=doc)(refuse)


for _name in ("int_repr", "q_scale", "q_zero_point", "q_per_channel_scales", "q_per_channel_zero_points",
              "q_per_channel_axis", "qscheme"):  # fmt: skip
    _not_quantized(_name)


@composite(method=True)
def dequantize(self):
    """The real numbers: float32 of a tensor that is not quantized."""
    return self.to(dtypes.float32)


@composite(method=True)
def to_padded_tensor(self, padding, output_size=None):
    """Of nested tensors only: :func:`jtorch.nested.to_padded_tensor`.

    Raises:
        NotImplementedError: the tensor is not nested.
    """
    raise NotImplementedError("to_padded_tensor() needs a nested tensor; an ordinary one is padded already")


Tensor.name = property(lambda self: None, doc="None: tensors have no names.")
Tensor.volatile = property(lambda self: False, doc="False: use ``torch.no_grad`` instead.")
Tensor.is_mtia = Tensor.is_maia = property(lambda self: False)
Tensor.__div__ = lambda self, other: Tensor.__truediv__(self, other)
Tensor.__idiv__ = lambda self, other: Tensor.__itruediv__(self, other)
Tensor.__rdiv__ = lambda self, other: Tensor.__rtruediv__(self, other)

"""``torch.ops``: operations by namespace. ``aten`` holds PyTorch's own under their ATen names, others what
:mod:`jtorch.library` registered.
"""

from __future__ import annotations

from collections.abc import Callable

import jtorch

_registered: dict[str, dict[str, OpOverloadPacket]] = {}


class OpOverload:
    """One signature of an operation; calling it is calling the operation."""

    def __init__(self, packet: OpOverloadPacket, overload: str):
        self.overloadpacket, self._overload = packet, overload
        self.namespace = packet._namespace
        self.__name__ = f"{packet.__name__}.{overload}"

    def __call__(self, *args, **kwargs):
        return self.overloadpacket(*args, **kwargs)

    def name(self) -> str:
        """``"aten::add.Tensor"``; the default overload has no suffix."""
        suffix = "" if self._overload == "default" else f".{self._overload}"
        return f"{self.namespace}::{self.overloadpacket.__name__}{suffix}"

    def __str__(self) -> str:
        return f"{self.namespace}.{self.overloadpacket.__name__}.{self._overload}"

    def __repr__(self) -> str:
        return f"<OpOverload(op='{self.namespace}.{self.overloadpacket.__name__}', overload='{self._overload}')>"

    def __eq__(self, other) -> bool:
        return isinstance(other, OpOverload) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


class OpOverloadPacket:
    """An operation with all its overloads, which are told apart by their arguments."""

    def __init__(self, namespace: str, name: str, function: Callable):
        self._namespace, self.__name__, self._function = namespace, name, function
        self.__doc__ = function.__doc__

    def __call__(self, *args, **kwargs):
        return self._function(*args, **kwargs)

    def __getattr__(self, overload: str) -> OpOverload:
        if overload.startswith("__"):
            raise AttributeError(overload)
        return OpOverload(self, overload)

    def __repr__(self) -> str:
        return f"<OpOverloadPacket(op='{self._namespace}.{self.__name__}')>"


def _to_copy(x, *, dtype=None, device=None, **_):
    return x.to(device=device or x.device, dtype=dtype or x.dtype, copy=True)


def _convolution(x, w, b, stride, padding, dilation, transposed, output_padding, groups):
    F, n = jtorch.nn.functional, w.dim() - 2
    if transposed:
        return getattr(F, f"conv_transpose{n}d")(x, w, b, stride, padding, output_padding, groups, dilation)
    return getattr(F, f"conv{n}d")(x, w, b, stride, padding, dilation, groups)


#: ATen names that differ from those of the public functions
_ATEN = {
    "_to_copy": _to_copy,
    "_unsafe_view": lambda x, size: x.reshape(size),
    "_local_scalar_dense": lambda x: x.item(),
    "_softmax": lambda x, dim, half_to_float: jtorch.softmax(x, dim),
    "_log_softmax": lambda x, dim, half_to_float: jtorch.log_softmax(x, dim),
    "scalar_tensor": lambda s, **kwargs: jtorch.tensor(s, **kwargs),
    "sym_size": lambda x, dim=None: x.shape if dim is None else x.shape[dim],
    "sym_stride": lambda x, dim=None: x.stride() if dim is None else x.stride(dim),
    "sym_numel": lambda x: x.numel(),
    "convolution": _convolution,
}  # fmt: skip


def _aten(name: str) -> Callable:
    if name in _ATEN:
        return _ATEN[name]
    for place in (jtorch, jtorch.Tensor, jtorch.nn.functional, jtorch.special, jtorch.linalg, jtorch.fft):
        for spelled in (name, name.removeprefix("linalg_"), name.removeprefix("special_"), name.removeprefix("fft_")):
            if spelled != name and place not in (jtorch.special, jtorch.linalg, jtorch.fft):
                continue
            found = getattr(place, spelled, None)
            if callable(found):
                return found
    raise AttributeError(f"'_OpNamespace' 'aten' object has no attribute '{name}'")


class OpNamespace:
    """``torch.ops.<name>``."""

    def __init__(self, name: str):
        self.name = name

    def __getattr__(self, op: str) -> OpOverloadPacket:
        if op.startswith("__"):
            raise AttributeError(op)
        found = _registered.get(self.name, {}).get(op)
        if found is None:
            if self.name != "aten":
                raise AttributeError(f"'_OpNamespace' '{self.name}' object has no attribute '{op}'")
            found = OpOverloadPacket("aten", op, _aten(op))
        setattr(self, op, found)
        return found

    def __dir__(self):
        return sorted(_registered.get(self.name, {}))


class Ops:
    """``torch.ops``."""

    def __getattr__(self, namespace: str) -> OpNamespace:
        if namespace.startswith("__"):
            raise AttributeError(namespace)
        found = OpNamespace(namespace)
        setattr(self, namespace, found)
        return found

    def load_library(self, path) -> None:
        """Raises NotImplementedError: shared libraries of PyTorch operators need PyTorch's dispatcher."""
        raise NotImplementedError(
            f"torch.ops.load_library({str(path)!r}): libraries of PyTorch operators need PyTorch's C++ dispatcher. "
            "Register the operation in Python with jtorch.library.custom_op."
        )


def register(namespace: str, name: str, function: Callable) -> OpOverloadPacket:
    """Make ``function`` available as ``torch.ops.<namespace>.<name>``, in place of an earlier one."""
    packet = _registered.setdefault(namespace, {})[name] = OpOverloadPacket(namespace, name, function)
    setattr(getattr(ops, namespace), name, packet)
    return packet


ops = Ops()

"""Handlers: how each ONNX operator is run on jtorch tensors.

A handler is called as ``handler(n, *inputs)``: ``n`` gives the node's attributes and opset, and the inputs are Tensors,
or None where they were left out. Inputs whose positions are named in ``host`` arrive as NumPy arrays, because the
operation needs their values to know its result's shape. ``since`` is the first opset the handler is for; of several,
the newest that is not newer than the model's opset is taken, so an operator whose later versions only take more types
has one handler.
"""

from __future__ import annotations

import numpy as np
from onnx import AttributeProto, TensorProto, helper, numpy_helper

import jtorch

from ..errors import OnnxLoadError

HANDLERS: dict[tuple[str, str], list[tuple[int, Handler]]] = {}


class Handler:
    """A function, and which of its inputs stay on the host (``"all"``: every one is passed as it is)."""

    __slots__ = ("fn", "host")

    def __init__(self, fn, host):
        self.fn, self.host = fn, host


def handles(*names: str, since: int = 1, domain: str = "", host=()):
    """Register a handler for one or more operators."""

    def register(fn):
        for name in names:
            entries = HANDLERS.setdefault((domain, name), [])
            if any(s == since for s, _ in entries):
                raise ValueError(f"{domain}.{name} has a handler from opset {since} on already")
            entries.append((since, Handler(fn, host)))
            entries.sort(key=lambda e: -e[0])
        return fn

    return register


def find(domain: str, name: str, opset: int) -> Handler | None:
    """The newest handler that is not newer than ``opset``."""
    domain = "" if domain == "ai.onnx" else domain
    return next((h for since, h in HANDLERS.get((domain, name), ()) if since <= opset), None)


class Node:
    """A node, its attributes, and the opset its domain has in the model."""

    __slots__ = ("proto", "op_type", "opset", "attributes", "outputs", "interpreter", "_scope")

    def __init__(self, proto, opset: int, interpreter):
        self.proto, self.op_type, self.opset, self.interpreter = proto, proto.op_type, opset, interpreter
        self.attributes = {a.name: _attribute(a) for a in proto.attribute}
        self.outputs = [bool(name) for name in proto.output]
        self._scope = None

    def get(self, name: str, default=None):
        return self.attributes.get(name, default)

    def wants(self, output: int) -> bool:
        """Whether output number ``output`` is used."""
        return output < len(self.outputs) and self.outputs[output]

    def unsupported(self, why: str) -> OnnxLoadError:
        return OnnxLoadError(f"{self.op_type} (node {self.proto.name!r}): {why} is not supported")


def _attribute(a):
    value = helper.get_attribute_value(a)
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if a.type == AttributeProto.STRINGS:
        return [v.decode("utf-8", "surrogateescape") for v in value]
    if isinstance(value, TensorProto):
        return to_numpy(value)
    return list(value) if a.type >= 6 else value


# --- values ----------------------------------------------------------------------------------------------------------


def to_numpy(proto: TensorProto) -> np.ndarray:
    """A stored tensor as an array; strings as an object array of str.

    Raises:
        OnnxLoadError: its data do not fit its shape and type.
    """
    try:
        array = numpy_helper.to_array(proto)
    except (ValueError, TypeError, KeyError) as error:
        raise OnnxLoadError(
            f"the stored tensor {proto.name!r} of shape {list(proto.dims)} is damaged: {error}"
        ) from None
    if proto.data_type == TensorProto.STRING:
        return np.array([s.decode() if isinstance(s, bytes) else str(s) for s in array.reshape(-1)], object).reshape(
            array.shape
        )
    return array


def is_text(x) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.kind in "OUS"


def dtype_of(number: int):
    """The jtorch dtype of an ONNX element type.

    Raises:
        OnnxLoadError: there is none.
    """
    found = DTYPES.get(number)
    if found is None:
        raise OnnxLoadError(f"tensors of type {TensorProto.DataType.Name(number)} are not supported")
    return found


DTYPES = {
    TensorProto.FLOAT: jtorch.float32, TensorProto.DOUBLE: jtorch.float64, TensorProto.FLOAT16: jtorch.float16,
    TensorProto.BFLOAT16: jtorch.bfloat16, TensorProto.INT64: jtorch.int64, TensorProto.INT32: jtorch.int32,
    TensorProto.INT16: jtorch.int16, TensorProto.INT8: jtorch.int8, TensorProto.UINT8: jtorch.uint8,
    TensorProto.UINT16: jtorch.uint16, TensorProto.UINT32: jtorch.uint32, TensorProto.UINT64: jtorch.uint64,
    TensorProto.BOOL: jtorch.bool, TensorProto.COMPLEX64: jtorch.complex64, TensorProto.COMPLEX128: jtorch.complex128,
    TensorProto.FLOAT8E4M3FN: jtorch.float8_e4m3fn, TensorProto.FLOAT8E4M3FNUZ: jtorch.float8_e4m3fnuz,
    TensorProto.FLOAT8E5M2: jtorch.float8_e5m2, TensorProto.FLOAT8E5M2FNUZ: jtorch.float8_e5m2fnuz,
}  # fmt: skip


def tensor(x, device=None):
    """A host array as a Tensor; a Tensor as it is. Types narrower than a byte come as the next wider one."""
    if isinstance(x, np.ndarray):
        if is_text(x):
            raise OnnxLoadError("a tensor of strings where numbers are needed")
        if is_narrow(x):
            x = x.astype(_NARROW[str(x.dtype)])
        t = jtorch.from_numpy(np.array(x)) if str(x.dtype) not in _VIEWED else _viewed(x)
        return t if device is None else t.to(device)
    return x


_VIEWED = {
    "bfloat16": np.uint16, "float8_e4m3fn": np.uint8, "float8_e4m3fnuz": np.uint8, "float8_e5m2": np.uint8,
    "float8_e5m2fnuz": np.uint8,
}  # fmt: skip


_NARROW = {
    "int4": np.int8, "int2": np.int8, "uint4": np.uint8, "uint2": np.uint8, "float4_e2m1fn": np.float32,
    "float8_e8m0fnu": np.float32,
}  # fmt: skip


def is_narrow(x) -> bool:
    """Whether an array has a type that Tensors do not have: it stays on the host until it is computed with."""
    return isinstance(x, np.ndarray) and str(x.dtype) in _NARROW


def _viewed(x: np.ndarray):
    bits = jtorch.from_numpy(np.ascontiguousarray(x).view(_VIEWED[str(x.dtype)]).reshape(x.shape).copy())
    return bits.view(getattr(jtorch, str(x.dtype)))


def host(x):
    """The values of a Tensor as an array; an array as it is."""
    if isinstance(x, jtorch.Tensor):
        x = x.detach().cpu()
        kind = _VIEWED.get(str(x.dtype).rpartition(".")[2])
        if kind is None:
            return x.numpy()
        bits = x.contiguous().view(jtorch.int16 if kind is np.uint16 else jtorch.uint8).numpy()
        return bits.view(x.dtype.np)
    return x


def ints(x) -> list[int] | None:
    """The integers of a vector (None for None)."""
    return None if x is None else [int(i) for i in np.asarray(host(x)).reshape(-1)]


def axes_of(n: Node, given, ndim: int, name: str = "axes") -> list[int] | None:
    """Axes from an input (newer opsets) or an attribute (older ones), counted from the front; None for all."""
    axes = ints(given) if given is not None else n.get(name)
    return None if axes is None else [int(a) % ndim if ndim else 0 for a in axes]

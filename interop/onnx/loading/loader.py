"""``load``: an ONNX model as a module."""

from __future__ import annotations

import os
import re

import numpy as np
import onnx
from onnx import TensorProto

import jtorch
from jtorch import nn

from ..errors import OnnxLoadError
from .interpreter import Interpreter
from .registry import is_narrow, is_text, tensor, to_numpy

_LARGE = 64  # integers beyond this many elements are tables, not shapes: they are buffers and move with the module


def load(source, *, trainable: bool = True) -> OnnxModule:
    """See :func:`jtorch.onnx.load`."""
    model, folder = _parsed(source)
    _resolve_external(model, folder)
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise OnnxLoadError(f"the model is not valid ONNX: {str(error).strip()}") from None
    return OnnxModule(model, trainable)


def _parsed(source) -> tuple[onnx.ModelProto, str | None]:
    """The model, and the folder its external data is in."""
    if isinstance(source, onnx.ModelProto):
        copy = onnx.ModelProto()
        copy.CopyFrom(source)
        return copy, None
    folder = None
    if hasattr(source, "read"):
        data = source.read()
    elif isinstance(source, (bytes, bytearray)):
        data = bytes(source)
    else:
        path = os.fspath(source)
        folder = os.path.dirname(os.path.abspath(path))
        with open(path, "rb") as file:
            data = file.read()
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's DecodeError has moved between its versions
        raise OnnxLoadError(f"the file is no ONNX model, or is cut off: {error}") from None
    if not model.graph.node and not model.graph.output:
        raise OnnxLoadError("the file is no ONNX model: it holds no graph")
    return model, folder


# --- data in other files ---------------------------------------------------------------------------------------------


def _tensors(graph: onnx.GraphProto):
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _in_nodes(graph.node)


def _in_nodes(nodes):
    for node in nodes:
        for a in node.attribute:
            if a.HasField("t"):
                yield a.t
            yield from a.tensors
            for g in [a.g] if a.HasField("g") else list(a.graphs):
                yield from _tensors(g)


def _resolve_external(model: onnx.ModelProto, folder: str | None) -> None:
    """Bring external data into the message.

    Raises:
        OnnxLoadError: it lies outside of the model's folder, or is shorter than the model says.
    """
    for t in [*_tensors(model.graph), *(t for f in model.functions for t in _in_nodes(f.node))]:
        if t.data_location != TensorProto.EXTERNAL:
            continue
        info = {e.key: e.value for e in t.external_data}
        if folder is None:
            raise OnnxLoadError(
                f"tensor {t.name!r} is stored in {info.get('location')!r}: load the model from its path"
            )
        path = _inside(folder, info.get("location", ""), t.name)
        wanted = _bytes_of(t)
        try:
            offset, length = int(info.get("offset", 0)), int(info.get("length", wanted))
        except ValueError:
            raise OnnxLoadError(f"tensor {t.name!r}: offset and length must be numbers, got {info}") from None
        size = os.path.getsize(path)
        if offset < 0 or length < 0 or length != wanted or offset + length > size:
            raise OnnxLoadError(
                f"tensor {t.name!r} needs {wanted} bytes, and the model says {length} from {offset} on in "
                f"{os.path.basename(path)}, which has {size}"
            )
        with open(path, "rb") as file:
            file.seek(offset)
            t.raw_data = file.read(length)
        del t.external_data[:]
        t.data_location = TensorProto.DEFAULT


def _bytes_of(t: TensorProto) -> int:
    count = 1
    for d in t.dims:
        if d < 0:
            raise OnnxLoadError(f"tensor {t.name!r} has the size {d}")
        count *= d
    try:
        kind = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(t.data_type))
    except KeyError:
        raise OnnxLoadError(f"tensor {t.name!r} has the unknown element type {t.data_type}") from None
    if t.data_type in (TensorProto.INT4, TensorProto.UINT4, getattr(TensorProto, "FLOAT4E2M1", -1)):
        return -(-count // 2)
    return count * kind.itemsize


def _inside(folder: str, location: str, name: str) -> str:
    """The path of a data file, which must lie in the model's folder whatever its name and links say."""
    root = os.path.realpath(folder)
    path = os.path.realpath(os.path.join(root, location))
    if (
        not location
        or os.path.isabs(location)
        or re.match(r"[A-Za-z]:|\\", location)
        or not path.startswith(root + os.sep)
    ):
        raise OnnxLoadError(
            f"tensor {name!r} is stored in {location!r}, which is outside of the model's folder: refused"
        )
    if not os.path.isfile(path):
        raise OnnxLoadError(f"tensor {name!r} is stored in {location!r}, which does not exist beside the model")
    return path


# --- the module ------------------------------------------------------------------------------------------------------


class OnnxModule(nn.Module):
    """An ONNX model. Calling it takes the graph's inputs, in order or by name, and returns its outputs: one tensor,
    or a tuple.

    Floating-point initializers are Parameters under their own names (dots make submodules, as in a state dict), except
    single numbers and the running statistics of BatchNormalization, which are buffers. So a model that
    ``jtorch.onnx.export`` wrote has the state dict it had, where its names are kept.

    Attributes:
        input_names, output_names: the graph's.
        model_proto: the model without its weights.
    """

    def __init__(self, model: onnx.ModelProto, trainable: bool = True):
        super().__init__()
        graph = model.graph
        self._places: dict[str, tuple[nn.Module, str]] = {}
        self._constants: dict[str, np.ndarray] = {}
        stored = {t.name for t in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
        statistics = _statistics(graph)
        for t in graph.initializer:
            self._keep(t.name, to_numpy(t), trainable and t.name not in statistics)
        for t in graph.sparse_initializer:
            self._keep(t.values.name, _dense(t), False)
        del graph.initializer[:]
        del graph.sparse_initializer[:]
        self.input_names = [i.name for i in graph.input if i.name not in stored]
        self.output_names = [o.name for o in graph.output]
        self.model_proto = model
        self._interpreter = Interpreter(model)
        self._graph_inputs = {i.name: i for i in graph.input}

    def _keep(self, name: str, array: np.ndarray, trainable: bool) -> None:
        floating = str(array.dtype) in ("float16", "float32", "float64", "bfloat16")
        if is_text(array) or not floating and array.size <= _LARGE:
            self._constants[name] = array
            return
        if is_narrow(array):
            array = array.astype(
                np.float32 if "float" in str(array.dtype) else np.int8 if array.dtype.name.startswith("i") else np.uint8
            )
            floating = False
        if str(array.dtype) not in _KNOWN:
            raise OnnxLoadError(f"initializer {name!r} has the element type {array.dtype}, which is not supported")
        owner, attribute = self._place(name)
        value = tensor(array)
        if floating and array.ndim:
            owner.register_parameter(attribute, nn.Parameter(value, requires_grad=trainable)) if trainable else (
                owner.register_buffer(attribute, value)
            )
        else:
            owner.register_buffer(attribute, value)
        self._places[name] = (owner, attribute)

    def _place(self, name: str) -> tuple[nn.Module, str]:
        """The (sub)module and attribute for a name with dots; an underscore is added where the name is taken."""
        *path, attribute = name.split(".") if all(name.split(".")) else [name.replace(".", "_")]
        owner: nn.Module = self
        for part in path:
            child = owner._modules.get(part)
            if child is None:
                part = _free(owner, part)
                child = nn.Module()
                owner.add_module(part, child)
            owner = child
        return owner, _free(owner, attribute)

    def forward(self, *args, **kwargs):
        if len(args) > len(self.input_names):
            raise TypeError(f"the model takes {len(self.input_names)} inputs {self.input_names}, got {len(args)}")
        given = dict(zip(self.input_names, args, strict=False))
        for name, value in kwargs.items():
            if name not in self._graph_inputs or name in given:
                raise TypeError(f"the model has no (further) input {name!r}; its inputs are {self.input_names}")
            given[name] = value
        missing = [name for name in self.input_names if name not in given]
        if missing:
            raise TypeError(f"the model's inputs {missing} are missing; it takes {self.input_names}")
        self._interpreter.training = self.training
        tensors = [x for x in given.values() if isinstance(x, jtorch.Tensor)]
        self._interpreter.device = tensors[0].device if tensors else None
        env = {name: getattr(owner, attribute) for name, (owner, attribute) in self._places.items()}
        env.update(self._constants)
        for name, value in given.items():
            self._check(name, value)
            env[name] = value
        graph = self.model_proto.graph
        self._interpreter.run(
            self._interpreter.plan(graph, graph.node, self.output_names, self._interpreter.opsets), env
        )
        results = tuple(_result(env[name], self._interpreter.device) for name in self.output_names)
        return results[0] if len(results) == 1 else results

    def _check(self, name: str, value) -> None:
        kind = self._graph_inputs[name].type.tensor_type
        if not isinstance(value, jtorch.Tensor) or not kind.HasField("shape"):
            return
        shape = [d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim]
        if len(shape) != value.dim() or any(s is not None and s != v for s, v in zip(shape, value.shape, strict=True)):
            said = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in kind.shape.dim]
            raise ValueError(f"input {name!r} must have the shape {said}, got {list(value.shape)}")

    def extra_repr(self) -> str:
        return (
            f"{', '.join(self.input_names)} -> {', '.join(self.output_names)}, {len(self.model_proto.graph.node)} nodes"
        )


_KNOWN = frozenset((
    "float16", "float32", "float64", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
    "uint64", "bool", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz",
))  # fmt: skip


def _result(x, device):
    return tensor(x, device) if isinstance(x, np.ndarray) and not is_text(x) and str(x.dtype) in _KNOWN else x


def _free(owner: nn.Module, name: str) -> str:
    while hasattr(owner, name):
        name += "_"
    return name


def _statistics(graph) -> set[str]:
    return {name for node in graph.node if node.op_type == "BatchNormalization" for name in node.input[3:5]}


def _dense(sparse) -> np.ndarray:
    values, at, dims = to_numpy(sparse.values), to_numpy(sparse.indices), list(sparse.dims)
    dense = np.zeros(dims, values.dtype)
    dense[tuple(at.T) if at.ndim == 2 else np.unravel_index(at, dims)] = values
    return dense

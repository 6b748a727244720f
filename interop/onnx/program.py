"""An exported model: its graph, its weights, and onnxruntime to run it."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

import jtorch

from .errors import OnnxExporterError
from .exporting.builder import ELEMENT, to_proto

_LIMIT = 2_000_000_000  # a protobuf message ends at 2 GiB
_INLINE = 1024  # bytes up to which a tensor stays in the model file
_ALIGN = 4096  # so that runtimes can map large tensors into memory


class ONNXProgram:
    """What :func:`jtorch.onnx.export` returns.

    Attributes:
        input_names, output_names: of the graph's tensors, in order.
        weights: ``{name: NumPy array}`` of the initializers; names are those of the state dict.

    Calling it runs the graph with onnxruntime, on the arguments the model takes, and returns a tuple of tensors.
    """

    def __init__(self, proto, weights, input_names, output_names, *, with_weights=True, weights_as_inputs=False,
                 flatten=None):  # fmt: skip
        self._proto, self.weights = proto, weights
        self.input_names, self.output_names = input_names, output_names
        self._with_weights, self._weights_as_inputs, self._flatten = with_weights, weights_as_inputs, flatten
        self._session = None

    # --- the proto

    def has(self, *op_types: str) -> bool:
        """Whether the graph has a node of one of these types."""
        return any(n.op_type in op_types for n in self._proto.graph.node)

    def nbytes(self) -> int:
        """Bytes of the weights."""
        return sum(a.nbytes for a in self.weights.values())

    def _assembled(self, tensors, declared) -> onnx.ModelProto:
        proto = onnx.ModelProto()
        proto.CopyFrom(self._proto)
        proto.graph.initializer.extend(tensors)
        for name in declared:
            array = self.weights[name]
            proto.graph.input.append(helper.make_tensor_value_info(name, ELEMENT[str(array.dtype)], array.shape))
        return proto

    @property
    def model_proto(self) -> onnx.ModelProto:
        """The whole model as one message.

        Raises:
            OnnxExporterError: it would be larger than a message can be (2 GB); ``save`` writes it in two files.
        """
        if self._with_weights and self.nbytes() > _LIMIT:
            raise OnnxExporterError("the weights are larger than 2 GB, which one message cannot hold; use save()")
        if not self._with_weights:
            return self._assembled([], self.weights)
        tensors = [to_proto(a, n) for n, a in self.weights.items()]
        return self._assembled(tensors, self.weights if self._weights_as_inputs else [])

    def skeleton(self) -> onnx.ModelProto:
        """The model with its large weights declared as inputs: what there is to check and to print."""
        large = [n for n, a in self.weights.items() if a.nbytes > 1 << 16]
        return self._assembled([to_proto(a, n) for n, a in self.weights.items() if a.nbytes <= 1 << 16], large)

    def fold_constants(self) -> None:
        """Compute the nodes that only prepare constants now."""
        from .exporting.folding import fold

        self._proto, self.weights = fold(self._proto, self.weights)

    def downgrade(self, opset: int) -> None:
        """Rewrite the graph for an older opset with ONNX's own converter.

        Raises:
            OnnxExporterError: it cannot.
        """
        from onnx import version_converter

        try:
            proto = version_converter.convert_version(self.skeleton(), opset)
        except RuntimeError as error:
            raise OnnxExporterError(
                f"the graph cannot be rewritten for opset {opset} (translations write opset 18 and newer): {error}"
            ) from error
        proto.ir_version = self._proto.ir_version
        small = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
        self.weights = {**small, **{n: a for n, a in self.weights.items() if n not in small}}
        used = {name for node in proto.graph.node for name in node.input}
        self.weights = {n: a for n, a in self.weights.items() if n in used}
        del proto.graph.initializer[:]
        kept = [i for i in proto.graph.input if i.name in self.input_names]
        del proto.graph.input[:]
        proto.graph.input.extend(kept)
        self._proto = proto

    def check(self) -> None:
        """ONNX's own checker, and strict shape inference.

        Raises:
            OnnxExporterError: the graph is not valid.
        """
        skeleton = self.skeleton()
        try:
            onnx.checker.check_model(skeleton, full_check=True)
            shape_inference.infer_shapes(skeleton, check_type=True, strict_mode=True, data_prop=True)
        except (onnx.checker.ValidationError, shape_inference.InferenceError) as error:
            raise OnnxExporterError(f"the exported graph is not valid ONNX: {error}") from error

    # --- files

    def save(self, destination, *, include_initializers=True, keep_initializers_as_inputs=False, external_data=None):
        """Write the model to a path (or a binary file object); an existing file is replaced when all is written.

        Args:
            include_initializers: False leaves the weights out, as inputs.
            keep_initializers_as_inputs: list the weights among the inputs as well.
            external_data: weights in ``<destination>.data`` beside it; None: where they exceed 2 GB.

        Raises:
            OnnxExporterError: weights over 2 GB with ``external_data=False``, or for a file object.
        """
        held = self._with_weights, self._weights_as_inputs
        self._with_weights = self._with_weights and include_initializers
        self._weights_as_inputs = self._weights_as_inputs or keep_initializers_as_inputs
        try:
            if hasattr(destination, "write"):
                destination.write(self.model_proto.SerializeToString())
                return
            path = os.fspath(destination)
            if external_data or (external_data is None and self._with_weights and self.nbytes() > _LIMIT):
                self._save_in_two(path)
            else:
                _write(path, self.model_proto.SerializeToString())
        finally:
            self._with_weights, self._weights_as_inputs = held

    def _save_in_two(self, path: str) -> None:
        name = os.path.basename(path) + ".data"
        tensors, offset = [], 0

        def write_weights(file):
            nonlocal offset
            for weight, array in self.weights.items():
                if array.nbytes <= _INLINE:
                    tensors.append(to_proto(array, weight))
                    continue
                offset = -(-offset // _ALIGN) * _ALIGN
                file.seek(offset)
                file.write(
                    memoryview(np.ascontiguousarray(array)).cast("B") if array.dtype.kind in "fiub" else array.tobytes()
                )
                proto = TensorProto(name=weight, data_type=ELEMENT[str(array.dtype)], dims=array.shape)
                proto.data_location = TensorProto.EXTERNAL
                for key, value in (("location", name), ("offset", offset), ("length", array.nbytes)):
                    proto.external_data.add(key=key, value=str(value))
                tensors.append(proto)
                offset += array.nbytes

        _write(path + ".data", write_weights)
        declared = self.weights if self._weights_as_inputs else []
        _write(path, self._assembled(tensors, declared).SerializeToString())

    # --- running

    def initialize_inference_session(self):
        """The onnxruntime session (CPU), made on first use."""
        if self._session is None:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            providers = ["CPUExecutionProvider"]
            if self._with_weights and self.nbytes() <= _LIMIT:
                self._session = onnxruntime.InferenceSession(self._complete().SerializeToString(), options, providers)
            else:
                with tempfile.TemporaryDirectory() as folder:
                    path = os.path.join(folder, "model.onnx")
                    self._save_in_two(path)
                    self._session = onnxruntime.InferenceSession(path, options, providers)
        return self._session

    def _complete(self):
        return self._assembled([to_proto(a, n) for n, a in self.weights.items()], [])

    def run(self, tensors) -> list[np.ndarray]:
        """The graph's results for a flat list of tensors, as NumPy arrays."""
        session = self.initialize_inference_session()
        wanted = {i.name: i.type for i in session.get_inputs()}
        feed = {n: _to_numpy(t) for n, t in zip(self.input_names, tensors, strict=True) if n in wanted}
        return session.run(self.output_names, feed)

    def __call__(self, *args, **kwargs):
        tensors = self._flatten(args, kwargs) if self._flatten else list(args)
        return tuple(jtorch.from_numpy(np.asarray(a)) for a in self.run(tensors))

    def __repr__(self) -> str:
        return f"ONNXProgram({len(self._proto.graph.node)} nodes, {self.input_names} -> {self.output_names})"


def _to_numpy(t):
    if not isinstance(t, jtorch.Tensor):
        return np.asarray(t)
    if t.dtype is jtorch.bfloat16:
        raise OnnxExporterError("onnxruntime takes no bfloat16 arrays from Python; export the model in another dtype")
    return t.detach().cpu().numpy()


def _write(path: str, content) -> None:
    """A file written under a temporary name and renamed; ``content`` is bytes or a function that writes."""
    folder = os.path.dirname(os.path.abspath(path))
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=os.path.basename(path) + ".")
    try:
        with open(handle, "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise

"""jtorch as a backend of ``onnx.backend.base``: what onnx's own test suite runs a model through.

import onnx.backend.test
import jtorch.interop.onnx.backend as backend
tests = onnx.backend.test.BackendTest(backend.JtorchBackend, __name__)
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, helper
from onnx.backend.base import Backend, BackendRep, Device, DeviceType

import jtorch

from .loading.loader import load
from .loading.registry import host, is_narrow, is_text, tensor


def _given(x):
    if isinstance(x, (list, tuple)):
        return [_given(y) for y in x]
    if x is None or is_text(x) or is_narrow(x):
        return x
    return tensor(np.asarray(x))


def _returned(x):
    if isinstance(x, list):
        return [_returned(y) for y in x]
    if not isinstance(x, jtorch.Tensor):
        return x
    return host(x)


class JtorchRep(BackendRep):
    """A loaded model."""

    def __init__(self, model: ModelProto):
        self.module = load(model, trainable=False)
        self.module.eval()

    def run(self, inputs, **kwargs):
        """The outputs, as NumPy arrays, for inputs in order or by name."""
        with jtorch.no_grad():
            if isinstance(inputs, dict):
                out = self.module(**{k: _given(v) for k, v in inputs.items()})
            else:
                out = self.module(*(_given(x) for x in inputs))
        out = out if isinstance(out, tuple) else (out,)
        return tuple(_returned(x) for x in out)


class JtorchBackend(Backend):
    """Runs models on the CPU device."""

    @classmethod
    def is_compatible(cls, model, device="CPU", **kwargs) -> bool:
        return True

    @classmethod
    def prepare(cls, model, device="CPU", **kwargs) -> JtorchRep:
        return JtorchRep(model)

    @classmethod
    def run_model(cls, model, inputs, device="CPU", **kwargs):
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(cls, node, inputs, device="CPU", outputs_info=None, **kwargs):
        """One node on given inputs."""
        infos = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.asarray(x).dtype), np.shape(x))
            for name, x in zip(node.input, inputs, strict=True)
        ]
        outputs = [helper.make_value_info(name, type_proto=None) for name in node.output]
        graph = helper.make_graph([node], "node", infos, outputs)
        opsets = [helper.make_opsetid("", kwargs.get("opset_version", 23))]
        from .loading.interpreter import Interpreter

        results = Interpreter(helper.make_model(graph, opset_imports=opsets)).graph(graph, [_given(x) for x in inputs])
        return tuple(_returned(x) for x in results)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return Device(device).type == DeviceType.CPU

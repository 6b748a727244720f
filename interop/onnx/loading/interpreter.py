"""Running a graph: node by node, each by its handler, or by its function body where there is none.

Integers that describe shapes (constants, results of Shape, and arithmetic on them) stay NumPy arrays on the host, so
that they cost no program and stop no recording; everything else is a Tensor.
"""

from __future__ import annotations

from collections import ChainMap

import numpy as np
import onnx
from onnx import defs, helper

import jtorch

from ..errors import OnnxLoadError
from . import (  # noqa: F401 (register handlers)
    control,
    hostops,
    images,
    layers,
    learning,
    losses,
    pointwise,
    quantized,
    recurrent,
    reductions,
    sequences,
    shaping,
    signals,
    text,
)  # fmt: skip
from .registry import Node, find, host, is_text, tensor


class Plan:
    """A graph or function body made ready: its nodes with handlers, and when each value is last needed."""

    def __init__(self, interpreter, nodes, outputs, opsets):
        self.nodes = [Node(p, opsets.get("" if p.domain == "ai.onnx" else p.domain, 1), interpreter) for p in nodes]
        self.last: list[list[str]] = []
        needed = set(outputs) | {name for n in self.nodes for name in _captured(n.proto)}
        for n in reversed(self.nodes):
            self.last.append([name for name in dict.fromkeys(n.proto.input) if name and name not in needed])
            needed.update(n.proto.input)
        self.last.reverse()
        self.opsets = opsets


def _captured(proto) -> set[str]:
    """Names that a node's subgraphs may read from around it."""
    found: set[str] = set()
    for a in proto.attribute:
        for g in [a.g] if a.type == onnx.AttributeProto.GRAPH else list(a.graphs):
            for n in g.node:
                found.update(n.input)
                found |= _captured(n)
            found.update(o.name for o in g.output)
    return found


class Interpreter:
    """Runs the graphs of one model."""

    def __init__(self, model: onnx.ModelProto):
        self.opsets = {("" if o.domain == "ai.onnx" else o.domain): o.version for o in model.opset_import}
        self.functions = {(f.domain, f.name, getattr(f, "overload", "")): f for f in model.functions}
        self.device = None
        self.training = False
        self._plans: dict[int, Plan] = {}
        self._bodies: dict[tuple, object] = {}
        self._kept: list = []

    def plan(self, key, nodes, outputs, opsets) -> Plan:
        found = self._plans.get(id(key))
        if found is None:
            found = self._plans[id(key)] = Plan(self, nodes, outputs, opsets)
            self._kept.append(key)  # its id is the key
        return found

    def graph(self, graph: onnx.GraphProto, inputs: list, outer=None, opsets=None) -> list:
        """The outputs of a graph, whose initializers are in ``outer`` or in itself."""
        env = {} if outer is None else ChainMap({}, outer)
        for t in graph.initializer:
            if t.name not in env:
                from .registry import to_numpy

                env[t.name] = to_numpy(t)
        names = [i.name for i in graph.input]
        for name, value in zip(names, inputs, strict=False):
            env[name] = value
        outputs = [o.name for o in graph.output]
        self.run(self.plan(graph, graph.node, outputs, opsets or self.opsets), env)
        return [env[name] for name in outputs]

    def run(self, plan: Plan, env) -> None:
        """Run all nodes, adding their results to ``env``."""
        local = env.maps[0] if isinstance(env, ChainMap) else env
        for node, last in zip(plan.nodes, plan.last, strict=True):
            inputs = []
            for name in node.proto.input:
                if not name:
                    inputs.append(None)
                elif name in env:
                    inputs.append(env[name])
                else:
                    raise OnnxLoadError(
                        f"{node.op_type} (node {node.proto.name!r}) reads {name!r}, which nothing makes"
                    )
            results = self.node(node, inputs, env, plan.opsets)
            if len(results) < len(node.proto.output):
                results = [*results, *([None] * (len(node.proto.output) - len(results)))]
            for name, value in zip(node.proto.output, results, strict=False):
                if name:
                    env[name] = value
            for name in last:
                local.pop(name, None)

    def node(self, node: Node, inputs: list, env, opsets) -> list:
        """The results of one node."""
        handler = find(node.proto.domain, node.op_type, node.opset)
        if handler is None:
            return self.body(node, inputs, opsets)
        fast = hostops.TABLE.get(node.op_type) if node.proto.domain in ("", "ai.onnx") else None
        if fast is not None and inputs and all(x is None or _small(x) for x in inputs):
            out = fast(node, *inputs)
            if out is not NotImplemented:
                return list(out) if isinstance(out, (tuple, list)) else [out]
        if handler.host != "all":
            inputs = [
                x if x is None or isinstance(x, (list, str))
                else np.asarray(host(x)) if i in handler.host
                else tensor(x, self.device)
                for i, x in enumerate(inputs)
            ]  # fmt: skip
        else:
            node._scope = env
        out = handler.fn(node, *inputs)
        return list(out) if isinstance(out, tuple) else [out]

    # --- functions

    def body(self, node: Node, inputs: list, opsets) -> list:
        """A node that is a function of the model, or whose operator ONNX defines by others.

        Raises:
            OnnxLoadError: it is neither.
        """
        p = node.proto
        found = self.functions.get((p.domain, p.op_type, getattr(p, "overload", "")))
        if found is None:
            found = self._standard_body(node, inputs)
        if found is None:
            where = f"of domain {p.domain!r}" if p.domain else f"at opset {node.opset}"
            raise OnnxLoadError(
                f"the operator {p.op_type} {where} (node {p.name!r}) is not supported, and ONNX gives no definition of "
                "it by other operators"
            )
        function, nodes = found if isinstance(found, tuple) else self._bound(found, node)
        env = dict(zip(function.input, [*inputs, *([None] * (len(function.input) - len(inputs)))], strict=False))
        inner = {("" if o.domain == "ai.onnx" else o.domain): o.version for o in function.opset_import} or opsets
        outputs = list(function.output)
        self.run(Plan(self, nodes, outputs, inner), env)
        return [env.get(name) for name in outputs]

    def _bound(self, function, node: Node):
        """The function's nodes with the attributes that refer to the call's filled in."""
        given = {a.name: a for a in node.proto.attribute}
        given.update((a.name, a) for a in function.attribute_proto if a.name not in given)
        return function, [_substituted(n, given) for n in function.node]

    def _standard_body(self, node: Node, inputs: list):
        p = node.proto
        try:
            schema = defs.get_schema(p.op_type, node.opset, p.domain)
        except defs.SchemaError:
            return None
        if schema.has_function:
            return self._bound(schema.function_body, node)
        if not schema.has_context_dependent_function:
            return None
        types = []
        for x in inputs:
            kind = onnx.TypeProto()
            if x is not None:
                kind.tensor_type.elem_type = _element_type(x)
                for n in x.shape:
                    kind.tensor_type.shape.dim.add(dim_value=int(n))
            types.append(kind.SerializeToString())
        versions = schema.context_dependent_function_opset_versions
        version = max((v for v in versions if v <= node.opset), default=min(versions))
        body = schema.get_context_dependent_function_with_opset_version(version, p.SerializeToString(), types)
        function = onnx.FunctionProto.FromString(body)
        return self._bound(function, node)


def _substituted(proto: onnx.NodeProto, given) -> onnx.NodeProto:
    out = onnx.NodeProto()
    out.CopyFrom(proto)
    del out.attribute[:]
    for a in proto.attribute:
        if a.ref_attr_name:
            if a.ref_attr_name in given:
                bound = out.attribute.add()
                bound.CopyFrom(given[a.ref_attr_name])
                bound.name = a.name
            continue
        copy = out.attribute.add()
        copy.CopyFrom(a)
        if a.type == onnx.AttributeProto.GRAPH:
            nodes = [_substituted(n, given) for n in a.g.node]
            del copy.g.node[:]
            copy.g.node.extend(nodes)
    return out


def _element_type(x) -> int:
    if isinstance(x, jtorch.Tensor):
        from .registry import DTYPES

        return next(k for k, v in DTYPES.items() if v is x.dtype)
    return onnx.TensorProto.STRING if is_text(x) else helper.np_dtype_to_tensor_dtype(x.dtype)


def _small(x) -> bool:
    return isinstance(x, np.ndarray) and x.size <= 4096

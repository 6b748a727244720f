"""Constant folding: nodes whose inputs are all stored are computed once, here.

Only what prepares constants is folded (conversions, and the rearrangements that recurrent layers need): folding
everything would store large constants where a small expression makes them. Transposes of weights stay, so that the
weights keep the layout of the state dict; runtimes fold them when they load the model.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

_FOLDED = ("Cast", "Unsqueeze", "Squeeze", "Gather", "Concat", "Reshape")


def _attributes(node) -> dict:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _computed(node, inputs):
    a = _attributes(node)
    x = inputs[0]
    if node.op_type == "Cast":
        return x.astype(helper.tensor_dtype_to_np_dtype(a["to"]))
    if node.op_type == "Unsqueeze":
        return np.expand_dims(x, tuple(int(i) for i in inputs[1]))
    if node.op_type == "Squeeze":
        return np.squeeze(x, tuple(int(i) for i in inputs[1]))
    if node.op_type == "Gather":
        return np.take(x, inputs[1], axis=a.get("axis", 0))
    if node.op_type == "Reshape":
        if 0 in inputs[1]:
            return None
        return x.reshape(inputs[1])
    return np.concatenate(inputs, a["axis"])


def fold(proto: onnx.ModelProto, weights: dict) -> tuple[onnx.ModelProto, dict]:
    """The model and its weights after folding."""
    weights, kept = dict(weights), []
    uses: dict[str, int] = {}
    for node in proto.graph.node:
        for name in node.input:
            uses[name] = uses.get(name, 0) + 1
    results = {o.name for o in proto.graph.output}
    for node in proto.graph.node:
        given = [weights.get(n) for n in node.input]
        foldable = node.op_type in _FOLDED and all(x is not None for x in given) and node.output[0] not in results
        # a weight used elsewhere as well would be stored twice
        shared = any(uses[n] > 1 and weights[n].nbytes > 4096 for n in node.input if n in weights)
        value = _computed(node, given) if foldable and not shared else None
        if value is None:
            kept.append(node)
        else:
            weights[node.output[0]] = np.ascontiguousarray(value) if np.ndim(value) else np.asarray(value)
    used = {n for node in kept for n in node.input}
    out = onnx.ModelProto()
    out.CopyFrom(proto)
    del out.graph.node[:]
    out.graph.node.extend(kept)
    return out, {n: x for n, x in weights.items() if n in used}

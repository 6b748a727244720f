"""Operators of the ``ai.onnx.ml`` domain that map labels and features."""

from __future__ import annotations

import numpy as np

import jtorch

from .registry import handles, is_text, tensor, to_numpy

_ML = "ai.onnx.ml"


@handles("ArrayFeatureExtractor", domain=_ML)
def array_feature_extractor(n, x, index):
    return x.index_select(x.dim() - 1, index.reshape(-1).to(jtorch.int64))


@handles("Binarizer", domain=_ML)
def binarizer(n, x):
    return (x > n.get("threshold", 0.0)).to(x.dtype)


def _listed(value) -> list:
    if hasattr(value, "dims"):
        value = to_numpy(value)
    return [
        v.decode() if isinstance(v, bytes) else v for v in (value.tolist() if isinstance(value, np.ndarray) else value)
    ]


@handles("LabelEncoder", domain=_ML, host="all")
def label_encoder(n, x):
    def attribute(stem: str):
        for kind in ("tensor", "strings", "int64s", "floats"):
            value = n.get(f"{stem}_{kind}")
            if value is not None:
                return kind, value
        raise n.unsupported(f"a LabelEncoder without {stem}")

    from .registry import host

    _, keys = attribute("keys")
    kind, values = attribute("values")
    if n.get("default_tensor") is not None:
        default = np.asarray(n.get("default_tensor")).reshape(-1)[0]
    else:
        default = {"strings": n.get("default_string", "_Unused"), "int64s": n.get("default_int64", -1),
                   "floats": n.get("default_float", -0.0), "tensor": 0}[kind]  # fmt: skip
    table = dict(zip(_listed(keys), _listed(values), strict=True))
    nan = next((v for k, v in table.items() if isinstance(k, float) and k != k), default)
    given = x if is_text(x) else host(x)
    found = [nan if isinstance(v, float) and v != v else table.get(v, default) for v in given.reshape(-1).tolist()]
    if kind == "strings" or isinstance(values, np.ndarray) and is_text(values):
        return np.array(found, object).reshape(given.shape)
    dtype = values.dtype if isinstance(values, np.ndarray) else {"int64s": np.int64, "floats": np.float32}[kind]
    return tensor(np.array(found, dtype).reshape(given.shape), n.interpreter.device)

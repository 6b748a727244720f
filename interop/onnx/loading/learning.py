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


def _weights(values, like, rows: int):
    return jtorch.tensor(list(values), dtype=like.dtype, device=like.device).reshape(rows, -1)


def _features(x):
    return x if x.dtype in (jtorch.float32, jtorch.float64) else x.to(jtorch.float32)


@handles("Scaler", domain=_ML)
def scaler(n, x):
    x = _features(x)
    return (x - _weights(n.get("offset"), x, 1)) * _weights(n.get("scale"), x, 1)


@handles("Normalizer", domain=_ML)
def normalizer(n, x):
    x, kind = _features(x), n.get("norm", "MAX")
    order = {"MAX": float("inf"), "L1": 1, "L2": 2}[kind]
    size = jtorch.linalg.vector_norm(x, order, -1, keepdim=True)
    return x / jtorch.where(size == 0, 1, size)


def _scores(n, x, rows: int):
    """``x Aᵀ + b``, with the coefficients in the node's attributes."""
    scores = x @ _weights(n.get("coefficients"), x, rows).T
    shift = n.get("intercepts")
    return scores if not shift else scores + _weights(shift, x, 1)


def _post_transform(n, scores):
    kind = n.get("post_transform", "NONE")
    if kind not in ("NONE", "LOGISTIC", "SOFTMAX"):
        raise n.unsupported(f"post_transform={kind}")
    return scores.sigmoid() if kind == "LOGISTIC" else scores.softmax(-1) if kind == "SOFTMAX" else scores


@handles("LinearRegressor", domain=_ML)
def linear_regressor(n, x):
    return _post_transform(n, _scores(n, _features(x), n.get("targets", 1)))


@handles("LinearClassifier", domain=_ML)
def linear_classifier(n, x):
    labels = n.get("classlabels_ints")
    if not labels:
        raise n.unsupported("a classifier whose labels are strings")
    x = _features(x)
    scores = _scores(n, x, len(n.get("intercepts") or labels))
    if scores.shape[-1] != len(labels):
        raise n.unsupported("one row of coefficients for two classes")
    found = jtorch.tensor(labels, device=x.device)[scores.argmax(-1)]
    return found, _post_transform(n, scores)


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

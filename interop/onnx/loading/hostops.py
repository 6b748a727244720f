"""Arithmetic on shapes: operators on small arrays that never leave the host, in NumPy."""

from __future__ import annotations

import numpy as np
from onnx import helper

TABLE: dict[str, object] = {}


def _on_integers(fn):
    """Only integers and bools: floating constants go through the Tensor handlers, for their exact dtypes."""

    def run(n, *inputs):
        if any(x is not None and x.dtype.kind not in "iub" for x in inputs):
            return NotImplemented
        return fn(n, *inputs)

    return run


def _binary(op):
    def run(n, a, b):
        if n.get("axis") is not None or a.dtype != b.dtype:
            return NotImplemented
        return np.asarray(op(a, b))

    return _on_integers(run)


def _quotient(a, b):
    if not np.all(b):
        return np.zeros(np.broadcast_shapes(a.shape, b.shape), a.dtype)
    q = np.abs(a) // np.abs(b)
    return (q * np.sign(a) * np.sign(b)).astype(a.dtype) if a.dtype.kind == "i" else q


for _name, _op in {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": _quotient, "Equal": np.equal, "Less": np.less,
    "Greater": np.greater, "LessOrEqual": np.less_equal, "GreaterOrEqual": np.greater_equal,
    "And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor,
}.items():  # fmt: skip
    TABLE[_name] = _binary(_op)


def _host(name: str):
    def register(fn):
        TABLE[name] = fn
        return fn

    return register


def _ints(x):
    return [int(i) for i in x.reshape(-1)]


@_host("Not")
@_on_integers
def _not(n, x):
    return np.logical_not(x)


@_host("Neg")
@_on_integers
def _neg(n, x):
    return -x


@_host("Shape")
def _shape(n, x):
    start, end = n.get("start", 0), n.get("end")
    return np.array(x.shape[start:end], np.int64)


@_host("Size")
def _size(n, x):
    return np.array(x.size, np.int64)


@_host("Identity")
def _identity(n, x):
    return x


@_host("Gather")
def _gather(n, x, index):
    return np.asarray(np.take(x, index, axis=n.get("axis", 0)))


@_host("Concat")
def _concat(n, *xs):
    if n.get("axis") is None:
        return NotImplemented
    return np.concatenate(xs, n.get("axis"))


@_host("Unsqueeze")
def _unsqueeze(n, x, axes=None):
    axes = n.get("axes") if axes is None else _ints(axes)
    ndim = x.ndim + len(axes)
    return np.expand_dims(x, tuple(a % ndim for a in axes))


@_host("Squeeze")
def _squeeze(n, x, axes=None):
    axes = n.get("axes") if axes is None else _ints(axes)
    return np.squeeze(x, None if axes is None else tuple(axes))


@_host("Reshape")
def _reshape(n, x, shape=None):
    shape = n.get("shape") if shape is None else _ints(shape)
    if not n.get("allowzero", 0):
        shape = [x.shape[i] if s == 0 else s for i, s in enumerate(shape)]
    return x.reshape(shape)


@_host("Slice")
def _slice(n, x, starts=None, ends=None, axes=None, steps=None):
    if starts is None:
        return NotImplemented
    starts, ends = _ints(starts), _ints(ends)
    axes = list(range(len(starts))) if axes is None else _ints(axes)
    steps = [1] * len(starts) if steps is None else _ints(steps)
    index = [slice(None)] * x.ndim
    for s, e, a, k in zip(starts, ends, axes, steps, strict=True):
        if k < 0:
            return NotImplemented
        index[a] = slice(s, e, k)
    return x[tuple(index)]


@_host("Cast")
@_on_integers
def _cast(n, x):
    to = n.get("to")
    if isinstance(to, str):
        return NotImplemented
    target = helper.tensor_dtype_to_np_dtype(to)
    return (
        x.astype(target)
        if np.dtype(target).kind in "iub" and "int4" not in str(target) and "int2" not in str(target)
        else NotImplemented
    )


@_host("Range")
@_on_integers
def _range(n, start, limit, delta):
    bounds = (int(v.reshape(-1)[0]) for v in (start, limit, delta))
    return np.arange(*bounds, dtype=start.dtype)


@_host("ConstantOfShape")
def _constant_of_shape(n, shape):
    value = n.get("value", np.zeros(1, np.float32))
    if np.prod(shape) > 4096 or value.dtype.kind not in "iub":
        return NotImplemented
    return np.full(_ints(shape), value.reshape(-1)[0], value.dtype)


@_host("Where")
def _where(n, condition, a, b):
    if a.dtype != b.dtype or a.dtype.kind not in "iub":
        return NotImplemented
    return np.where(condition, a, b)


@_host("Expand")
@_on_integers
def _expand(n, x, shape):
    return np.array(np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(_ints(shape)))))


def _reduction(op):
    def run(n, x, axes=None):
        axes = n.get("axes") if axes is None else _ints(axes)
        if not axes and n.get("noop_with_empty_axes", 0):
            return x
        return np.asarray(
            op(x, axis=None if not axes else tuple(axes), keepdims=bool(n.get("keepdims", 1)), dtype=x.dtype)
        )

    return _on_integers(run)


TABLE["ReduceProd"] = _reduction(np.prod)
TABLE["ReduceSum"] = _reduction(np.sum)


def _variadic(op):
    def run(n, *xs):
        out = xs[0]
        for x in xs[1:]:
            out = op(out, x)
        return np.asarray(out)

    return _on_integers(run)


TABLE["Max"], TABLE["Min"] = _variadic(np.maximum), _variadic(np.minimum)

"""Reductions, softmax and norms over axes."""

from __future__ import annotations

import numpy as np

import jtorch

from .registry import axes_of, dtype_of, handles


def _logarithm_of_sum(x, axes, keep):
    return jtorch.log(jtorch.sum(x, axes, keepdim=keep, dtype=x.dtype))


def _extreme(kind):
    def run(x, axes, keep):
        if x.dtype is jtorch.bool:
            return run(x.to(jtorch.uint8), axes, keep).to(jtorch.bool)
        if any(x.shape[a] == 0 for a in axes):
            info = jtorch.finfo(x.dtype) if x.is_floating_point() else jtorch.iinfo(x.dtype)
            worst = -float("inf") if x.is_floating_point() else info.min
            if kind is jtorch.amin:
                worst = float("inf") if x.is_floating_point() else info.max
            shape = [1 if d in axes else s for d, s in enumerate(x.shape) if keep or d not in axes]
            return jtorch.full(shape, worst, dtype=x.dtype, device=x.device)
        return kind(x, axes, keepdim=keep)

    return run


def _product(x, axes, keep):
    for a in sorted(axes, reverse=True):
        x = jtorch.prod(x, a, keepdim=keep, dtype=x.dtype)
    return x


def _log_sum_exp(x, axes, keep):
    if any(x.shape[a] == 0 for a in axes):
        return _logarithm_of_sum(jtorch.exp(x), axes, keep)
    return jtorch.logsumexp(x if x.is_floating_point() else x.double(), axes, keepdim=keep).to(x.dtype)


_KINDS = {
    "ReduceSum": lambda x, axes, keep: jtorch.sum(x, axes, keepdim=keep, dtype=x.dtype),
    "ReduceMean": lambda x, axes, keep: _mean(x if x.is_floating_point() else x.double(), axes, keep).to(x.dtype),
    "ReduceMax": _extreme(jtorch.amax),
    "ReduceMin": _extreme(jtorch.amin),
    "ReduceProd": _product,
    "ReduceL1": lambda x, axes, keep: jtorch.sum(jtorch.abs(x), axes, keepdim=keep, dtype=x.dtype),
    "ReduceL2": lambda x, axes, keep: _root(jtorch.sum(x * x, axes, keepdim=keep, dtype=x.dtype)),
    "ReduceLogSum": _logarithm_of_sum,
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceSumSquare": lambda x, axes, keep: jtorch.sum(x * x, axes, keepdim=keep, dtype=x.dtype),
}  # fmt: skip


def _mean(x, axes, keep):
    return jtorch.mean(x, axes, keepdim=keep)


def _root(x):
    return jtorch.sqrt(x) if x.is_floating_point() else jtorch.sqrt(x.double()).to(x.dtype)


def _reduce(kind):
    def run(n, x, axes=None):
        axes = axes_of(n, axes, x.dim())
        if not axes:
            if n.get("noop_with_empty_axes", 0):
                return _noop(n, x)
            axes = list(range(x.dim()))
        return kind(x, axes, bool(n.get("keepdims", 1))) if x.dim() else kind(x.reshape(1), [0], False)

    return run


def _noop(n, x):
    """Without axes nothing is reduced, but what is done to each element still is."""
    shaped = x.reshape((*x.shape, 1))
    return _KINDS[n.op_type](shaped, [x.dim()], False)


for _name, _kind in _KINDS.items():
    handles(_name, host=(1,))(_reduce(_kind))


@handles("ArgMax", "ArgMin")
def arg(n, x):
    axis, keep = n.get("axis", 0), bool(n.get("keepdims", 1))
    find = jtorch.argmax if n.op_type == "ArgMax" else jtorch.argmin
    if n.get("select_last_index", 0):
        return x.shape[axis] - 1 - find(x.flip(axis), dim=axis, keepdim=keep)
    return find(x, dim=axis, keepdim=keep)


def _flattened(n, x):
    """Before opset 13 these operators saw a matrix: everything from ``axis`` on is one dimension."""
    axis = n.get("axis", 1) % x.dim() if x.dim() else 0
    return x.reshape(int(np.prod(x.shape[:axis], dtype=int)), -1)


def _along(fn):
    def old(n, x):
        return fn(_flattened(n, x), 1).reshape(x.shape)

    def new(n, x):
        return fn(x, n.get("axis", -1))

    return old, new


def _hardmax(x, axis: int):
    at = jtorch.argmax(x, dim=axis, keepdim=True)
    return jtorch.zeros_like(x).scatter(axis, at, jtorch.ones_like(at, dtype=x.dtype))


for _name, _fn in {"Softmax": jtorch.softmax, "LogSoftmax": jtorch.log_softmax, "Hardmax": _hardmax}.items():
    _old, _new = _along(_fn)
    handles(_name)(_old)
    handles(_name, since=13)(_new)


@handles("LpNormalization")
def lp_normalization(n, x):
    axis, p = n.get("axis", -1), n.get("p", 2)
    size = x.abs().sum(axis, keepdim=True) if p == 1 else jtorch.sqrt((x * x).sum(axis, keepdim=True))
    return jtorch.where(size == 0, jtorch.zeros_like(x), x / jtorch.where(size == 0, jtorch.ones_like(size), size))


@handles("Det")
def det(n, x):
    return jtorch.linalg.det(x)


@handles("Multinomial")
def multinomial(n, x):
    drawn = jtorch.multinomial(jtorch.softmax(x, -1), n.get("sample_size", 1), replacement=True)
    return drawn.to(dtype_of(n.get("dtype", 6)))


def _random(n, shape, like=None):
    if n.get("seed") is not None and n.op_type != "Bernoulli":
        raise n.unsupported("drawing from a given seed")
    kind = dtype_of(n.get("dtype")) if n.get("dtype") else (like.dtype if like is not None else jtorch.float32)
    if "Normal" in n.op_type:
        return (jtorch.randn(shape) * n.get("scale", 1.0) + n.get("mean", 0.0)).to(kind)
    low, high = n.get("low", 0.0), n.get("high", 1.0)
    return (jtorch.rand(shape) * (high - low) + low).to(kind)


@handles("RandomNormal", "RandomUniform")
def random(n):
    return _random(n, n.get("shape"))


@handles("RandomNormalLike", "RandomUniformLike")
def random_like(n, x):
    return _random(n, tuple(x.shape), x)


@handles("Bernoulli")
def bernoulli(n, x):
    kind = dtype_of(n.get("dtype")) if n.get("dtype") else x.dtype
    return (jtorch.rand(tuple(x.shape)) < x).to(kind)

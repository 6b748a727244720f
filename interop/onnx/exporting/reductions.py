"""Reductions, running reductions, softmax and norms of vectors."""

from __future__ import annotations

import math

import numpy as np

import jtorch

from .builder import Value, element_type, short
from .dims import Varying
from .table import axes_of, axis_of, refuse, translates


def _axes(dim, ndim):
    return None if dim == () else axes_of(dim, ndim)


def _accumulated(g, x: Value, dtype):
    """PyTorch's sums of integers and bools are int64."""
    if dtype is None and short(x.dtype) in ("bool", "uint8", "int8", "int16", "int32"):
        dtype = jtorch.int64
    return x if dtype is None else Value(g.cast(x, dtype), dtype, x.shape)


@translates("sum", "prod", "mean", "nansum")
def _reduced(g, node, input, dim, keepdim, dtype):
    x = _accumulated(g, input, dtype)
    if node.name == "nansum" and short(x.dtype).startswith(("float", "bfloat")):
        x = Value(g.Where(g.IsNaN(x), g.scalar(0, x), x), x.dtype, x.shape)
    kind = {"sum": "Sum", "nansum": "Sum", "prod": "Prod", "mean": "Mean"}[node.name]
    return g.reduce(kind, x, _axes(dim, x.ndim), keepdim)


def _as_number(g, x: Value) -> Value:
    return Value(g.cast(x, jtorch.int32), jtorch.int32, x.shape) if short(x.dtype) == "bool" else x


@translates("amax", "amin")
def _extreme(g, node, input, dim, keepdim):
    x = _as_number(g, input)
    out = g.reduce("Max" if node.name == "amax" else "Min", x, _axes(dim, x.ndim), keepdim)
    return g.cast(Value(out, x.dtype), input.dtype)


@translates("max.all", "min.all")
def _extreme_of_all(g, node, input):
    x = _as_number(g, input)
    out = g.reduce("Max" if node.name == "max.all" else "Min", x, None, False)
    return g.cast(Value(out, x.dtype), input.dtype)


@translates("aminmax")
def _aminmax(g, node, input, dim, keepdim):
    axes = _axes(dim, input.ndim)
    return g.reduce("Min", input, axes, keepdim), g.reduce("Max", input, axes, keepdim)


@translates("argmax", "argmin")
def _arg(g, node, input, dim, keepdim):
    op_type = "ArgMax" if node.name == "argmax" else "ArgMin"
    if dim is None:
        flat = g.Reshape(input, g.ints([-1]))
        at = g.node(op_type, [flat], axis=0, keepdims=0)
        return g.reshape(at, node.outputs[0].shape) if keepdim else at
    return g.node(op_type, [input], axis=axis_of(dim, input.ndim), keepdims=int(keepdim))


@translates("max.dim", "min.dim")
def _extreme_along(g, node, input, dim, keepdim):
    kind, arg = ("Max", "ArgMax") if node.name == "max.dim" else ("Min", "ArgMin")
    axis = axis_of(dim, input.ndim)
    return g.reduce(kind, input, [axis], keepdim), g.node(arg, [input], axis=axis, keepdims=int(keepdim))


@translates("all", "any")
def _truth(g, node, input, dim, keepdim):
    x = g.cast(Value(g.cast(input, jtorch.bool), jtorch.bool, input.shape), jtorch.int32)
    out = g.reduce("Min" if node.name == "all" else "Max", x, _axes(dim, input.ndim), keepdim)
    return g.cast(Value(out, jtorch.int32), node.outputs[0].dtype)


@translates("count_nonzero")
def _count_nonzero(g, node, input, dim):
    x = g.cast(Value(g.cast(input, jtorch.bool), jtorch.bool, input.shape), jtorch.int64)
    return g.reduce("Sum", x, _axes(dim, input.ndim), False)


@translates("var", "std", "var_mean", "std_mean")
def _spread(g, node, input, dim, unbiased, keepdim, correction):
    axes = _axes(dim, input.ndim) if input.ndim else None
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    mean = g.reduce("Mean", input, axes, True)
    deviation = g.Sub(input, mean)
    total = g.reduce("Sum", g.Mul(deviation, deviation), axes, keepdim)
    sizes = [input.shape[a] for a in (axes if axes is not None else range(input.ndim))]
    if any(isinstance(n, Varying) for n in sizes):
        count = g.ReduceProd(g.ints(sizes), keepdims=0)
        count = g.Sub(g.cast(Value(count, jtorch.int64), input.dtype), g.scalar(correction, input))
    else:
        count = g.scalar(math.prod(sizes) - correction, input)
    out = g.Div(total, count)
    if node.name.startswith("std"):
        out = g.Sqrt(out)
    if not node.name.endswith("_mean"):
        return out
    if not keepdim:
        mean = g.reduce("Mean", input, axes, False)
    return out, mean


@translates("logsumexp")
def _logsumexp(g, node, input, dim, keepdim):
    return g.reduce("LogSumExp", input, _axes(dim, input.ndim), keepdim)


@translates("cumsum")
def _cumsum(g, node, input, dim, dtype):
    x = _accumulated(g, input, dtype)
    return g.CumSum(x, g.const(np.array(axis_of(dim, x.ndim), np.int64))) if x.ndim else g.Identity(x)


def _prepared(g, x: Value, dtype) -> Value:
    return x if dtype is None else Value(g.cast(x, dtype), dtype, x.shape)


@translates("_softmax", "_log_softmax", "_softmin")
def _softmax(g, node, input, dim, dtype):
    x = _prepared(g, input, dtype)
    if not x.ndim:
        refuse(node, "a 0-d tensor")
    if node.name == "_softmin":
        return g.Softmax(g.Neg(x), axis=axis_of(dim, x.ndim))
    return g.node("LogSoftmax" if node.name == "_log_softmax" else "Softmax", [x], axis=axis_of(dim, x.ndim))


def _norm(g, x, p, axes, keepdim, dtype):
    """``(Σ |x|^p)^(1/p)``."""
    if p == 2:
        return g.reduce("L2", x, axes, keepdim)
    if p == 1:
        return g.reduce("L1", x, axes, keepdim)
    if p in (math.inf, -math.inf):
        return g.reduce("Max" if p > 0 else "Min", g.Abs(x), axes, keepdim)
    if p == 0:
        nonzero = g.Not(g.Equal(x, g.const(0, dtype)))
        return g.reduce("Sum", g.Cast(nonzero, to=element_type(dtype)), axes, keepdim)
    powers = g.Pow(g.Abs(x), g.const(p, dtype))
    return g.Pow(g.reduce("Sum", powers, axes, keepdim), g.const(1 / p, dtype))


@translates("vector_norm", "norm", "linalg_norm")
def _vector_norm(g, node, **given):
    x = next(iter(given.values()))
    p = given.get("ord", given.get("p"))
    axes = _axes(given["dim"], x.ndim)
    if node.name == "linalg_norm" and p is not None and (x.ndim if axes is None else len(axes)) > 1:
        refuse(node, "a matrix norm")
    if p == "nuc":
        refuse(node, "the nuclear norm")
    x = _prepared(g, x, given["dtype"])
    return _norm(g, x, 2 if p in (None, "fro") else p, axes, given["keepdim"], x.dtype)


@translates("normalize")
def _normalize(g, node, input, p, dim, eps):
    size = _norm(g, input, p, axes_of(dim, input.ndim), True, input.dtype)
    return g.Div(input, g.Max(size, g.scalar(eps, input)))


@translates("cosine_similarity")
def _cosine_similarity(g, node, x1, x2, dim, eps):
    axis = [axis_of(dim, len(node.outputs[0].shape) + 1)]
    sizes = [g.Max(g.reduce("L2", x, axis, True), g.scalar(eps, x1)) for x in (x1, x2)]
    return g.reduce("Sum", g.Mul(g.Div(x1, sizes[0]), g.Div(x2, sizes[1])), axis, False)


@translates("nanmean")
def _nanmean(g, node, input, dim, keepdim, dtype):
    x = _prepared(g, input, dtype)
    axes, there = _axes(dim, x.ndim), g.Not(g.IsNaN(x))
    total = g.reduce("Sum", g.Where(there, x, g.scalar(0, x)), axes, keepdim)
    return g.Div(total, g.reduce("Sum", g.cast(there, x.dtype), axes, keepdim))


@translates("pairwise_distance")
def _pairwise_distance(g, node, x1, x2, p, eps, keepdim):
    gap = g.Add(g.Sub(x1, x2), g.scalar(eps, x1))
    return _norm(g, gap, p, [-1], keepdim, x1.dtype)


@translates("dist")
def _dist(g, node, input, other, p):
    return _norm(g, g.Sub(input, other), p, None, False, input.dtype)


@translates("cdist")
def _cdist(g, node, x1, x2, p, compute_mode):
    return _norm(g, g.Sub(g.unsqueeze(x1, [-2]), g.unsqueeze(x2, [-3])), p, [-1], False, x1.dtype)


@translates("median.dim", "median.all")
def _median(g, node, input, dim=0, keepdim=False):
    """The lower of the two in the middle, as PyTorch has it."""
    x = input if node.name == "median.dim" else g.reshape(input, (-1,))
    size = input.shape[axis_of(dim, input.ndim)] if node.name == "median.dim" else math.prod(
        n for n in input.shape if not isinstance(n, Varying)
    )  # fmt: skip
    if any(isinstance(n, Varying) for n in (input.shape if node.name == "median.all" else (size,))) or not input.ndim:
        refuse(node, "the median over a dynamic size, or of a 0-d tensor")
    axis = axis_of(dim, input.ndim)
    found = g.TopK(x, g.ints([size]), _outputs=2, axis=axis, largest=0, sorted=1)
    middle = (size - 1) // 2
    at = g.const(np.array([middle] if keepdim else middle, np.int64))
    values, indices = (g.Gather(f, at, axis=axis) for f in found)
    return (values, indices) if node.name == "median.dim" else values

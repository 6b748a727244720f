"""Jacobians, Hessians and their products with vectors."""

from __future__ import annotations

from ..tape import modes
from ..tensor import Tensor
from ..tensor.autograd import grad
from ..tensor.dispatch import call


def _tuple(x):
    return (tuple(x), True) if isinstance(x, (tuple, list)) else ((x,), False)


def _prepared(inputs, create_graph):
    return tuple(
        (x.view_as(x) if x.requires_grad else x.detach().requires_grad_()) if create_graph
        else x.detach().requires_grad_()
        for x in inputs
    )  # fmt: skip


def jacobian(func, inputs, create_graph=False, strict=False, vectorize=False, strategy="reverse-mode"):
    """The Jacobian of ``func`` at ``inputs``: shape ``(*output, *input)``, nested as outputs and inputs are."""
    inputs, many_in = _tuple(inputs)
    with modes.enable_grad():
        xs = _prepared(inputs, create_graph)
        outs, many_out = _tuple(func(*xs))
        rows = []
        for out in outs:
            flat = out.reshape(-1)
            per_input = [[] for _ in xs]
            for j in range(flat.shape[0]):
                found = grad(
                    flat[j], xs, retain_graph=True, create_graph=create_graph, allow_unused=True,
                ) if flat[j].requires_grad else (None,) * len(xs)  # fmt: skip
                for k, (g, x) in enumerate(zip(found, xs, strict=True)):
                    if g is None:
                        if strict:
                            raise RuntimeError(f"Output {j} of the user-provided function is independent of input {k}.")
                        g = x.detach() * 0
                    per_input[k].append(g)
            rows.append(
                tuple(
                    call("stack", tuple(gs), dim=0).reshape(tuple(out.shape) + tuple(x.shape))
                    for gs, x in zip(per_input, xs, strict=True)
                )
            )
    if not create_graph:
        rows = [tuple(g.detach() for g in row) for row in rows]
    result = tuple(row if many_in else row[0] for row in rows)
    return result if many_out else result[0]


def hessian(func, inputs, create_graph=False, strict=False, vectorize=False, outer_jacobian_strategy="reverse-mode"):
    """The Hessian of a scalar function: shape ``(*input, *input)``."""
    inputs_, many = _tuple(inputs)

    def gradient(*xs):
        out = func(*xs)
        if out.numel() != 1:
            raise RuntimeError("The Tensor returned by the function given to hessian should contain a single element")
        found = grad(out.reshape(()), xs, create_graph=True, allow_unused=True)
        found = tuple(x * 0 if g is None else g for g, x in zip(found, xs, strict=True))
        return found if many else found[0]

    return jacobian(gradient, inputs_ if many else inputs_[0], create_graph=create_graph, strict=strict)


def vjp(func, inputs, v=None, create_graph=False, strict=False):
    """``(func(inputs), v^T J)``."""
    inputs, many = _tuple(inputs)
    with modes.enable_grad():
        xs = _prepared(inputs, create_graph)
        out = func(*xs)
        outs, _ = _tuple(out)
        vs = None if v is None else _tuple(v)[0]
        found = grad(outs, xs, vs, create_graph=create_graph, materialize_grads=True)
    if not create_graph:
        out = tuple(o.detach() for o in out) if isinstance(out, (tuple, list)) else out.detach()
    return out, found if many else found[0]


def jvp(func, inputs, v=None, create_graph=False, strict=False):
    """``(func(inputs), J v)``, by two reverse passes."""
    inputs, _ = _tuple(inputs)
    vs = tuple(x.detach() * 0 + 1 for x in inputs) if v is None else _tuple(v)[0]
    with modes.enable_grad():
        xs = _prepared(inputs, create_graph)
        out = func(*xs)
        outs, many = _tuple(out)
        us = tuple((o.detach() * 0).requires_grad_() for o in outs)
        first = grad(outs, xs, us, create_graph=True, allow_unused=True)
        pairs = [(g, w) for g, w in zip(first, vs, strict=True) if g is not None]
        ends, weights = tuple(g for g, _ in pairs), tuple(w for _, w in pairs)
        found = grad(ends, us, weights, create_graph=create_graph, materialize_grads=True)
    if not create_graph:
        out = tuple(o.detach() for o in outs) if many else out.detach()
        found = tuple(g.detach() for g in found)
    return out, found if many else found[0]


def vhp(func, inputs, v=None, create_graph=False, strict=False):
    """``(func(inputs), v^T H)`` of a scalar function."""
    inputs, many = _tuple(inputs)
    vs = tuple(x.detach() * 0 + 1 for x in inputs) if v is None else _tuple(v)[0]
    with modes.enable_grad():
        xs = _prepared(inputs, create_graph)
        out = func(*xs)
        first = grad(out, xs, create_graph=True, allow_unused=True)
        pairs = [(g, w) for g, w in zip(first, vs, strict=True) if g is not None and g.requires_grad]
        ends, weights = tuple(g for g, _ in pairs), tuple(w for _, w in pairs)
        if pairs:
            found = grad(ends, xs, weights, create_graph=create_graph, materialize_grads=True)
        else:
            found = tuple(x.detach() * 0 for x in xs)
    return (out if create_graph else out.detach()), found if many else found[0]


hvp = vhp  # the Hessian is symmetric

__all__ = ["Tensor", "hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]

"""Jacobians, Hessians and their products with vectors."""

from __future__ import annotations

from ..tape import modes
from ..tensor import Tensor
from ..tensor.autograd import grad
from ..tensor.dispatch import call


def _tensors(x, what: str, who: str) -> tuple[tuple, bool]:
    """``(tensors, whether several were given)``.

    Raises:
        TypeError: something else is among them.
    """
    many = isinstance(x, (tuple, list))
    found = tuple(x) if many else (x,)
    for i, t in enumerate(found):
        if not isinstance(t, Tensor):
            given = f"the value at index {i} has type {type(t)}" if many else f"it has type {type(t)}"
            raise TypeError(f"The {what} {who} must be either a Tensor or a tuple of Tensors but {given}.")
    return found, many


def _arguments(inputs, name: str, create_graph: bool) -> tuple[tuple, bool]:
    inputs, many = _tensors(inputs, "inputs given to", name)
    if create_graph:
        return tuple(x.view_as(x) if x.requires_grad else x._detach().requires_grad_() for x in inputs), many
    return tuple(x._detach().requires_grad_() for x in inputs), many


def _results(func, xs, name: str, strict: bool, scalar: bool = False) -> tuple[tuple, bool]:
    outs, many = _tensors(func(*xs), "outputs of the user-provided function given to", name)
    if scalar:
        if many:
            raise RuntimeError(f"The function given to {name} should return a single Tensor")
        if outs[0].numel() != 1:
            raise RuntimeError(f"The Tensor returned by the function given to {name} should contain a single element")
        outs = (outs[0].reshape(()),)
    for i, o in enumerate(outs):
        if strict and not o.requires_grad:
            raise RuntimeError(
                f"Output {i} of the user-provided function does not require gradients. The outputs must be computed in "
                "a differentiable manner from the input when running in strict mode."
            )
    return outs, many


def _vector(v, like: tuple, many: bool, name: str, none: str) -> tuple:
    """The vector to multiply with; None stands for 1 where ``like`` is one tensor with one element."""
    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            raise RuntimeError(f"The vector v can only be None if {none} is a single Tensor with a single element.")
        return (like[0].detach() * 0 + 1,)
    v, _ = _tensors(v, "v given to", name)
    if len(v) != len(like):
        if not many:
            raise RuntimeError("The given v should contain a single Tensor.")
        raise RuntimeError(f"v is a tuple of invalid length: should be {len(like)} but got {len(v)}.")
    for i, (a, b) in enumerate(zip(v, like, strict=True)):
        if a.shape != b.shape:
            which = f"Entry {i} in v" if many else "v"
            raise RuntimeError(f"{which} has invalid size: should be {b.shape} but got {a.shape}.")
    return v


_NO_CURVATURE = (
    "While computing the hessian, found that the jacobian of the user-provided function with respect to input {} is "
    "independent of the input. This is not allowed in strict mode. You should ensure that your function is twice "
    "differentiable and that the jacobian depends on the input."
)


def _gradients(
    outs, xs, vs, create_graph: bool, strict: bool, what: str, retain: bool | None = None, constant: str = ""
) -> tuple:
    """The gradients, zeros where nothing depends on an input; with ``strict`` that is an error.

    ``constant`` is the error's text for a gradient that does not itself depend on an input.
    """
    pairs = [(o, v) for o, v in zip(outs, vs, strict=True) if o.requires_grad]
    found = (None,) * len(xs)
    if pairs:
        ends, weights = zip(*pairs, strict=True)
        found = grad(ends, xs, weights, retain_graph=retain, create_graph=create_graph, allow_unused=True)
    if strict:
        for j, g in enumerate(found):
            if g is None:
                raise RuntimeError(f"{what} is independent of input {j}. This is not allowed in strict mode.")
            if create_graph and not g.requires_grad:
                raise RuntimeError(
                    constant.format(j)
                    or f"The jacobian of the user-provided function is independent of input {j}. This is not allowed "
                    "in strict mode when create_graph=True."
                )
    return tuple(x.detach() * 0 if g is None else g for g, x in zip(found, xs, strict=True))


def _shown(values: tuple, many: bool, create_graph: bool):
    """As the function returned them, cut off from the graph unless it is wanted."""
    values = values if create_graph else tuple(t.detach() for t in values)
    return values if many else values[0]


def jacobian(func, inputs, create_graph=False, strict=False, vectorize=False, strategy="reverse-mode"):
    """The Jacobian of ``func`` at ``inputs``: shape ``(*output, *input)``, nested as outputs and inputs are.

    A backward for each element of the output, all recorded into one program; so ``vectorize`` and ``strategy`` change
    nothing.

    Raises:
        TypeError: inputs or outputs are no tensors.
        RuntimeError: ``strict``, and an output does not depend on an input.
    """
    if strict and vectorize:
        raise RuntimeError(
            "torch.autograd.functional.jacobian: `strict=True` and `vectorize=True` are not supported together. Either "
            "set `strict=False` or `vectorize=False`."
        )
    if strategy not in ("reverse-mode", "forward-mode"):
        raise AssertionError(f"Expected strategy to be either 'forward-mode' or 'reverse-mode', got {strategy!r}")
    if strategy == "forward-mode" and create_graph:
        raise NotImplementedError(
            "torch.autograd.functional.jacobian: `create_graph=True` and `strategy='forward-mode'` are not supported "
            "together (yet). Set `strategy='reverse-mode'`."
        )
    with modes.enable_grad():
        xs, many_in = _arguments(inputs, "jacobian", create_graph)
        outs, many_out = _results(func, xs, "jacobian", strict)
        rows = []
        for i, out in enumerate(outs):
            flat = out.reshape(-1)
            columns = [
                _gradients(
                    (flat[j],), xs, (flat[j].detach() * 0 + 1,), create_graph, strict,
                    f"Output {i} of the user-provided function", retain=True,
                )
                for j in range(flat.shape[0])
            ]  # fmt: skip
            per_input = zip(*columns, strict=True) if columns else [()] * len(xs)
            rows.append(
                tuple(
                    call("stack", gs, dim=0).reshape(tuple(out.shape) + tuple(x.shape)) if gs
                    else x.detach().new_zeros(tuple(out.shape) + tuple(x.shape))
                    for gs, x in zip(per_input, xs, strict=True)
                )
            )  # fmt: skip
    return _shown(tuple(_shown(row, many_in, create_graph) for row in rows), many_out, True)


def hessian(func, inputs, create_graph=False, strict=False, vectorize=False, outer_jacobian_strategy="reverse-mode"):
    """The Hessian of a scalar function: shape ``(*input, *input)``; see :func:`jacobian`."""
    _, many = _tensors(inputs, "inputs given to", "hessian")
    if outer_jacobian_strategy not in ("reverse-mode", "forward-mode"):
        raise AssertionError("Expected strategy to be either 'forward-mode' or 'reverse-mode'")

    def gradient(*xs):
        outs, _ = _results(func, xs, "hessian", strict, scalar=True)
        ones = (outs[0].detach() * 0 + 1,)
        found = _gradients(outs, xs, ones, True, False, "")
        if strict:
            for j, g in enumerate(found):
                if not g.requires_grad:
                    raise RuntimeError(_NO_CURVATURE.format(j))
        return found if many else found[0]

    return jacobian(gradient, inputs, create_graph=create_graph, strict=strict, vectorize=vectorize)


def vjp(func, inputs, v=None, create_graph=False, strict=False):
    """``(func(inputs), v^T J)``; ``v`` may be left out for an output with one element."""
    with modes.enable_grad():
        xs, many = _arguments(inputs, "vjp", create_graph)
        outs, many_out = _results(func, xs, "vjp", strict)
        vs = _vector(v, outs, many_out, "vjp", "the user-provided function returns")
        found = _gradients(outs, xs, vs, create_graph, strict, "The output of the user-provided function")
    return _shown(outs, many_out, create_graph), _shown(found, many, create_graph)


def jvp(func, inputs, v=None, create_graph=False, strict=False):
    """``(func(inputs), J v)``, by two reverse passes; ``v`` may be left out for an input with one element."""
    with modes.enable_grad():
        xs, many_in = _arguments(inputs, "jvp", create_graph)
        vs = _vector(v, xs, many_in, "jvp", "the input to the user-provided function")
        outs, many = _results(func, xs, "jvp", strict)
        us = tuple((o.detach() * 0).requires_grad_() for o in outs)
        # linear in us, and the transpose of what is wanted
        first = _gradients(outs, xs, us, True, strict, "The output of the user-provided function")
        found = _gradients(first, us, vs, create_graph, False, "")
        if strict and create_graph and not all(g.requires_grad for g in found):
            raise RuntimeError(
                "The jacobian of the user-provided function is independent of input 0. This is not allowed in strict "
                "mode when create_graph=True."
            )
    return _shown(outs, many, create_graph), _shown(found, many, create_graph)


def _hessian_product(name: str, func, inputs, v, create_graph: bool, strict: bool):
    with modes.enable_grad():
        xs, many = _arguments(inputs, name, create_graph)
        vs = _vector(v, xs, many, name, "the input to the user-provided function")
        outs, _ = _results(func, xs, name, strict, scalar=True)
        ones = (outs[0].detach() * 0 + 1,)
        what = "The output of the user-provided function"
        first = _gradients(outs, xs, ones, True, strict, what, constant=_NO_CURVATURE)
        found = _gradients(first, xs, vs, create_graph, strict, "The jacobian of the user-provided function")
    return _shown(outs, False, create_graph), _shown(found, many, create_graph)


def vhp(func, inputs, v=None, create_graph=False, strict=False):
    """``(func(inputs), v^T H)`` of a scalar function."""
    return _hessian_product("vhp", func, inputs, v, create_graph, strict)


def hvp(func, inputs, v=None, create_graph=False, strict=False):
    """``(func(inputs), H v)`` of a scalar function: the Hessian is symmetric."""
    return _hessian_product("hvp", func, inputs, v, create_graph, strict)


__all__ = ["Tensor", "hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]

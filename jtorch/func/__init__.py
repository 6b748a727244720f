"""``torch.func``: derivatives as functions of functions. Arguments and results may be nested tuples, lists and dicts.

They run autograd underneath: the argument is tracked afresh, and what comes back carries a graph exactly if it depends
on something else that does, as an enclosing ``grad`` or a parameter.
"""

from __future__ import annotations

import contextlib
import functools

from .. import autograd
from ..nn.modules.batchnorm import _BatchNorm
from ..nn.utils import stateless
from ..tape import modes
from ..tensor import Tensor
from ..utils import _pytree as pytree
from . import custom  # noqa: F401 (tells custom Functions that they may be called in one of these)
from .checks import split, tensors_of
from .einops import rearrange
from .forward import functionalize, hessian, jacfwd, jacrev, jvp, linearize
from .levels import leads_out, level, numbers
from .vmap import vmap


@contextlib.contextmanager
def _deeper():
    before, level.open = level.open, (*level.open, next(numbers))
    try:
        with modes.enable_grad():
            yield
    finally:
        level.open = before


def _track(tree):
    """The same tree with tensors that are followed from here on, and these tensors."""
    leaves, form = pytree.tree_flatten(tree)
    fresh = []
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise ValueError(f"Thing passed to transform API must be Tensor, got {type(leaf)}")
        if leaf.requires_grad:
            fresh.append(leaf.view_as(leaf))
        else:
            fresh.append(leaf._detach().requires_grad_())
            fresh[-1]._func_level = level.open[-1]
    return pytree.tree_unflatten(fresh, form), fresh


def replace_all_batch_norm_modules_(root):
    """Let every ``BatchNorm`` inside ``root`` use its batch's statistics only, and keep none. Returns ``root``."""
    for module in root.modules():
        if isinstance(module, _BatchNorm):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None
    return root


def _depends_elsewhere(tensor) -> bool:
    """Whether the tensor's graph ends anywhere but in leaves made by functions that have returned."""
    seen, todo = set(), [tensor.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        variable = getattr(node, "variable", None)
        if variable is not None and leads_out(variable):
            return True
        todo.extend(edge[0] for edge in node.next_functions)
    return False


def _settle(tree):
    """Results as they are handed out: without a graph that leads only to the tracked arguments, and with none where
    the caller records none."""

    def settle(t):
        if not isinstance(t, Tensor) or not t.requires_grad or modes.state.grad and _depends_elsewhere(t):
            return t
        return t._detach()

    return pytree.tree_map(settle, tree)


def _gradients(outputs, fresh, vectors=None):
    """Gradients, zeros where nothing depends, in a graph of their own."""
    pairs = [(o, v) for o, v in zip(outputs, vectors or [None] * len(outputs), strict=True) if o.requires_grad]
    found = [None] * len(fresh)
    if pairs:
        given = [v for _, v in pairs] if vectors else None
        found = autograd.grad([o for o, _ in pairs], fresh, given, create_graph=True, allow_unused=True)
    return [t.detach() * 0 if g is None else g for g, t in zip(found, fresh, strict=True)]


def _selected(args, argnums):
    """The arguments to differentiate by, and a function that puts others in their place.

    Raises:
        RuntimeError: there is no such argument, none is asked for, or one twice.
    """
    given = argnums if isinstance(argnums, tuple) else (argnums,)
    if not all(isinstance(n, int) for n in given):
        raise RuntimeError(f"argnums must be int or Tuple[int, ...], got: {type(argnums)}")
    if not given:
        raise RuntimeError("argnums must be non-empty")
    for n in given:
        if not -len(args) <= n < len(args):
            raise RuntimeError(f"Got argnum={n}, but only {len(args)} positional inputs")
    wanted = [n % len(args) for n in given]
    if len(set(wanted)) != len(wanted):
        raise RuntimeError(f"argnums elements must be unique, got {argnums}")

    def put(values, args=args):
        out = list(args)
        for n, value in zip(wanted, (values,) if isinstance(argnums, int) else values, strict=True):
            out[n] = value
        return out

    return args[wanted[0]] if isinstance(argnums, int) else tuple(args[n] for n in wanted), put


def grad_and_value(func, argnums=0, has_aux: bool = False):
    """``f(*args) -> (gradient, value)``, of a function with a scalar result; see :func:`grad`."""

    @functools.wraps(func)
    def wrapper(*args, **kwargs):
        chosen, put = _selected(args, argnums)
        with _deeper():
            tree, fresh = _track(chosen)
            result = func(*put(tree), **kwargs)
            out, aux = split("grad_and_value(f)(*args)", result, has_aux)
            if not isinstance(out, Tensor):
                raise RuntimeError(f"grad_and_value(f)(*args): Expected f(*args) to return a Tensor, got {type(out)}")
            if out.dim() != 0:
                raise RuntimeError(
                    "grad_and_value(f)(*args): Expected f(*args) to return a scalar Tensor, got tensor with "
                    f"{out.dim()} dims. Maybe you wanted to use the vjp or jacrev APIs instead?"
                )
            gradients = pytree.tree_unflatten(_gradients([out], fresh), pytree.tree_structure(tree))
        gradients, out, aux = _settle((gradients, out, aux))
        return gradients, (out, aux) if has_aux else out

    return wrapper


def grad(func, argnums=0, has_aux: bool = False):
    """``f(*args) -> gradient`` of a function with a scalar result, by its argument number ``argnums``.

    With several ``argnums`` a tuple of gradients; with ``has_aux`` the function returns ``(value, aux)``, and
    ``(gradient, aux)`` comes back. Nest it for higher derivatives.

    Raises:
        RuntimeError: the result is no scalar, or there is no such argument.
    """
    inner = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def wrapper(*args, **kwargs):
        gradient, value = inner(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return wrapper


def vjp(func, *primals, has_aux: bool = False):
    """``(func(*primals), vjp_fn)``, where ``vjp_fn(cotangents)`` gives a tuple with one gradient for each primal.

    Cotangents are nested like the result. With ``has_aux`` there is a third result: what the function returned beside.

    Raises:
        RuntimeError: cotangents that are not nested like the result.
    """
    with _deeper():
        tree, fresh = _track(primals)
        result = func(*tree)
    api = "vjp(f, *primals)"
    out, aux = split(api, result, has_aux)
    outputs, form = tensors_of(api, out)

    def vjp_fn(cotangents, retain_graph=True, create_graph=None):
        vectors, given = pytree.tree_flatten(cotangents)
        if given != form:
            raise RuntimeError(
                "Expected pytree structure of cotangents to be the same as pytree structure of outputs to the "
                f"function. cotangents: {given}, primal output: {form}"
            )
        with modes.enable_grad():
            found = pytree.tree_unflatten(_gradients(outputs, fresh, vectors), pytree.tree_structure(tree))
        return _settle(found)

    shown = _settle(out)
    return (shown, vjp_fn, _settle(aux)) if has_aux else (shown, vjp_fn)


def functional_call(
    module, parameter_and_buffer_dicts, args=None, kwargs=None, *, tie_weights: bool = True, strict: bool = False
):
    """:func:`jtorch.nn.utils.stateless.functional_call`; ``parameter_and_buffer_dicts``: one dict, or several."""
    return stateless.functional_call(
        module, parameter_and_buffer_dicts, args, kwargs, tie_weights=tie_weights, strict=strict
    )


def stack_module_state(models):
    """Parameters and buffers of like modules, stacked by name: ``(params, buffers)``, for ``functional_call``."""
    from ..tensor.dispatch import call

    models = list(models)
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if len({m.training for m in models}) > 1:
        raise RuntimeError("stack_module_state: Expected all models to have the same training/eval mode.")
    if len({type(m) for m in models}) > 1:
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")

    def stacked(named):
        columns = {name: [dict(named(m))[name] for m in models] for name, _ in named(models[0])}
        return {
            name: call("stack", tuple(tensors)).detach().requires_grad_(tensors[0].requires_grad)
            for name, tensors in columns.items()
        }

    return stacked(lambda m: m.named_parameters()), stacked(lambda m: m.named_buffers())


__all__ = [
    "functional_call", "functionalize", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize",
    "rearrange", "stack_module_state", "vjp", "vmap",
]  # fmt: skip

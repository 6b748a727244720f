"""Forward mode: dual tensors carry a tangent beside their value, and every operation on them pushes it along.

Inside :class:`dual_level`, an operation with a dual operand records, next to itself, the call that ``jax.jvp`` makes of
it: from the operands and their tangents to the tangents of the results. That call is recorded as any other is, so
that backward goes through tangents too (forward over reverse). Outside of a level nothing is looked at.
"""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..tape import engine, modes
from ..tensor import Tensor, lens
from ..tensor import dispatch as _dispatch
from ..tensor.creation import filled
from ..trace.aval import Hyper
from ..trace.call import Call, intern

#: The level that is open, -1 outside of any.
_current_level = -1


class _State(threading.local):
    level: object | None = None  # tells tangents of this level from those of earlier ones
    busy = False  # within the work for one operation, or where tangents are switched off


_state = _State()
_pushed: dict[tuple, Call] = {}


class UnpackedDualTensor(NamedTuple):
    """A tensor and its tangent."""

    primal: Any
    tangent: Any


def tangent_of(t: Tensor) -> Tensor | None:
    """The tangent that a tensor carries at the open level: its own, or the part it shows of its base's."""
    level = _state.level
    if level is None:
        return None
    found = t.__dict__.get("_tangent")
    if found is not None and found[0] is level:
        return found[1]
    if t._root is not None:
        found = t._root.__dict__.get("_tangent")
        if found is not None and found[0] is level:
            part = lens.get(_dispatch.dispatch, found[1], t._relative)
            t._tangent = level, part
            return part
    return None


class _Busy:
    """Inside, operations leave tangents alone."""

    def __enter__(self):
        self.before, _state.busy = _state.busy, True

    def __exit__(self, *exc):
        _state.busy = self.before


def _intercept(op, operands, statics):
    if _state.busy or _state.level is None:
        return operands, statics
    flat = []
    for x in operands:
        flat.extend(x if isinstance(x, (tuple, list)) else (x,))
    tensors = [x for x in flat if isinstance(x, Tensor)]
    if any(t._handler is not None for t in tensors):
        return operands, statics
    with _Busy():
        if all(tangent_of(t) is None for t in tensors):
            return operands, statics
        result = _dispatch.dispatch(op, operands, statics)
        if op.put is not None:
            base = tangent_of(operands[0])
            if base is not None:
                result._tangent = _state.level, _dispatch.dispatch(op, (base, *operands[1:]), statics)
        elif op.differentiable:
            results = result if isinstance(result, tuple) else (result,)
            for r, t in zip(results, _push(op, operands, statics, results), strict=True):
                if t is not None:
                    r._tangent = _state.level, t
    return _dispatch.Answer(result)


def _push(op, operands, statics, results) -> list:
    """The tangents of ``results``, None for those that have none."""
    keys, flat, tensors = [], [], []

    def add(x):
        if isinstance(x, Tensor):
            value = x._value()
            flat.append(value)
            tensors.append(x)
            return value.aval
        tensors.append(None)
        if isinstance(x, _dispatch.HyperNumber):
            flat.append(x.value)
            return Hyper
        flat.append(x)
        return x.__class__

    for x in operands:
        keys.append(None if x is None else tuple(map(add, x)) if isinstance(x, (tuple, list)) else add(x))
    device = results[0].device
    call = intern(op, statics, tuple(keys), device.platform)
    tangents = [None if t is None else tangent_of(t) for t in tensors]
    active = tuple(i for i, t in enumerate(tangents) if t is not None and call.in_avals[i].is_float)
    names = op.returns if isinstance(op.differentiable, (tuple, list, set, frozenset)) else None
    outputs = tuple(
        i for i, a in enumerate(call.out_avals) if a.is_float and (names is None or names[i] in op.differentiable)
    )
    if not active or not outputs:
        return [None] * len(results)
    pushing = _pushed.get((call, active, outputs))
    if pushing is None:
        pushing = _pushed.setdefault((call, active, outputs), _pushing(call, active, outputs))
    pushed = [tangents[i] for i in active]
    edges = [t._history() if t is not None else None for t in (*tensors, *pushed)]
    values, node = engine.apply_call(pushing, flat + [t._value() for t in pushed], edges, call.grad_name, device)
    found: list = [None] * len(results)
    for k, i in enumerate(outputs):
        found[i] = _dispatch.wrap(values[k], None if node is None else (node, k))
    return found


def _pushing(call: Call, active: tuple[int, ...], outputs: tuple[int, ...]) -> Call:
    """From the operands of ``call`` and the tangents of the ``active`` ones to the tangents of ``outputs``."""
    n = len(call.in_avals)

    def push(*arrays):
        def of(*xs):
            merged = list(arrays[:n])
            for i, x in zip(active, xs, strict=True):
                merged[i] = x
            out = call.fn(*merged)
            out = tuple(out) if isinstance(out, (tuple, list)) else (out,)
            return [out[i] for i in outputs]

        at, tangents = [arrays[i] for i in active], list(arrays[n:])
        if "custom_vjp" not in str(jax.make_jaxpr(of)(*at)):
            return tuple(jax.jvp(of, at, tangents)[1])
        # JAX goes only backwards through these: g -> its product with the Jacobian is linear, transpose that
        found, pull = jax.vjp(of, *at)
        _, back = jax.vjp(pull, [jnp.zeros_like(o) for o in found])
        return tuple(back(tuple(tangents))[0])

    avals = (*call.in_avals, *(call.in_avals[i] for i in active))
    return Call(f"{call.name}.jvp", push, avals, (*call.in_kinds, *(None for _ in active)), call.platform)


def _written(target: Tensor, new: Tensor) -> None:
    """``target`` is about to hold ``new``: so does its tangent hold that of ``new``, zeros if it has none."""
    if _state.level is None or target._handler is not None:
        return
    before, _state.busy = _state.busy, True
    try:
        tangent, own = tangent_of(new) if isinstance(new, Tensor) else None, tangent_of(target)
        if tangent is None and own is None:
            return
        if tangent is None:
            tangent = _zeros(target)
        root = target._root
        if own is not None and not (own.requires_grad and own.is_leaf):
            if own is not tangent:
                own.copy_(tangent)  # which tangents of other views of it show, too
            return
        if root is None:
            target._tangent = _state.level, tangent
            return
        whole = tangent_of(root)
        if whole is None:
            whole = _zeros(root)
            root._tangent = _state.level, whole
        part = lens.get(_dispatch.dispatch, whole, target._relative)
        part.copy_(tangent)
        target._tangent = _state.level, part
    finally:
        _state.busy = before


def _refuse_out(name: str, results, outs) -> None:
    if any(isinstance(t, Tensor) and tangent_of(t) is not None for t in (*results, *outs)):
        raise NotImplementedError(
            f"Trying to use forward AD with {name}_out that does not support it because it is an out= function"
        )


def _zeros(t: Tensor) -> Tensor:
    return filled(tuple(t.shape), 0, t.dtype, t.device)


def enter_dual_level() -> int:
    """Open a level; returns its number.

    Raises:
        RuntimeError: one is open: nested forward mode is not supported.
    """
    global _current_level
    if _state.level is not None:
        raise RuntimeError(
            "Nested forward mode AD is not supported at the moment. If you want to go through multiple levels, use "
            "jtorch.func.jvp."
        )
    _state.level, _current_level = object(), 0
    _dispatch.interceptors.append(_intercept)
    _dispatch.on_write, _dispatch.refuse_out = _written, _refuse_out
    return _current_level


def exit_dual_level(*, level: int | None = None) -> None:
    """Close the level: no tensor carries a tangent any more.

    Raises:
        RuntimeError: ``level`` is not the one that is open.
    """
    global _current_level
    level = _current_level if level is None else level
    if level != _current_level or _state.level is None:
        raise RuntimeError(
            f"Trying to exit a forward AD level that was not the last one that was created: {level}, the open one is "
            f"{_current_level}. This is not supported."
        )
    _state.level, _current_level = None, -1
    _dispatch.interceptors.remove(_intercept)
    _dispatch.on_write = _dispatch.refuse_out = None


class dual_level(modes._Mode):
    """``with dual_level():`` a context in which tensors may carry tangents; they end with it."""

    def __enter__(self):
        return enter_dual_level()

    def __exit__(self, *exc):
        exit_dual_level()


def make_dual(tensor: Tensor, tangent: Tensor, *, level: int | None = None) -> Tensor:
    """A view of ``tensor`` that carries ``tangent``, which is converted to the dtype of ``tensor``.

    Raises:
        RuntimeError: no level is open, the shapes differ, or the tangent of a real tensor is complex.
        ValueError: one of them is no floating-point or complex tensor.
    """
    if _state.level is None:
        raise RuntimeError(
            "Trying to create a dual Tensor for forward AD but no level exists, make sure to enter_dual_level() first."
        )
    for name, t in (("primal", tensor), ("tangent", tangent)):
        if not (t.is_floating_point() or t.is_complex()):
            raise ValueError(f"Expected {name} to be floating point or complex, but got: {t.dtype}")
    if tuple(tensor.shape) != tuple(tangent.shape):
        raise RuntimeError(
            f"Trying to set a forward gradient that has a different size than that of the original Tensor, this is not "
            f"supported. Tensor is of size {list(tensor.shape)} while the given forward gradient is of size "
            f"{list(tangent.shape)}."
        )
    if tensor.dtype is not tangent.dtype:
        if tangent.is_complex() and not tensor.is_complex():
            raise RuntimeError(
                f"Expected the tangent of a real tensor, of {tensor.dtype}, to be real, but got {tangent.dtype}"
            )
        tangent = tangent.to(tensor.dtype)
    if tangent_of(tensor) is not None:
        raise RuntimeError("Trying to create a dual Tensor from a Tensor that carries a tangent already")
    if tangent_of(tangent) is not None:
        raise RuntimeError(
            f"Setting a forward grad that itself has a forward gradient at the same level {_current_level} is not "
            "supported."
        )
    with _Busy():
        dual = tensor.view_as(tensor)
    dual._tangent = _state.level, tangent
    return dual


def unpack_dual(tensor: Tensor, *, level: int | None = None) -> UnpackedDualTensor:
    """``(primal, tangent)`` of a tensor; the tangent is None for one that carries none."""
    with _Busy():
        tangent = tangent_of(tensor)
        if tangent is None:
            return UnpackedDualTensor(tensor, None)
        return UnpackedDualTensor(tensor.view_as(tensor), tangent)


class _set_fwd_grad_enabled:
    """Switch tangents on or off at once; as a context manager, until the block ends."""

    def __init__(self, mode: bool):
        self.before, _state.busy = _state.busy, not mode

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        _state.busy = self.before


def _is_fwd_grad_enabled() -> bool:
    return not _state.busy


__all__ = ["UnpackedDualTensor", "dual_level", "enter_dual_level", "exit_dual_level", "make_dual", "unpack_dual"]

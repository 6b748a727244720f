"""From a public call to a recorded one: operands to Values, call interned, tape node made, result wrapped.

:func:`dispatch` is the path every operation takes; it has no special cases. What differs between operations is data on
the :class:`~jtorch.ops.registry.Op`.
"""

from __future__ import annotations

import numpy as np

from .. import devices, dtypes, return_types
from ..ops import outputs
from ..ops.registry import OPS, Op
from ..ops.shapes import broadcast_shapes
from ..tape import modes
from ..tape.engine import record_linearized
from ..trace.aval import Hyper
from ..trace.call import intern
from ..trace.recorder import record
from ..trace.value import Value, move
from . import at_once, layout, lens
from .storage import Storage

_NUMBERS = frozenset((int, float, bool, complex))
_named_results: dict[str, type] = {}


class Tensor_:
    """Placeholder base: the Tensor class registers itself as :data:`TENSOR` (dispatch and Tensor know each other)."""


TENSOR: type = Tensor_
#: Makes a Tensor of a sparse gradient (:class:`~jtorch.tape.sparse.SparseGrad`).
sparse_tensor = None
#: Called with ``(op, operands, statics)`` before anything else when set: autocast, function modes. They return the
#: operands and statics to go on with, or an :class:`Answer`.
interceptors: list = []
#: Called with ``(op, operands, statics, out)`` before an ``out=`` form when set: function modes. Returns an
#: :class:`Answer`, or None to go on.
on_out = None
#: Called with ``(tensor, what it is about to hold)`` before writes in place when set: forward mode.
on_write = None
#: Called with ``(name, results, outs)`` at the end of ``out=`` forms when set: forward mode, which has none.
refuse_out = None


def is_own(cls: type) -> bool:
    """Whether a class is jtorch's, under its own name or, in unmodified scripts, under PyTorch's."""
    return cls.__module__.partition(".")[0] in ("jtorch", "torch")


class Answer:
    """An interceptor's result that stands for that of the operation."""

    __slots__ = ("result",)

    def __init__(self, result):
        self.result = result


def number(x, op: Op, name: str):
    """A Python number for ``x`` (NumPy scalars included), or None when it is none."""
    if isinstance(x, np.generic):
        return x.item()
    if isinstance(x, bool):
        return bool(x)
    for kind in (int, float, complex):
        if isinstance(x, kind):
            return kind(x)
    return None


def _operand(x, op: Op, name: str, element: int | None = None):
    """A Tensor or Python number for an operand (or for an element of a list of them) given in another form."""
    n = number(x, op, name)
    if n is not None:
        return n
    if isinstance(x, np.ndarray) or hasattr(x, "__jax_array__"):
        return TENSOR._from_numpy(np.asarray(x))
    position, given = [p.name for p in op.parameters].index(name), type(x).__name__
    if element is not None:
        raise TypeError(f"expected Tensor as element {element} in argument {position}, but got {given}")
    raise TypeError(f"{op.name}(): argument '{name}' (position {position + 1}) must be Tensor, not {given}")


def dispatch(op: Op, operands: tuple, statics: tuple):
    """Run ``op`` on Tensors and numbers given in the order of ``op.operand_names`` and ``op.static_names``."""
    if interceptors:
        for interceptor in interceptors:
            found = interceptor(op, operands, statics)
            if found.__class__ is Answer:
                return found.result
            operands, statics = found
    keys: list = []
    flat: list = []
    tensors: list = []  # aligned with flat; None for numbers
    device = None
    needs = False
    grad_on = modes.state.grad and op.differentiable
    for position, x in enumerate(operands):
        if isinstance(x, TENSOR):
            if x._lens is not None or x._root is not None:
                if x._handler is not None:
                    return x._handler(op, operands, statics)
                if op.put is not None and x._memo is None and _unread_is_enough(x, operands):
                    keys.append(x._aval)
                    device = x._storage.value.device
                    continue
                x._refresh()
                value = x._memo
            else:
                value = x._storage.value
            keys.append(value.aval)
            flat.append(value)
            tensors.append(x)
            if value.device is not device:
                device = value.device if device is None else _common_device(op, flat)
            if grad_on and (x._edge is not None or x._requires_grad):
                needs = True
        elif x is None:
            keys.append(None)
        elif x.__class__ in _NUMBERS:
            keys.append(x.__class__)
            flat.append(x)
            tensors.append(None)
        elif isinstance(x, HyperNumber):
            keys.append(Hyper)
            flat.append(x.value)
            tensors.append(None)
        elif isinstance(x, (tuple, list)) and _kind(op, position) == "arrays":
            inner = []
            for y in x:
                if not isinstance(y, TENSOR) and y.__class__ not in _NUMBERS:
                    if hasattr(y.__class__, "__torch_function__"):
                        return _like(op, operands, statics)
                    y = _operand(y, op, op.operand_names[position], len(inner))
                if isinstance(y, TENSOR):
                    if y._handler is not None:
                        return y._handler(op, operands, statics)
                    value = y._value()
                    inner.append(value.aval)
                    flat.append(value)
                    tensors.append(y)
                    if value.device is not device:
                        device = value.device if device is None else _common_device(op, flat)
                    if grad_on and (y._edge is not None or y._requires_grad):
                        needs = True
                else:
                    inner.append(y.__class__)
                    flat.append(y)
                    tensors.append(None)
            keys.append(tuple(inner))
        else:
            if hasattr(x.__class__, "__torch_function__"):
                return _like(op, operands, statics)
            converted = tuple(
                y if y is None or isinstance(y, (TENSOR, HyperNumber)) or y.__class__ in _NUMBERS
                or _kind(op, i) == "arrays" else _operand(y, op, op.operand_names[i])
                for i, y in enumerate(operands)
            )  # fmt: skip
            return dispatch(op, converted, statics)
    if device is None:
        device = devices.resolve(None)
    elif device is MIXED:
        flat, device = _to_common_device(op, flat)
    call = intern(op, statics, tuple(keys), device.platform, needs)
    if call.refuse_numbers is not None:
        call.refuse_numbers(flat)
    if not needs:
        if op.put is not None:
            return _view(op, operands, statics, None, call.out_avals[0], None)  # recorded when somebody reads it
        values = at_once.computed(op, call, flat, statics) if op.host is not None else None
        if values is None:
            values = record(call, flat, device)
    else:
        edges = [None if t is None else t._edge or t._history() for t in tensors]
        mask = tuple([e is not None and a.is_float for e, a in zip(edges, call.in_avals, strict=True)])
        if True in mask:
            storages = [None if t is None else t._storage for t in tensors]
            values, node = record_linearized(call, flat, edges, mask, call.grad_name, device, storages)
        else:
            values, node = record(call, flat, device), None
        if op.put is not None:
            value = values[0]
            return _view(op, operands, statics, value, value.aval, None if node is None else (node, 0))
        if node is not None:
            results = [wrap(v, (node, i) if v.aval.is_float else None) for i, v in enumerate(values)]
            if len(node.linearization.saved_operands) < len(node.saved):
                _guard_outputs(node, results)
            return _packed(op, call, results, operands)
    return _packed(op, call, [wrap(v) for v in values], operands)


def _like(op: Op, operands, statics):
    """An operand is no Tensor, but has ``__torch_function__``."""
    from . import overriding

    return overriding.like(op, operands, statics)


def _unread_is_enough(x, operands) -> bool:
    """Whether a view of ``x``, a view nobody has read yet, can be made from its shape alone: it carries no gradient."""
    if x._root is None or x._edge is not None or x._requires_grad or x._edge_history != x._root._history_count:
        return False
    return not any(isinstance(y, TENSOR) for y in operands[1:])


def wrap(value: Value, edge=None):
    """A new base Tensor around a Value."""
    t = object.__new__(TENSOR)
    t._storage = Storage(value)
    t._edge = edge
    if modes.state.inference:
        t._inference = True
    return t


def _guard_outputs(node, results) -> None:
    n = len(node.linearization.call.in_avals)
    for saved in node.linearization.saved:
        if saved is not None and saved[0] == "out" and saved[1] < len(results):
            t = results[saved[1]]
            node.guards = (*node.guards, (t._storage, 0, n + saved[1]))


def _results_name(op: Op) -> str:
    return ("linalg_" if op.namespaces == ("linalg",) else "") + op.name.split(".")[0]


def _fields_of(name: str) -> tuple[str, ...] | None:
    """What the operation returns whose results' type has this name."""
    return next((op.returns for op in OPS.values() if op.returns is not None and _results_name(op) == name), None)


return_types.fields_of = _fields_of


def _packed(op: Op, call, results, operands):
    if op.elementwise:
        for x in operands:
            if isinstance(x, TENSOR) and (x._lens is not None or x._strides is not None):
                _keep_memory_order(results, operands)
                break
    elif op.name in layout.KEEP_FORMAT:
        layout.keep_format(results, _tensors(operands), op.name == "cat")
    if call.single:
        return results[0]
    if op.returns is None:
        return tuple(results)
    kind = _named_results.get(op.name)
    if kind is None:
        kind = _named_results[op.name] = return_types.named(_results_name(op), op.returns)
    if op.differentiable is not True:
        for name, t in zip(op.returns, results, strict=True):
            if not op.differentiable or name not in op.differentiable:
                t._edge = None
    return kind(*results)


def _keep_memory_order(results, operands) -> None:
    """An elementwise result has the memory order of its operands, as ``preserve_format`` says."""
    laid_out = tuple([(x.shape, layout.strides(x)) for x in operands if isinstance(x, TENSOR) and x.dim() > 1])
    for r in results:
        order = layout.memory_order(r.shape, laid_out)
        if order is not None:
            r._strides = order


def _view(op: Op, operands, statics, value: Value | None, aval, edge):
    base = operands[0]
    # an index tensor is remembered as it is now: a Tensor of its own, which nobody writes to
    numbers = tuple([wrap(x._value()) if isinstance(x, TENSOR) else x for x in operands[1:]])
    step = lens.Step(op, statics, numbers, aval.shape)
    t = object.__new__(TENSOR)
    t._storage = base._storage
    t._lens = (*(base._lens or ()), step)
    t._root = base if base._root is None else base._root
    t._relative = (*(base._relative or ()), step)
    t._aval, t._memo, t._memo_writes = aval, value, base._storage.writes
    layout.extend_geometry(t, base, step)
    t._edge, t._edge_history = edge, t._root._history_count
    if not modes.state.grad:
        t._made_without_grad = True
        # as of PyTorch's views: a leaf of its own, from which no gradient finds the way to what it shows
        t._requires_grad = aval.is_float and not base._inference and t._root.requires_grad
    if base._inference:
        t._inference = True
    return t


# --- devices -------------------------------------------------------------------------------------------------------

MIXED = object()


def _common_device(op: Op, flat):
    """Several devices among the operands: 0-d CPU tensors may join an accelerator's, anything else is an error."""
    values = [v for v in flat if isinstance(v, Value)]
    others = {v.device for v in values if not (v.device is devices.CPU and v.aval.shape == ())}
    if len(others) <= 1:
        return MIXED if len({v.device for v in values}) > 1 else values[0].device
    a, b = sorted(map(str, others))[:2]
    raise RuntimeError(
        f"Expected all tensors to be on the same device, but found at least two devices, {a} and {b}! (when checking "
        f"arguments of {op.name}); move one with .to(device)"
    )


def _to_common_device(op: Op, flat):
    target = next(v.device for v in flat if isinstance(v, Value) and v.device is not devices.CPU)
    return [move(v, target) if isinstance(v, Value) else v for v in flat], target


def _kind(op: Op, position: int) -> str:
    name = op.operand_names[position]
    return next(p.kind for p in op.parameters if p.name == name)


class HyperNumber:
    """A number recorded as a run-time operand (``Hyper`` parameters)."""

    __slots__ = ("value",)

    def __init__(self, value: float):
        self.value = value if isinstance(value, float) else float(value)


# --- entry points --------------------------------------------------------------------------------------------------


def call(name: str | Op, *operands, **statics):
    """Run the registered op ``name`` (or an op that was derived), on operands in declaration order.

    Static attributes are given by name and default as declared; missing trailing operands are None (or their default).
    """
    op = OPS[name] if isinstance(name, str) else name
    parameters = {p.name: p for p in op.parameters}
    full = []
    for i, n in enumerate(op.operand_names):
        p = parameters[n]
        if i < len(operands):
            x = operands[i]
        elif n in statics:
            x = statics.pop(n)
        else:
            x = None if p.required else p.default
        if p.kind == "hyper" and not isinstance(x, TENSOR):
            x = HyperNumber(x)
        full.append(x)
    values = tuple(
        whole(x, n, op.parameters.index(parameters[n]), op) if parameters[n].whole else hashable(x)
        for n, x in ((n, statics.pop(n, parameters[n].default)) for n in op.static_names)
    )
    if statics:
        raise TypeError(f"{name}() got unexpected arguments {sorted(statics)}")
    return dispatch(op, tuple(full), values)


def hashable(x):
    """A static attribute in hashable form: lists and tensors become tuples, NumPy's ints and single elements ints."""
    if x is None or x.__class__ in (int, float, bool, str, dtypes.dtype):
        return x
    if x.__class__ is tuple and all(e.__class__ is int for e in x):
        return x
    if isinstance(x, (list, tuple)):
        return tuple(hashable(e) for e in x)
    if isinstance(x, TENSOR):
        return x.item() if x.numel() == 1 else hashable(x.tolist())
    if isinstance(x, np.generic):
        return x.item()
    if isinstance(x, slice):
        return ("slice", x.start, x.stop, x.step)
    return x


def whole(x, name: str, i: int, op: Op):
    """An integer attribute (or a tuple of them) in hashable form. 1.0 and True equal 1, and yet are none.

    Raises:
        TypeError: it is a bool or a float, or has one among its elements.
    """
    x = hashable(x)
    for k, e in enumerate(x if x.__class__ is tuple else (x,)):
        if e.__class__ in (bool, float):
            kind = type(e).__name__
            what = f"int, not {kind}" if e is x else f"tuple of ints, but found element of type {kind} at pos {k}: {e}"
            raise TypeError(f"{op.name.split('.')[0]}(): argument '{name}' (position {i + 1}) must be {what}")
    return x


def inplace(op: Op, operands: tuple, statics: tuple):
    """The in-place form: the result is written into the first operand, which is returned.

    Raises:
        RuntimeError: it is a leaf that requires grad, it shares memory with another operand, or the result's shape or
            dtype does not fit.
    """
    target = operands[0]
    target._check_inplace()
    storage = None if target._lens == () else target._storage  # sparse and nested tensors have none of their own
    for x in operands[1:]:
        if isinstance(x, TENSOR) and x._lens != () and x._storage is storage:
            if "index" in op.operand_names:
                outputs.apart(None, target, _tensors(operands[1:]))
            elif op.elementwise:
                outputs.in_place(None, target, _tensors(operands[1:]))
    result = dispatch(op, operands, statics)
    if isinstance(result, tuple):
        result = result[0]
    target._store(result, f"{op.name}_")
    if result._edge is not None:
        _guard_written(result._edge[0], result._storage, target._storage)
    return target


def _guard_written(node, computed: Storage, written: Storage) -> None:
    """The node of an in-place operation watches the target from now on, not what it held before."""
    guards = node.guards
    if guards and 0 in node.linearization.saved_operands:
        guards = guards[1:]
    node.guards = tuple([(written, written.version, g[2]) if g[0] is computed else g for g in guards])


def into(op: Op, operands: tuple, statics: tuple, out):
    """The ``out=`` form."""
    answer = on_out and on_out(op, operands, statics, out)
    return answer.result if answer else write_out(op, operands, dispatch(op, operands, statics), out)


INFERENCE_WRITTEN = (
    "Inplace update to inference tensor outside InferenceMode is not allowed. You can make a clone to get a normal "
    "tensor before doing inplace update."
)


def write_out(op: Op | str, operands, result, out, rule=None):
    """The end of the ``out=`` form of ``op`` (or of a function of that name): write ``result`` into ``out``.

    An empty ``out`` of another shape is resized.

    Returns:
        ``out``, as what ``result`` would have been: a tensor, a tuple or a named tuple.

    Raises:
        RuntimeError: the result or ``out`` requires grad, or the dtype does not fit.
    """
    outs = out if isinstance(out, (tuple, list)) else (out,)
    several = isinstance(result, (tuple, list))
    results = result if several else (result,)
    if modes.state.grad and any(t.requires_grad for t in (*results, *outs)):
        raise RuntimeError(
            f"{getattr(op, 'name', op)}(): functions with out=... arguments don't support automatic differentiation, "
            "but one of the arguments requires grad."
        )
    if any(t._inference for t in outs) and not modes.state.inference:
        raise RuntimeError(INFERENCE_WRITTEN)
    if refuse_out is not None:
        refuse_out(getattr(op, "name", op), results, outs)
    rule = rule or getattr(op, "out", None)
    for target, r in zip(outs, results, strict=True):
        if getattr(op, "elementwise", False):
            outputs.in_place(r, target, _tensors(operands))
        if callable(rule):
            rule(r, target, _tensors(operands))
        target._write_out(r)
    if not several:
        return out
    if not hasattr(result, "_fields"):
        return tuple(outs)
    kind = type(result)
    return return_types.named(f"{kind.__name__}_out", kind._fields)(*outs)


def _tensors(operands) -> list:
    """The Tensors among operands, those of lists too."""
    flat = (y for x in operands for y in (x if isinstance(x, (tuple, list)) else (x,)))
    return [x for x in flat if isinstance(x, TENSOR)]


def rebind(tensor, new) -> None:
    """Make ``new``'s value the content of ``tensor`` (same shape and dtype) without recording a copy."""
    tensor._storage.write(new._value())


def common_shape(*tensors):
    """The broadcast shape of tensors."""
    return broadcast_shapes(*(tuple(t.shape) for t in tensors))

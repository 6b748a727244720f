"""The backward walk: newest node first, gradients summed as they meet.

Gradients travel as Values. Under ``create_graph`` they travel as :class:`Tracked` pairs of a Value and its own edge,
and the backward calls are recorded with the tape on, so that any order of derivative works.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import traceback
import warnings

import jax.numpy as jnp

from ..ops.registry import OPS, Array, op
from ..trace import capture
from ..trace.call import Call, intern
from ..trace.linearize import linearize
from ..trace.recorder import record
from ..trace.value import Value
from . import modes, parts, sparse
from .node import Node, node_type
from .parts import Parts
from .sparse import SparseGrad


@op(name="_accumulate", namespaces=(), grad_name="AddBackward0", elementwise=True)
def _accumulate(input: Array, other: Array):
    """``input + other``: where two gradients meet."""
    return input + other


@op(name="_ones", namespaces=(), differentiable=False)
def _ones(input: Array):
    """Ones like ``input``: the gradient backward() starts from."""
    return jnp.ones(input.shape, input.dtype)


class _Anomaly:
    """Whether nodes remember where they were made, and whether backward looks for NaN after each of them."""

    enabled = False
    check_nan = False


anomaly = _Anomaly()
#: While functions are recorded as programs of their own (vmap): dicts that collect ``id(value) -> edge`` of operands.
watchers: list[dict] = []


class Walk:
    """One backward that is running: its number, what to do when it has ended, and which nodes it will run."""

    __slots__ = ("id", "callbacks", "wanted", "useful", "reached", "partial", "node")

    def __init__(self, wanted, useful, roots):
        self.id = next(_walks)
        self.callbacks: list = []
        self.wanted, self.useful, self.reached = wanted, useful, roots
        self.partial = useful is not None
        self.node = None  # that is run, known to anomaly mode only

    def runs(self, node) -> bool:
        """Whether this backward reaches ``node`` and runs it."""
        if self.useful is None:
            self.useful = _reachable(self.reached)
        return node in self.useful


_walks = itertools.count()


class _Running(threading.local):
    """The walks this thread is in, innermost last (a hook may start another)."""

    def __init__(self):
        self.walks: list[Walk] = []


_running = _Running()


class _Saving(threading.local):
    """Hooks that pack what nodes save, innermost last, and why none may be entered."""

    def __init__(self):
        self.hooks: tuple = ()
        self.refused: str | None = None
        self.mutable = False  # whether what was saved may have been written meanwhile: backward uses what it was
        self.awaited: list = []  # gradients that were there before what is being unpacked is needed


saving = _Saving()


def running() -> Walk | None:
    """The innermost backward that is running on this thread."""
    return _running.walks[-1] if _running.walks else None


def queue_callback(callback) -> None:
    """Call ``callback()`` when the backward that is running on this thread has ended.

    Raises:
        RuntimeError: no backward is running.
    """
    if not _running.walks:
        raise RuntimeError("Final callbacks can only be installed during backward pass.")
    _running.walks[-1].callbacks.append(callback)


class Tracked:
    """A gradient that has a history of its own."""

    __slots__ = ("value", "edge")

    def __init__(self, value: Value, edge):
        self.value, self.edge = value, edge


def apply_call(call: Call, operands: list, edges: list, name: str, device) -> tuple[list[Value], Node | None]:
    """Record ``call``, with a node where an operand has an edge.

    Args:
        operands: flat Values and Python numbers.
        edges: per operand its ``(node, index)``, or None.
    """
    mask = tuple([e is not None and a.is_float for e, a in zip(edges, call.in_avals, strict=True)])
    if not (modes.state.grad and True in mask):
        return record(call, operands, device), None
    return record_linearized(call, operands, edges, mask, name, device, None)


def record_linearized(call, operands, edges, mask, name, device, storages):
    """Record ``call`` for backward.

    ``storages`` (per operand, or None) are watched: backward refuses to run if one whose value was saved has been
    written meanwhile.
    """
    if watchers:
        for edges_of in watchers:
            edges_of.update((id(v), e) for v, e in zip(operands, edges, strict=True) if e is not None)
    lin = call.linearizations.get(mask) or linearize(call, mask)
    outs = record(lin.forward, operands, device)
    if not lin.outputs:
        return outs, None
    values = operands + outs
    guards = ()
    if storages is not None and lin.saved_operands:
        guards = tuple([(st, st.version, i) for i in lin.saved_operands if (st := storages[i])])
    node = node_type(name)(
        lin, [values[i] for i in lin.sources], operands if lin.has_new else None, guards,
        [edges[i] for i in lin.operands], device,
    )  # fmt: skip
    if saving.hooks:
        saving.hooks[-1].pack_node(node)
    if anomaly.enabled:
        remember_line(node)
    if lin.has_new:
        del outs[len(call.out_avals) :]
    return outs, node


def remember_line(node) -> None:
    """Note on ``node`` where the program is, and which node's backward it is in."""
    node.metadata["traceback_"] = traceback.format_stack()
    walk = running()
    if walk is not None:
        node.metadata["parent_"] = walk.node


def _tell_line(node) -> None:
    """Warn with the place where ``node``, whose backward failed, was made."""
    about, advice = node, "Enable detect anomaly during forward pass for more information."
    text = f"Error detected in {node.name()}. "
    if "traceback_" in node.metadata:
        text += "Traceback of forward call that caused the error:\n" + "".join(node.metadata["traceback_"])
    else:
        text += f"No forward pass information available. {advice}"
    warnings.warn(text, stacklevel=4)
    while (about := about.metadata.get("parent_")) is not None:
        text = f"\n\nPrevious calculation was induced by {about.name()}. "
        if "traceback_" in about.metadata:
            text += "Traceback of forward call that induced the previous calculation:\n"
            text += "".join(about.metadata["traceback_"])
        else:
            text += f"No forward pass information available. {advice}"
        warnings.warn(text, stacklevel=4)


def run_backward_call(node, lin, given, present, create_graph):
    """Record the backward call of a node; with ``create_graph``, so that it can be differentiated again."""
    if not create_graph:
        call, operands = lin.backward(given), node.saved + present
        if lin.call.op in parts.SLICES and not node.post_hooks and not anomaly.enabled:
            found = parts.part(node, present[0], lambda: record(call, operands, node.device)[0])
            if found is not None:
                return [found]
        return _reached(lin, given, record(call, operands, node.device))
    # The history of an operand is its edge; that of an output is this very node.
    edges_of = dict(zip(lin.operands, node.edges, strict=True))
    grads, grad_edges = [g.value for g in present], [g.edge for g in present]
    if lin.has_new:
        call = lin.from_inputs(given)
        operands = node.operands + []  # packed ones unpack by that
        curved = lin.curved()
        edges = [edges_of.get(i) if i in curved else None for i in range(len(operands))]
    else:
        call = lin.backward(given)
        operands = node.saved
        edges = [edges_of.get(i) if kind == "in" else (node, i) for kind, i in filter(None, lin.saved)]
    name = node.name().removesuffix("0") + "Backward0"
    outs, made = apply_call(call, operands + grads, edges + grad_edges, name, node.device)
    return _reached(lin, given, [Tracked(v, None if made is None else (made, i)) for i, v in enumerate(outs)])


def _reached(lin, given, grads: list) -> list:
    """``grads`` of a call's operands, without those of operands that no output with a gradient depends on."""
    if False not in given:
        return grads
    return [g if there else None for g, there in zip(grads, lin.reached(given), strict=True)]


def add(a, b, create_graph: bool):
    """The sum of two gradients."""
    if a.__class__ is Parts and b.__class__ is Parts and a.dim == b.dim:
        return Parts(a.dim, a.size, a.spans + b.spans)
    a, b = (g.whole() if g.__class__ is Parts else g for g in (a, b))
    if a.__class__ is SparseGrad or b.__class__ is SparseGrad:
        return sparse.add(a, b)
    if not create_graph:
        return parts.added(a, b)
    va, vb = a.value, b.value
    call = intern(OPS["_accumulate"], (), (va.aval, vb.aval), va.device.platform)
    outs, node = apply_call(call, [va, vb], [a.edge, b.edge], "AddBackward0", va.device)
    return Tracked(outs[0], None if node is None else (node, 0))


def ones_like(value: Value) -> Value:
    """A recorded tensor of ones (so that the start of backward costs no transfer)."""
    call = intern(OPS["_ones"], (), (value.aval,), value.device.platform)
    return record(call, [value], value.device)[0]


def run(
    roots: list, wanted: list | None, *, create_graph: bool, retain_graph: bool, accumulate: bool = False
) -> list | None:
    """Walk back from ``roots``.

    Hooks of a node run in this order: those of the tensors it made, ``retain_grad``, those before the node, the node,
    those after it. A gradient that is returned has met the first two.

    Args:
        roots: ``(node, output number, gradient)``.
        wanted: edges whose gradients to return instead of accumulating into leaves; None accumulates everywhere.
        create_graph: record the backward itself; gradients are :class:`Tracked`.
        retain_graph: keep what was saved.
        accumulate: run the nodes of ``wanted`` instead of returning gradients: leaves among them accumulate.

    Returns:
        The gradients of ``wanted`` (None where the graph does not reach), or None.
    """
    log = capture.state.log
    if log is not None:
        log.walks += 1
    pending: dict[Node, list] = {}
    heap: list = []
    captured: dict = {}
    slots = useful = None
    if wanted is not None:
        slots = {}
        for node, i in wanted:
            slots.setdefault(node, set()).add(i)
        useful = _ancestors([r[0] for r in roots], set(slots))
        if accumulate:
            useful.update(slots)
            slots = {}
    arrived = 0  # leaves are run in the order their first gradients come in

    def give(node, i, grad):
        nonlocal arrived
        grads = pending.get(node)
        if grads is None:
            grads = pending[node] = [None] * len(node.out_avals)
            arrived += 1
            heapq.heappush(heap, (-node.seq, arrived, node))
        grads[i] = grad if grads[i] is None else add(grads[i], grad, create_graph)

    for node, i, grad in roots:
        give(node, i, grad)
    before = modes.state.grad
    modes.state.grad = create_graph
    walk = Walk(None if accumulate else wanted, useful, [r[0] for r in roots])
    _running.walks.append(walk)
    watched = anomaly.enabled
    try:
        while heap:
            node = heapq.heappop(heap)[2]
            grads = pending.pop(node)
            for i, grad in enumerate(grads):
                if grad.__class__ is Parts:
                    grads[i] = grad.whole()
            if useful is not None and node not in useful and node not in slots:
                continue
            if node.tensor_hooks:
                grads = _run_hooks(node.tensor_hooks, grads, create_graph)
            if node.retained:
                for i, keep in list(node.retained.items()):
                    if grads[i] is not None:
                        keep(grads[i], create_graph)
            if slots:
                if node in slots:
                    for i in slots[node]:
                        captured[node, i] = grads[i]
                if node not in useful:
                    continue
            if node.pre_hooks:
                grads = _run_hooks(node.pre_hooks, grads, create_graph)
            for grad in grads:
                if grad is not None:
                    break
            else:
                continue
            if watched:
                walk.node = node
            results = node.apply(grads, create_graph)
            if watched and anomaly.check_nan:
                refuse_nan(node, results, create_graph)
            if node.post_hooks:
                results = _run_post_hooks(node.post_hooks, results, grads, create_graph)
            if not retain_graph:
                node.release()
            for edge, grad in zip(node.edges, results, strict=True):
                if edge is not None and grad is not None:
                    give(edge[0], edge[1], grad)
        modes.state.grad = before
        for callback in walk.callbacks:  # one may add another
            callback()
    except Exception:
        if anomaly.enabled and walk.node is not None:
            _tell_line(walk.node)
        raise
    finally:
        modes.state.grad = before
        _running.walks.remove(walk)
    return None if wanted is None else [captured.get(edge) for edge in wanted]


def _reachable(roots) -> set:
    """The nodes that gradients of ``roots`` flow to."""
    seen, stack = set(), list(roots)
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(e[0] for e in node.edges if e is not None)
    return seen


def refuse_nan(node, results, create_graph) -> None:
    for i, g in enumerate(results):
        if g is None:
            continue
        array = (g.value if create_graph else g).concrete("anomaly detection")
        if bool(jnp.isnan(array).any()):
            raise RuntimeError(f"Function '{node.name()}' returned nan values in its {i}th output.")


def _ancestors(roots, targets) -> set:
    """Nodes on a path from a root to a target, targets' own parents excluded unless they lead to another target."""
    useful, order, seen, stack = set(), [], set(), list(roots)
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        order.append(node)
        stack.extend(e[0] for e in node.edges if e is not None)
    for node in sorted(order, key=lambda n: n.seq):
        if any(e is not None and (e[0] in targets or e[0] in useful) for e in node.edges):
            useful.add(node)
    return useful


def _run_hooks(hooks, grads, create_graph):
    for hook in list(hooks.values()):
        grads = hook(grads, create_graph)
    return grads


def _run_post_hooks(hooks, results, grads, create_graph):
    for hook in list(hooks.values()):
        replaced = hook(results, grads, create_graph)
        if len(replaced) != len(results):
            raise RuntimeError(
                f"hook has returned an incorrect number of values (got {len(replaced)}, but expected {len(results)})"
            )
        results = replaced
    return results


__all__ = ["Tracked", "add", "apply_call", "ones_like", "queue_callback", "record_linearized", "run", "running"]

"""A Tensor's place in the graph: requires_grad, grad, grad_fn, hooks, backward."""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from weakref import ref

from .. import dtypes
from ..tape import engine, modes
from ..tape.engine import Tracked
from ..tape.node import GradientEdge, Node, add_hook
from ..tape.sparse import SparseGrad
from ..trace import capture
from ..trace.recorder import backward_boundary, current_step
from . import dispatch as _dispatch


class AccumulateGrad(Node):
    """The end of the graph at a leaf: adds what arrives to the leaf's ``grad``."""

    __slots__ = ("leaf", "lock")

    def __init__(self, leaf):
        super().__init__((), (leaf._value().aval,), leaf.device)
        self.leaf = ref(leaf)
        self.lock = threading.RLock()  # several threads may be in backward; a hook may run another
        self.seq = -1  # after every operation: all of a leaf's gradients are summed before it sees them

    def name(self) -> str:
        return "torch::autograd::AccumulateGrad"

    @property
    def variable(self):
        return self.leaf()

    def apply(self, grads, create_graph):
        leaf = self.leaf()
        if leaf is None:
            return []
        grad = tensor_of(grads[0], create_graph)
        if leaf._grad_dtype != "own":
            wanted = leaf._grad_dtype or (grad if leaf._grad is None else leaf._grad).dtype
            grad = grad.to(wanted)
        log = capture.state.log
        if log is not None and log.refusal is None:
            log.leaves.append(leaf)
        step = current_step()
        with self.lock:
            if leaf._backward_step == step:
                leaf._accumulates = True  # a second backward before the optimizer's step
            leaf._backward_step = step
            _walk.accumulates |= leaf._accumulates
            if leaf._grad is None:
                if leaf._strides is not None and grad._handler is None and grad._strides is None:
                    grad._strides = _dense(leaf)
                leaf._grad = grad
            elif create_graph:
                leaf._grad = leaf._grad + grad
            elif leaf._grad._handler is not None or grad._handler is not None:
                leaf._grad = _dispatch.dispatch(_dispatch.OPS["_accumulate"], (leaf._grad, grad), ())
            else:
                with modes.no_grad():
                    _dispatch.inplace(_dispatch.OPS["_accumulate"], (leaf._grad, grad), ())
            if leaf._post_accumulate_hooks:
                for hook in list(leaf._post_accumulate_hooks.values()):
                    if (returned := hook(leaf)) is not None and returned is not leaf:
                        raise RuntimeError("Tensor post accumulate grad hooks should return None.")
        return []


def _dense(leaf):
    """The strides of a leaf whose elements lie in memory without gaps, else None."""
    last = sum((n - 1) * s for n, s in zip(leaf.shape, leaf._strides, strict=True))
    return leaf._strides if 0 < leaf.numel() == last + 1 else None


class _Walk(threading.local):
    """Whether the backward this thread runs reached a leaf that accumulates over several backwards per step."""

    accumulates = False


_walk = _Walk()
_new_leaf = threading.Lock()


def tensor_of(grad, create_graph: bool):
    """The Tensor a hook or a ``grad`` attribute shows for an engine gradient."""
    if grad is None:
        return None
    if grad.__class__ is SparseGrad:
        return _dispatch.sparse_tensor(grad)
    return _dispatch.wrap(grad.value, grad.edge) if create_graph else _dispatch.wrap(grad)


def gradient_of(tensor, create_graph: bool):
    """The engine's form of a gradient given as a Tensor."""
    if tensor is None:
        return None
    if tensor._handler is not None:
        return tensor._as_gradient()
    return Tracked(tensor._value(), tensor._history()) if create_graph else tensor._value()


def _register_hook(self, fn):
    """Call ``fn(grad_inputs, grad_outputs)`` after this node ran; a returned tuple replaces the input gradients."""

    def run(results, grads, create_graph):
        replaced = fn(
            tuple(tensor_of(r, create_graph) for r in results), tuple(tensor_of(g, create_graph) for g in grads)
        )
        return results if replaced is None else [gradient_of(r, create_graph) for r in _listed(replaced)]

    return self.add_hook("post_hooks", run)


def _register_prehook(self, fn):
    """Call ``fn(grad_outputs)`` before this node runs; a returned tuple replaces the output gradients."""

    def run(grads, create_graph):
        replaced = fn(tuple(tensor_of(g, create_graph) for g in grads))
        return grads if replaced is None else [gradient_of(g, create_graph) for g in _listed(replaced)]

    return self.add_hook("pre_hooks", run)


Node.register_hook, Node.register_prehook = _register_hook, _register_prehook  # Tensors are unknown to the tape


class AutogradMixin:
    """Autograd as users see it on a Tensor."""

    def _history(self):
        """The edge gradients of this tensor flow into: its maker, its accumulator if it is a leaf, or None."""
        if self._root is not None:
            self._refresh()
        if self._edge is not None:
            return self._edge
        if not self._requires_grad:
            return None
        found = self._accumulator
        if found is None or found.device is not self._storage.value.device:
            with _new_leaf:  # threads that meet a leaf at once share one
                found = self._accumulator
                if found is None or found.device is not self._storage.value.device:
                    found = AccumulateGrad(self)
                    if self._hooks:
                        self._attach_hooks(found, 0)
                    self._accumulator = found
        return found, 0

    def _leave_history(self) -> None:
        """The hooks of this tensor stay with the history it had; a write in place is about to give it another one."""
        self._hooks = None
        if "_retains" in self.__dict__ and self._edge is not None and self._edge[0].retained:
            self._edge[0].retained.pop(self._edge[1], None)

    @property
    def requires_grad(self) -> bool:
        """Whether operations on this tensor are recorded for backward."""
        if self._root is not None:
            self._refresh()
        return self._requires_grad or self._edge is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        value = bool(value)
        if not self.is_leaf:
            if value:
                return
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a computed variable in "
                "a subgraph that doesn't require differentiation use var_no_grad = var.detach()."
            )
        if value and self.dtype.category < dtypes.FLOAT:
            raise RuntimeError("only Tensors of floating point dtype can require gradients")
        if value and self._inference and not modes.state.inference:
            raise RuntimeError("Setting requires_grad=True on inference tensor outside InferenceMode is not allowed.")
        self._requires_grad = value

    def requires_grad_(self, requires_grad: bool = True):
        """Set :attr:`requires_grad` and return self."""
        self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made this tensor."""
        if self._root is not None:
            self._refresh()
        return self._edge is None

    @property
    def grad_fn(self):
        """The node that made this tensor, or None for leaves."""
        if self._root is not None:
            self._refresh()
        return None if self._edge is None else self._edge[0]

    @property
    def output_nr(self) -> int:
        return 0 if self._edge is None else self._edge[1]

    @property
    def grad(self):
        """The accumulated gradient of a leaf (or of a tensor that called ``retain_grad``)."""
        if self._grad is None and self._edge is not None and not self.__dict__.get("_retains", False):
            warnings.warn(
                "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad attribute "
                "won't be populated during autograd.backward(). If you indeed want the .grad field to be populated "
                "for a non-leaf Tensor, use .retain_grad() on the non-leaf Tensor.",
                UserWarning,
                stacklevel=2,
            )
        return self._grad

    @grad.setter
    def grad(self, value) -> None:
        if value is not None:
            if not isinstance(value, _dispatch.TENSOR):
                raise TypeError(
                    f"assigned grad expected to be a Tensor or None but got grad of type {type(value).__name__}"
                )
            if value is self:
                raise RuntimeError("can't assign Variable as its own grad")
            if value.shape != self.shape:
                raise RuntimeError(
                    f"attempting to assign a gradient of size '{list(value.shape)}' to a tensor of size "
                    f"'{list(self.shape)}': the two must be the same"
                )
            wanted = self.grad_dtype if self.is_leaf else self.dtype
            if wanted is not None and value.dtype is not wanted:
                raise RuntimeError(
                    f"attempting to assign a gradient with dtype '{value.dtype}' to a tensor with grad_dtype "
                    f"'{wanted}'. Convert the gradient, or set the tensor's grad_dtype first (None allows any dtype)"
                )
            if value.device is not self.device:
                raise RuntimeError("assigned grad has data located on a different device")
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self._grad = None

    @property
    def grad_dtype(self):
        """The dtype that :attr:`grad` must have, and that backward converts to: the tensor's own unless set.

        None allows any to be assigned; backward adds to it in its dtype.
        """
        if not self.is_leaf:
            raise RuntimeError("grad_dtype can only be accessed on leaf tensors")
        return self.dtype if self._grad_dtype == "own" else self._grad_dtype

    @grad_dtype.setter
    def grad_dtype(self, value) -> None:
        if not self.is_leaf:
            raise RuntimeError("grad_dtype can only be set on leaf tensors")
        if value is not None and not isinstance(value, dtypes.dtype):
            raise RuntimeError(f"grad_dtype must be a torch.dtype or None, but got {type(value).__name__}")
        if value is not None and self._grad is not None and self._grad.dtype is not value:
            raise RuntimeError(
                f"cannot set grad_dtype to '{value}': there is a gradient of dtype '{self._grad.dtype}' already. Set "
                "grad to None first"
            )
        self._grad_dtype = value

    def backward(self, gradient=None, retain_graph=None, create_graph=False, inputs=None) -> None:
        """Accumulate d(self)/d(leaf) into the ``grad`` of every leaf of the graph.

        Args:
            gradient: the gradient with respect to this tensor; optional for a tensor of one element.
            retain_graph: keep the graph for another backward (default: ``create_graph``).
            create_graph: record the backward itself, for higher derivatives.
            inputs: accumulate into these tensors only.

        Raises:
            RuntimeError: nothing requires grad, the graph was freed, or no gradient was given for several elements.
        """
        backward((self,), (gradient,), retain_graph, create_graph, inputs=inputs)

    def retain_grad(self) -> None:
        """Keep this non-leaf tensor's gradient in ``grad`` after backward."""
        if not self.requires_grad:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        if self.is_leaf or self.__dict__.get("_retains"):
            return
        self._retains = True
        self._retain()

    def _retain(self) -> None:
        """Keep the gradient that arrives at the present history; a write in place calls this again."""
        if self._edge is None:
            return
        weak = ref(self)
        node, i = self._edge

        def keep(grad, create_graph):
            t = weak()
            if t is not None:
                new = tensor_of(grad, create_graph)
                t._grad = new if t._grad is None else t._grad + new

        if node.retained is None:
            node.retained = {}
        node.retained[i] = keep

    @property
    def retains_grad(self) -> bool:
        return self.__dict__.get("_retains", False)

    def register_hook(self, hook):
        """Call ``hook(grad)`` when this tensor's gradient is computed; a returned tensor replaces it.

        Raises:
            RuntimeError: the tensor does not require grad.
        """
        if not self.requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        edge = self._history()
        if self._hooks is None:
            self._hooks = OrderedDict()
            self._attach_hooks(*edge)
        return add_hook(self._hooks, hook)

    def register_post_accumulate_grad_hook(self, hook):
        """Call ``hook(self)`` after a gradient was accumulated into this leaf."""
        if not self.requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if not self.is_leaf:
            raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
        if self._post_accumulate_hooks is None:
            self._post_accumulate_hooks = OrderedDict()
        return add_hook(self._post_accumulate_hooks, hook)

    def _attach_hooks(self, node, i) -> None:
        hooks = self._hooks

        def run(grads, create_graph):
            if grads[i] is None:
                return grads
            for hook in list(hooks.values()):
                result = hook(tensor_of(grads[i], create_graph))
                if result is not None:
                    if not isinstance(result, _dispatch.TENSOR):
                        raise TypeError(f"expected Variable, but hook returned '{type(result).__name__}'")
                    grads = list(grads)
                    grads[i] = gradient_of(result, create_graph)
            return grads

        node.add_hook("tensor_hooks", run)


def _root_of_edge(k: int, edge, g, create_graph: bool):
    """The root of a walk from an edge instead of a tensor."""
    aval = edge.node.out_avals[edge.output_nr]
    if g is None:
        if aval.numel != 1:
            raise RuntimeError("grad can be implicitly created only for scalar outputs")
        from .creation import filled

        g = filled(aval.shape, 1, aval.dtype, edge.node.device)
    elif tuple(g.shape) != tuple(aval.shape):
        raise RuntimeError(
            f"Mismatch in shape: grad_output[{k}] has a shape of {g.shape} and output[{k}] has a shape of {aval.shape}."
        )
    return edge.node, edge.output_nr, gradient_of(g, create_graph)


def _roots(tensors, grads, create_graph: bool):
    roots = []
    for k, (t, g) in enumerate(zip(tensors, grads, strict=True)):
        if isinstance(t, GradientEdge):
            roots.append(_root_of_edge(k, t, g, create_graph))
            continue
        edge = t._history()
        if edge is None:
            raise RuntimeError(f"element {k} of tensors does not require grad and does not have a grad_fn")
        if g is None:
            if t.numel() != 1:
                raise RuntimeError("grad can be implicitly created only for scalar outputs")
            if t.dtype.category != dtypes.FLOAT:
                raise RuntimeError(f"grad can be implicitly created only for real scalar outputs but got {t.dtype}")
            value = engine.ones_like(t._value())
            grad = Tracked(value, None) if create_graph else value
        else:
            if not isinstance(g, _dispatch.TENSOR):
                raise TypeError(f"gradients can be either Tensors or None, but got {type(g).__name__}")
            if g.shape != t.shape:
                raise RuntimeError(
                    f"Mismatch in shape: grad_output[{k}] has a shape of {g.shape} and output[{k}] has a shape of "
                    f"{t.shape}."
                )
            if g.dtype is not t.dtype:
                g = g.to(t.dtype)
            if t._handler is not None:  # a sparse tensor's history is that of its values
                g = t._at_places(g)
            grad = gradient_of(g, create_graph)
        roots.append((*edge, grad))
    return roots


def _listed(x) -> tuple:
    return (x,) if isinstance(x, (_dispatch.TENSOR, GradientEdge)) else tuple(x)


def backward(tensors, grad_tensors=None, retain_graph=None, create_graph=False, grad_variables=None, inputs=None):
    """The sum of gradients of ``tensors`` with respect to graph leaves, accumulated into their ``grad``."""
    if grad_variables is not None:
        grad_tensors = grad_variables
    tensors = _listed(tensors)
    grads = (None,) * len(tensors) if grad_tensors is None else _listed(grad_tensors)
    retain = create_graph if retain_graph is None else retain_graph
    wanted = None
    if inputs is not None:
        inputs = _listed(inputs)
        if not inputs:
            raise RuntimeError("'inputs' argument to backward() cannot be empty.")
        wanted = _edges(inputs)
        for t in inputs:
            if not isinstance(t, GradientEdge):
                t.retain_grad()
    _walk.accumulates = False
    engine.run(
        _roots(tensors, grads, create_graph), wanted, create_graph=create_graph, retain_graph=retain, accumulate=True
    )
    if not create_graph:
        backward_boundary(_walk.accumulates)


def _edges(inputs) -> list:
    """The edges along which the gradients of ``inputs`` flow."""
    edges = []
    for k, t in enumerate(inputs):
        if not hasattr(t, "_history") and not isinstance(t, GradientEdge):
            raise TypeError(f"'inputs' must be Tensors or GradientEdges, but element {k} is {type(t).__name__}")
        edge = t if isinstance(t, GradientEdge) else t._history()
        if edge is None:
            raise RuntimeError(f"One of the differentiated Tensors does not require grad (input {k})")
        edges.append(tuple(edge))
    return edges


def _run(outputs, grads, inputs, retain_graph, create_graph):
    edges = _edges(inputs)
    roots = _roots(outputs, grads, create_graph)
    found = engine.run(roots, edges, create_graph=create_graph, retain_graph=retain_graph)
    found = [tensor_of(g, create_graph) for g in found]
    # the gradient of a sparse tensor is that of its values
    return [
        g if g is None or isinstance(t, GradientEdge) or t._handler is None else t._like(g)
        for t, g in zip(inputs, found, strict=True)
    ]


def grad(
    outputs, inputs, grad_outputs=None, retain_graph=None, create_graph=False, only_inputs=True, allow_unused=None,
    is_grads_batched=False, materialize_grads=False,
):  # fmt: skip
    """The gradients of ``outputs`` with respect to ``inputs``, as a tuple; leaves' ``grad`` is left alone.

    Args:
        grad_outputs: gradients with respect to the outputs (optional for one-element outputs).
        allow_unused: return None, rather than raise, for inputs the outputs do not depend on.
        materialize_grads: return zeros for them.
        is_grads_batched: ``grad_outputs`` have a further first dimension, and so have the results: a backward for each
            element of the batch, recorded one after the other.

    Raises:
        RuntimeError: no inputs, or one that does not require grad, or is unused and ``allow_unused`` is false.
    """
    if is_grads_batched:
        options = retain_graph, create_graph, allow_unused, materialize_grads
        return _grad_of_batch(outputs, inputs, grad_outputs, *options)
    outputs, inputs = _listed(outputs), _listed(inputs)
    if not inputs:
        raise RuntimeError("`inputs` argument to `grad()` cannot be empty.")
    grads = (None,) * len(outputs) if grad_outputs is None else _listed(grad_outputs)
    retain = create_graph if retain_graph is None else retain_graph
    if allow_unused is None:
        allow_unused = materialize_grads
    elif materialize_grads and not allow_unused:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused=False."
        )
    found = _run(outputs, grads, inputs, retain, create_graph)
    for k, (t, g) in enumerate(zip(inputs, found, strict=True)):
        if g is None:
            if materialize_grads:
                if isinstance(t, GradientEdge):
                    raise RuntimeError("materialize_grads cannot be used when the given input is a GradientEdge")
                found[k] = (t.detach() * 0).requires_grad_(create_graph)
            elif not allow_unused:
                raise RuntimeError(
                    f"The differentiated Tensor at index {k} appears to not have been used in the graph. Set "
                    "allow_unused=True if this is the desired behavior."
                )
    return tuple(found)


def _grad_of_batch(outputs, inputs, grad_outputs, retain_graph, create_graph, allow_unused, materialize_grads) -> tuple:
    """:func:`grad` for every element of a batch of ``grad_outputs``."""
    batches = (None,) if grad_outputs is None else _listed(grad_outputs)
    given = [g for g in batches if g is not None]
    if not given:
        raise RuntimeError("grad: is_grads_batched=True needs grad_outputs with a batch dimension")
    count = given[0].shape[0]
    keep = create_graph if retain_graph is None else retain_graph
    rows = [
        grad(
            outputs, inputs, tuple(None if g is None else g[i] for g in batches),
            keep or i + 1 < count, create_graph, True, allow_unused, False, materialize_grads,
        )
        for i in range(count)
    ]  # fmt: skip
    return tuple(
        None if column[0] is None else _dispatch.call("stack", column, dim=0) for column in zip(*rows, strict=True)
    )

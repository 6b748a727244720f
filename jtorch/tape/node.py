"""One recorded operation of the backward graph."""

from __future__ import annotations

import itertools
import weakref
from collections import OrderedDict, namedtuple

#: Where a gradient flows: output ``output_nr`` of ``node``.
GradientEdge = namedtuple("GradientEdge", ["node", "output_nr"])

_sequence = itertools.count()
_types: dict[str, type] = {}


class Node:
    """What ``tensor.grad_fn`` shows. ``edges[i]`` is ``(node, output number)`` for each differentiable operand.

    Subclasses implement :meth:`apply`. Nodes hold Values, never the Tensors they came from, so that a graph keeps no
    reference cycle and frees as soon as the last Tensor that needs it goes.
    """

    __slots__ = (
        "edges",
        "seq",
        "out_avals",
        "device",
        "tensor_hooks",
        "pre_hooks",
        "post_hooks",
        "retained",
        "__weakref__",
        "metadata_",
    )

    def __init__(self, edges, out_avals, device):
        self.edges, self.out_avals, self.device = edges, out_avals, device
        self.seq = next(_sequence)
        self.tensor_hooks = self.pre_hooks = self.post_hooks = self.retained = None

    def apply(self, grads: list, create_graph: bool) -> list:
        """Gradients of the operands from those of the outputs (None: no gradient)."""
        raise NotImplementedError

    def release(self) -> None:
        """Drop what was saved for backward."""

    # --- what Python programs see of grad_fn
    def name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        return f"<{self.name().rpartition('::')[2]} object at {id(self):#x}>"

    @property
    def next_functions(self):
        return tuple(e if e is not None else (None, 0) for e in self.edges)

    @property
    def metadata(self) -> dict:
        if not hasattr(self, "metadata_"):
            self.metadata_ = {}
        return self.metadata_

    def _sequence_nr(self) -> int:
        return self.seq

    def _set_sequence_nr(self, number: int) -> None:
        """Change when backward runs this node: of those that are ready, the one with the highest number is next."""
        self.seq = number

    def hooked(self) -> bool:
        """Whether anything else is called when backward runs this node."""
        return bool(self.tensor_hooks or self.retained or self.pre_hooks or self.post_hooks)

    def add_hook(self, kind: str, hook) -> RemovableHandle:
        hooks = getattr(self, kind)
        if hooks is None:
            hooks = OrderedDict()
            setattr(self, kind, hooks)
        return add_hook(hooks, hook)


class RemovableHandle:
    """Removes a hook from its table; a context manager that does so on exit.

    The table is not kept alive: what it belongs to may hold the handle.

    Args:
        hooks_dict: the table, an ``OrderedDict`` that has (or will have) the hook under the handle's ``id``.
        extra_dict: a table, or several, that say more about the hook under the same ``id``.
    """

    next_id = 0

    def __init__(self, hooks_dict: OrderedDict, *, extra_dict=None):
        self.id = RemovableHandle.next_id
        RemovableHandle.next_id += 1
        extra = () if extra_dict is None else (extra_dict,) if isinstance(extra_dict, dict) else extra_dict
        self.hooks_dict_ref = weakref.ref(hooks_dict)
        self.extra_dict_ref = tuple(weakref.ref(table) for table in extra)

    def remove(self) -> None:
        for table in (self.hooks_dict_ref(), *(extra() for extra in self.extra_dict_ref)):
            if table is not None:
                table.pop(self.id, None)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.remove()

    def __getstate__(self):
        return self.hooks_dict_ref(), self.id, tuple(extra() for extra in self.extra_dict_ref)

    def __setstate__(self, state):
        tables, self.id, extra = state
        self.hooks_dict_ref = weakref.ref(OrderedDict() if tables is None else tables)
        self.extra_dict_ref = tuple(weakref.ref(table) for table in extra if table is not None)
        RemovableHandle.next_id = max(RemovableHandle.next_id, self.id + 1)


def add_hook(hooks: OrderedDict, hook, *, prepend: bool = False, extra_dict=None) -> RemovableHandle:
    """Put a hook into a table, as its last or first; the handle removes it."""
    handle = RemovableHandle(hooks, extra_dict=extra_dict)
    hooks[handle.id] = hook
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


class CallNode(Node):
    """The node of a recorded op call: saved residuals, and the calls that turn output gradients into operands'."""

    __slots__ = ("linearization", "saved", "operands", "guards", "op_name")

    def __init__(self, linearization, saved, operands, guards, edges, device):
        super().__init__(edges, linearization.call.out_avals, device)
        self.linearization, self.saved, self.operands, self.guards = linearization, saved, operands, guards

    def apply(self, grads, create_graph):
        if self.saved is None or create_graph and self.linearization.has_new and self.operands is None:
            raise RuntimeError(
                "Trying to backward through the graph a second time (or directly access saved tensors after they have "
                "already been freed). Saved intermediate values of the graph are freed when you call .backward() or "
                "autograd.grad(). Specify retain_graph=True if you need to backward through the graph a second time or "
                "if you need to access saved tensors after calling backward."
            )
        for storage, version, place in self.guards:
            if storage.version != version and not engine.saving.mutable:
                self._refuse_if_needed(grads, storage.version, version, place)
        lin = self.linearization
        wanted = [grads[i] for i in lin.outputs]
        given = tuple([g is not None for g in wanted])
        present = [g for g in wanted if g is not None]
        return engine.run_backward_call(self, lin, given, present, create_graph)

    def _refuse_if_needed(self, grads, version: int, expected: int, place: int) -> None:
        """What was saved of an operand or result (``place`` among both) has been written to.

        Raises:
            RuntimeError: the gradients that are asked for depend on it.
        """
        lin = self.linearization
        if not needed(lin, place, tuple([grads[i] is not None for i in lin.outputs])):
            return
        what = (*lin.call.in_avals, *self.out_avals)[place]
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace operation: "
            f"[torch.{what.dtype.legacy_name}Tensor {list(what.shape)}], which is an operand or output of "
            f"{self.name()}, is at version {version}; expected version {expected} instead. Hint: clone() the tensor "
            "before the in-place operation, or use the out-of-place form."
        )

    @property
    def next_functions(self):
        """One entry for each tensor operand, ``(None, 0)`` where no gradient flows."""
        lin = self.linearization
        found = dict(zip(lin.operands, self.edges, strict=True))
        kinds = lin.call.in_kinds
        tensors = [i for i, kind in enumerate(kinds) if kind is None]
        if self.name() in _MAKE_TENSORS_OF_NUMBERS:
            tensors += [i for i, kind in enumerate(kinds[:2]) if kind is not None]
        return tuple((None, 0) if found.get(i) is None else found[i] for i in tensors)

    def release(self):
        """Give up what was saved. A node that saved nothing but numbers can be walked again."""
        self.operands, self.guards = None, ()
        if self.linearization.saves_arrays or self.saved.__class__ is not list:
            self.saved = None


#: whose two operands are tensors in PyTorch, also where one is given as a number
_MAKE_TENSORS_OF_NUMBERS = ("AddBackward0", "SubBackward0", "MulBackward0", "DivBackward0")


def node_type(name: str) -> type:
    """The :class:`CallNode` subclass called ``name``, e.g. ``MulBackward0``."""
    found = _types.get(name)
    if found is None:
        found = _types[name] = type(name, (CallNode,), {"__slots__": ()})
    return found


from . import engine  # noqa: E402  (nodes and engine know each other)
from .written import needed  # noqa: E402

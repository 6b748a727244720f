"""Hooks on what operations save for backward, and hooks on several tensors' gradients."""

from __future__ import annotations

import contextlib

from ..tape import engine, modes
from ..tape.node import CallNode
from ..tensor import Tensor
from ..tensor.autograd import AccumulateGrad
from ..tensor.dispatch import wrap
from ..trace.value import Value


class _Packed:
    """Saved values, packed by hooks; taking them out (``packed + grads``, as the engine does) unpacks them.

    ``items``: for each its unpack hook and what was packed, or None and the value.
    """

    def __init__(self, items: list):
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def value(self, i: int):
        """One of the values.

        Raises:
            TypeError: the unpack hook returns no tensor.
        """
        unpack, x = self.items[i]
        if unpack is None:
            return x
        x = unpack(x)
        if not isinstance(x, Tensor):
            raise TypeError("Output of saved tensor unpack_hook expected to be a Tensor but got result of type "
                            f"{type(x).__name__}")  # fmt: skip
        return x._value()

    def values(self) -> list:
        """What was saved."""
        return [self.value(i) for i in range(len(self.items))]

    def __add__(self, others: list) -> list:
        engine.saving.awaited = others
        try:
            return self.values() + others
        finally:
            engine.saving.awaited = []


def pack(hook, t: Tensor):
    """``hook(t)``, called as the engine calls pack hooks: what the hook computes is neither packed nor differentiated.

    Raises:
        RuntimeError: the hook writes to ``t``.
    """
    before, engine.saving.hooks = engine.saving.hooks, ()
    version = t._version
    try:
        with modes.no_grad():
            packed = hook(t)
    finally:
        engine.saving.hooks = before
    if t._version != version:
        raise RuntimeError("A saved tensor pack hook is modifying its input in place. Tensors provided as input to "
                           "pack hook can not be modified by in-place operations as this can lead to unexpected "
                           "side-effects. Please open an issue if you need to perform in-place operations on the input "
                           "to a pack hook.")  # fmt: skip
    return packed


def _shown(value: Value, edge) -> Tensor:
    """The tensor that a hook sees: a leaf itself, else one with the history of ``value``."""
    leaf = edge[0].leaf() if edge is not None and isinstance(edge[0], AccumulateGrad) else None
    return leaf if leaf is not None and leaf._value() is value else wrap(value, edge)


class saved_tensors_hooks:
    """Inside, ``pack_hook(tensor)`` of each value saved for backward is kept; backward gets ``unpack_hook`` of that.

    Which values an operation saves is the operation's business: they are its inputs and results where its derivative
    can be had from those, else intermediate ones. The hooks run when the operation is called and when backward reaches
    it; ``Function.save_for_backward`` goes through them too.
    """

    def __init__(self, pack_hook, unpack_hook):
        self.pack_hook, self.unpack_hook = pack_hook, unpack_hook

    def __enter__(self):
        if engine.saving.refused is not None:
            raise RuntimeError(engine.saving.refused)
        engine.saving.hooks = (*engine.saving.hooks, self)
        return self

    def __exit__(self, *exc):
        engine.saving.hooks = engine.saving.hooks[:-1]

    everything = False  # whether to pack, too: a value twice, and single numbers an operation computed for backward

    def pack_node(self, node) -> None:
        """Pack what ``node`` has saved, each value once."""
        lin = node.linearization
        given = len(lin.call.in_avals) + len(lin.call.out_avals)
        own = ()
        if any(a.shape for a in lin.call.out_avals):  # else a number is what there is to save
            own = [i >= given and not lin.forward.out_avals[i - len(lin.call.in_avals)].shape for i in lin.sources]
        edges = dict(zip(lin.operands, node.edges, strict=True))
        histories = [edges.get(i) for i in lin.sources]
        saved, node.saved = node.saved, self.packed(node.saved, {}, () if self.everything else own, histories)
        if node.operands is not None:  # what a second derivative goes back to
            known = {}
            if not self.everything:
                known = {id(v): item for v, item in zip(saved, node.saved.items, strict=True) if item[0]}
            node.operands = self.packed(node.operands, known)

    def packed(self, values, known: dict = {}, skipped=(), histories=()) -> _Packed:  # noqa: B006 (never written)
        """``values`` in the form that nodes keep.

        ``known``: those that are packed already, by identity; ``histories``: the edges of those that have one.
        """
        items = []
        for i, v in enumerate(values):
            if not isinstance(v, Value) or (skipped and skipped[i]):
                items.append((None, v))
            else:
                t = _shown(v, histories[i] if histories else None)
                items.append(known.get(id(v)) or (self.unpack_hook, pack(self.pack_hook, t)))
        return _Packed(items)


class save_on_cpu(saved_tensors_hooks):
    """Inside, what is saved for backward is kept in the CPU's memory (``pin_memory`` is accepted)."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda"):
        super().__init__(lambda t: (t.device, t.cpu()), lambda packed: packed[1].to(packed[0]))


@contextlib.contextmanager
def disable_saved_tensors_hooks(error_message: str):
    """Inside, entering :class:`saved_tensors_hooks` raises RuntimeError with this message."""
    if engine.saving.hooks:
        raise RuntimeError(error_message)
    before = engine.saving.refused
    engine.saving.refused = error_message
    try:
        yield
    finally:
        engine.saving.refused = before


class SavedTensor:
    """A tensor that a node has saved: ``grad_fn._raw_saved_other``."""

    __slots__ = ("node", "place")

    def __new__(cls, *args, **kwargs):
        raise RuntimeError("Trying to create a SavedTensor object from Python is forbidden; see grad_fn._raw_saved_*")

    @classmethod
    def _of(cls, node, place: int):
        self = object.__new__(cls)
        self.node, self.place = node, place
        return self

    def register_hooks(self, pack_hook, unpack_hook) -> None:
        """Keep ``pack_hook(tensor)`` instead; backward gets ``unpack_hook`` of that.

        Raises:
            RuntimeError: nothing is saved any more, or there are hooks already.
        """
        saved = _still_saved(self.node)
        if not isinstance(saved, _Packed):
            saved = self.node.saved = _Packed([(None, v) for v in saved])
        unpack, v = saved.items[self.place]
        if unpack is not None:
            raise RuntimeError("Calling register_hooks on a saved tensor whose hooks have already been set. Hint: only "
                               "one pair of hooks is allowed at a time.")  # fmt: skip
        for hook in (pack_hook, unpack_hook):
            if not callable(hook):
                raise TypeError(f"register_hooks(): expected a function, but got {type(hook).__name__}")
        saved.items[self.place] = (unpack_hook, pack(pack_hook, wrap(v)))


def _still_saved(node):
    if node.saved is None:
        raise RuntimeError(
            "Trying to backward through the graph a second time (or directly access saved tensors after they have "
            "already been freed). Saved intermediate values of the graph are freed when you call .backward() or "
            "autograd.grad()."
        )
    return node.saved


def _named(node) -> dict[str, tuple]:
    """What a node has saved, by PyTorch's names: ``("in" or "out", number, place among what is saved)``.

    Operands of a derivative that was computed with the call, as that of ``x ** 2``, are kept for its own derivative
    only; their place is None.
    """
    lin = node.linearization
    call = lin.call
    if call.op is None:
        return {}
    inputs, outputs, n = {}, {}, 0
    for name, key in zip(call.op.operand_names, call.key[1], strict=True):
        if key is None:
            continue
        if not isinstance(key, tuple):
            inputs[name if n else "self"] = n
        n += len(key) if isinstance(key, tuple) else 1
    if call.single:
        outputs["result"] = 0
    else:
        for i in range(len(call.out_avals)):
            outputs[call.op.returns[i] if call.op.returns else f"result{i}"] = i
    found = {}
    for name, i in inputs.items():
        if i in lin.sources:
            found[name] = "in", i, lin.sources.index(i)
        elif lin.has_new:
            found[name] = "in", i, None
    for name, i in outputs.items():
        if n + i in lin.sources:
            found[name] = "out", i, lin.sources.index(n + i)
    return found


def _attribute(node, name: str):
    """``grad_fn._saved_other``, ``grad_fn._raw_saved_other``, and ``grad_fn._saved_dim`` of what is no tensor."""
    raw = name.startswith("_raw_saved_")
    if not raw and not name.startswith("_saved_"):
        raise AttributeError(f"'{node.name()}' object has no attribute '{name}'")
    short = name.removeprefix("_raw").removeprefix("_saved_")
    found = _named(node).get(short)
    if found is None:
        op = node.linearization.call.op
        if op is not None and not raw and short in op.static_names:
            return node.linearization.call.key[0][op.static_names.index(short)]
        raise AttributeError(f"'{node.name()}' object has no attribute '{name}'")
    kind, i, place = found
    if raw:
        if place is None:
            raise AttributeError(f"'{node.name()}' keeps '{short}' for second derivatives only, and has no '{name}'")
        return SavedTensor._of(node, place)
    saved = _still_saved(node)
    if place is None:
        saved, place = node.operands, i
    value = saved.value(place) if isinstance(saved, _Packed) else saved[place]
    if not isinstance(value, Value):
        return value
    lin = node.linearization
    edge = dict(zip(lin.operands, node.edges, strict=True)).get(i) if kind == "in" else (node, i)
    if edge is not None and isinstance(edge[0], AccumulateGrad) and edge[0].variable is not None:
        leaf = edge[0].variable
        if leaf._root is None and leaf._lens is None and leaf._storage.value is value:
            return leaf
    return wrap(value, edge if edge is not None and value.aval.is_float else None)


def _directory(node) -> list[str]:
    """The attributes of a node, those of what it has saved too."""
    found = _named(node)
    names = [f"_saved_{name}" for name in found]
    op = node.linearization.call.op
    statics = [f"_saved_{name}" for name in op.static_names] if op is not None else []
    raw = [f"_raw_saved_{name}" for name, (_, _, place) in found.items() if place is not None]
    return sorted({*object.__dir__(node), *names, *raw, *statics})


CallNode.__getattr__, CallNode.__dir__ = _attribute, _directory  # Tensors are unknown to the tape


class _Handles:
    """Removes several hooks."""

    def __init__(self, handles):
        self.handles = tuple(handles)

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.remove()


def register_multi_grad_hook(tensors, fn, *, mode: str = "all"):
    """Call ``fn`` once in each backward that computes gradients of ``tensors``.

    Args:
        mode: ``"all"``: ``fn([gradient or None, ...])`` when all have arrived (at the end of backward, if some get
            none); ``"any"``: ``fn(gradient)`` with the first.

    Returns:
        A handle with ``remove()``.

    Raises:
        ValueError: ``mode`` is neither.
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    tensors = tuple(tensors)
    current: dict = {}

    def end() -> None:
        grads = current.pop("grads", None)
        current.clear()
        if mode == "all" and grads is not None:
            fn(grads)

    def arrived(i: int, grad) -> None:
        if not current:
            current.update(grads=[None] * len(tensors), seen=set())
            engine.queue_callback(end)
            if mode == "any":
                fn(grad)
        if current["grads"] is None:
            return
        current["grads"][i] = grad
        current["seen"].add(i)
        if mode == "all" and len(current["seen"]) == len(tensors):
            grads, current["grads"] = current["grads"], None
            fn(grads)

    return _Handles(t.register_hook(lambda grad, i=i: arrived(i, grad)) for i, t in enumerate(tensors))

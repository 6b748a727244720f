"""Hooks on what operations save for backward, and hooks on several tensors' gradients."""

from __future__ import annotations

import contextlib

from ..tape import engine
from ..tensor import Tensor
from ..tensor.dispatch import wrap
from ..trace.value import Value


class _Packed:
    """Saved values, packed by hooks; taking them out (``packed + grads``, as the engine does) unpacks them."""

    def __init__(self, values, hooks: saved_tensors_hooks):
        self.unpack = hooks.unpack_hook
        self.items = [(True, hooks.pack_hook(wrap(v))) if isinstance(v, Value) else (False, v) for v in values]

    def __len__(self) -> int:
        return len(self.items)

    def values(self) -> list:
        """What was saved.

        Raises:
            TypeError: the unpack hook returns no tensor.
        """
        found = []
        for packed, x in self.items:
            if packed:
                x = self.unpack(x)
                if not isinstance(x, Tensor):
                    raise TypeError("Output of saved tensor unpack_hook expected to be a Tensor but got result of type "
                                    f"{type(x).__name__}")  # fmt: skip
                x = x._value()
            found.append(x)
        return found

    def __add__(self, others: list) -> list:
        return self.values() + others


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

    def packed(self, values) -> _Packed:
        """``values`` in the form that nodes keep."""
        return _Packed(values, self)


class save_on_cpu(saved_tensors_hooks):
    """Inside, what is saved for backward is kept in the CPU's memory (``pin_memory`` is accepted)."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda"):
        super().__init__(lambda t: (t.device, t.cpu()), lambda packed: packed[1].to(packed[0]))


@contextlib.contextmanager
def disable_saved_tensors_hooks(error_message: str):
    """Inside, entering :class:`saved_tensors_hooks` raises RuntimeError with this message."""
    before = engine.saving.refused
    engine.saving.refused = error_message
    try:
        yield
    finally:
        engine.saving.refused = before


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

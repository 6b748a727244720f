"""Gradients across calls: what a context of distributed autograd remembers, and its backward.

A tensor with a history that travels in a call leaves the history behind; where it arrives it begins one of its own,
at a leaf. The context knows both ends of each message: which tensors went out with it (here), and which leaves came of
it (there). Backward runs from the roots, hands what reached such a leaf to the worker that sent it, and that worker
goes on from the tensor that it sent.

Each message that gradients come back for starts a backward of its own, and their gradients are summed: that is the
gradient, since backward is linear. So no worker has to know how many are still to come.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

from ...autograd import Function
from ...autograd import backward as run_backward
from ...autograd.graph import _leaves_of
from ...futures import Future, collect_all
from ...tensor import Tensor
from .functions import async_execution


class Context:
    """One pass of distributed autograd, as one worker knows it."""

    def __init__(self, number: int):
        self.number = number
        self.sent: dict[int, list[Tensor]] = {}  # by message: the tensors that travelled
        self.received: dict[int, tuple[int, int, int, Tensor]] = {}  # by id of a leaf: sender, message, place, leaf
        self.workers: set[int] = set()
        self.grads: dict[int, tuple[Tensor, Tensor]] = {}  # by id of a leaf: the leaf, its gradient


_contexts: dict[int, Context] = {}
_lock = threading.Lock()
_numbers = itertools.count()
_messages = itertools.count()
#: One backward at a time: it borrows the ``grad`` of leaves that several contexts may share.
_walking = threading.RLock()


class _Current(threading.local):
    context: Context | None = None


current = _Current()


def open_context(worker: int) -> Context:
    """A context that begins in this worker, whose rank makes its number unique."""
    if current.context is not None:
        raise RuntimeError(
            f"Already have an autograd context id for this thread: {current.context.number}: contexts cannot be nested"
        )
    current.context = join((worker << 48) + next(_numbers))
    return current.context


def find(number: int) -> Context:
    """Raises:
    RuntimeError: there is no such context, or not any more.
    """
    with _lock:
        context = _contexts.get(number)
    if context is None:
        raise RuntimeError(f"Could not find autograd context with id: {number}; is the `with` block over?")
    return context


def join(number: int) -> Context:
    """The context of that number, which began in another worker."""
    with _lock:
        return _contexts.setdefault(number, Context(number))


def close_context(number: int, call: Callable) -> None:
    """Forget a context, here and in the workers that it reached; ``call(worker, fn, args)`` reaches them."""
    with _lock:
        context = _contexts.pop(number, None)
    for worker in context.workers if context is not None else ():
        call(worker, _close_here, (number,))


def _close_here(number: int) -> None:
    from .calls import tell

    close_context(number, tell)


class within:
    """Code inside the block belongs to a context (or to none)."""

    def __init__(self, context: Context | None):
        self._context = context

    def __enter__(self):
        self._before, current.context = current.context, self._context

    def __exit__(self, *error):
        current.context = self._before


# --- tensors that travel


class Message:
    """The tensors with a history in one message to a worker."""

    def __init__(self, context: Context, sender: int, to: int):
        self.number, self._context, self._sender = next(_messages), context, sender
        context.workers.add(to)

    def reduce(self, tensor: Tensor):
        """How a tensor is pickled: its values, and where its history is."""
        travelling = self._context.sent.setdefault(self.number, [])
        travelling.append(tensor)
        return _arrived, (self._context.number, self._sender, self.number, len(travelling) - 1, tensor.detach())


class RecvRpc(Function):
    """The tensor that arrived, after the leaf that its gradient is left at."""

    @staticmethod
    def forward(ctx, leaf):
        return leaf.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad


def _arrived(number: int, sender: int, message: int, place: int, tensor: Tensor) -> Tensor:
    context = join(number)
    leaf = tensor.detach().requires_grad_()
    context.workers.add(sender)
    context.received[id(leaf)] = sender, message, place, leaf
    return RecvRpc.apply(leaf)


# --- backward


def backward(context: Context, tensors: list[Tensor], grads: list | None, retain_graph: bool) -> Future:
    """Backward from here, and then from wherever its gradients lead: done when they have all arrived."""
    leaves = _leaves_of(tensors).values()
    left: dict[tuple[int, int], dict[int, Tensor]] = {}
    with _walking:
        before = [leaf.grad for leaf in leaves]
        try:
            for leaf in leaves:
                leaf.grad = context.grads[id(leaf)][1] if id(leaf) in context.grads else None
            run_backward(tensors, grads, retain_graph=retain_graph)
            for leaf in leaves:
                if leaf.grad is None:
                    continue
                if id(leaf) in context.received:
                    sender, message, place, _ = context.received[id(leaf)]
                    left.setdefault((sender, message), {})[place] = leaf.grad
                else:
                    context.grads[id(leaf)] = leaf, leaf.grad
        finally:
            for leaf, grad in zip(leaves, before, strict=True):
                leaf.grad = grad
    from .calls import tell

    calls = [tell(to, _go_on, (context.number, message, found)) for (to, message), found in left.items()]
    return collect_all(calls).then(lambda done: [call.wait() for call in done.value()] and None)


@async_execution
def _go_on(number: int, message: int, grads: dict[int, Tensor]) -> Future:
    context = find(number)
    sent = context.sent[message]
    return backward(context, [sent[place] for place in grads], list(grads.values()), True)


__all__ = ["Context", "Message", "backward", "close_context", "current", "find", "join", "open_context", "within"]

"""``torch.distributed.autograd``: backward through calls of other workers.

    with torch.distributed.autograd.context() as context_id:
        loss = rpc_sync("worker1", forward, (x,)).sum()
        torch.distributed.autograd.backward(context_id, [loss])
        gradients = torch.distributed.autograd.get_gradients(context_id)

Gradients are kept by context, not in ``parameter.grad``, each in the worker that has the parameter.
"""

from __future__ import annotations

from .rpc import calls, history


def is_available() -> bool:
    """Whether backward goes through calls of other processes: yes."""
    return True


class context:
    """A block in which tensors keep their history when they travel in calls; ``as`` gives its number.

    Raises:
        RuntimeError: RPC is not initialized, or the block is inside another one.
    """

    def __enter__(self) -> int:
        self._context = history.open_context(calls.agent().me.id)
        return self._context.number

    def __exit__(self, *error):
        history.current.context = None
        history.close_context(self._context.number, calls.tell)


def backward(context_id: int, roots: list, retain_graph: bool = False) -> None:
    """Sum the gradients of ``roots`` (one number each) for all leaves, in whichever worker, into the context.

    Raises:
        RuntimeError: there is no such context, no root, one that is not a single number or needs no gradient, or
            backward fails in some worker.
    """
    found = history.find(context_id)
    if not roots:
        raise RuntimeError("No tensors provided for gradient computation.")
    for root in roots:
        if not root.requires_grad:
            raise RuntimeError("requires_grad not set on root")
        if root.numel() != 1:
            raise RuntimeError(f"root is not a scalar, all roots need to be scalar; it has shape {tuple(root.shape)}")
        if root.grad_fn is None:
            raise RuntimeError("root does not have a valid gradient function.")
    # Gradients that come back for a tensor that was sent may lead through nodes that this walk runs, too.
    history.backward(found, list(roots), None, retain_graph or bool(found.sent)).wait()


def get_gradients(context_id: int) -> dict:
    """The gradients in a context of the leaves of this worker, by leaf."""
    return dict(history.find(context_id).grads.values())


__all__ = ["backward", "context", "get_gradients", "is_available"]

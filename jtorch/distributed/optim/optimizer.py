"""An optimizer of parameters that lie in other workers of RPC."""

from __future__ import annotations

import threading

from ...futures import wait_all
from ...optim import Optimizer
from ..rpc import RRef, history, rpc_async


class _Local:
    """The optimizer of the parameters that one worker owns."""

    _stepping = threading.Lock()  # it borrows the ``grad`` of parameters that several trainers may update

    def __init__(self, optimizer_class, parameters: list[RRef], args: tuple, kwargs: dict):
        self._parameters = [p.local_value() for p in parameters]
        self._optimizer = optimizer_class(self._parameters, *args, **kwargs)

    def step(self, context_id: int) -> None:
        """Update with the gradients that the context has for these parameters."""
        gradients = dict(history.find(context_id).grads.values())
        with self._stepping:
            before = [p.grad for p in self._parameters]
            try:
                for p in self._parameters:
                    p.grad = gradients.get(p)
                self._optimizer.step()
            finally:
                for p, grad in zip(self._parameters, before, strict=True):
                    p.grad = grad


def _made(optimizer_class, parameters: list[RRef], args: tuple, kwargs: dict) -> RRef:
    return RRef(_Local(optimizer_class, parameters, args, kwargs))


def _step(optimizer: RRef, context_id: int) -> None:
    optimizer.local_value().step(context_id)


class DistributedOptimizer:
    """Updates parameters where they are, with the gradients of a context of :mod:`torch.distributed.autograd`.

    Args:
        optimizer_class: the optimizer that each owner of parameters runs.
        params_rref: references to the parameters.
        args, kwargs: for ``optimizer_class``, after its parameters.

    Raises:
        Exception: what ``optimizer_class`` raises in an owner.
    """

    def __init__(self, optimizer_class: type[Optimizer], params_rref: list[RRef], *args, **kwargs):
        by_owner: dict[int, list[RRef]] = {}
        for parameter in params_rref:
            by_owner.setdefault(parameter.owner().id, []).append(parameter)
        self.remote_optimizers = wait_all(
            [rpc_async(owner, _made, (optimizer_class, own, args, kwargs)) for owner, own in by_owner.items()]
        )

    def step(self, context_id: int) -> None:
        """One step in every owner, with what ``backward(context_id, ...)`` left there; returns when all are done.

        Raises:
            RuntimeError: there is no such context.
        """
        history.find(context_id)
        with history.within(None):
            wait_all([rpc_async(o.owner(), _step, (o, context_id)) for o in self.remote_optimizers])


__all__ = ["DistributedOptimizer"]

"""A module that another worker of RPC has."""

from __future__ import annotations

import jtorch

from ....futures import Future
from ....nn import Module
from ....tensor import Tensor
from ....utils._pytree import tree_map
from ... import rpc

_UNSUPPORTED = (
    "register_buffer register_parameter add_module apply cuda ipu xpu cpu type float double half bfloat16 to "
    "register_full_backward_hook register_backward_hook register_forward_pre_hook register_forward_hook state_dict "
    "load_state_dict named_parameters buffers named_buffers children named_children modules named_modules "
    "requires_grad_ zero_grad share_memory"
).split()


def _place(remote_device) -> tuple[str | int, str]:
    """The worker and the device of ``"worker/device"``, ``"rank:0/device"``, ``"worker"`` or ``"device"``.

    Raises:
        ValueError: it is written otherwise.
    """
    worker, slash, device = str(remote_device).partition("/")
    if not slash:
        try:
            return rpc.get_worker_info().id, str(jtorch.device(worker))
        except RuntimeError:  # no device: a worker
            device = "cpu"
    kind, colon, rank = worker.partition(":")
    if not worker or "/" in device or (colon and not (kind == "rank" and rank.isdigit())):
        raise ValueError(
            f"Could not parse remote_device: {remote_device}. The valid format is '<workername>/<device>' or "
            "'rank:<rank>/<device>' or '<device>'"
        )
    return int(rank) if colon else worker, str(jtorch.device(device))


def _made(module_cls, args, kwargs, device: str) -> Module:
    module = module_cls(*args, **kwargs)
    if not isinstance(module, Module):
        raise ValueError(
            "Expect `module_cls(*args, **kwargs)` returns an instance of <class nn.Module>, "
            f"but it returns an instance of {type(module)}."
        )
    return module.to(device)


def _forward(module: rpc.RRef, device: str, args: tuple, kwargs: dict):
    if jtorch.device(device).type != "cpu":
        args, kwargs = tree_map(lambda x: x.to(device) if isinstance(x, Tensor) else x, (args, kwargs))
    return module.local_value()(*args, **kwargs)


def _parameters(module: rpc.RRef, recurse: bool) -> list[rpc.RRef]:
    return [rpc.RRef(p) for p in module.local_value().parameters(recurse)]


def _mode(module: rpc.RRef, training: bool) -> None:
    module.local_value().train(training)


class RemoteModule(Module):
    """A module made and run in another worker; gradients pass through it (see ``torch.distributed.autograd``).

    Args:
        remote_device: where: ``"worker/device"`` or ``"rank:0/device"``; the device may be left out for the CPU.
        module_cls: its class (or a function that returns it).
        args, kwargs: for ``module_cls``.

    Raises:
        ValueError: ``remote_device`` is written otherwise.
        RuntimeError: RPC is not initialized.
    """

    def __init__(self, remote_device: str, module_cls, args: tuple | None = None, kwargs: dict | None = None):
        super().__init__()
        self.on, self.device = _place(remote_device)
        self.module_rref = rpc.remote(self.on, _made, (module_cls, tuple(args or ()), dict(kwargs or {}), self.device))

    @classmethod
    def init_from_module_rref(cls, remote_device: str, module_rref: rpc.RRef) -> RemoteModule:
        """Another handle of the module that ``module_rref`` refers to."""
        self = object.__new__(cls)
        Module.__init__(self)
        self.on, self.device = _place(remote_device)
        self.module_rref = module_rref
        return self

    def forward_async(self, *args, **kwargs) -> Future:
        """As calling it, without waiting: a future of the result."""
        return rpc.rpc_async(self.module_rref.owner(), _forward, (self.module_rref, self.device, args, kwargs))

    def forward(self, *args, **kwargs):
        return self.forward_async(*args, **kwargs).wait()

    def get_module_rref(self) -> rpc.RRef:
        """A reference to the module."""
        return self.module_rref

    def remote_parameters(self, recurse: bool = True) -> list[rpc.RRef]:
        """References to its parameters, for :class:`jtorch.distributed.optim.DistributedOptimizer`."""
        return rpc.rpc_sync(self.module_rref.owner(), _parameters, (self.module_rref, recurse))

    def train(self, mode: bool = True) -> RemoteModule:
        """Set the module's mode, where it is."""
        rpc.rpc_sync(self.module_rref.owner(), _mode, (self.module_rref, mode))
        self.training = mode
        return self

    def eval(self) -> RemoteModule:
        return self.train(False)

    def parameters(self, recurse: bool = True):
        """Raises:
        ValueError: always: they are elsewhere.
        """
        raise ValueError(
            "Method ``parameters`` not supported for RemoteModule. Please use ``remote_parameters`` instead."
        )


def _refusal(name: str):
    def refuse(self, *args, **kwargs):
        raise ValueError(f"Method ``{name}`` not supported for RemoteModule")

    refuse.__name__ = name
    return refuse


for _name in _UNSUPPORTED:
    setattr(RemoteModule, _name, _refusal(_name))

__all__ = ["RemoteModule"]

"""``torch.distributed.rpc``: functions called in other processes, and references to what they return.

Read in this order: ``options``, ``agent`` (the network), ``calls`` (functions), ``rref`` (references), ``functions``,
``history`` (gradients).
Calls are pickled, and unpickling runs code that the caller chooses: workers must trust each other, as in PyTorch.
Gradients cross processes inside a ``torch.distributed.autograd.context`` only; elsewhere tensors arrive without
history.
"""

from . import functions, options
from .agent import WorkerInfo
from .calls import get_worker_info, init_rpc, remote, rpc_async, rpc_sync, shutdown
from .options import BackendType, RpcBackendOptions, TensorPipeRpcBackendOptions
from .rref import RRef


def is_available() -> bool:
    """Whether functions can be called in other processes: yes."""
    return True


__all__ = [
    "BackendType", "RRef", "RpcBackendOptions", "TensorPipeRpcBackendOptions", "WorkerInfo", "functions",
    "get_worker_info", "init_rpc", "is_available", "options", "remote", "rpc_async", "rpc_sync", "shutdown",
]  # fmt: skip

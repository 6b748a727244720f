"""Joining, leaving, and functions called in other workers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

from ...futures import Future
from ..group import _world
from ..job import _address_towards, _own_address
from ..rendezvous import check, rendezvous
from ..store import PrefixStore, Store
from ..tcp_store import TCPStore
from . import history
from .agent import Agent, WorkerInfo
from .options import DEFAULT_TIMEOUT, BackendType, RpcBackendOptions, TensorPipeRpcBackendOptions

UNSET = -1.0
_agent: Agent | None = None
_own_store: Store | None = None  # of RPC alone
_lock = threading.Lock()


def agent() -> Agent:
    """Raises:
    RuntimeError: ``init_rpc`` has not been called.
    """
    if _agent is None:
        raise RuntimeError("RPC has not been initialized. Call torch.distributed.rpc.init_rpc first.")
    return _agent


def init_rpc(
    name: str, backend: BackendType | None = None, rank: int = -1, world_size: int | None = None,
    rpc_backend_options: RpcBackendOptions | None = None,
) -> None:  # fmt: skip
    """Make this process a worker of the given name, and wait for the others.

    Args:
        name: a name no other worker has.
        rank, world_size: of this process and of all; by default from the environment.
        rpc_backend_options: see :class:`.options.TensorPipeRpcBackendOptions`.

    Raises:
        RuntimeError: it is a worker already, or a name is taken.
        ValueError: rank or size are missing.
    """
    global _agent, _own_store
    if _agent is not None:
        raise RuntimeError("RPC is already initialized")
    if backend is not None and backend is not BackendType.TENSORPIPE:
        raise RuntimeError(f"init_rpc: unknown backend {backend!r}; there is BackendType.TENSORPIPE only")
    if not isinstance(name, str) or not name or "\n" in name:
        raise ValueError(f"init_rpc: a worker's name must be a text, got {name!r}")
    options = rpc_backend_options or TensorPipeRpcBackendOptions()
    world = _world.group
    if world is not None and options.init_method == "env://":
        job = world._job
        store, rank, world_size = job.store, job.rank if rank < 0 else rank, world_size or world.size()
        check(rank, world_size)
    else:
        given = -1 if world_size is None else world_size
        store, rank, world_size = rendezvous(options.init_method, rank, given, timedelta(seconds=300))
    host = _address_towards(store.host, store.port) if isinstance(store, TCPStore) else _own_address()
    made = Agent(
        name, rank, world_size, PrefixStore("rpc", store), host,
        getattr(options, "num_worker_threads", 16), options.rpc_timeout,
    )  # fmt: skip
    with _lock:
        _agent, _own_store = made, store if world is None or options.init_method != "env://" else None


def get_worker_info(worker_name: str | None = None) -> WorkerInfo:
    """A worker by name, by default this one."""
    return agent().me if worker_name is None else agent().find(worker_name)


def seconds_of(timeout: float) -> float | None:
    """A ``timeout`` argument in seconds: by default what ``init_rpc`` was told; 0 is none."""
    return (agent().timeout if timeout == UNSET else timeout) or None


def rpc_sync(to, func: Callable, args=None, kwargs=None, timeout: float = UNSET):
    """The result of ``func(*args, **kwargs)``, run in worker ``to`` (a name, rank or WorkerInfo).

    Raises:
        Exception: what ``func`` raised there; RuntimeError after ``timeout`` seconds.
    """
    return rpc_async(to, func, args, kwargs, timeout).wait()


def rpc_async(to, func: Callable, args=None, kwargs=None, timeout: float = UNSET) -> Future:
    """As :func:`rpc_sync`, without waiting: a :class:`jtorch.futures.Future`, which fails after ``timeout`` seconds."""
    return agent().call(agent().find(to), func, tuple(args or ()), dict(kwargs or {}), seconds_of(timeout))


def tell(worker: int, fn: Callable, args: tuple) -> Future:
    """As :func:`rpc_async`, by rank, of our own functions: belonging to no context, without a deadline."""
    with history.within(None):
        return agent().call(agent().find(worker), fn, args, {})


def remote(to, func: Callable, args=None, kwargs=None, timeout: float = UNSET):
    """Run ``func(*args, **kwargs)`` in worker ``to`` and leave the result there: an :class:`.rref.RRef`.

    If the worker has not taken the call within ``timeout`` seconds, the reference's ``to_here`` raises RuntimeError.
    """
    from .rref import made_at

    return made_at(agent().find(to), func, tuple(args or ()), dict(kwargs or {}), timeout)


def shutdown(graceful: bool = True, timeout: float = DEFAULT_TIMEOUT) -> None:
    """Stop being a worker; with ``graceful`` when all have asked for it and what they called is done.

    Raises:
        RuntimeError: RPC was not initialized.
    """
    global _agent, _own_store
    leaving = agent()
    if graceful:
        for step in ("done", "gone"):  # until all are done each serves the others, and rank 0's store all
            leaving.store.set(f"{step}/{leaving.me.id}", "")
            if step == "done" or leaving.me.id == 0:
                leaving.store.wait(
                    [f"{step}/{r}" for r in range(leaving.world_size)], timedelta(seconds=timeout or 1e6)
                )
    leaving.close()
    if isinstance(_own_store, TCPStore):
        _own_store.close()
    with _lock:
        _agent = _own_store = None


__all__ = ["get_worker_info", "init_rpc", "remote", "rpc_async", "rpc_sync", "shutdown"]

"""How processes find each other: from ``init_method`` (or a store) to a rank, a world size and a store."""

from __future__ import annotations

import os
from datetime import timedelta
from urllib.parse import parse_qs, urlparse

from .store import FileStore, Store
from .tcp_store import TCPStore

_METHODS = "env://, tcp://host:port and file:///path"


def rendezvous(url: str, rank: int, world_size: int, timeout: timedelta) -> tuple[Store, int, int]:
    """The store, rank and world size of this process (-1: not given as an argument).

    Raises:
        ValueError: something is missing or makes no sense.
    """
    parts = urlparse(url)
    query = {k: v[-1] for k, v in parse_qs(parts.query).items()}
    rank = int(query.get("rank", rank)) if rank < 0 else rank
    world_size = int(query.get("world_size", world_size)) if world_size < 0 else world_size
    if parts.scheme == "env":
        return _env(rank, world_size, timeout)
    if parts.scheme == "tcp":
        _given(url, "tcp://", rank, world_size)
        if not parts.port:
            raise ValueError(f"Error initializing torch.distributed using tcp:// rendezvous: port missing: {url}")
        return _tcp(parts.hostname or "127.0.0.1", parts.port, rank, world_size, timeout), rank, world_size
    if parts.scheme == "file":
        _given(url, "file://", rank, world_size)
        if not parts.path:
            raise ValueError(f"Error initializing torch.distributed using file:// rendezvous: path missing: {url}")
        return FileStore(parts.path, world_size, timeout), rank, world_size
    raise RuntimeError(f"No rendezvous handler for {parts.scheme}://; use one of {_METHODS}")


def check(rank: int, world_size: int) -> None:
    """Raises:
    ValueError: the rank does not lie in the world.
    """
    if world_size < 1:
        raise ValueError(f"world_size must be positive, but got {world_size}")
    if not 0 <= rank < world_size:
        raise ValueError(f"Invalid rank {rank}, rank should be in the interval [0, {world_size - 1}]")


def _given(url: str, scheme: str, rank: int, world_size: int) -> None:
    missing = [name for name, x in (("rank", rank), ("world size", world_size)) if x < 0]
    if missing:
        raise ValueError(
            f"Error initializing torch.distributed using {scheme} rendezvous: {' and '.join(missing)} parameter "
            f"missing; pass them to init_process_group, or in the URL ({url}?rank=0&world_size=2)"
        )


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise ValueError(
            "Error initializing torch.distributed using env:// rendezvous: environment variable "
            f"{name} expected, but not set. Start the program with a launcher (python -m jtorch.distributed.run), or "
            "set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT"
        )
    return value


def _number(name: str) -> int:
    value = _variable(name)
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"environment variable {name} must be an integer, but is {value!r}") from None


def _env(rank: int, world_size: int, timeout: timedelta) -> tuple[Store, int, int]:
    rank = _number("RANK") if rank < 0 else rank
    world_size = _number("WORLD_SIZE") if world_size < 0 else world_size
    host, port = _variable("MASTER_ADDR"), _number("MASTER_PORT")
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        port += 1  # the launcher itself listens on MASTER_PORT, and speaks a protocol of its own
    check(rank, world_size)
    return _tcp(host, port, rank, world_size, timeout), rank, world_size


def _tcp(host: str, port: int, rank: int, world_size: int, timeout: timedelta) -> TCPStore:
    check(rank, world_size)
    # Who is missing is found out by name when all have connected, so the store need not count.
    return TCPStore(host, port, world_size, rank == 0, timeout, wait_for_workers=False)

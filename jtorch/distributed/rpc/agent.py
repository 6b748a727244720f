"""The network: a connection to each worker that is called, requests and their answers on it."""

from __future__ import annotations

import contextlib
import io
import itertools
import pickle
import socket
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from ...futures import Future
from ...tensor import Tensor
from ..store import Store
from ..tcp_store import connect, listen, receive, send, serve, stop_listening
from . import history
from .deadlines import Deadlines, settle


class WorkerInfo(NamedTuple):
    """A worker: its rank and its name."""

    id: int
    name: str

    def __repr__(self) -> str:
        return f"WorkerInfo(id={self.id}, name={self.name})"


class _Pickler(pickle.Pickler):
    message: history.Message | None = None

    def reducer_override(self, obj):
        if isinstance(obj, Tensor) and obj.requires_grad:
            if self.message is not None:
                return self.message.reduce(obj)
            if not obj.is_leaf:
                return obj.detach().__reduce_ex__(pickle.HIGHEST_PROTOCOL)  # its graph stays here
        return NotImplemented


def to_bytes(obj, message: history.Message | None = None) -> bytes:
    """``obj`` pickled; ``message`` remembers the tensors whose history stays here."""
    stream = io.BytesIO()
    pickler = _Pickler(stream, pickle.HIGHEST_PROTOCOL)
    pickler.message = message
    pickler.dump(obj)
    return stream.getvalue()


class _Peer:
    """A connection to another worker, on which requests of this one go out and their answers come in."""

    def __init__(self, sock: socket.socket, name: str):
        self._sock, self._name = sock, name
        self._lock = threading.Lock()
        self._waiting: dict[str, Future] = {}
        self._numbers = itertools.count()
        threading.Thread(target=self._read, name=f"rpc answers of {name}", daemon=True).start()

    def request(self, payload: bytes) -> Future:
        future = Future()
        with self._lock:
            number = str(next(self._numbers))
            self._waiting[number] = future
            try:
                send(self._sock, number, payload)
            except OSError as error:
                del self._waiting[number]
                future.set_exception(RuntimeError(f"worker {self._name} cannot be reached: {error}"))
        return future

    def _read(self) -> None:
        while (message := receive(self._sock)) is not None:
            with self._lock:
                future = self._waiting.pop(message[0].decode())
            try:
                kind, value = pickle.loads(message[1])
            except Exception as error:
                kind, value = "error", RuntimeError(f"the answer of worker {self._name} cannot be read: {error!r}")
            settle(future, value) if kind == "value" else settle(future, error=value)
        with self._lock:
            left, self._waiting = list(self._waiting.values()), {}
        for future in left:
            settle(future, error=RuntimeError(f"worker {self._name} ended before it answered"))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


class Agent:
    """This process as a worker.

    Args:
        store: between the workers; addresses stand in it.
        host: under which address the others reach this process.
    """

    def __init__(self, name: str, rank: int, world_size: int, store: Store, host: str, threads: int, timeout: float):
        self.me, self.world_size, self.store, self.timeout = WorkerInfo(rank, name), world_size, store, timeout
        self._pool = ThreadPoolExecutor(threads, "rpc")
        self._peers: dict[int, _Peer] = {}
        self._lock = threading.Lock()
        self._busy, self._idle = 0, threading.Condition()
        self._deadlines = Deadlines()
        self._server = listen(host, 0)
        serve(self._server, self._requests, "rpc")
        store.set(f"worker/{rank}", f"{name}\n{host}\n{self._server.getsockname()[1]}")
        self._addresses: dict[int, tuple[str, int]] = {}
        self.workers: list[WorkerInfo] = []
        for r in range(world_size):
            other, where, port = store.get(f"worker/{r}").decode().split("\n")
            if any(w.name == other for w in self.workers):
                raise RuntimeError(f"RPC worker name {other!r} is not unique: each process needs one of its own")
            self.workers.append(WorkerInfo(r, other))
            self._addresses[r] = where, int(port)

    def find(self, worker) -> WorkerInfo:
        """The worker of a name, a rank or a WorkerInfo.

        Raises:
            RuntimeError: there is none.
        """
        for w in self.workers:
            if worker in (w.name, w.id, w):
                return w
        raise RuntimeError(f"Unknown destination worker {worker}; the workers are {[w.name for w in self.workers]}")

    # --- calling

    def call(self, to: WorkerInfo, fn: Callable, args: tuple, kwargs: dict, timeout: float | None = None) -> Future:
        """Run ``fn(*args, **kwargs)`` in a worker; after ``timeout`` seconds the future fails with RuntimeError."""
        if to.id == self.me.id:
            future = Future()
            self.serve(fn, args, kwargs, future)
        else:
            context = history.current.context
            message = None if context is None else history.Message(context, self.me.id, to.id)
            number = None if context is None else context.number
            future = self._peer(to).request(to_bytes((self.me.id, number, fn, args, kwargs), message))
        if timeout:
            self._deadlines.add(future, timeout)
        return future

    def _peer(self, to: WorkerInfo) -> _Peer:
        with self._lock:
            if to.id not in self._peers:
                self._peers[to.id] = _Peer(connect(*self._addresses[to.id], self.timeout or 60.0), to.name)
            return self._peers[to.id]

    # --- serving

    def _requests(self, sock: socket.socket) -> None:
        lock = threading.Lock()

        def answer(number: bytes, caller: int, context, future: Future) -> None:
            try:
                travelling = None if context is None else history.Message(context, self.me.id, caller)
                message = to_bytes(("value", future.wait()), travelling)
            except BaseException as error:  # noqa: BLE001 (the caller's to deal with)
                message = _error(self.me, error)
                error.__traceback__ = None  # its frames hold arguments
            with lock, contextlib.suppress(OSError):
                send(sock, number, message)

        with sock:
            while (message := receive(sock)) is not None:
                number, payload = message
                future, caller, context = Future(), -1, None
                try:
                    caller, of, fn, args, kwargs = pickle.loads(payload)
                    context = None if of is None else history.join(of)
                except Exception as error:
                    future.set_exception(error)
                future.add_done_callback(lambda done, told=(number, caller, context): answer(*told, done))
                if not future.done():
                    with history.within(context):
                        self.serve(fn, args, kwargs, future)

    def serve(self, fn, args, kwargs, future: Future) -> None:
        """Complete ``future`` with ``fn(*args, **kwargs)``, run on a thread of the pool in this thread's context."""
        context = history.current.context

        def run():
            try:
                with history.within(context):
                    result = fn(*args, **kwargs)
                if getattr(fn, "_rpc_async_execution", False):
                    if not isinstance(result, Future):
                        raise TypeError(
                            "Functions decorated with @rpc.functions.async_execution must return a "
                            f"torch.futures.Future object, but {fn.__name__} returned {type(result).__name__}"
                        )
                    result.add_done_callback(lambda done: _hand_on(done, future))
                else:
                    settle(future, result)
            except BaseException as error:  # noqa: BLE001 (the caller's to deal with)
                settle(future, error=error)
            finally:
                with self._idle:
                    self._busy -= 1
                    self._idle.notify_all()

        with self._idle:
            self._busy += 1
        self._pool.submit(run)

    def close(self) -> None:
        """Finish what is being served, and close."""
        with self._idle:
            self._idle.wait_for(lambda: not self._busy, self.timeout or None)
        stop_listening(self._server)
        for peer in self._peers.values():
            peer.close()
        self._pool.shutdown(wait=False)


def _hand_on(done: Future, future: Future) -> None:
    try:
        settle(future, done.wait())
    except BaseException as error:  # noqa: BLE001
        settle(future, error=error)


def _error(where: WorkerInfo, error: BaseException) -> bytes:
    """An exception for the caller: of its own type, with the lines of the worker in its message."""
    text = f"On {where!r}:\n{error!r}\n{''.join(traceback.format_exception(error))}"
    try:
        told = type(error)(text)
        message = to_bytes(("error", told))
        pickle.loads(message)
        return message
    except Exception:  # it takes other arguments, or cannot be pickled
        return to_bytes(("error", RuntimeError(text)))


__all__ = ["Agent", "WorkerInfo"]

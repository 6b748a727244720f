"""``TCPStore``: a store in one process that others reach over TCP, and what a job's processes tell each other by it.

A message is a list of byte strings, each preceded by its length. A connection is served by a thread of its own, so a
request may wait. Beside the store's requests the server knows *barriers*, and *members*: processes that keep a
connection open for as long as they live, so that the end of one is told to the others at once.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from datetime import timedelta

from .constants import DistNetworkError, DistStoreError
from .store import Store, seconds

_FOREVER = 1e9


def send(sock: socket.socket, *fields) -> None:
    """Send one message; fields are bytes or strings."""
    fields = [f.encode() if isinstance(f, str) else f for f in fields]
    sock.sendall(b"".join([struct.pack("<I", len(fields)), *(struct.pack("<Q", len(f)) + f for f in fields)]))


def receive(sock: socket.socket) -> list[bytes] | None:
    """One message, or None at the end of the connection."""
    head = receive_exactly(sock, 4)
    if head is None:
        return None
    fields = []
    for _ in range(struct.unpack("<I", head)[0]):
        size = receive_exactly(sock, 8)
        field = None if size is None else receive_exactly(sock, struct.unpack("<Q", size)[0])
        if field is None:
            return None
        fields.append(bytes(field))
    return fields


def receive_exactly(sock: socket.socket, n: int) -> bytearray | None:
    """``n`` bytes, or None if the connection ends first."""
    data = bytearray(n)
    view, done = memoryview(data), 0
    while done < n:
        try:
            got = sock.recv_into(view[done:])
        except OSError:
            return None
        if got == 0:
            return None
        done += got
    return data


def is_loopback(host: str) -> bool:
    """Whether ``host`` names this machine to itself only."""
    try:
        address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0]
    except OSError:
        return False
    return address.startswith("127.") or address == "::1"


def listen(host: str, port: int, backlog: int = 512) -> socket.socket:
    """A listening socket: reachable from this machine only if ``host`` is a loopback address.

    Raises:
        DistNetworkError: the port is taken.
    """
    try:
        if is_loopback(host):
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            return socket.create_server((host, port), family=family, backlog=backlog)
        if socket.has_dualstack_ipv6():
            return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=backlog)
        return socket.create_server(("", port), backlog=backlog)
    except OSError as error:
        raise DistNetworkError(
            f"The server socket has failed to listen on {host}:{port} ({error.strerror}). Is another job running with "
            "the same MASTER_PORT?"
        ) from None


def serve(server: socket.socket, handle, name: str) -> None:
    """Call ``handle(connection)`` for each connection, on a thread of its own, until :func:`stop_listening`."""

    def accept() -> None:
        while True:
            try:
                sock, _ = server.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=handle, args=(sock,), name=f"{name} connection", daemon=True).start()

    threading.Thread(target=accept, name=name, daemon=True).start()


def stop_listening(sock: socket.socket) -> None:
    """Close a listening socket, and wake the thread that waits for connections on it."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


def connect(host: str, port: int, timeout: float) -> socket.socket:
    """A connection to a server that may not have started yet.

    Raises:
        DistNetworkError: there was none in time.
    """
    end, pause = time.monotonic() + timeout, 0.01
    while True:
        try:
            sock = socket.create_connection((host, port), timeout=max(0.1, min(5.0, end - time.monotonic())))
            sock.settimeout(None)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        except OSError as error:
            if time.monotonic() + pause >= end:
                raise DistNetworkError(
                    f"The client socket has timed out after {timeout * 1000:.0f}ms while trying to connect to "
                    f"({host}, {port}): {error}. Is rank 0 running, and are MASTER_ADDR and MASTER_PORT right?"
                ) from None
            time.sleep(pause)
            pause = min(0.5, pause * 1.5)


class Server:
    """Serves one dictionary. Runs in the master's process, in threads that end with it."""

    def __init__(self, host: str, port: int):
        self.data: dict[str, bytes] = {}
        self.changed = threading.Condition()
        self.arrivals: dict[str, set[int]] = {}
        self.passed: dict[str, int] = {}
        self.members: dict[int, socket.socket] = {}
        self.lost: dict[int, str] = {}
        self.left: set[int] = set()
        self.socket = listen(host, port)
        self.port = self.socket.getsockname()[1]
        serve(self.socket, self._serve, "store")

    def close(self) -> None:
        stop_listening(self.socket)

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            while (request := receive(sock)) is not None:
                name = request[0].decode()
                if name == "member":
                    self._member(sock, int(request[1]), request[2].decode())
                    return
                try:
                    send(sock, *getattr(self, f"_on_{name}")(*request[1:]))
                except OSError:
                    return

    # --- requests; each returns the fields of the answer

    def _wait(self, ready, timeout: bytes) -> bool:
        return self.changed.wait_for(ready, min(float(timeout), _FOREVER))

    def _on_set(self, key, value):
        with self.changed:
            self.data[key.decode()] = value
            self.changed.notify_all()
        return ()

    def _on_get(self, key, timeout):
        key = key.decode()
        with self.changed:
            return (self.data[key],) if self._wait(lambda: key in self.data, timeout) else ()

    def _on_add(self, key, amount):
        key = key.decode()
        with self.changed:
            self.data[key] = total = str(int(self.data.get(key, b"0")) + int(amount)).encode()
            self.changed.notify_all()
        return (total,)

    def _on_append(self, key, value):
        with self.changed:
            self.data[key.decode()] = self.data.get(key.decode(), b"") + value
            self.changed.notify_all()
        return ()

    def _on_compare_set(self, key, expected, desired):
        key = key.decode()
        with self.changed:
            if self.data.get(key, b"") == expected:
                self.data[key] = desired
                self.changed.notify_all()
            return (self.data.get(key, expected),)

    def _on_wait(self, timeout, *keys):
        keys = [k.decode() for k in keys]
        with self.changed:
            return ("1" if self._wait(lambda: all(k in self.data for k in keys), timeout) else "0",)

    def _on_check(self, *keys):
        with self.changed:
            return ("1" if all(k.decode() in self.data for k in keys) else "0",)

    def _on_delete(self, key):
        with self.changed:
            return ("0" if self.data.pop(key.decode(), None) is None else "1",)

    def _on_count(self):
        with self.changed:
            return (str(len(self.data)),)

    def _on_barrier(self, key, rank, ranks, timeout):
        """Wait until all ``ranks`` have come; the ranks that have not, and whether they are gone for good."""
        key, rank, wanted = key.decode(), int(rank), set(map(int, ranks.split(b",")))
        with self.changed:
            here = self.arrivals.setdefault(key, set())
            here.add(rank)
            self.changed.notify_all()

            def gone():
                return {r for r in wanted - here if r in self.lost or r in self.left}

            self._wait(lambda: wanted <= here or gone(), timeout)
            missing = sorted(wanted - here)
            self.passed[key] = self.passed.get(key, 0) + 1
            if self.passed[key] == len(wanted):
                del self.arrivals[key], self.passed[key]
            return ",".join(map(str, missing)), ",".join(map(str, sorted(gone())))

    # --- members

    def _member(self, sock, rank: int, description: str) -> None:
        with self.changed:
            if rank in self.members:
                send(sock, "refused", f"there is a process with rank {rank} already")
                return
            self.members[rank] = sock
            self.lost.pop(rank, None)
            self.left.discard(rank)
            send(sock, "welcome")
            for r, why in self.lost.items():
                send(sock, "lost", str(r), why)
            for r in self.left:
                send(sock, "left", str(r))
        leaving = receive(sock) is not None  # a member says one thing only: that it leaves
        with self.changed:
            if leaving:
                self.left.add(rank)
                self._tell("left", str(rank))
            else:
                del self.members[rank]
                self.lost[rank] = description
                self._tell("lost", str(rank), description)
            self.changed.notify_all()
        if leaving:
            receive(sock)  # it listens until it ends
            with self.changed:
                del self.members[rank]

    def _tell(self, *fields) -> None:
        # Rank 0 last: it may be this very process, and end on the news before the others have it.
        for rank in sorted(self.members, reverse=True):
            try:
                send(self.members[rank], *fields)
            except OSError:
                pass  # its own thread notices


_shared: dict[int, Server] = {}


class TCPStore(Store):
    """A store that the master process serves and all reach.

    Args:
        host_name: where the master listens; a loopback address is reachable from its machine only.
        port: its port; 0 lets the master choose a free one (see :attr:`port`).
        world_size: how many processes use the store; None: any number.
        is_master: serve the store from this process.
        timeout: how long to wait for connections and keys.
        wait_for_workers: the master waits until ``world_size`` processes have connected.
        multi_tenant: masters of this process with one port share the server.

    Raises:
        DistNetworkError: the port is taken, or the master cannot be reached in time.
        DistStoreError: fewer than ``world_size`` processes connected in time.
    """

    def __init__(
        self, host_name: str, port: int, world_size: int | None = None, is_master: bool = False,
        timeout=timedelta(seconds=300), wait_for_workers: bool = True, multi_tenant: bool = False,
        master_listen_fd: int | None = None, use_libuv: bool = True,
    ):  # fmt: skip
        super().__init__(timeout)
        if master_listen_fd is not None:
            raise NotImplementedError("TCPStore(master_listen_fd=...) is not supported; pass port=0 and read .port")
        self.host, self._server, self._free = host_name, None, []
        self._lock = threading.Lock()
        if is_master:
            if multi_tenant and port in _shared:
                self._server = _shared[port]
            else:
                self._server = Server(host_name, port)
                if multi_tenant:
                    _shared[self._server.port] = self._server
            port = self._server.port
        self.port, self.world_size = port, world_size
        self._free.append(connect(host_name, port, self._timeout))
        if world_size is not None and world_size > 0:
            joined = self.add("\0joined", 1)
            if is_master and wait_for_workers:
                try:
                    self._wait_for(world_size, joined)
                except DistStoreError:
                    self.close()
                    raise

    def _wait_for(self, world_size: int, joined: int) -> None:
        end = time.monotonic() + self._timeout
        while joined < world_size:
            if time.monotonic() > end:
                raise DistStoreError(
                    f"Timed out after {self._timeout:.0f} seconds waiting for clients. {joined}/{world_size} clients "
                    "joined."
                )
            time.sleep(0.01)
            joined = self.add("\0joined", 0)

    @property
    def is_master(self) -> bool:
        return self._server is not None

    def ask(self, *fields) -> list[bytes]:
        """Send a request and wait for the answer.

        Raises:
            DistNetworkError: the master is gone.
        """
        with self._lock:
            sock = self._free.pop() if self._free else None
        if sock is None:
            sock = connect(self.host, self.port, self._timeout)
        try:
            send(sock, *fields)
            answer = receive(sock)
        except OSError:
            answer = None
        if answer is None:
            sock.close()
            raise DistNetworkError(
                f"the connection to the store at {self.host}:{self.port} ended: the process that serves it is gone"
            )
        with self._lock:
            self._free.append(sock)
        return answer

    def _limit(self, timeout) -> float:
        return self._timeout if timeout is None else seconds(timeout)

    def _timed_out(self, keys, limit):
        return DistStoreError(f"wait timeout after {limit * 1000:.0f}ms, keys: {', '.join(keys)}")

    def set(self, key, value):
        self.ask("set", key, value)

    def get(self, key, timeout=None):
        limit = self._limit(timeout)
        answer = self.ask("get", key, str(limit))
        if not answer:
            raise self._timed_out([key], limit)
        return answer[0]

    def add(self, key, amount):
        return int(self.ask("add", key, str(amount))[0])

    def append(self, key, value):
        self.ask("append", key, value)

    def compare_set(self, key, expected_value, desired_value):
        return self.ask("compare_set", key, expected_value, desired_value)[0]

    def wait(self, keys, timeout=None):
        limit = self._limit(timeout)
        if self.ask("wait", str(limit), *keys) == [b"0"]:
            raise self._timed_out(keys, limit)

    def check(self, keys):
        return self.ask("check", *keys) == [b"1"]

    def delete_key(self, key):
        return self.ask("delete", key) == [b"1"]

    def num_keys(self):
        return int(self.ask("count")[0])

    def close(self) -> None:
        """Close this process's connections, and the server if it runs here."""
        with self._lock:
            for sock in self._free:
                sock.close()
            self._free.clear()
        if self._server is not None and _shared.get(self.port) is not self._server:
            self._server.close()

    def __del__(self):
        if getattr(self, "_lock", None) is not None:
            self.close()

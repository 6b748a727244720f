"""Messages from one rank to another, over TCP. A message waits at its receiver until somebody asks for it.

Each rank listens at an address that stands in the store, and keeps a connection and a thread for each rank it sends to:
messages to one rank arrive in the order in which they were sent, and sending waits for nobody.
"""

from __future__ import annotations

import json
import queue
import socket
import struct
import threading
import time
from collections import defaultdict

from .constants import DistBackendError
from .tcp_store import connect, listen, receive_exactly, serve, stop_listening

#: Seconds that a message may still be on its way after its sender's end was noticed.
LATE = 1.0
#: Seconds that closing waits for messages that are still being sent.
CLOSING = 10.0


class Outgoing:
    """A message on its way; ``done`` is set when it has been handed to the network, or ``error``."""

    def __init__(self, header: dict, payload):
        self.header, self.payload = header, payload
        self.done, self.error = threading.Event(), None


class Mailbox:
    """This rank's messages. ``channel`` keeps messages of different purposes apart."""

    def __init__(self, job, host: str):
        self.job = job
        self._arrived: dict[tuple[str, int], dict[int, tuple]] = defaultdict(dict)
        self._counts: dict[tuple[str, int], int] = defaultdict(int)
        self._claimed: dict[tuple[str, int], int] = defaultdict(int)
        self._changed = threading.Condition()
        self._queues: dict[int, queue.SimpleQueue] = {}
        self._senders: list[threading.Thread] = []
        self._server = listen(host, 0)
        serve(self._server, self._receive, "mailbox")
        job.tcp.set(f"jtorch/mailbox/{job.rank}", f"{host} {self._server.getsockname()[1]}")

    def close(self) -> None:
        """Send what is still to be sent, and close."""
        for outgoing in self._queues.values():
            outgoing.put(None)
        for sender in self._senders:
            sender.join(CLOSING)
        stop_listening(self._server)

    def _receive(self, sock: socket.socket) -> None:
        with sock:
            while (head := receive_exactly(sock, 12)) is not None:
                n_header, n_payload = struct.unpack("<IQ", head)
                header = receive_exactly(sock, n_header)
                payload = None if header is None else receive_exactly(sock, n_payload)
                if payload is None:
                    return
                header = json.loads(bytes(header))
                key = header.pop("channel"), header.pop("from")
                with self._changed:
                    self._arrived[key][self._counts[key]] = header, payload
                    self._counts[key] += 1
                    self._changed.notify_all()

    # --- sending

    def send(self, to: int, channel: str, header: dict, payload) -> Outgoing:
        """Start sending bytes (or a buffer, which must not change) to a rank."""
        message = Outgoing({"channel": channel, "from": self.job.rank, **header}, memoryview(payload).cast("B"))
        with self._changed:
            if to not in self._queues:
                self._queues[to] = queue.SimpleQueue()
                self._senders.append(threading.Thread(target=self._send, args=(to,), name="mailbox out", daemon=True))
                self._senders[-1].start()
        self._queues[to].put(message)
        return message

    def _send(self, to: int) -> None:
        sock = error = None
        while (message := self._queues[to].get()) is not None:
            try:
                if sock is None:
                    host, port = self.job.tcp.get(f"jtorch/mailbox/{to}").decode().split()
                    sock = connect(host, int(port), self.job.timeout)
                header = json.dumps(message.header).encode()
                sock.sendall(struct.pack("<IQ", len(header), len(message.payload)) + header)
                sock.sendall(message.payload)
            except (OSError, RuntimeError) as failure:
                error = failure
            message.error = error
            message.done.set()

    def sent(self, to: int, message: Outgoing) -> None:
        """Wait until a message has been handed to the network.

        Raises:
            DistBackendError: the receiver is gone.
        """
        message.done.wait(self.job.timeout)
        if message.error is not None:
            raise DistBackendError(f"[rank {self.job.rank}] send to rank {to} failed: {self._why(to, message.error)}")

    def _why(self, rank: int, otherwise) -> str:
        monitor = self.job.monitor
        with monitor.changed:
            monitor.changed.wait_for(lambda: monitor.gone([rank]), 2.0)
        return monitor.describe([rank]) if monitor.gone([rank]) else str(otherwise)

    # --- receiving

    def claim(self, source: int, channel: str) -> int:
        """The number of the next message from a rank that nobody has claimed."""
        with self._changed:
            number = self._claimed[channel, source]
            self._claimed[channel, source] += 1
            return number

    def here(self, source: int, channel: str, number: int) -> bool:
        """Whether a claimed message has arrived."""
        return number in self._arrived[channel, source]

    def take(self, source: int, channel: str, number: int, timeout: float) -> tuple[dict, bytearray]:
        """The header and payload of a claimed message, once it is here.

        Raises:
            DistBackendError: it does not come in time, or its sender is gone.
        """
        box = self._arrived[channel, source]
        self._wait(lambda: number in box, [source], timeout, f"receive from rank {source}")
        with self._changed:
            return box.pop(number)

    def any(self, sources, channel: str, timeout: float) -> int:
        """A rank of ``sources`` from which there is a message that nobody has claimed."""
        found = []

        def look():
            found[:] = [s for s in sources if self._counts[channel, s] > self._claimed[channel, s]]
            return found

        self._wait(look, list(sources), timeout, "receive from any rank")
        return found[0]

    def _wait(self, ready, sources: list[int], timeout: float, what: str) -> None:
        monitor, end = self.job.monitor, time.monotonic() + timeout
        with self._changed:
            while not self._changed.wait_for(ready, 0.2):
                now, gone = time.monotonic(), monitor.gone(sources)
                if len(gone) == len(sources) and now - max(monitor.gone_since[r] for r in gone) > LATE:
                    raise DistBackendError(f"[rank {self.job.rank}] {what} failed: {monitor.describe(gone)}")
                if now > end:
                    raise DistBackendError(
                        f"[rank {self.job.rank}] {what}: nothing was sent within the timeout of {timeout:.0f} s"
                    )

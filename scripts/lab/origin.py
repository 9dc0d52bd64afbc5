"""A server in a process of its own that costs as little as Python can: what is measured is the proxy.

`Backend` keeps what it gets and shares its process with the client; under a load both would be in the way.
"""

import argparse
import json
import select
import socket
import sys
import time
from collections import deque
from pathlib import Path
from typing import NoReturn

from lab.client import send_raw
from lab.process import Process

BEHAVIOURS = ("healthy", "slow", "silent")
"""Answers at once; answers after `SLOW_S`; reads and never answers."""
SLOW_S = 1.0
_COUNT_TARGET = b"/count-of-requests"
_BACKLOG = 4096
_READ_BYTES = 256 * 1024


class Origin(Process):
    """A running server on a port of loopback that the system chose."""

    def __init__(self, name: str, behaviour: str = "healthy") -> None:
        scripts = Path(__file__).resolve().parents[1]
        with socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG) as listener:
            self.port: int = listener.getsockname()[1]
            argv = [sys.executable, "-m", "lab.origin", behaviour, str(listener.fileno())]
            super().__init__(name, argv, cwd=scripts, pass_fds=[listener.fileno()])

    @property
    def count(self) -> int:
        """The requests that have come whole so far; this question does not count."""
        head = b"GET " + _COUNT_TARGET + b" HTTP/1.1\r\nHost: origin\r\nConnection: close\r\n\r\n"
        return int(json.loads(send_raw(self.port, head).body)["count"])

    def count_awaited(self, wanted: int, timeout_s: float) -> int:
        """The requests that have come: as soon as they are as many as wanted, or at the deadline."""
        deadline = time.monotonic() + timeout_s
        while (count := self.count) < wanted and time.monotonic() < deadline:
            time.sleep(0.1)
        return count


class _Connection:
    __slots__ = ("body_left", "head", "socket")

    def __init__(self, accepted: socket.socket) -> None:
        self.socket = accepted
        self.head = b""
        self.body_left = 0


class _Server:
    """A bare poll loop: half the cost of asyncio's, and no parsing beyond where a request ends."""

    def __init__(self, listener: socket.socket, behaviour: str) -> None:
        self._listener = listener
        self._behaviour = behaviour
        self._poll = select.poll()
        self._connections: dict[int, _Connection] = {}
        self._answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
        self._due: deque[tuple[float, int, _Connection]] = deque()
        self._count = 0

    def serve(self) -> NoReturn:
        self._listener.setblocking(False)
        self._poll.register(self._listener.fileno(), select.POLLIN)
        while True:
            wait_ms = None if not self._due else max(0.0, (self._due[0][0] - time.monotonic()) * 1000)
            for fd, _ in self._poll.poll(wait_ms):
                if fd == self._listener.fileno():
                    self._accept()
                else:
                    self._read(fd, self._connections[fd])
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                _, fd, connection = self._due.popleft()
                if self._connections.get(fd) is connection:
                    self._write(fd, connection, self._answer)

    def _accept(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections[accepted.fileno()] = _Connection(accepted)
        self._poll.register(accepted.fileno(), select.POLLIN)

    def _read(self, fd: int, connection: _Connection) -> None:
        try:
            data = connection.socket.recv(_READ_BYTES)
        except OSError:
            data = b""
        if not data:
            self._hang_up(fd, connection)
            return
        while data:
            if connection.body_left:
                taken = min(connection.body_left, len(data))
                connection.body_left -= taken
                data = data[taken:]
            else:
                head, end, data = (connection.head + data).partition(b"\r\n\r\n")
                if not end:
                    connection.head = head
                    return
                connection.head = head + end
                connection.body_left = _body_bytes(head)
            if not connection.body_left:
                self._complete(fd, connection)
                connection.head = b""

    def _complete(self, fd: int, connection: _Connection) -> None:
        if _COUNT_TARGET in connection.head:
            body = json.dumps({"count": self._count}).encode()
            self._write(
                fd, connection, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
            )
            return
        self._count += 1
        if self._behaviour == "healthy":
            self._write(fd, connection, self._answer)
        elif self._behaviour == "slow":
            self._due.append((time.monotonic() + SLOW_S, fd, connection))

    def _write(self, fd: int, connection: _Connection, answer: bytes) -> None:
        try:
            connection.socket.send(answer)  # some 100 bytes to a reader that awaits them: always whole
        except OSError:
            self._hang_up(fd, connection)

    def _hang_up(self, fd: int, connection: _Connection) -> None:
        self._poll.unregister(fd)
        del self._connections[fd]
        connection.socket.close()


def _body_bytes(head: bytes) -> int:
    lowered = head.lower()
    start = lowered.find(b"\r\ncontent-length:")
    if start < 0:
        if b"\r\ntransfer-encoding:" in lowered:
            raise NotImplementedError("the loads of this laboratory have a Content-Length")
        return 0
    return int(lowered[start + 17 :].split(b"\r\n", 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("behaviour", choices=BEHAVIOURS)
    parser.add_argument("listener", type=int)
    arguments = parser.parse_args()
    _Server(socket.socket(fileno=arguments.listener), arguments.behaviour).serve()


if __name__ == "__main__":
    main()

"""A client that sends exact bytes."""

import socket
from types import TracebackType
from typing import Self

from lab.wire import Message, WireError, take_message

TIMEOUT_S = 60.0


class RawConnection:
    """One connection; a response is read to its end, and no further."""

    def __init__(self, where: int | socket.socket, timeout_s: float = TIMEOUT_S) -> None:
        """`where` is a loopback port, or a connected socket, which is closed with the connection."""
        if isinstance(where, int):
            where = socket.create_connection(("127.0.0.1", where))
        where.settimeout(timeout_s)
        self._socket = where
        self._buffer = bytearray()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def receive(self, *, has_body: bool = True) -> Message:
        """The next response that is not a 1xx. Raises WireError where the connection ends before it does."""
        closed = False
        while True:
            if taken := take_message(self._buffer, has_body=has_body, until_close=closed):
                message, size = taken
                del self._buffer[:size]
                if 100 <= message.status < 200:
                    continue
                return message
            if closed:
                raise WireError(f"the connection ended after {bytes(self._buffer[:200])!r}")
            data = self._socket.recv(1 << 16)
            closed = not data
            self._buffer += data

    def exchange(self, data: bytes) -> Message:
        """Send one request and receive its response."""
        self.send(data)
        return self.receive(has_body=not data.startswith(b"HEAD "))

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def send_raw(port: int, data: bytes, timeout_s: float = TIMEOUT_S) -> Message:
    """The response to the bytes of one request, sent on a connection of its own."""
    with RawConnection(port, timeout_s) as connection:
        return connection.exchange(data)


def proxy_get(port: int, url: str, *lines: str) -> Message:
    """The response to a GET through a regular-mode proxy; `lines` are further header lines."""
    authority = url.split("/")[2]
    head = "\r\n".join([f"GET {url} HTTP/1.1", f"Host: {authority}", *lines, "", ""])
    return send_raw(port, head.encode())

"""Ports for programs that must be told one."""

import socket
from types import TracebackType
from typing import Self


class ReservedPort:
    """A loopback port that nobody else is given while it is held, and that a server may listen on.

    It is bound but not listened on, with SO_REUSEADDR: Linux lets another socket with that option, which
    Python's servers set, bind and listen there.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

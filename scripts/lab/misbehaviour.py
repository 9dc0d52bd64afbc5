"""Ways in which a server misbehaves, for a `Backend`'s `respond`, and ports that misbehave by themselves."""

import asyncio
import contextlib
import socket
import socketserver
import struct
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

from lab.backend import Respond, response
from lab.wire import Message

LARGE_BYTES = 100_000_000


def never(_request: Message) -> None:
    """Never answers."""


def hang_up(_request: Message) -> bytes:
    """Closes the connection instead of an answer."""
    return b""


def says(data: bytes) -> Respond:
    """Says the same to every request, whatever it is."""
    return lambda _request: data


def says_and_closes(data: bytes) -> Respond:
    """Closes the connection behind what it says."""

    def act(transport: asyncio.Transport) -> None:
        transport.write(data)
        transport.close()

    return lambda _request: act


def says_and_resets(data: bytes) -> Respond:
    """Resets the connection (RST) behind what it says, which may so be lost."""

    def act(transport: asyncio.Transport) -> None:
        transport.write(data)
        linger = struct.pack("ii", 1, 0)  # on, and for no time: a close is a reset
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()

    return lambda _request: act


def drips(data: bytes, pause_s: float, first: bytes = b"") -> Respond:
    """Says `first`, and then `data` byte by byte, again and again."""

    def drip(transport: asyncio.Transport, position: int) -> None:
        if not transport.is_closing():
            transport.write(data[position : position + 1])
            asyncio.get_running_loop().call_later(pause_s, drip, transport, (position + 1) % len(data))

    def act(transport: asyncio.Transport) -> None:
        transport.write(first)
        drip(transport, 0)

    return lambda _request: act


def answers_once() -> Respond:
    """Answers the first request of each connection, and hangs up when the next one comes."""
    answered: weakref.WeakSet[asyncio.Transport] = weakref.WeakSet()

    def act(transport: asyncio.Transport) -> None:
        if transport in answered:
            transport.close()
        else:
            answered.add(transport)
            transport.write(response(b""))  # right for HEAD as well

    return lambda _request: act


def answers_large(folder: Path) -> Respond:
    """Answers `LARGE_BYTES`, out of a file that takes no room."""
    path = folder / "large"
    with path.open("wb") as made:
        made.truncate(LARGE_BYTES)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE_BYTES
    sending: set[asyncio.Task[None]] = set()

    async def send(transport: asyncio.Transport) -> None:
        transport.write(head)
        # Whoever is sent it may hang up before the end.
        with path.open("rb") as file, contextlib.suppress(ConnectionError):
            await asyncio.get_running_loop().sendfile(transport, file)

    def act(transport: asyncio.Transport) -> None:
        task = asyncio.get_running_loop().create_task(send(transport))
        sending.add(task)
        task.add_done_callback(sending.discard)

    return lambda _request: act


@contextlib.contextmanager
def deaf_port() -> Iterator[int]:
    """A port where connections are accepted, by the system, and nobody reads."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        yield listener.getsockname()[1]


@contextlib.contextmanager
def talking_port(data: bytes) -> Iterator[int]:
    """A port that says `data` to everybody who connects, and then listens."""

    class Talk(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):
                self.request.sendall(data)
                while self.request.recv(1 << 16):
                    pass

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 1024

    with Server(("127.0.0.1", 0), Talk) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="talking port", daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def black_hole_port() -> Iterator[int]:
    """A port whose SYNs get no answer: Linux drops them while a listener's queue is full."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        # A queue of 0 takes one, and a second is there in case.
        for _ in range(2):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]

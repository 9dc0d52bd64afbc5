"""The same raw requests through Envoy and through the addon, and what came of them, in one form."""

import contextlib
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import control
from lab.backend import Backend
from lab.client import RawConnection, send_raw
from lab.envoy import Envoy
from lab.mitmdump import Mitmdump
from lab.process import START_TIMEOUT_S
from lab.wire import Message

PROXIES = ("envoy", "addon")
_KEY = b"x-parity"
"""The request header by which a backend's record is found again."""

# What Envoy adds and the addon does not (docs/envoy.md); `content-length: 0` where a method may have a body.
_ADDED_BY_ENVOY = frozenset(
    {b"content-length", b"grpc-timeout", b"x-envoy-internal", b"x-forwarded-for", b"x-forwarded-proto"}
)
# Of the connection, not of the answer; and `date`, which Envoy adds where there is none.
_OF_THE_HOP = frozenset({b"connection", b"content-length", b"date", b"server", b"transfer-encoding"})

Lines = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One raw request."""

    head: bytes
    """Start line and header lines, each with its line end, without the empty line."""
    body: bytes

    def through(self, connection: RawConnection, key: int) -> Message:
        return connection.exchange(b"%s%s: %d\r\n\r\n%s" % (self.head, _KEY, key, self.body))


def parse_request(text: str, host: str) -> Request:
    """`METHOD TARGET | Header: value | Body: text`; Host is `host` where no header says otherwise."""
    start, *fields = [part.strip() for part in text.split(" | ")]
    names = [field.partition(":")[0].lower() for field in fields]
    body = b""
    if "body" in names:
        body = fields.pop(names.index("body")).partition(": ")[2].encode()
    if "host" not in names:
        fields.insert(0, f"Host: {host}")
    if "Transfer-Encoding: chunked" in fields:
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    return Request("".join(f"{part}\r\n" for part in [f"{start} HTTP/1.1", *fields]).encode(), body)


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of one request through one proxy."""

    response: Message
    received: tuple[tuple[str, Message], ...]
    """(backend, request) for each that arrived, sorted by backend and Host."""

    @property
    def outcome(self) -> str:
        """`v1 + v2` where backends got it, else `301 http://where.it/went`."""
        if self.received:
            return " + ".join(label for label, _ in self.received)
        location = b"".join(self.response.values(b"location")).decode()
        return f"{self.response.status} {location}".strip()

    def comparable(self, request: Request) -> tuple[object, ...]:
        """All that must be the same through both proxies, header names without regard to case.

        Header lines keep their order in requests. Envoy gives `content-type` of its own answers
        another place, so there the lines are sorted.
        """
        sent_by_client = {line.partition(b":")[0].lower() for line in request.head.split(b"\r\n")[1:]}
        ignored = _ADDED_BY_ENVOY - sent_by_client | {_KEY}
        return (
            self.response.status,
            tuple(sorted(_lines(self.response, _OF_THE_HOP))),
            self.response.body,
            *((label, each.start_line, _lines(each, ignored), each.body) for label, each in self.received),
        )


def _lines(message: Message, ignored: frozenset[bytes] | set[bytes]) -> Lines:
    lower = ((name.lower(), value) for name, value in message.fields)
    return tuple(field for field in lower if field[0] not in ignored)


class Scene:
    """Both proxies with the same rules, before the same backends. mitmdump has `lab.control` loaded."""

    def __init__(self, backends: Mapping[str, Backend], envoy: Envoy, mitmdump: Mitmdump) -> None:
        self.backends = backends
        self.envoy = envoy
        self.mitmdump = mitmdump
        self._sent = 0

    def observe(self, requests: Sequence[Request]) -> list[dict[str, Seen]]:
        """What came of each request, by proxy, once all shadows have ended."""
        first = {proxy: self._sent + number * len(requests) for number, proxy in enumerate(PROXIES)}
        self._sent += len(PROXIES) * len(requests)
        for backend in self.backends.values():
            backend.clear()
        ports = {"envoy": self.envoy.port, "addon": self.mitmdump.port}
        answers = {proxy: list(_send(ports[proxy], requests, first[proxy])) for proxy in PROXIES}
        self.envoy.wait_until_idle()
        self._wait_for_shadows()
        if errors := [error for backend in self.backends.values() for error in backend.errors]:
            raise RuntimeError(f"backends saw {errors}\n{self.mitmdump.output}")
        received: dict[int, list[tuple[str, Message]]] = {}
        for label, backend in sorted(self.backends.items()):
            for message in backend.requests:
                received.setdefault(int(message.values(_KEY)[0]), []).append((label, message))
        for messages in received.values():
            # Primary and shadow of one backend come in any order; their Hosts tell them apart.
            messages.sort(key=lambda item: (item[0], item[1].values(b"host")))
        return [
            {
                proxy: Seen(answers[proxy][number], tuple(received.get(first[proxy] + number, ())))
                for proxy in PROXIES
            }
            for number in range(len(requests))
        ]

    def serve_rules(self, path: Path) -> None:
        """Has mitmdump serve a rule file from now on. RuntimeError has the reason where it refuses."""
        answer = self._control(b"PUT", b"/rules", str(path).encode())
        if answer.status != 200:
            raise RuntimeError(answer.body.decode())

    def end(self) -> None:
        """Ends mitmdump. RuntimeError where it did not end well."""
        status = self.mitmdump.stop(signal.SIGINT)
        if status or self.mitmdump.totals()["pending"]:
            raise RuntimeError(f"mitmdump ended with {status}\n{self.mitmdump.output}")

    def _wait_for_shadows(self) -> None:
        # Each was counted before its primary was asked. Polls, as nobody tells when the last one ends.
        deadline = time.monotonic() + START_TIMEOUT_S
        while pending := int(self._control(b"GET", b"/pending").body):
            if time.monotonic() >= deadline:
                raise RuntimeError(f"{pending} shadows are still under way\n{self.mitmdump.output}")
            time.sleep(0.002)

    def _control(self, method: bytes, path: bytes, body: bytes = b"") -> Message:
        lines = (b"%s %s HTTP/1.1" % (method, path), b"Host: %s" % control.HOST.encode())
        head = b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"Connection: close", b"", b""])
        return send_raw(self.mitmdump.port, head + body)


def _send(port: int, requests: Iterable[Request], first: int) -> Iterable[Message]:
    with contextlib.ExitStack() as open_connection:
        connection: RawConnection | None = None
        for key, request in enumerate(requests, first):
            connection = connection or open_connection.enter_context(RawConnection(port))
            answer = request.through(connection, key)
            if not answer.keeps_alive:
                open_connection.close()
                connection = None
            yield answer

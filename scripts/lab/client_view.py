"""What a client sees of a proxy: the same requests over HTTP/1.1 and HTTP/2, their answers byte for byte."""

import hashlib
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import httpx

from lab.backend import Backend, response
from lab.client import TIMEOUT_S, RawConnection
from lab.wire import Message, WireError

UPLOAD_BYTES = 8 << 20
"""More than what the sockets of a connection hold, so that a server that does not read is felt."""


@dataclass(frozen=True, slots=True)
class ClientView:
    """All that one client could tell two proxies apart by, but for time."""

    kept_alive: tuple[bytes, ...]
    """The answers on one connection, whole."""
    closed: tuple[bytes, ...]
    """The answers on a connection that its last request ends."""
    is_closed: bool
    """Whether the proxy then closed it."""
    http2: tuple[tuple[int, int, str, tuple[tuple[bytes, bytes], ...], bytes], ...]
    """Answers over HTTP/2 with TLS: stream (one connection: 1, 3, 5), status, version, headers, body."""
    primaries: tuple[bytes, ...]
    """What the primary received, whole, without the Host's value."""
    primary_connections: int


VIEW_REQUESTS = 9
"""Requests that make a view."""


def answer_by_digest(request: Message) -> bytes:
    """A primary's answer that depends on everything in the request but its Host."""
    digest = hashlib.sha256(request.body).hexdigest()
    body = b"%s %s %d %s" % (request.method, request.target, len(request.body), digest.encode())
    status = "404 Not Found" if request.target.startswith(b"/missing") else "200 OK"
    whole = response(body, status, b"X-Twice: 1", b"x-twice: 2", b"Set-Cookie: a=1; Path=/")
    return whole[: -len(body)] if request.method == b"HEAD" else whole


def look(
    port: int, host: str, primary: Backend, authority: Path, after_each: Callable[[int], object]
) -> ClientView:
    """Send `VIEW_REQUESTS` requests for `host` through a regular proxy, one after the other.

    `authority` is the proxy's CA certificate; `after_each` is called with the number of requests so far.
    """
    primary.clear()
    before = primary.connections
    sent = 0

    def exchange(connection: RawConnection, request: bytes) -> bytes:
        nonlocal sent
        raw = connection.exchange(request).raw
        sent += 1
        after_each(sent)
        return raw

    upload = b"\x00\xff" * (UPLOAD_BYTES // 2)
    with RawConnection(port) as connection:
        kept_alive = [
            exchange(connection, _head("GET", host, "/first?a=1&a=2")),
            exchange(connection, _head("POST", host, "/second", f"Content-Length: {len(upload)}") + upload),
            exchange(connection, _head("HEAD", host, "/third")),
            exchange(connection, _head("GET", host, "/missing")),
        ]
    chunked = b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
    with RawConnection(port) as connection:
        closed = [
            exchange(connection, _head("PUT", host, "/chunked", "Transfer-Encoding: chunked") + chunked),
            exchange(connection, _head("GET", host, "/last", "Connection: close")),
        ]
        is_closed = _is_closed(connection)
    http2 = []
    with httpx.Client(
        http2=True,
        verify=_OnlyHttp2.trusting(authority),
        proxy=f"http://127.0.0.1:{port}",
        timeout=TIMEOUT_S,
        trust_env=False,
    ) as client:
        for method, path, content in (("GET", "/1", b""), ("POST", "/2", b"two"), ("GET", "/missing", b"")):
            answer = client.request(method, f"https://{host}{path}", content=content)
            stream = int(answer.extensions["stream_id"])
            fields = tuple(answer.headers.raw)
            http2.append((stream, answer.status_code, answer.http_version, fields, answer.content))
            sent += 1
            after_each(sent)
    primaries = tuple(request.raw.replace(host.encode(), b"HOST") for request in primary.requests)
    return ClientView(
        kept_alive=tuple(kept_alive),
        closed=tuple(closed),
        is_closed=is_closed,
        http2=tuple(http2),
        primaries=primaries,
        primary_connections=primary.connections - before,
    )


class _OnlyHttp2(ssl.SSLContext):
    """httpx offers HTTP/1.1 first, which mitmproxy then takes; and without that it does not open a tunnel."""

    @classmethod
    def trusting(cls, authority: Path) -> "_OnlyHttp2":
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(authority)
        return context

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:  # noqa: ARG002 - the original's
        super().set_alpn_protocols(["h2"])


def _head(method: str, host: str, path: str, *lines: str) -> bytes:
    head = [f"{method} http://{host}{path} HTTP/1.1", f"Host: {host}", "Accept: */*", *lines]
    return "\r\n".join([*head, "", ""]).encode()


def _is_closed(connection: RawConnection) -> bool:
    try:
        connection.receive()
    except WireError:
        return True
    return False

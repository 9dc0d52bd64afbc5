"""Ends a request with its trailers, which httpcore cannot: it ends each body with an empty DATA frame.

Only in HTTP/2. Over HTTP/1.1 they are left out, as whoever forwards a message may (RFC 9110, 6.5.1), and
as they are of a primary that goes on in HTTP/1.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import httpcore
import httpx

from mitm_mirror.client.connections import protocols
from mitm_mirror.client.outgoing import UnsendableRequestError
from mitm_mirror.client.request import Fields

_OF_THE_CONNECTION = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade"}
)
"""Forbidden in HTTP/2 (RFC 9113, 8.2.2; `te` is for heads alone), and left out as they are in heads."""

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""So no pseudo header, which trailers must not have (RFC 9113, 8.1)."""

_FORBIDDEN = re.compile(rb"[\0\r\n]")
"""RFC 9113, 8.2.1."""


def sendable(trailers: Fields) -> Fields:
    """Those that HTTP/2 can say. Raises UnsendableRequestError where they would make a malformed request.

    h2 would find only some of it, and only when the body is sent and its compressor is in disorder.
    """
    for name, value in trailers:
        if not _NAME.fullmatch(name) or _FORBIDDEN.search(value):
            raise UnsendableRequestError("a trailer has a name or a value that is none in HTTP")
    return tuple(field for field in trailers if field[0].lower() not in _OF_THE_CONNECTION)


def end_with_trailers(
    outgoing: httpx.Request, transport: httpx.AsyncBaseTransport, known: Callable[[], Fields]
) -> None:
    """Have `outgoing` end with what `known` gives when its body is complete, if it goes over HTTP/2.

    `transport` has one connection and one request at a time on it. Whether that speaks HTTP/2 is known
    when httpcore tells its `trace` extension that it begins to send.

    Raises UnsendableRequestError for those that are known and cannot be sent; for others the body's end
    does.
    """
    sendable(known())
    before = outgoing.extensions.get("trace")

    async def trace(event: str, info: Mapping[str, Any]) -> None:
        if event == "http2.send_request_headers.started":
            _expect_end(info["request"])
            for http2 in protocols(transport):
                _replace_end(http2._h2_state, known)  # noqa: SLF001 - see `protocols`
        if before is not None:
            await before(event, info)

    outgoing.extensions["trace"] = trace


def _expect_end(request: httpcore.Request) -> None:
    """Keeps the stream open for trailers where there is no body: httpcore goes by the framing of HTTP/1.1."""
    if not any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in request.headers):
        # Not before it is known to be HTTP/2, where this line is never written.
        request.headers = [*request.headers, (b"transfer-encoding", b"chunked")]


def _replace_end(connection: Any, known: Callable[[], Fields]) -> None:
    """Once, lets `end_stream` of an h2 connection, which is how httpcore ends a body, send trailers.

    Not a subclass of httpcore's connection: that is made deep inside of it, with a class that can only be
    replaced for the whole process, which is mitmproxy's.
    """

    def end_stream(stream_id: int) -> None:
        del vars(connection)["end_stream"]
        trailers = sendable(known())
        if trailers:
            connection.send_headers(stream_id, trailers, end_stream=True)
        else:
            connection.end_stream(stream_id)

    vars(connection)["end_stream"] = end_stream

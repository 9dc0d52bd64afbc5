"""From an OutgoingRequest to the httpx request that puts the same bytes on the wire.

httpx means well: it upper-cases methods, normalises paths and adds headers. Everything here keeps it
from doing so. No text from here ever carries a header value, a path or a body.
"""

from collections.abc import AsyncIterator
from functools import lru_cache

import httpx

from mitm_mirror.client.request import OutgoingRequest
from mitm_mirror.client.upload import Upload


class UnsendableRequestError(Exception):
    """The request cannot be written as one HTTP message; the text is safe for a log."""


class BadAddressError(Exception):
    """The endpoint's address is neither an IP address nor a host name."""


class _Body(httpx.AsyncByteStream):
    """A whole body is one chunk, as mitmproxy sends the primary's, and none where it is empty."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._body:
            yield self._body


class _UploadBody(httpx.AsyncByteStream):
    """A body that is still coming."""

    def __init__(self, upload: Upload, *, joined: bool) -> None:
        self._upload = upload
        self._joined = joined

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._upload.pieces(joined=self._joined)


def build_request(request: OutgoingRequest, body: bytes | Upload) -> httpx.Request:
    """The request to hand to a transport. Raises UnsendableRequestError or BadAddressError.

    That an upload is as long as its Content-Length says is only seen when it ends.
    """
    chunked = check_framing(request, body)
    extensions: dict[str, object] = {"target": request.target}
    if request.scheme == "https":
        extensions["sni_hostname"] = request.sni or request.address
    # With `stream` httpx adds no header of its own (no Content-Length next to a Transfer-Encoding).
    outgoing = httpx.Request(
        "GET",
        endpoint_url(request.scheme, request.address, request.port),
        headers=request.headers,
        # Chunks stay those that the primary gets. HTTP/2 has its own frames, which httpcore cuts off one by
        # one and copies the rest each time.
        stream=_UploadBody(body, joined=not chunked and not request.http2)
        if isinstance(body, Upload)
        else _Body(body),
        extensions=extensions,
    )
    try:
        outgoing.method = request.method.decode("ascii")  # the constructor would upper-case it
    except UnicodeDecodeError:
        raise UnsendableRequestError("the method is not ASCII") from None
    return outgoing


@lru_cache(maxsize=4096)
def endpoint_url(scheme: str, address: str, port: int) -> httpx.URL:
    """Says where to connect and nothing else: the target is given beside it."""
    if address.startswith("unix:"):
        return httpx.URL(scheme=scheme, host="localhost")  # the transport knows the socket
    # An empty host, and one that httpx would escape (`a b` -> `a%20b`), are not addresses; `%` is fine
    # in an IPv6 zone (`fe80::1%eth0`).
    if not address or any(char in address for char in " /?#@[]\\"):
        raise BadAddressError("the endpoint's address is not a host name")
    try:
        return httpx.URL(scheme=scheme, host=address, port=port)
    except httpx.InvalidURL:
        raise BadAddressError("the endpoint's address is not a host name") from None


def check_framing(request: OutgoingRequest, body: bytes | Upload) -> bool:
    """Whether the body is chunked. Raises UnsendableRequestError where headers and body disagree about the
    message's end.

    h11 would find most of these only after the head was on the wire, and a message with both
    framings is how requests are smuggled (RFC 9112, 6.3).
    """
    if request.method == b"CONNECT":
        raise UnsendableRequestError("CONNECT opens a tunnel and is no request to send")
    lengths = [value for name, value in request.headers if name.lower() == b"content-length"]
    codings = [value for name, value in request.headers if name.lower() == b"transfer-encoding"]
    if codings:
        if lengths:
            raise UnsendableRequestError("it has both Content-Length and Transfer-Encoding")
        if len(codings) > 1 or codings[0].strip().lower() != b"chunked":
            raise UnsendableRequestError("its Transfer-Encoding is not just chunked")
    elif isinstance(body, Upload):
        if len(lengths) != 1 or not lengths[0].strip().isdigit():
            raise UnsendableRequestError("its body comes in pieces, but neither chunked nor with one length")
    elif lengths:
        if any(length.strip() != str(len(body)).encode() for length in lengths):
            raise UnsendableRequestError("its Content-Length is not the length of its body")
    elif body:
        raise UnsendableRequestError("it has a body, but neither Content-Length nor Transfer-Encoding")
    return bool(codings)

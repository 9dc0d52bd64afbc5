"""Between mitmproxy's flows and the package's values: read a head, apply a decision, take a copy."""

import msgspec
from mitmproxy import http
from mitmproxy.proxy import mode_specs

from mitm_mirror.client.request import OutgoingRequest
from mitm_mirror.proxy.upstream_address import UpstreamAddress
from mitm_mirror.routing.authority import bracketed, server_name, written_port
from mitm_mirror.routing.decision import Endpoint, Forward, MirrorCopy, Target
from mitm_mirror.routing.headers import NO_OPERATIONS, apply_operations
from mitm_mirror.routing.request import HeaderFields, RequestHead
from mitm_mirror.routing.trace_context import unsample
from mitm_mirror.text import decode, encode

_REVERSE = mode_specs.ReverseMode.type_name
_UPSTREAM = mode_specs.UpstreamMode.type_name
"""By name: to ask of which class a mode is costs ten times as much, as its classes are abstract ones."""

FRAMED_BY_STREAMS = frozenset({b"HTTP/2.0", b"HTTP/3"})
"""HTTP versions in which header lines need say nothing of the body's length."""

_METHODS_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS", "DELETE", "TRACE", "CONNECT"})
"""Which may have one, but have none as a rule (RFC 9110, 9.3)."""

_BODILESS_STATUSES = frozenset({204, 304})


class RoutedRequest(msgspec.Struct, frozen=True, gc=False):
    """A routed request as it goes to its primary: what its copies are made of.

    A snapshot: what becomes of the flow later does not reach it.
    """

    method: bytes
    target: bytes
    scheme: str
    http_version: bytes
    authority: bytes
    """Of HTTP/2 and HTTP/3, and of a target in absolute form; else empty."""
    headers: HeaderFields
    trailers: HeaderFields
    is_for_upstream_proxy: bool
    """Whether the primary goes by way of mitmproxy's upstream proxy."""

    @classmethod
    def of(cls, flow: http.HTTPFlow) -> "RoutedRequest":
        """The flow's request as it is now."""
        data = flow.request.data
        return cls(
            data.method,
            data.path,
            decode(data.scheme),
            data.http_version,
            data.authority,
            data.headers.fields,
            data.trailers.fields if data.trailers else (),
            flow.client_conn.proxy_mode.type_name == _UPSTREAM,
        )

    @property
    def is_http2(self) -> bool:
        """Whether its client speaks HTTP/2."""
        return self.http_version == b"HTTP/2.0"


def read_head(flow: http.HTTPFlow) -> RequestHead:
    """What routing may know of the flow's request; call it before anything is applied.

    The port is the one that the client addressed: the one in the authority; without one, the
    original destination's, or in reverse mode (where that is our own upstream) the scheme's default.
    """
    request = flow.request
    data = request.data
    fields = data.headers.fields
    authority = _authority(request, fields)
    reverse = flow.client_conn.proxy_mode.type_name == _REVERSE
    if reverse:
        scheme, port = ("https", 443) if flow.client_conn.tls else ("http", 80)
    else:
        scheme, port = request.scheme, request.port
        # HTTP/1.0 may come without Host; where the client meant to go is then all there is: the URI's
        # host, the one that CONNECT or SOCKS named, or in transparent mode an address (a ServiceEntry's
        # `addresses` may know it).
        if not authority:
            authority = f"{bracketed(request.host)}:{request.port}"
    written = written_port(authority)
    port = port if written is None else written
    return RequestHead(
        method=decode(data.method),
        scheme=scheme,
        authority=authority,
        target=data.path,
        headers=fields,
        port=port,
        client=flow.client_conn.peername[0],
        # Behind a reverse proxy the client addressed us; what it meant is in its Host.
        original_host=server_name(authority) if reverse else request.host,
        original_port=port if reverse else request.port,
    )


def apply_forward(flow: http.HTTPFlow, forward: Forward) -> None:
    """Points the flow at its primary and makes the rules' changes to its request."""
    # `request.host = ...` would rewrite Host and :authority too; the data behind it does not.
    data = flow.request.data
    endpoint = forward.target.endpoint
    data.port = endpoint.port
    if endpoint.scheme is not None:
        data.scheme = endpoint.scheme.encode()
    # What an upstream proxy is sent in clear text is HTTP/1.
    to_proxy = data.scheme == b"http" and flow.client_conn.proxy_mode.type_name == _UPSTREAM
    data.host = endpoint.address if to_proxy else upstream_address(data.scheme, endpoint, forward.sni)
    if forward.path is not None:
        data.path = forward.path
    fields = data.headers.fields
    for operations in forward.request_headers:
        fields = apply_operations(fields, operations)
    authority = encode(forward.authority)
    if data.http_version in FRAMED_BY_STREAMS:
        data.authority = authority
        fields = _with_host(fields, authority, insert=False)
    else:
        fields = _with_host(fields, authority, insert=bool(authority))
        if data.authority:
            # Absolute form is for proxies. An upstream proxy must be asked for the endpoint, not for the
            # service that only the rules know; everything else gets origin form, as from Envoy, and so
            # does an endpoint with TLS, to which the proxy gives us a tunnel.
            data.authority = endpoint.host_port.encode() if to_proxy else b""
    data.headers.fields = fields


def upstream_address(scheme: bytes, endpoint: Endpoint, sni: str) -> str:
    """The host of a flow that goes to an endpoint."""
    if scheme == b"https" or endpoint.http2:
        return UpstreamAddress(endpoint.address, sni, endpoint.tls, http2=endpoint.http2)
    return endpoint.address


def goes_over_http1(request: http.Request) -> bool:
    """Whether its primary is certainly sent in HTTP/1; over TLS that is not known before the handshake."""
    host = request.data.host
    return request.scheme == "http" and not (isinstance(host, UpstreamAddress) and host.http2)


def frame_http2_body(request: http.Request) -> None:
    """Gives the body of a request in HTTP/2 or HTTP/3 a length, where it has none.

    HTTP/2 needs none, but mitmproxy writes such a request to an HTTP/1 server without any framing: its
    body would be read as the next request. Plain mitmproxy avoids it by connecting upstream first
    (`connection_strategy=eager`), which routing cannot.
    """
    if request.raw_content:
        request.headers.fields = _framed(request.headers.fields, len(request.raw_content))


def frame_http2_stream(request: http.Request) -> None:
    """The same for a body that is streamed to a server that speaks HTTP/1: it is sent in chunks.

    Never to one that speaks HTTP/2: there mitmproxy writes the header line as it stands.
    """
    if "content-length" not in request.headers:
        request.headers["transfer-encoding"] = "chunked"


def has_body_of_unknown_size(request: http.Request) -> bool:
    """Whether a body follows of which nobody knows the length yet. In HTTP/2 the method has to tell."""
    # Over the raw lines, here and below: each question to mitmproxy's headers costs as much as all of this.
    names = {name.lower() for name, _ in request.data.headers.fields}
    if b"content-length" in names:
        return False
    if request.data.http_version in FRAMED_BY_STREAMS:
        return request.method not in _METHODS_WITHOUT_BODY
    return b"transfer-encoding" in names


def trailers_of(request: http.Request) -> HeaderFields:
    """Its trailers. Rules have no say in them: Envoy, too, changes those of no request."""
    trailers = request.data.trailers
    return trailers.fields if trailers else ()


def is_upstream_mode(flow: http.HTTPFlow) -> bool:
    """Whether it goes by way of mitmproxy's upstream proxy."""
    return flow.client_conn.proxy_mode.type_name == _UPSTREAM


def asks_to_upgrade(fields: HeaderFields) -> bool:
    """Whether a request would make a websocket, or another protocol, of its connection."""
    for name, _ in fields:  # noqa: SIM110  (a generator costs twice as much)
        if len(name) == 7 and name.lower() == b"upgrade":
            return True
    return False


def is_grpc(request: http.Request) -> bool:
    """Whether it is a gRPC call (as in Envoy's Grpc::Common::isGrpcRequestHeaders, by its content type)."""
    content_type: str = request.headers.get("content-type", "")
    return content_type.partition("+")[0] == "application/grpc"


def apply_pass_through(flow: http.HTTPFlow) -> None:
    """Keeps a flow without rules off the TLS connections that rules opened on the same client connection."""
    data = flow.request.data
    if data.scheme == b"https":
        data.host = UpstreamAddress(data.host)


def hide_proxy_credentials(flow: http.HTTPFlow) -> None:
    """Takes from a routed request what only an upstream proxy may read, where that proxy gives us a tunnel.

    mitmproxy's `upstream_auth` adds it wherever the scheme is http, which inside of a client's tunnel is
    what rules have made of https; mitmproxy then asks the proxy for a tunnel all the same.
    """
    request = flow.request
    mode = flow.client_conn.proxy_mode.type_name
    if mode == _UPSTREAM and (flow.client_conn.tls or not request.data.authority):
        request.data.headers.fields = _without_proxy_authorization(request.data.headers.fields)


def make_answer(flow: http.HTTPFlow, status: int, headers: HeaderFields, body: bytes) -> http.Response:
    """A response of the rules' own."""
    response = http.Response.make(status, body, headers)
    if flow.request.method == "HEAD" or status in _BODILESS_STATUSES:
        # mitmproxy writes what is there, and a client would read it as the next response. The
        # Content-Length that `make` computed stays for HEAD (RFC 9110 9.3.2), not for 204 (8.6).
        response.data.content = b""
        if status in _BODILESS_STATUSES:
            del response.headers["content-length"]
    return response


def copy_request(
    request: RoutedRequest,
    copy: MirrorCopy,
    target: Target,
    body_bytes: int | None,
    *,
    unsample_traces: bool = False,
) -> OutgoingRequest:
    """The copy of a routed request for one mirror, equal to the primary apart from its Host.

    `body_bytes` is None where the body is still coming and nobody said how long it is. With
    `unsample_traces` tracing is told not to record it.
    """
    fields = request.headers
    if request.http_version in FRAMED_BY_STREAMS:
        fields = _as_http1(request, target, body_bytes)
    fields = _with_host(fields, encode(copy.authority), insert=True)
    if unsample_traces:
        fields = unsample(fields)
    if request.is_for_upstream_proxy:
        # The primary may carry it for the proxy on its way. On a shadow's way there is none.
        fields = _without_proxy_authorization(fields)
    if copy.headers is not NO_OPERATIONS:
        fields = apply_operations(fields, copy.headers)
    return _outgoing(request, target, copy.sni, fields)


def primary_request(request: RoutedRequest, forward: Forward, target: Target, body: bytes) -> OutgoingRequest:
    """The routed request itself for one of its destination's endpoints, as mitmproxy would send it."""
    fields = request.headers
    if request.http_version in FRAMED_BY_STREAMS:
        fields = _with_host(_as_http1(request, target, len(body)), request.authority, insert=True)
    return _outgoing(request, target, forward.sni, fields)


def _outgoing(request: RoutedRequest, target: Target, sni: str, fields: HeaderFields) -> OutgoingRequest:
    endpoint = target.endpoint
    scheme = endpoint.scheme or request.scheme
    # What mitmproxy does for the primary: over TLS it offers what the client has offered.
    http2 = endpoint.http2 or (scheme == "https" and request.is_http2)
    return OutgoingRequest(
        scheme=scheme,
        address=endpoint.address,
        port=endpoint.port,
        sni=sni if scheme == "https" else "",
        method=request.method,
        target=request.target,
        headers=fields,
        tls=endpoint.tls,
        http2=http2,
        trailers=request.trailers if http2 else (),
    )


def _as_http1(request: RoutedRequest, target: Target, body_bytes: int | None) -> HeaderFields:
    """The header lines of a request in HTTP/2 or HTTP/3 as they are written to this server."""
    # Crumbs stay where HTTP/2 is certain; over TLS the server may yet choose HTTP/1.1.
    endpoint = target.endpoint
    certain = endpoint.http2 and (endpoint.scheme or request.scheme) == "http"
    fields = request.headers
    return _framed(fields if certain else _join_cookies(fields), body_bytes)


def _without_proxy_authorization(fields: HeaderFields) -> HeaderFields:
    return tuple(field for field in fields if field[0].lower() != b"proxy-authorization")


def _authority(request: http.Request, fields: HeaderFields) -> str:
    data = request.data
    if data.authority and data.http_version in FRAMED_BY_STREAMS:
        return decode(data.authority)
    for name, value in fields:
        if len(name) == 4 and name.lower() == b"host":
            return decode(value)
    return decode(data.authority)


def _with_host(fields: HeaderFields, authority: bytes, *, insert: bool) -> HeaderFields:
    """Header lines with every Host's value replaced; with `insert`, put first where there is none."""
    found = False
    changed: list[tuple[bytes, bytes]] | None = None
    for at, (name, value) in enumerate(fields):
        if len(name) == 4 and name.lower() == b"host":
            found = True
            if value != authority:
                changed = list(fields) if changed is None else changed
                changed[at] = (name, authority)
    if changed is not None:
        return tuple(changed)
    return fields if found or not insert else ((b"Host", authority), *fields)


def _framed(fields: HeaderFields, body_bytes: int | None) -> HeaderFields:
    """Header lines with a framing of HTTP/1 for a body without: its length, or chunks if that is unknown."""
    if body_bytes == 0 or any(
        name.lower() in (b"content-length", b"transfer-encoding") for name, _ in fields
    ):
        return fields
    if body_bytes is None:
        return (*fields, (b"transfer-encoding", b"chunked"))
    return (*fields, (b"content-length", b"%d" % body_bytes))


def _join_cookies(fields: HeaderFields) -> HeaderFields:
    """Header lines with HTTP/2's cookie crumbs as one line, as mitmproxy writes them to an HTTP/1 server.

    Source: RFC 9113, 8.2.3.
    """
    cookies = [value for name, value in fields if name.lower() == b"cookie"]
    if len(cookies) < 2:
        return fields
    first = next(i for i, (name, _) in enumerate(fields) if name.lower() == b"cookie")
    rest = (field for field in fields[first:] if field[0].lower() != b"cookie")
    return (*fields[:first], (b"cookie", b"; ".join(cookies)), *rest)

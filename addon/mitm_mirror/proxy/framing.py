"""HTTP/2 uploads without a length, from their heads until it is known which HTTP version they go on in."""

from collections.abc import Callable

from mitmproxy import connection, http
from mitmproxy.proxy.layers.http import is_h3_alpn

from mitm_mirror.proxy.flows import FRAMED_BY_STREAMS, frame_http2_stream, goes_over_http1
from mitm_mirror.proxy.waiting import WaitingFlows


def speaks_http1(server: connection.Server) -> bool:
    """Whether mitmproxy sends HTTP/1 over a connection that is set up; it goes by what ALPN chose."""
    return server.alpn != b"h2" and not is_h3_alpn(server.alpn)


def is_for_tls_server(request: http.Request, server: connection.Server) -> bool:
    """Whether it goes to the server of a TLS connection."""
    return request.scheme == "https" and (request.data.host, request.data.port) == server.address


class UnframedUploads:
    """Gives them the framing that HTTP/1 needs, between the connection to their server and their heads.

    mitmproxy connects after `requestheaders` (and, where a body grows past `stream_large_bodies`, long
    after it and without another hook), and sends a streamed request's head right when it has connected.
    To an HTTP/1 server it would write head and body without any framing, so that the body is read as the
    next request. Only the hooks of the connection tell in time whether the body is streamed, and over
    TLS what the server has chosen. There always is a connection of its own: mitmproxy puts an HTTP/2
    client's requests on a connection that it has only if that one speaks HTTP/2.

    To offer HTTP/1.1 alone would be simpler, but gRPC needs HTTP/2. To frame all and take it back is not
    possible: mitmproxy would send `transfer-encoding` in HTTP/2, where it is forbidden (RFC 9113, 8.2.2).
    """

    def __init__(self) -> None:
        self._waiting = WaitingFlows()

    def __bool__(self) -> bool:
        """Whether anything waits: most often there is nothing to be told of."""
        return bool(self._waiting)

    def expect(self, flow: http.HTTPFlow) -> None:
        """Call it at the end of `requestheaders`."""
        request = flow.request
        if request.data.http_version not in FRAMED_BY_STREAMS or "content-length" in request.headers:
            return
        if request.stream and goes_over_http1(request):
            frame_http2_stream(request)  # as certain as it will ever be
        else:
            self._waiting.add(flow.client_conn.id, flow)

    def forget(self, flow: http.HTTPFlow) -> None:
        """Its body is complete, and gets a length if it was not sent yet; or it ended without."""
        self._waiting.forget(flow.client_conn.id, flow)

    def release(self, client_id: str) -> None:
        """The client has left."""
        self._waiting.pop(client_id, None)

    def connected(self, client: connection.Client) -> None:
        """There is a connection, to a server or to a proxy on the way: clear text may be sent."""
        self._frame(client, goes_over_http1)

    def agreed(self, client: connection.Client, server: connection.Server) -> None:
        """TLS is set up with a server: what goes to it may be sent."""
        if speaks_http1(server):
            self._frame(client, lambda request: is_for_tls_server(request, server))

    def _frame(self, client: connection.Client, may_go: Callable[[http.Request], bool]) -> None:
        # Several may wait for one connection. In HTTP/1 it serves the first of them, and mitmproxy makes
        # others for the rest, each with its hooks. Should one of those choose HTTP/2 after all (behind one
        # address are servers that differ), its request has a framing too many and is refused there. Which
        # one that will be no hook tells, and to take it from another would let that one's body be smuggled.
        for flow in self._waiting.unsent(client.id):
            if flow.request.stream and may_go(flow.request):
                frame_http2_stream(flow.request)

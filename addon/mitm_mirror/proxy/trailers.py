"""Trailers of requests that are complete, until it is known which HTTP version their primaries go on in."""

from mitmproxy import connection, http

from mitm_mirror.proxy.flows import goes_over_http1
from mitm_mirror.proxy.framing import is_for_tls_server, speaks_http1
from mitm_mirror.proxy.waiting import WaitingFlows

_REPLAYED = ""
"""In the place of a client: mitmproxy replays a flow over a copy of its client's connection, with an id that
no flow has."""


class LateTrailers:
    """Takes the trailers of a request away that goes on in HTTP/1, as RFC 9110, 6.5.1 allows.

    mitmproxy hands them to its HTTP/1 client, which cannot write them: the handler of the client's
    connection crashes, and a client whose body is streamed waits for ever. Call it when the copies have
    been taken: each of them carries the trailers if its own connection can.
    """

    def __init__(self) -> None:
        self._waiting = WaitingFlows()
        """For the same reasons as in `UnframedUploads`."""

    def settle(self, flow: http.HTTPFlow) -> None:
        """Call it at the end of `request`, where there are any."""
        if flow.request.stream:
            # Its connection stands, and has taken the body.
            if speaks_http1(flow.server_conn):
                flow.request.trailers = None
        elif goes_over_http1(flow.request):
            flow.request.trailers = None
        else:
            # It may go over a connection that stands: mitmproxy has an HTTP/2 client's requests share one
            # only if it speaks HTTP/2. For any other there is a handshake first.
            self._waiting.add(_client_id(flow), flow)

    def forget(self, flow: http.HTTPFlow) -> None:
        """It has an answer, or has failed."""
        self._waiting.forget(_client_id(flow), flow)

    def release(self, client_id: str) -> None:
        """The client has left."""
        self._waiting.pop(client_id, None)

    def agreed(self, client: connection.Client, server: connection.Server) -> None:
        """TLS is set up with a server: what goes to it may be sent."""
        if not speaks_http1(server):
            return
        # Also those for which mitmproxy makes further connections, which may yet choose HTTP/2: which one is
        # sent over this one no hook tells.
        for client_id in (client.id, _REPLAYED):
            for flow in self._waiting.unsent(client_id):
                if is_for_tls_server(flow.request, server):
                    flow.request.trailers = None
                    self.forget(flow)


def _client_id(flow: http.HTTPFlow) -> str:
    return _REPLAYED if flow.is_replay else flow.client_conn.id

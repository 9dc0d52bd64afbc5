"""What has to come last in every hook: the copy that is mirrored, and the log of the primary.

So a copy carries what later addons (`modify_body`, other scripts) still changed, and a request that one of
them answered itself (`map_local`) is not mirrored.
"""

from collections.abc import Awaitable
from functools import partial

from mitmproxy import connection, http

from mitm_mirror.proxy.bugs import BugCounter, guarded
from mitm_mirror.proxy.exchange import Exchange, Exchanges, StreamTap
from mitm_mirror.proxy.flows import (
    frame_http2_body,
    has_body_of_unknown_size,
    hide_proxy_credentials,
)
from mitm_mirror.proxy.framing import UnframedUploads
from mitm_mirror.proxy.mirrors import Mirrors
from mitm_mirror.proxy.primary import EndedPrimary
from mitm_mirror.proxy.sending import PrimarySender
from mitm_mirror.proxy.trailers import LateTrailers
from mitm_mirror.routing.decision import Forward, is_any_due


class MirrorTail:
    """Takes the copies and logs the primaries of the flows in `exchanges`.

    No addon: `MirrorAddon` has its hooks called when all addons have had theirs.
    """

    def __init__(
        self,
        bugs: BugCounter,
        exchanges: Exchanges,
        mirrors: Mirrors,
    ) -> None:
        self.bugs = bugs
        self._exchanges = exchanges
        self._mirrors = mirrors
        self._unframed = UnframedUploads()
        self._trailers = LateTrailers()
        self.large_bodies_are_streamed = False
        """mitmproxy's `stream_large_bodies`."""
        self.sender: PrimarySender | None = None
        """None before the first configuration and after the end."""

    @guarded
    def requestheaders(self, flow: http.HTTPFlow) -> None:
        exchange = self._exchanges.get(flow)
        forward = exchange.decision if exchange and isinstance(exchange.decision, Forward) else None
        due = forward is not None and is_any_due(forward.mirrors)
        if due and self.large_bodies_are_streamed and has_body_of_unknown_size(flow.request):
            # mitmproxy would begin to stream it half-way, and tell nobody: the copy needs its beginning.
            flow.request.stream = True
        if forward is not None:
            hide_proxy_credentials(flow)  # which another addon has put there just now
        self._unframed.expect(flow)
        if not flow.request.stream or exchange is None or forward is None:
            return
        feed = partial(self._feed, flow, exchange, forward) if due else None
        exchange.request_body = flow.request.stream = StreamTap(flow.request.stream, feed)

    @guarded
    def _feed(self, flow: http.HTTPFlow, exchange: Exchange, forward: Forward, data: bytes) -> None:
        self._mirrors.feed(flow, exchange, forward, data)

    def connected(self, client: connection.Client) -> None:
        """There is a connection to a server, or to a proxy on the way to it."""
        self._unframed.connected(client)

    def agreed(self, client: connection.Client, server: connection.Server) -> None:
        """TLS is set up with a server."""
        self._unframed.agreed(client, server)
        self._trailers.agreed(client, server)

    def release(self, client_id: str) -> None:
        """The client has left."""
        self._unframed.release(client_id)
        self._trailers.release(client_id)

    def request(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        if flow.intercepted:
            return self._go_on_when_resumed(flow)
        return self._go_on(flow)

    async def _go_on_when_resumed(self, flow: http.HTTPFlow) -> None:
        # A person holds it, and may change or kill it yet; the primary waits just as long.
        await flow.wait_for_resume()
        pending = self._go_on(flow)
        if pending is not None:
            await pending

    def _go_on(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        self._copy(flow)
        if flow.request.trailers:
            self._settle_trailers(flow)
        return self._send(flow)

    @guarded
    def _settle_trailers(self, flow: http.HTTPFlow) -> None:
        self._trailers.settle(flow)

    @guarded
    def _send(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        """What sends the primary, where mitmproxy is not to. Its shadows are on their way by now."""
        if flow.error or flow.response or self.sender is None:
            return None
        exchange = self._exchanges.get(flow)
        if exchange is None or not isinstance(exchange.decision, Forward):
            return None
        sending = self.sender.takes(flow, exchange.decision)
        if sending is None:
            return None
        return self.sender.send(flow, exchange, exchange.decision, sending)

    @guarded
    def _copy(self, flow: http.HTTPFlow) -> None:
        self._unframed.forget(flow)
        frame_http2_body(flow.request)
        exchange = self._exchanges.get(flow)
        if exchange is None or flow.error or not isinstance(exchange.decision, Forward):
            return
        if exchange.uploads is not None:
            self._mirrors.finish(flow, exchange)
        elif flow.response and not flow.request.stream:
            exchange.answered_by_addon = True
        else:
            self._mirrors.mirror(flow, exchange, exchange.decision)

    @guarded
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if flow.request.trailers:
            self._trailers.forget(flow)
        exchange = self._exchanges.get(flow)
        if exchange is None or flow.response is None:
            return
        self._mirrors.saw_primary(exchange)
        if exchange.sent is not None:
            # mitmproxy has put the time of now there, as for any answer that it did not read itself.
            flow.response.timestamp_start = exchange.sent.head_at or flow.response.timestamp_start
        elif flow.response.stream:
            keep = self._mirrors.comparing.keep_stream(exchange)
            exchange.response_body = flow.response.stream = StreamTap(flow.response.stream, keep)

    @guarded
    def response(self, flow: http.HTTPFlow) -> None:
        self._log_primary(flow)

    @guarded
    def error(self, flow: http.HTTPFlow) -> None:
        self._unframed.forget(flow)
        if flow.request.trailers:
            self._trailers.forget(flow)
        self._log_primary(flow)

    def _log_primary(self, flow: http.HTTPFlow) -> None:
        exchange = self._exchanges.get(flow)
        # A websocket that breaks after its upgrade was answered has both hooks.
        if exchange is None:
            return
        if flow.error:
            self._mirrors.abort(exchange)
        if not exchange.logged:
            exchange.logged = True
            self._mirrors.count_primary(flow, exchange)
            self._mirrors.saw_primary(exchange)  # which may have failed before its answer began
            if self._mirrors.log is not None:
                self._mirrors.log.add(EndedPrimary.of(flow, exchange).record)

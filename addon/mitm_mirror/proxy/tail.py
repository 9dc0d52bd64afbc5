"""What has to come last in every hook: the copy that is mirrored, and the log of the primary.

So a copy carries what later addons (`modify_body`, other scripts) still changed, and a request that one of
them answered itself (`map_local`) is not mirrored.
"""

from collections.abc import Awaitable
from functools import partial

from mitmproxy import connection, http

from mitm_mirror.proxy.bugs import BugCounter, guarded
from mitm_mirror.proxy.exchange import Exchange, StreamTap
from mitm_mirror.proxy.flows import (
    FRAMED_BY_STREAMS,
    frame_http2_body,
    has_body_of_unknown_size,
    hide_proxy_credentials,
)
from mitm_mirror.proxy.framing import UnframedUploads
from mitm_mirror.proxy.mirrors import Mirrors
from mitm_mirror.proxy.primary import EndedPrimary
from mitm_mirror.proxy.sending import PrimarySender, needs_sender
from mitm_mirror.proxy.trailers import LateTrailers
from mitm_mirror.routing.decision import Forward, is_any_due


class MirrorTail:
    """Takes the copies and logs the primaries of the flows that have an exchange.

    No addon: `MirrorAddon` has its hooks called when all addons have had theirs, by `run_last`, which guards
    them.
    """

    def __init__(self, bugs: BugCounter, mirrors: Mirrors) -> None:
        self.bugs = bugs
        self._mirrors = mirrors
        self._unframed = UnframedUploads()
        self._trailers = LateTrailers()
        self.large_bodies_are_streamed = False
        """mitmproxy's `stream_large_bodies`."""
        self.sender: PrimarySender | None = None
        """None before the first configuration and after the end."""

    def requestheaders(self, flow: http.HTTPFlow, exchange: Exchange | None) -> None:
        request = flow.request
        forward = None
        if exchange is not None and isinstance(exchange.decision, Forward):
            forward = exchange.decision
            if (
                self.large_bodies_are_streamed
                and is_any_due(forward.mirrors)
                and has_body_of_unknown_size(request)
            ):
                # mitmproxy would begin to stream it half-way, and tell nobody: the copy needs its beginning.
                request.stream = True
            hide_proxy_credentials(flow)  # which another addon has put there just now
        self._unframed.expect(flow)
        if not request.stream or exchange is None or forward is None:
            return
        feed = partial(self._feed, flow, exchange, forward) if is_any_due(forward.mirrors) else None
        exchange.request_body = request.stream = StreamTap(request.stream, feed)

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

    def request(self, flow: http.HTTPFlow, exchange: Exchange | None) -> Awaitable[None] | None:
        if flow.intercepted:
            return self._go_on_when_resumed(flow, exchange)
        return self._go_on(flow, exchange)

    async def _go_on_when_resumed(self, flow: http.HTTPFlow, exchange: Exchange | None) -> None:
        # A person holds it, and may change or kill it yet; the primary waits just as long.
        await flow.wait_for_resume()
        pending = self._go_on(flow, exchange)
        if pending is not None:
            await pending

    def _go_on(self, flow: http.HTTPFlow, exchange: Exchange | None) -> Awaitable[None] | None:
        try:
            self._copy(flow, exchange)
        except Exception as error:  # noqa: BLE001  (a guard: the primary is sent all the same)
            self.bugs.report("_copy", error)
        if flow.request.data.trailers:
            self._settle_trailers(flow)
        if (
            exchange is not None
            and isinstance(exchange.decision, Forward)
            and needs_sender(exchange.decision)
        ):
            return self._send(flow, exchange, exchange.decision)
        return None

    @guarded
    def _settle_trailers(self, flow: http.HTTPFlow) -> None:
        self._trailers.settle(flow)

    def _send(self, flow: http.HTTPFlow, exchange: Exchange, forward: Forward) -> Awaitable[None] | None:
        """What sends the primary, where mitmproxy is not to. Its shadows are on their way by now."""
        if flow.error or flow.response or self.sender is None:
            return None
        sending = self.sender.takes(flow, forward)
        return None if sending is None else self.sender.send(flow, exchange, forward, sending)

    def _copy(self, flow: http.HTTPFlow, exchange: Exchange | None) -> None:
        request = flow.request
        if self._unframed:
            self._unframed.forget(flow)
        if request.data.http_version in FRAMED_BY_STREAMS:
            frame_http2_body(request)
        if exchange is None or flow.error or not isinstance(exchange.decision, Forward):
            return
        if exchange.uploads is not None:
            self._mirrors.finish(flow, exchange)
        elif flow.response and not request.stream:
            exchange.answered_by_addon = True
        else:
            self._mirrors.mirror(flow, exchange, exchange.decision)

    def responseheaders(self, flow: http.HTTPFlow, exchange: Exchange | None) -> None:
        if flow.request.data.trailers:
            self._trailers.forget(flow)
        response = flow.response
        if exchange is None or response is None:
            return
        if exchange.sent_at is not None:
            self._mirrors.saw_primary(exchange)
        if exchange.sent is not None:
            # mitmproxy has put the time of now there, as for any answer that it did not read itself.
            response.timestamp_start = exchange.sent.head_at or response.timestamp_start
        elif response.stream:
            keep = self._mirrors.comparing.keep_stream(exchange)
            exchange.response_body = response.stream = StreamTap(response.stream, keep)

    def response(self, flow: http.HTTPFlow, exchange: Exchange | None) -> None:
        if exchange is not None:
            self._log_primary(flow, exchange)

    def error(self, flow: http.HTTPFlow, exchange: Exchange | None) -> None:
        self._unframed.forget(flow)
        if flow.request.trailers:
            self._trailers.forget(flow)
        if exchange is not None:
            self._log_primary(flow, exchange)

    def _log_primary(self, flow: http.HTTPFlow, exchange: Exchange) -> None:
        if flow.error:
            self._mirrors.abort(exchange)
        # A websocket that breaks after its upgrade was answered has both hooks.
        if exchange.logged:
            return
        exchange.logged = True
        mirrors = self._mirrors
        if mirrors.meter is not None:
            mirrors.meter.count_primary(flow, exchange)
        if exchange.sent_at is not None:
            mirrors.saw_primary(exchange)  # which has failed before its answer began
        if mirrors.log is not None:
            mirrors.log.add(EndedPrimary.of(flow, exchange).record)

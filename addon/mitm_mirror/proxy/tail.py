"""What has to come last in every hook: the copy that is mirrored, and the log of the primary.

`MirrorAddon` puts this addon at the end of mitmproxy's chain. So a copy carries what later addons
(`modify_body`, other scripts) still changed, and a request that one of them answered itself
(`map_local`) is not mirrored.
"""

from collections.abc import Awaitable, Callable

from mitmproxy import http

from mitm_mirror.observe.record import AccessRecord
from mitm_mirror.proxy.bugs import BugCounter, guarded
from mitm_mirror.proxy.exchange import Exchanges, StreamTap
from mitm_mirror.proxy.flows import frame_http2_body, frame_http2_stream
from mitm_mirror.proxy.mirrors import Mirrors
from mitm_mirror.proxy.primary import primary_record
from mitm_mirror.routing.decision import Forward


class MirrorTail:
    """Takes the copies and logs the primaries of the flows in `exchanges`."""

    name = "mirror_tail"

    def __init__(
        self,
        bugs: BugCounter,
        exchanges: Exchanges,
        mirrors: Mirrors,
        log_copy: Callable[[Callable[[], AccessRecord]], None],
    ) -> None:
        self.bugs = bugs
        self._exchanges = exchanges
        self._mirrors = mirrors
        self._log_copy = log_copy

    @guarded
    def requestheaders(self, flow: http.HTTPFlow) -> None:
        if not flow.request.stream:
            return
        if flow.request.is_http2 and flow.request.scheme == "http":
            frame_http2_stream(flow.request)
        exchange = self._exchanges.get(flow)
        if exchange is None or not isinstance(exchange.decision, Forward):
            return
        due = any(copy.outcome is None for copy in exchange.decision.mirrors)
        keep = self._mirrors.body_limit_bytes if due else 0
        exchange.request_body = flow.request.stream = StreamTap(flow.request.stream, keep)

    def request(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        if flow.intercepted:
            return self._copy_when_resumed(flow)
        self._copy(flow)
        return None

    async def _copy_when_resumed(self, flow: http.HTTPFlow) -> None:
        # A person holds it, and may change or kill it yet; the primary waits just as long.
        await flow.wait_for_resume()
        self._copy(flow)

    @guarded
    def _copy(self, flow: http.HTTPFlow) -> None:
        frame_http2_body(flow.request)
        exchange = self._exchanges.get(flow)
        if exchange is None or flow.error or not isinstance(exchange.decision, Forward):
            return
        if flow.response:
            exchange.answered_by_addon = True
        else:
            self._mirrors.mirror(flow, exchange, exchange.decision)

    @guarded
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        exchange = self._exchanges.get(flow)
        if exchange is not None and flow.response is not None and flow.response.stream:
            exchange.response_body = flow.response.stream = StreamTap(flow.response.stream, 0)

    @guarded
    def response(self, flow: http.HTTPFlow) -> None:
        self._log_primary(flow)

    @guarded
    def error(self, flow: http.HTTPFlow) -> None:
        self._log_primary(flow)

    def _log_primary(self, flow: http.HTTPFlow) -> None:
        exchange = self._exchanges.get(flow)
        # A websocket that breaks after its upgrade was answered has both hooks.
        if exchange is not None and not exchange.logged:
            exchange.logged = True
            self._mirrors.saw_primary(flow, exchange)
            self._log_copy(lambda: primary_record(flow, exchange))

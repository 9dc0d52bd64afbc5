"""What `mirror_metrics` costs a request: two copies counted, nothing written."""

import asyncio
from collections.abc import Callable

from mitmproxy import http

from mitm_mirror.metrics.histogram import Histogram
from mitm_mirror.metrics.server import MetricsServer
from mitm_mirror.metrics.snapshot import MetricsSnapshot
from mitm_mirror.metrics.traffic import TrafficCounts, TrafficKey
from mitm_mirror.observe.formats import response_flags
from mitm_mirror.outcome import Outcome
from mitm_mirror.proxy.exchange import Exchange
from mitm_mirror.proxy.loop_lag import LoopLag
from mitm_mirror.proxy.primary import primary_destination, primary_duration_ms, primary_outcome
from mitm_mirror.proxy.shadows import Shadow
from mitm_mirror.routing.local_reply import is_grpc
from mitm_mirror.routing.view import RequestView
from mitm_mirror.shadow.ending import Ending

_LAG_INTERVAL_S = 0.1
_LAG_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class Meter:
    """Counts from construction to `close`, and has the counts served at `host` and `port`.

    `take_snapshot` is called with this for each scrape, in `loop`. Raises ValueError where it cannot listen.
    """

    def __init__(
        self,
        host: str,
        port: int,
        take_snapshot: Callable[["Meter"], MetricsSnapshot],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.address = (host, port)
        self.traffic = TrafficCounts()
        self.loop_lag = Histogram(_LAG_BOUNDS_S)
        self._server = MetricsServer(host, port, lambda: take_snapshot(self), loop.call_soon_threadsafe)
        self._lag = LoopLag(self.loop_lag.add, loop, _LAG_INTERVAL_S)
        self._lag.start()

    def close(self) -> None:
        """Count and serve no more."""
        self._lag.stop()
        self._server.close()

    def count_primary(self, flow: http.HTTPFlow, exchange: Exchange) -> None:
        """A primary has ended; call it once, when it is logged."""
        decision = exchange.decision
        key = TrafficKey(
            "primary",
            primary_destination(decision),
            flow.response.status_code if flow.response else 0,
            response_flags(
                primary_outcome(flow, exchange),
                delayed=bool(decision.delay_s),
                exhausted=exchange.sent is not None and exchange.sent.exhausted,
            ),
            is_grpc(RequestView(exchange.head)),
        )
        self.traffic.count(key, primary_duration_ms(flow))

    def count_shadow(self, shadow: Shadow, outcome: Outcome, ending: Ending[Shadow] | None) -> None:
        """A shadow has ended. One that a worker knows nothing of was no request, and only has an outcome."""
        if ending is None or ending.result is None:
            return
        key = TrafficKey(
            "shadow",
            shadow.copy.destination,
            ending.result.status,
            response_flags(outcome, delayed=False, exhausted=False),
            is_grpc(RequestView(shadow.exchange.head)),
        )
        self.traffic.count(key, ending.result.duration_ms)

"""A snapshot in which everything has a value of its own."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mitm_mirror.metrics.histogram import Histogram
from mitm_mirror.metrics.snapshot import MetricsSnapshot
from mitm_mirror.metrics.traffic import TrafficCounts, TrafficKey
from mitm_mirror.observe.compare import Verdict
from mitm_mirror.observe.ledger import Ledger, MirrorKey
from mitm_mirror.outcome import Outcome
from mitm_mirror.routing.vantage import Vantage
from mitm_mirror.shadow.breaker import BreakerState
from mitm_mirror.shadow.stats import BreakerStats, DestinationStats, PoolStats

V1 = "outbound|8080|v1|httpbin.default.svc.cluster.local"
V2 = "outbound|8080|v2|httpbin.default.svc.cluster.local"
POLICY = MirrorKey("default/httpbin", "http[0]", V2)


def make_snapshot(**changes: Any) -> MetricsSnapshot:
    """See the module."""
    traffic = TrafficCounts()
    for duration_ms in (0.4, 7.0, 7.5):
        traffic.count(TrafficKey("primary", V1, 200, "-", grpc=False), duration_ms)
    traffic.count(TrafficKey("primary", "", 404, "NR", grpc=False), None)
    traffic.count(TrafficKey("shadow", V2, 503, "-", grpc=True), 9_000_000.0)
    ledger = Ledger()
    for _ in range(3):
        ledger.count_forwarded()
    ledger.count_answered("no_route")
    answered = ledger.open(POLICY)
    answered.close(Outcome.OK)
    answered.compared(Verdict.DIFFERS)
    ledger.open(POLICY).close(Outcome.TIMEOUT)
    ledger.open(POLICY)
    lag = Histogram((0.01, 0.1))
    lag.add(0.05)
    breaker = BreakerStats("127.0.0.1:8002", BreakerState.OPEN, 1.0, "failed 5 times")
    pool = PoolStats(
        waiting=2,
        in_flight=1,
        held_bytes=4096,
        restarts=7,
        workers_up=1,
        pids=(4711,),
        destinations=(DestinationStats(V2, 2, 1, 4096, (breaker,)),),
    )
    snapshot = MetricsSnapshot(
        vantage=Vantage(namespace="shop", labels={"app": "sleep"}),
        traffic=traffic.snapshot(),
        ledger=ledger.snapshot(),
        noise_copies={Outcome.OK: 5},
        pool=pool,
        queue_limit_bytes=65536,
        rules_generation=3,
        rules_refused=2,
        governor_share=0.5,
        governor_held_back=11,
        loop_lag_s=lag.snapshot(),
        paused=True,
        bugs={"KeyError in request": 1},
    )
    return replace(snapshot, **changes)


@pytest.fixture(name="make_snapshot")
def make_snapshot_fixture() -> Callable[..., MetricsSnapshot]:
    return make_snapshot

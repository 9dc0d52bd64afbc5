"""What Prometheus reads."""

from collections.abc import Callable, Iterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from mitm_mirror.metrics import families
from mitm_mirror.metrics.families import MetricsPage
from mitm_mirror.metrics.snapshot import MetricsSnapshot
from mitm_mirror.observe.ledger import Ledger, MirrorKey
from mitm_mirror.outcome import Outcome
from mitm_mirror.routing.vantage import Vantage

MakeSnapshot = Callable[..., MetricsSnapshot]

V1 = "outbound|8080|v1|httpbin.default.svc.cluster.local"
V2 = "outbound|8080|v2|httpbin.default.svc.cluster.local"


class Fixed(Collector):
    def __init__(self, snapshots: list[MetricsSnapshot]) -> None:
        self.page = MetricsPage()
        self.snapshots = snapshots

    def collect(self) -> Iterator[Metric]:
        return self.page.families(self.snapshots.pop(0))


def read(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample, by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(*snapshots: MetricsSnapshot) -> list[dict[tuple[str, frozenset[tuple[str, str]]], float]]:
    registry = CollectorRegistry()
    registry.register(Fixed(list(snapshots)))
    return [read(generate_latest(registry).decode()) for _ in snapshots]


def pick(
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str
) -> list[float]:
    """The values of all samples of that name that have these labels."""
    return [
        value for (found, has), value in samples.items() if found == name and frozenset(labels.items()) <= has
    ]


SHADOWS = "mitm_mirror_shadows_total"


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        pytest.param(
            "istio_requests_total",
            {
                "mirror_copy": "primary",
                "reporter": "source",
                "source_workload": "unknown",
                "source_workload_namespace": "shop",
                "source_app": "sleep",
                "source_version": "unknown",
                "destination_service": "httpbin.default.svc.cluster.local",
                "destination_service_name": "httpbin",
                "destination_service_namespace": "default",
                "destination_version": "v1",
                "request_protocol": "http",
                "response_code": "200",
                "response_flags": "-",
                "connection_security_policy": "unknown",
            },
            3,
            id="a primary",
        ),
        pytest.param(
            "istio_requests_total",
            {"mirror_copy": "shadow", "destination_version": "v2", "request_protocol": "grpc"},
            1,
            id="a shadow of a gRPC request",
        ),
        pytest.param(
            "istio_requests_total",
            {"response_code": "404", "response_flags": "NR", "destination_service": "unknown"},
            1,
            id="an answer of the rules'",
        ),
        pytest.param(
            "istio_request_duration_milliseconds_bucket",
            {"response_code": "200", "le": "0.5"},
            1,
            id="a bucket",
        ),
        pytest.param(
            "istio_request_duration_milliseconds_bucket",
            {"response_code": "200", "le": "10"},
            3,
            id="a bucket has those before it",
        ),
        pytest.param(
            "istio_request_duration_milliseconds_bucket",
            {"response_code": "503", "le": "3.6e+06"},
            0,
            id="an hour is the last bound",
        ),
        pytest.param(
            "istio_request_duration_milliseconds_count", {"response_code": "503"}, 1, id="beyond all bounds"
        ),
        pytest.param(
            "istio_request_duration_milliseconds_count", {"response_code": "404"}, 0, id="a duration unknown"
        ),
        pytest.param("mitm_mirror_requests_total", {"decision": "forwarded"}, 3, id="forwarded"),
        pytest.param("mitm_mirror_requests_total", {"decision": "no_route"}, 1, id="answered"),
        pytest.param(SHADOWS, {"destination": V2, "route": "http[0]", "outcome": "ok"}, 1, id="outcome ok"),
        pytest.param(SHADOWS, {"virtual_service": "default/httpbin", "outcome": "timeout"}, 1, id="timeout"),
        pytest.param(
            "mitm_mirror_comparisons_total", {"destination": V2, "verdict": "differs"}, 1, id="verdict"
        ),
        pytest.param("mitm_mirror_noise_copies_total", {"outcome": "ok"}, 5, id="noise copies"),
        pytest.param("mitm_mirror_shadows_pending", {"destination": V2}, 1, id="pending"),
        pytest.param("mitm_mirror_workers_up", {}, 1, id="workers"),
        pytest.param("mitm_mirror_worker_restarts_total", {}, 7, id="restarts"),
        pytest.param("mitm_mirror_queue_shadows", {"destination": V2}, 2, id="queue"),
        pytest.param("mitm_mirror_in_flight_shadows", {"destination": V2}, 1, id="in flight"),
        pytest.param("mitm_mirror_held_bytes", {"destination": V2}, 4096, id="bytes"),
        pytest.param("mitm_mirror_queue_limit_bytes", {}, 65536, id="limit"),
        pytest.param("mitm_mirror_breakers", {"state": "open"}, 1, id="an open breaker"),
        pytest.param("mitm_mirror_breakers", {"state": "closed"}, 0, id="no closed one"),
        pytest.param("mitm_mirror_rules_generation", {}, 3, id="generation"),
        pytest.param("mitm_mirror_rules_refused_total", {}, 2, id="refused rules"),
        pytest.param("mitm_mirror_governor_share", {}, 0.5, id="governor"),
        pytest.param("mitm_mirror_governor_held_back_total", {}, 11, id="held back"),
        pytest.param("mitm_mirror_paused", {}, 1, id="paused"),
        pytest.param("mitm_mirror_loop_lag_seconds_bucket", {"le": "0.1"}, 1, id="lag"),
        pytest.param("mitm_mirror_bugs_total", {"kind": "KeyError in request"}, 1, id="bugs"),
    ],
)
def test_shown(make_snapshot: MakeSnapshot, name: str, labels: dict[str, str], expected: float) -> None:
    (samples,) = scrape(make_snapshot())

    assert [expected] == pick(samples, name, **labels)


def test_a_gateway_is_the_source_workload(make_snapshot: MakeSnapshot) -> None:
    (samples,) = scrape(make_snapshot(vantage=Vantage(gateways=("istio-system/front",))))

    assert pick(samples, "istio_requests_total", source_workload="front", response_code="200") == [3]


def test_policies_past_the_limit_are_summed_up_and_no_counter_ever_falls(
    make_snapshot: MakeSnapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(families, "POLICY_LIMIT", 2)
    ledger = Ledger()

    def end(*names: str) -> MetricsSnapshot:
        for name in names:
            ledger.open(MirrorKey("default/x", name, V1)).close(Outcome.OK)
        return make_snapshot(ledger=ledger.snapshot())

    # `a` sorts first, but came last: it must not push out what was shown before
    first, second = scrape(end("m", "n"), end("a", "b", "m"))

    assert (pick(first, SHADOWS, route="m"), pick(first, SHADOWS, route="n")) == ([1], [1])
    assert (pick(second, SHADOWS, route="m"), pick(second, SHADOWS, route="n")) == ([2], [1])
    assert pick(second, SHADOWS, route="other", virtual_service="other", destination="other") == [2]
    assert len(pick(second, SHADOWS)) == 3


def test_without_a_pool_the_rest_is_shown(make_snapshot: MakeSnapshot) -> None:
    (samples,) = scrape(make_snapshot(pool=None))

    assert pick(samples, "mitm_mirror_workers_up") == []
    assert pick(samples, "mitm_mirror_rules_generation") == [3]

"""Counting, in bounded memory."""

from mitm_mirror.metrics.labels import TRAFFIC_LABELS, traffic_labels
from mitm_mirror.metrics.traffic import TrafficCounts, TrafficKey
from mitm_mirror.routing.vantage import DEFAULT_VANTAGE


def key(status: int, destination: str = "outbound|80||example.com") -> TrafficKey:
    return TrafficKey("primary", destination, status, "-", grpc=False)


def test_past_the_limit_new_keys_are_one_and_old_ones_go_on() -> None:
    counts = TrafficCounts(limit=2)
    for status in (200, 404, 500, 501, 200):
        counts.count(key(status), 1.0)

    other = TrafficKey("primary", "other", 0, "-", grpc=False)
    assert {name: series.requests for name, series in counts.snapshot().items()} == {
        key(200): 2,
        key(404): 1,
        other: 2,
    }
    labels = dict(zip(TRAFFIC_LABELS, traffic_labels(other, DEFAULT_VANTAGE), strict=True))
    assert {labels["destination_service"], labels["response_code"]} == {"other"}


def test_a_snapshot_does_not_change() -> None:
    counts = TrafficCounts()
    counts.count(key(200), 1.0)
    snapshot = counts.snapshot()
    counts.count(key(200), 1.0)

    assert snapshot[key(200)].requests == 1
    assert sum(snapshot[key(200)].duration_ms.counts) == 1


def test_a_host_outside_of_kubernetes_is_its_own_service_name() -> None:
    labels = dict(zip(TRAFFIC_LABELS, traffic_labels(key(200), DEFAULT_VANTAGE), strict=True))

    assert labels["destination_service"] == labels["destination_service_name"] == "example.com"
    assert labels["destination_service_namespace"] == labels["destination_version"] == "unknown"

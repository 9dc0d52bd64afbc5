"""From a snapshot to what prometheus-client writes. Names and labels are promises, see docs/metrics.md."""

from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from mitm_mirror import __version__
from mitm_mirror.metrics.labels import TRAFFIC_LABELS, LabelCap, traffic_labels
from mitm_mirror.metrics.snapshot import MetricsSnapshot
from mitm_mirror.metrics.traffic import OTHER
from mitm_mirror.observe.ledger import LedgerSnapshot, MirrorKey
from mitm_mirror.shadow.breaker import BreakerState
from mitm_mirror.shadow.stats import PoolStats

POLICY_LIMIT = 500
"""Mirror policies that are shown one by one. Rules that are reloaded for months have more in the end."""

DESTINATION_LIMIT = 500

_POLICY_LABELS = ("virtual_service", "route", "destination")
_OTHER_POLICY = MirrorKey(OTHER, OTHER, OTHER)


class MetricsPage:
    """Makes metric families; keeps from page to page only which label values it has shown."""

    def __init__(self) -> None:
        self._policies: LabelCap[MirrorKey] = LabelCap(POLICY_LIMIT)
        self._destinations: LabelCap[str] = LabelCap(DESTINATION_LIMIT)

    def families(self, snapshot: MetricsSnapshot) -> Iterator[Metric]:
        """Every family, always all of them, so that a query finds a zero and not nothing."""
        yield from _traffic(snapshot)
        yield _requests(snapshot.ledger)
        yield from self._shadows(snapshot.ledger)
        noise = CounterMetricFamily(
            "mitm_mirror_noise_copies", "Copies that only teach what noise is.", labels=["outcome"]
        )
        for outcome, count in snapshot.noise_copies.items():
            noise.add_metric([outcome.value], count)
        yield noise
        if snapshot.pool is not None:
            yield from self._pool(snapshot.pool)
        yield _gauge("queue_limit_bytes", "The option mirror_queue_bytes.", snapshot.queue_limit_bytes)
        yield _gauge("rules_generation", "Which load of the rules is served.", snapshot.rules_generation)
        yield _counter("rules_refused", "Changed rules that were refused.", snapshot.rules_refused)
        yield _gauge("governor_share", "Of what is to be mirrored, how much is.", snapshot.governor_share)
        yield _counter(
            "governor_held_back", "Requests that the governor held back.", snapshot.governor_held_back
        )
        yield _gauge("paused", "1 while mirror.pause is in force.", int(snapshot.paused))
        lag = HistogramMetricFamily(
            "mitm_mirror_loop_lag_seconds", "How late the proxy's event loop was, ten times a second."
        )
        lag.add_metric([], snapshot.loop_lag_s.buckets, snapshot.loop_lag_s.sum)
        yield lag
        bugs = CounterMetricFamily("mitm_mirror_bugs", "Exceptions of our own.", labels=["kind"])
        for kind, count in snapshot.bugs.items():
            bugs.add_metric([kind], count)
        yield bugs
        info = GaugeMetricFamily("mitm_mirror_build_info", "Always 1.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info

    def _shadows(self, ledger: LedgerSnapshot) -> Iterator[Metric]:
        ended: Counter[tuple[MirrorKey, str]] = Counter()
        compared: Counter[tuple[MirrorKey, str]] = Counter()
        pending: Counter[MirrorKey] = Counter()
        for policy, counts in ledger.policies.items():
            shown = policy if self._policies.admits(policy) else _OTHER_POLICY
            pending[shown] += counts.pending
            for outcome, count in counts.ended.items():
                ended[shown, outcome.value] += count
            for verdict, count in counts.compared.items():
                compared[shown, verdict.value] += count
        yield _by_policy("shadows", "Shadows by how they ended.", "outcome", ended)
        yield _by_policy(
            "comparisons", "Answered shadows by how they compare with the primary.", "verdict", compared
        )
        waiting = GaugeMetricFamily(
            "mitm_mirror_shadows_pending", "Shadows that have not ended.", labels=_POLICY_LABELS
        )
        for policy, count in pending.items():
            waiting.add_metric([policy.virtual_service, policy.route, policy.destination], count)
        yield waiting

    def _pool(self, pool: PoolStats) -> Iterator[Metric]:
        yield _gauge("workers_up", "Worker processes that take shadows.", pool.workers_up)
        yield _counter("worker_restarts", "Workers that were replaced.", pool.restarts)
        waiting: Counter[str] = Counter()
        in_flight: Counter[str] = Counter()
        held: Counter[str] = Counter()
        breakers: Counter[tuple[str, str]] = Counter()
        for destination in pool.destinations:
            name = destination.name if self._destinations.admits(destination.name) else OTHER
            waiting[name] += destination.waiting
            in_flight[name] += destination.in_flight
            held[name] += destination.held_bytes
            for state in BreakerState:
                breakers[name, state.value] += sum(item.state is state for item in destination.breakers)
        yield _by_destination("queue_shadows", "Shadows that no worker has yet.", waiting.items())
        yield _by_destination("in_flight_shadows", "Shadows that a worker has.", in_flight.items())
        yield _by_destination("held_bytes", "Memory of shadows that have not ended.", held.items())
        family = GaugeMetricFamily(
            "mitm_mirror_breakers",
            "Endpoints of mirrors that failed of late, by the state of their breaker.",
            labels=["destination", "state"],
        )
        for (name, breaker_state), count in breakers.items():
            family.add_metric([name, breaker_state], count)
        yield family


def _traffic(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "istio_requests", "Requests that ended, both copies of a mirrored one.", labels=TRAFFIC_LABELS
    )
    durations = HistogramMetricFamily(
        "istio_request_duration_milliseconds", "Their durations.", labels=TRAFFIC_LABELS
    )
    for key, series in snapshot.traffic.items():
        labels = traffic_labels(key, snapshot.vantage)
        requests.add_metric(labels, series.requests)
        durations.add_metric(labels, series.duration_ms.buckets, series.duration_ms.sum)
    yield requests
    yield durations


def _requests(ledger: LedgerSnapshot) -> Metric:
    family = CounterMetricFamily(
        "mitm_mirror_requests", "Requests that a rule was about, by what it did.", labels=["decision"]
    )
    family.add_metric(["forwarded"], ledger.forwarded)
    for reason, count in ledger.answered.items():
        family.add_metric([reason], count)
    return family


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"mitm_mirror_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"mitm_mirror_{name}", text, value=value)


def _by_policy(name: str, text: str, label: str, counts: Counter[tuple[MirrorKey, str]]) -> Metric:
    family = CounterMetricFamily(f"mitm_mirror_{name}", text, labels=[*_POLICY_LABELS, label])
    for (policy, value), count in counts.items():
        family.add_metric([policy.virtual_service, policy.route, policy.destination, value], count)
    return family


def _by_destination(name: str, text: str, values: Iterable[tuple[str, float]]) -> Metric:
    family = GaugeMetricFamily(f"mitm_mirror_{name}", text, labels=["destination"])
    for destination, value in values:
        family.add_metric([destination], value)
    return family

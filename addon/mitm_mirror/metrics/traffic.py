"""Counts the requests that went out, by what Istio's standard metrics tell apart. One dict look-up a copy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from mitm_mirror.metrics.histogram import Histogram, HistogramSnapshot

SERIES_LIMIT = 1000
"""Different keys that are kept; each is 22 lines of the page. Whatever comes after them is `OTHER`.

Statuses, and hosts that requests name (DYNAMIC_DNS), are not ours to bound.
"""

OTHER = "other"

DURATION_BOUNDS_MS = (
    0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 600_000,
    1_800_000, 3_600_000,
)  # fmt: skip
"""Envoy's own, so that quantiles of both can be compared.

Source: envoy source/common/stats/histogram_impl.cc, ConstSupportedBuckets.
"""


class TrafficKey(NamedTuple):
    """What is counted apart."""

    copy: Literal["primary", "shadow"]
    destination: str
    """The cluster's name, empty where there is none; `OTHER` past the limit."""
    status: int
    """0 where nobody answered."""
    flags: str
    """Envoy's response flags, `-` for none."""
    grpc: bool


@dataclass(frozen=True, slots=True)
class TrafficSeries:
    """One key's counts at one moment."""

    requests: int
    duration_ms: HistogramSnapshot
    """Fewer than `requests` where a duration is not known."""


class _Series:
    __slots__ = ("durations", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.durations = Histogram(DURATION_BOUNDS_MS)


class TrafficCounts:
    """For one event loop: not thread-safe."""

    def __init__(self, limit: int = SERIES_LIMIT) -> None:
        self._series: dict[TrafficKey, _Series] = {}
        self._limit = limit

    def count(self, key: TrafficKey, duration_ms: float | None) -> None:
        """One copy has ended."""
        series = self._series.get(key)
        if series is None:
            if len(self._series) >= self._limit:
                key = TrafficKey(key.copy, OTHER, 0, "-", grpc=False)
            series = self._series.setdefault(key, _Series())
        series.requests += 1
        if duration_ms is not None:
            series.durations.add(duration_ms)

    def snapshot(self) -> Mapping[TrafficKey, TrafficSeries]:
        """The counts as they stand."""
        return {
            key: TrafficSeries(series.requests, series.durations.snapshot())
            for key, series in self._series.items()
        }

"""What the page of metrics shows. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass

from mitm_mirror.metrics.histogram import HistogramSnapshot
from mitm_mirror.metrics.traffic import TrafficKey, TrafficSeries
from mitm_mirror.observe.ledger import LedgerSnapshot
from mitm_mirror.outcome import Outcome
from mitm_mirror.routing.vantage import Vantage
from mitm_mirror.shadow.stats import PoolStats


@dataclass(frozen=True, slots=True)
class MetricsSnapshot:
    """All counts at one moment: they agree with one another."""

    vantage: Vantage
    """The proxy that this one plays: the source of all requests."""
    traffic: Mapping[TrafficKey, TrafficSeries]
    ledger: LedgerSnapshot
    noise_copies: Mapping[Outcome, int]
    """Which are no shadows, by how they ended."""
    pool: PoolStats | None
    """None while there is none: before the start and after the end."""
    queue_limit_bytes: int
    rules_generation: int
    rules_refused: int
    """How often changed rules were refused."""
    governor_share: float
    """Of what the rules mirror, how much is; 1 without a governor."""
    governor_held_back: int
    loop_lag_s: HistogramSnapshot
    paused: bool
    bugs: Mapping[str, int]
    """Exceptions of our own by kind."""

"""How much is mirrored while the proxy or a primary is slower than it should be. Pure: no clock, no I/O.

Additive increase, multiplicative decrease, as TCP does: the share is halved a few times a second, and comes
back within ten seconds once the pressure is gone, without anybody's help.
"""

from dataclasses import dataclass

PERIOD_S = 0.15
"""How often the share changes, by and large: who lags is late with this, too."""

DECREASE = 0.5
INCREASE = 0.015
"""A period; so from nothing to everything in 10 s."""

LEAST = 0.01
"""Below it the share does not fall: a mirror that gets nothing at all looks like one that is broken."""


@dataclass(frozen=True, slots=True)
class GovernorBounds:
    """What is too slow, in seconds; None where it does not matter. At least one is given."""

    lag_s: float | None = None
    """How late the proxy's event loop may be."""
    primary_s: float | None = None
    """From a request's end to the first byte of its primary's answer."""


class _Samples:
    """Counts how many of a period's samples were beyond a bound."""

    __slots__ = ("bound", "count", "slow")

    def __init__(self, bound: float | None) -> None:
        self.bound = bound
        self.count = self.slow = 0

    def add(self, value: float) -> None:
        self.count += 1
        self.slow += self.bound is not None and value > self.bound

    def take_verdict(self) -> bool:
        """Whether most of them were, so that one stray sample changes nothing; and begin again."""
        verdict = self.slow * 2 > self.count
        self.count = self.slow = 0
        return verdict


class Governor:
    """Says of each request whether it may be mirrored."""

    def __init__(self, bounds: GovernorBounds) -> None:
        self.bounds = bounds
        self.share = 1.0
        """Of what the rules mirror, how much is."""
        self.held_back = 0
        """Requests that were not mirrored for it."""
        self.reason = ""
        """What was too slow last."""
        self._lag = _Samples(bounds.lag_s)
        self._primary = _Samples(bounds.primary_s)

    def saw_lag(self, seconds: float) -> None:
        """The event loop was so late."""
        self._lag.add(seconds)

    def saw_primary(self, seconds: float) -> None:
        """A primary took so long to begin its answer, or to fail."""
        self._primary.add(seconds)

    def end_period(self) -> None:
        """Set the share for the next period by what was seen in this one."""
        slow = []
        if self._lag.take_verdict():
            slow.append("the proxy's event loop lags")
        if self._primary.take_verdict():
            slow.append("primaries are slow")
        if slow:
            self.reason = " and ".join(slow)
            self.share = max(self.share * DECREASE, LEAST)
        else:
            self.share = min(self.share + INCREASE, 1.0)

    def admits(self, draw: float) -> bool:
        """Whether a request is mirrored; `draw` is a number in [0, 1)."""
        if draw < self.share:
            return True
        self.held_back += 1
        return False

    def __str__(self) -> str:
        """A line for `mirror.stats`."""
        because = f", {self.reason}" if self.share < 1 else ""
        return f"governor: {self.share:.0%} is mirrored{because}; {self.held_back} requests held back so far"

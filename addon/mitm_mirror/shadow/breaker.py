"""One endpoint's circuit breaker: pure, time and chance are arguments.

    closed --failures in a row--> open --pause over, one shadow is sent--> half-open --answer--> closed
                                    ^                                          |
                                    +-----------------failure------------------+

Only the probe decides while it is not closed: what was sent before it opened says nothing about now.
"""

from collections.abc import Callable
from enum import StrEnum

from mitm_mirror.outcome import Outcome
from mitm_mirror.routing.outlier import OutlierPolicy
from mitm_mirror.shadow.message import ShadowResult

FAILURES = 5
"""In a row, where no DestinationRule says otherwise: Envoy's default for all of its kinds of errors."""

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
"""Where no DestinationRule says otherwise. Shorter than Envoy's 30 s and 300 s, as a probe costs one shadow
and no client's request: a mirror that is restarted gets its copies again after a second."""

JITTER = 0.2
"""A pause is up to so much longer, so that many proxies do not probe at one time. Never shorter: a rule's
`baseEjectionTime` is a promise."""

_GATEWAY_ERRORS = frozenset({502, 503, 504})

_FAILED = frozenset(
    {Outcome.CONNECT_ERROR, Outcome.TLS_ERROR, Outcome.TIMEOUT, Outcome.PROTOCOL_ERROR},
)


class BreakerState(StrEnum):
    """Whether shadows are sent to an endpoint."""

    CLOSED = "closed"
    """All are."""
    OPEN = "open"
    """None is, until a pause is over."""
    HALF_OPEN = "half-open"
    """One is on its way, and its end decides."""


class Breaker:
    """Counts one endpoint's failures in a row, and says when it is left alone."""

    __slots__ = ("_any", "_gateway", "_local", "ended_at", "openings", "reason", "retry_at", "state")

    def __init__(self) -> None:
        self.state = BreakerState.CLOSED
        self.openings = 0
        """In a row: how often it opened since an answer closed it."""
        self.retry_at = 0.0
        """When it may be tried again, while it is open."""
        self.ended_at = 0.0
        """When a shadow ended last."""
        self.reason = ""
        """Why it opened, in one line."""
        self._any = self._gateway = self._local = 0

    @property
    def spotless(self) -> bool:
        """Whether a new one would be the same."""
        return self.state is BreakerState.CLOSED and not (self._any or self._gateway or self._local)

    def refuses(self, now: float) -> bool:
        """Whether a shadow must not be sent now. Where it may, and this is open, that one is the probe."""
        if self.state is BreakerState.CLOSED:
            return False
        return self.state is BreakerState.HALF_OPEN or now < self.retry_at

    def probe(self) -> None:
        """The pause is over and one shadow is sent."""
        self.state = BreakerState.HALF_OPEN

    def ended(
        self,
        policy: OutlierPolicy | None,
        result: ShadowResult | None,
        *,
        probe: bool,
        now: float,
        draw: Callable[[], float],
    ) -> None:
        """A shadow to the endpoint ended; `result` None: in a way that says nothing about the endpoint.

        `policy` is what the DestinationRule says; None where it says nothing.
        """
        self.ended_at = now
        failed = None if result is None else is_failure(policy, result)
        if not probe:
            if result is not None and failed is not None and self.state is BreakerState.CLOSED:
                self._count(policy, result, failed=failed)
                if failed and self._tripped(policy):
                    self._open(policy, now, draw)
        elif failed is None:
            self.state = BreakerState.OPEN
            self.retry_at = now  # the next one is the probe
        elif failed:
            self._open(policy, now, draw)
        else:
            self.state = BreakerState.CLOSED
            self.openings = self._any = self._gateway = self._local = 0

    def _count(self, policy: OutlierPolicy | None, result: ShadowResult, *, failed: bool) -> None:
        """Counts as Envoy does, so that a rule's numbers mean the same here.

        What goes wrong on the way counts like a 5xx and like a gateway error, unless
        `splitExternalLocalOriginErrors` sets it apart.
        Source: envoy source/common/upstream/outlier_detection_impl.cc, putResult and its callees.
        """
        if result.outcome is Outcome.OK:
            self._local = 0
            self._any = self._any + 1 if failed else 0
            self._gateway = self._gateway + 1 if failed and result.status in _GATEWAY_ERRORS else 0
            last = f"status {result.status}"
        else:
            last = result.outcome.value
            if policy is None or policy.split_local_origin_errors:
                self._local += 1
            else:
                self._any += 1
                self._gateway += 1
        times = max(self._any, self._gateway, self._local)
        self.reason = f"failed {times} times in a row, the last time with {last}"

    def _tripped(self, policy: OutlierPolicy | None) -> bool:
        if policy is None:
            return self._local >= FAILURES
        limits = (
            (self._any, policy.consecutive_5xx),
            (self._gateway, policy.consecutive_gateway_errors),
            (self._local, policy.consecutive_local_origin_failures),
        )
        return any(limit and count >= limit for count, limit in limits)

    def _open(self, policy: OutlierPolicy | None, now: float, draw: Callable[[], float]) -> None:
        """The n-th pause is n times the first, as an ejection of Envoy's, up to the longest."""
        first_s, longest_s = FIRST_PAUSE_S, LONGEST_PAUSE_S
        if policy is not None:
            first_s, longest_s = policy.base_ejection_time_s, policy.max_ejection_time_s
        self.state = BreakerState.OPEN
        self.openings += 1
        self.retry_at = now + min(first_s * self.openings, longest_s) * (1 + JITTER * draw())


def is_failure(policy: OutlierPolicy | None, result: ShadowResult) -> bool | None:
    """Whether a shadow's end speaks against its endpoint; None where it says nothing about it.

    Statuses count only where a rule says so: that v2 answers 500 is what mirroring is there to show.
    """
    if result.outcome is Outcome.OK:
        if policy is None:
            return False
        return result.status in policy.error_codes if policy.error_codes else 500 <= result.status <= 599
    return None if result.blameless or result.outcome not in _FAILED else True

"""What is remembered of one endpoint of a cluster: requests in flight, errors in a row, ejections."""

import math
from enum import Enum, auto

from mitm_mirror.routing.decision import Target
from mitm_mirror.routing.outlier import OutlierPolicy

_GATEWAY_ERRORS = frozenset({502, 503, 504})


class LocalFailure(Enum):
    """Why an endpoint gave no answer."""

    CONNECT = auto()
    """There was no connection to it, TLS included."""
    RESET = auto()
    """The connection stood, but ended before the answer did."""
    TIMEOUT = auto()
    """It did not answer in time."""


class EndpointState:
    """One endpoint. It changes by what it is told; times are seconds of one monotonic clock.

    Source of all rules: Envoy's source/common/upstream/outlier_detection_impl.cc, and Envoy 1.40 itself.
    """

    __slots__ = (
        "__weakref__",
        "_consecutive_5xx",
        "_consecutive_gateway_errors",
        "_consecutive_local_failures",
        "_ticks_seen",
        "active",
        "backoff",
        "ejected_at",
        "ejections",
        "target",
        "weight",
    )

    def __init__(self, target: Target, weight: int) -> None:
        self.target = target
        self.weight = weight
        self.active = 0
        """Requests in flight."""
        self.ejected_at: float | None = None
        """None while it gets requests."""
        self.ejections = 0
        """How often it was ejected so far."""
        self.backoff = 0
        """How many times `baseEjectionTime` its next ejection lasts, less one; it falls in quiet times."""
        self._ticks_seen = 0
        self._reset_counts()

    def answered(self, policy: OutlierPolicy, status: int) -> str:
        """Takes note of an answer. Why the endpoint should be ejected now; empty where it should not."""
        self._consecutive_local_failures = 0  # there was a connection
        return self._count_status(policy, status)

    def failed(self, policy: OutlierPolicy, failure: LocalFailure) -> str:
        """As `answered`, where there was no answer."""
        if not policy.split_local_origin_errors:
            return self._count_status(policy, 504 if failure is LocalFailure.TIMEOUT else 503)
        if failure is not LocalFailure.CONNECT:
            self._consecutive_local_failures = 0
        self._consecutive_local_failures += 1
        if self._consecutive_local_failures >= policy.consecutive_local_origin_failures:
            self._consecutive_local_failures = 0
            return f"{policy.consecutive_local_origin_failures} failures to connect in a row"
        return ""

    def _count_status(self, policy: OutlierPolicy, status: int) -> str:
        is_error = status in policy.error_codes if policy.error_codes else status >= 500
        if not is_error:
            self._consecutive_5xx = self._consecutive_gateway_errors = 0
            return ""
        reason = ""
        if status in _GATEWAY_ERRORS:
            self._consecutive_gateway_errors += 1
            if 0 < policy.consecutive_gateway_errors <= self._consecutive_gateway_errors:
                self._consecutive_gateway_errors = 0
                reason = f"{policy.consecutive_gateway_errors} gateway errors in a row"
        else:
            self._consecutive_gateway_errors = 0
        self._consecutive_5xx += 1
        if 0 < policy.consecutive_5xx <= self._consecutive_5xx:
            self._consecutive_5xx = 0
            reason = reason or f"{policy.consecutive_5xx} errors in a row"
        return reason

    def eject(self, policy: OutlierPolicy, now: float) -> None:
        """Takes it out; `returns_at` says until when."""
        self.ejected_at = now
        self.ejections += 1
        # It lasts as long as the new back-off says, which so stays within the longest ejection.
        if (
            self.backoff * policy.base_ejection_time_s
            < policy.max_ejection_time_s + policy.base_ejection_time_s
        ):
            self.backoff += 1

    def returns_at(self, policy: OutlierPolicy, started: float) -> float:
        """When it is let in again: the first look that is late enough. Only while it is ejected.

        `started` is the time from which looks are counted, one each `interval_s`.
        """
        assert self.ejected_at is not None
        lasts = min(policy.base_ejection_time_s * self.backoff, policy.max_ejection_time_s)
        ticks = math.ceil((self.ejected_at + lasts - started) / policy.interval_s)
        return started + ticks * policy.interval_s

    def let_in(self, policy: OutlierPolicy, started: float) -> None:
        """Ends its ejection, whenever that is noticed: as of `returns_at`."""
        self._ticks_seen = round((self.returns_at(policy, started) - started) / policy.interval_s)
        self.ejected_at = None
        self._reset_counts()

    def calm_down(self, policy: OutlierPolicy, started: float, now: float) -> None:
        """Lets the back-off fall by one for each look since it returned, the first after a whole interval."""
        if self.ejected_at is not None or not self.backoff:
            return
        ticks = math.floor((now - started) / policy.interval_s)
        self.backoff = max(0, self.backoff - max(0, ticks - self._ticks_seen))
        self._ticks_seen = max(ticks, self._ticks_seen)

    def _reset_counts(self) -> None:
        self._consecutive_5xx = 0
        self._consecutive_gateway_errors = 0
        self._consecutive_local_failures = 0

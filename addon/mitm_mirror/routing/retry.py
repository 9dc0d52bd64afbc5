"""When a primary is sent again, how long to wait before that, and where it goes then. Pure.

Source: istio pilot/pkg/networking/core/route/retry/retry.go for what a rule means, Envoy's
RetryStateImpl (source/common/router/retry_state_impl.cc) for what that does; checked against Envoy 1.40.
"""

from collections.abc import Callable, Container
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import TypeVar

from mitm_mirror.resources.virtual_service import HTTPRetry
from mitm_mirror.routing.request import HeaderFields

DEFAULT_RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
"""Istio's, where `retryOn` is not given. It names no status code."""
DEFAULT_ATTEMPTS = 2
DEFAULT_BACKOFF_S = 0.025
"""Envoy's base interval."""
_MAX_BACKOFF = 10
"""The longest interval as a multiple of the base: Envoy's, which Istio has no field for."""
_HOST_SELECTIONS = 5
"""How often another endpoint is drawn for (Istio's HostSelectionRetryMaxAttempts)."""

_NO_ANSWER = frozenset({"5xx", "gateway-error", "reset"})
"""Conditions that count an attempt without any answer."""
_NO_CONNECTION = _NO_ANSWER | {"connect-failure", "reset-before-request"}
_STATUSES = frozenset(map(int, HTTPStatus))
_GRPC_CONDITIONS = {
    b"1": "cancelled",
    b"4": "deadline-exceeded",
    b"8": "resource-exhausted",
    b"13": "internal",
    b"14": "unavailable",
}

Item = TypeVar("Item")


class AttemptEnd(Enum):
    """How one attempt to reach the primary ended."""

    ANSWERED = auto()
    """The head of an answer came, whatever its status."""
    CONNECT_FAILURE = auto()
    """No connection, TLS included: the request was not sent."""
    RESET = auto()
    """The connection ended before the answer; with a status, within it."""
    NOT_HTTP = auto()
    """Something came that is no HTTP."""
    TIMEOUT = auto()
    """No head within `perTryTimeout`, or no whole answer within the route's `timeout`."""


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """What is known of an attempt once the head of its answer is there, or will not come."""

    end: AttemptEnd
    status: int = 0
    """Of the answer; 0 where there is none."""
    headers: HeaderFields = ()
    """Of the answer."""
    blameless: bool = False
    """Whether it failed without the server's doing."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """A route's `retries`, with the defaults filled in."""

    attempts: int
    """Retries beside the first attempt; above 0."""
    conditions: frozenset[str]
    """`retryOn` without the status codes."""
    statuses: frozenset[int] = frozenset()
    """The status codes in `retryOn`."""
    per_try_timeout_s: float | None = None
    """For the head of an answer, connecting included; None is no limit but the route's."""
    backoff_s: float = DEFAULT_BACKOFF_S
    ignore_previous_hosts: bool | None = None
    """Whether a retry is to go to an endpoint that was not tried yet; None: unless a consistentHash keeps
    the request where it is."""

    def wants_retry(self, result: AttemptResult) -> bool:
        """Whether the policy's conditions hold; not whether a retry is left.

        `refused-stream` never holds, since endpoints are spoken to in HTTP/1.1, and `retriable-headers`
        neither: Istio has no field for the headers.
        """
        if result.end is AttemptEnd.CONNECT_FAILURE:
            return not self.conditions.isdisjoint(_NO_CONNECTION)
        if result.end is not AttemptEnd.ANSWERED:
            return not self.conditions.isdisjoint(_NO_ANSWER)
        return self._wants_other_answer(result)

    def _wants_other_answer(self, result: AttemptResult) -> bool:
        conditions, status = self.conditions, result.status
        if any(name.lower() == b"x-envoy-ratelimited" for name, _ in result.headers):
            return "envoy-ratelimited" in conditions  # and no other condition counts then
        if status in self.statuses or ("5xx" in conditions and 500 <= status <= 599):
            return True
        if "gateway-error" in conditions and status in (502, 503, 504):
            return True
        if "retriable-4xx" in conditions and status == 409:
            return True
        grpc = next((value for name, value in result.headers if name.lower() == b"grpc-status"), b"")
        return _GRPC_CONDITIONS.get(grpc) in conditions

    def pause_s(self, retry: int, draw: Callable[[], float]) -> float:
        """How long to wait before the retry of that number, counted from 1.

        Anything from 0 to an interval that doubles from the base to its tenfold.
        Source: Envoy's JitteredExponentialBackOffStrategy.
        """
        return draw() * self.backoff_s * min(1 << min(retry - 1, 4), _MAX_BACKOFF)


def compile_retry(spec: HTTPRetry | None) -> RetryPolicy | None:
    """The policy of a route; None where `attempts` is 0, which turns retries off.

    Absent, it is Istio's default.
    """
    if spec is None:
        spec = HTTPRetry(attempts=DEFAULT_ATTEMPTS)
    if spec.attempts <= 0:
        return None
    conditions, statuses = _parse_retry_on(spec.retry_on or DEFAULT_RETRY_ON)
    return RetryPolicy(
        attempts=spec.attempts,
        conditions=conditions,
        statuses=statuses,
        per_try_timeout_s=spec.per_try_timeout or None,
        backoff_s=DEFAULT_BACKOFF_S if spec.backoff is None else spec.backoff,
        ignore_previous_hosts=spec.retry_ignore_previous_hosts,
    )


def _parse_retry_on(text: str) -> tuple[frozenset[str], frozenset[int]]:
    """Source: retry.go, parseRetryOn."""
    conditions: set[str] = set()
    statuses: set[int] = set()
    for part in filter(None, map(str.strip, text.split(","))):
        if part.isascii() and part.isdigit() and int(part) in _STATUSES:
            statuses.add(int(part))
        else:
            conditions.add(part)
    return frozenset(conditions), frozenset(statuses)


def choose_another(choose: Callable[[], Item | None], tried: Container[Item]) -> Item | None:
    """What `choose` gives, asked again up to five times while that was tried already.

    So a retry may still meet an endpoint again, as in Envoy: it goes on with what it drew last.
    """
    chosen = choose()
    for _ in range(_HOST_SELECTIONS):
        if chosen is None or chosen not in tried:
            break
        chosen = choose()
    return chosen

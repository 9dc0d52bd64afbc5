"""`timeout` and `retries` as fields of Envoy's RouteAction.

Source: istio pilot/pkg/networking/core/route/route.go, setTimeout, and route/retry/retry.go.
"""

from http import HTTPStatus
from typing import Any

from mitm_mirror.export.durations import duration
from mitm_mirror.resources.virtual_service import HTTPRetry

_TYPES = "type.googleapis.com/envoy.extensions.retry"
_DEFAULT_RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
_DEFAULT_ATTEMPTS = 2
_STATUSES = frozenset(int(status) for status in HTTPStatus)
_OTHER_HOSTS = [
    {
        "name": "envoy.retry_host_predicates.previous_hosts",
        "typed_config": {"@type": f"{_TYPES}.host.previous_hosts.v3.PreviousHostsPredicate"},
    }
]
_OTHER_PRIORITIES = {
    "name": "envoy.retry_priorities.previous_priorities",
    "typed_config": {
        "@type": f"{_TYPES}.priority.previous_priorities.v3.PreviousPrioritiesConfig",
        "update_frequency": 2,
    },
}


def timeout_fields(timeout_s: float | None) -> dict[str, Any]:
    """No timeout where none is given: Envoy's own is 15 s. A gRPC client's `grpc-timeout` counts up to it."""
    if not timeout_s:
        return {"timeout": "0s", "max_stream_duration": {"grpc_timeout_header_max": "0s"}}
    # Deprecated, and used by Istio all the same: beside its successor, `max_stream_duration`, Envoy heeds no
    # `timeout` any more. Envoy warns of it at each route, so routes without a timeout have the successor.
    text = duration(timeout_s)
    return {"timeout": text, "max_grpc_timeout": text}


def retry_policy(spec: HTTPRetry | None, *, by_hash: bool) -> dict[str, Any] | None:
    """The RetryPolicy; Istio's default where no rule says anything, None where it says 0 attempts.

    `by_hash` says that one destination is chosen by `consistentHash`: a retry then goes to the same
    endpoint.
    """
    if spec is None:
        spec = HTTPRetry(attempts=_DEFAULT_ATTEMPTS)
    if spec.attempts <= 0:
        return None
    policy: dict[str, Any] = {"retry_on": _DEFAULT_RETRY_ON, "num_retries": spec.attempts}
    if spec.retry_on:
        policy |= _conditions(spec.retry_on)
    if spec.per_try_timeout is not None:
        policy["per_try_timeout"] = duration(spec.per_try_timeout)
    elsewhere = spec.retry_ignore_previous_hosts
    if not by_hash if elsewhere is None else elsewhere:
        policy["retry_host_predicate"] = _OTHER_HOSTS
    policy["host_selection_retry_max_attempts"] = 5
    if spec.retry_remote_localities:
        policy["retry_priority"] = _OTHER_PRIORITIES
    if spec.backoff is not None:
        policy["retry_back_off"] = {"base_interval": duration(spec.backoff)}
    return policy


def _conditions(written: str) -> dict[str, Any]:
    """`503,reset` -> statuses in a list of their own, under a condition that they need."""
    parts = [part.strip() for part in written.split(",") if part.strip()]
    statuses = [int(part) for part in parts if _is_status(part)]
    names = [part for part in parts if not _is_status(part)]
    if not statuses:
        return {"retry_on": ",".join(names)}
    if "retriable-status-codes" not in names:
        names.append("retriable-status-codes")
    return {"retry_on": ",".join(names), "retriable_status_codes": statuses}


def _is_status(text: str) -> bool:
    return text.isascii() and text.isdecimal() and int(text) in _STATUSES

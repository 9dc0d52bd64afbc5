"""What an HTTPRoute's `retries` may not say although its types are right.

Source: istio pkg/config/validation/agent/validation.go, ValidateHTTPRetry.
"""

from collections.abc import Iterator
from http import HTTPStatus

from mitm_mirror.resources import names
from mitm_mirror.resources.finding import Finding, error, show
from mitm_mirror.resources.names import at
from mitm_mirror.resources.resource import FieldPath
from mitm_mirror.resources.virtual_service import HTTPRetry

# Envoy's values of x-envoy-retry-on and x-envoy-retry-grpc-on, as Istio lists them.
RETRY_CONDITIONS = (
    "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "retriable-4xx",
    "refused-stream", "retriable-status-codes", "retriable-headers", "envoy-ratelimited",
    "http3-post-connect-failure", "cancelled", "deadline-exceeded", "internal", "resource-exhausted",
    "unavailable",
)  # fmt: skip
_STATUS_CODES = frozenset(str(status.value) for status in HTTPStatus)


def check_retries(retries: HTTPRetry, path: FieldPath) -> Iterator[Finding]:
    """All errors of one policy."""
    if retries.attempts < 0:
        yield error((*path, "attempts"), f"{retries.attempts}, expected 0 or more")
    if retries.attempts == 0:
        for name, given in (
            ("perTryTimeout", retries.per_try_timeout is not None),
            ("retryOn", bool(retries.retry_on)),
            ("retryRemoteLocalities", retries.retry_remote_localities is not None),
        ):
            if given:
                yield error((*path, name), "not allowed with attempts 0, which means no retries")
                break
    for name, seconds in (("perTryTimeout", retries.per_try_timeout), ("backoff", retries.backoff)):
        if seconds is not None:
            yield from at((*path, name), names.whole_milliseconds(seconds))
    for condition in retries.retry_on.split(",") if retries.retry_on else ():
        # Istio does not strip blanks: `5xx, reset` is an error in a cluster.
        if condition not in RETRY_CONDITIONS and condition not in _STATUS_CODES:
            expected = f"HTTP status codes, {', '.join(RETRY_CONDITIONS)}"
            yield error((*path, "retryOn"), f"{show(condition)}, expected, without blanks, {expected}")

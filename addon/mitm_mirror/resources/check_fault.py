"""What an HTTPRoute's `fault` may not say although its types are right.

Source: istio pkg/config/validation/validation.go, validateHTTPFaultInjection and what it calls.
"""

from collections.abc import Iterator

from mitm_mirror.resources import names
from mitm_mirror.resources.finding import Finding, error, show, warning
from mitm_mirror.resources.grpc_status import GRPC_STATUSES
from mitm_mirror.resources.names import at
from mitm_mirror.resources.resource import FieldPath
from mitm_mirror.resources.virtual_service import Abort, Delay, HTTPFaultInjection, Percent

_SMALLEST_PERCENT = 0.0001
_NEVER = "without percentage it never happens; for all requests write percentage: {value: 100}"


def check_fault(fault: HTTPFaultInjection, path: FieldPath) -> Iterator[Finding]:
    """Errors, and warnings about a fault that can never happen."""
    if fault.delay is None and fault.abort is None:
        yield error(path, "expected delay, abort or both")
    if fault.delay is not None:
        yield from _check_delay(fault.delay, (*path, "delay"))
    if fault.abort is not None:
        yield from _check_abort(fault.abort, (*path, "abort"))


def _check_delay(delay: Delay, path: FieldPath) -> Iterator[Finding]:
    yield from _check_percentage(delay.percentage, (*path, "percentage"))
    if "percent" in delay.model_fields_set:
        yield warning((*path, "percent"), "deprecated, use percentage")
        if not 0 <= delay.percent <= 100:
            # Istio hands it to Envoy as an unsigned number of 100.
            yield warning((*path, "percent"), f"{delay.percent}, expected 0 to 100; it counts as 100")
    elif delay.percentage is None:
        yield warning(path, _NEVER)
    if delay.fixed_delay is not None and delay.exponential_delay is not None:
        yield error((*path, "exponentialDelay"), "not allowed beside fixedDelay")
    elif delay.exponential_delay is not None:
        yield error((*path, "exponentialDelay"), "not supported by Istio, expected fixedDelay")
    elif delay.fixed_delay is None:
        yield warning(path, "without fixedDelay nothing is delayed")
    if delay.fixed_delay is not None:
        yield from at((*path, "fixedDelay"), names.whole_milliseconds(delay.fixed_delay))


def _check_abort(abort: Abort, path: FieldPath) -> Iterator[Finding]:
    yield from _check_percentage(abort.percentage, (*path, "percentage"))
    if abort.percentage is None:
        yield warning(path, _NEVER)
    given = [
        name
        for name, value in (
            ("httpStatus", abort.http_status),
            ("grpcStatus", abort.grpc_status),
            ("http2Error", abort.http2_error),
        )
        if value is not None
    ]
    if not given:
        yield warning(path, "without httpStatus or grpcStatus nothing is aborted")
    elif len(given) > 1:
        yield error((*path, given[1]), f"not allowed beside {given[0]}")
    if abort.http_status is not None and not 200 <= abort.http_status <= 599:
        yield error((*path, "httpStatus"), f"{abort.http_status}, expected 200 to 599")
    if abort.grpc_status is not None and abort.grpc_status not in GRPC_STATUSES:
        expected = ", ".join(GRPC_STATUSES)
        yield error((*path, "grpcStatus"), f"{show(abort.grpc_status)}, expected one of {expected}")
    if abort.http2_error is not None:
        yield error((*path, "http2Error"), "not supported by Istio, expected httpStatus or grpcStatus")


def _check_percentage(percent: Percent | None, path: FieldPath) -> Iterator[Finding]:
    """Stricter than a mirror's: too small a value is an error in Istio, too."""
    if percent is None:
        return
    if percent.value != 0 and not _SMALLEST_PERCENT <= percent.value <= 100:
        expected = f"expected 0, or {_SMALLEST_PERCENT} to 100"
        yield error((*path, "value"), f"{show(percent.value)}, {expected}")
    elif not percent.model_fields_set:
        yield warning(path, "empty, which means 0 percent: it never happens")

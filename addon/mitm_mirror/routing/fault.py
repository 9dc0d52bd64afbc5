"""Faults that a route injects: requests that are held for a while, and requests that are aborted."""

from collections.abc import Callable
from dataclasses import dataclass

from mitm_mirror.resources.grpc_status import GRPC_STATUSES
from mitm_mirror.resources.virtual_service import Delay, HTTPFaultInjection, Percent
from mitm_mirror.routing.mirror import ALL, percentage_millionths

ABORT_BODY = b"fault filter abort"
"""Envoy's text."""


@dataclass(frozen=True, slots=True)
class DelayFault:
    """Holds a share of the requests."""

    delay_s: float
    millionths: int


@dataclass(frozen=True, slots=True)
class AbortFault:
    """Answers a share of the requests."""

    status: int
    grpc_status: int | None
    """For gRPC requests; None stands for the one that `status` means."""
    millionths: int


@dataclass(frozen=True, slots=True)
class Fault:
    """A compiled `fault`. What can never happen is left out when rules are compiled."""

    delay: DelayFault | None
    abort: AbortFault | None

    def choose(self, draw: Callable[[], float]) -> tuple[float, AbortFault | None]:
        """(seconds to hold the request, and the abort that follows or None), chosen independently.

        A number is drawn for the delay and then one for the abort, each only where there is a
        choice. Source: Envoy's FaultFilter::decodeHeaders and postDelayInjection.
        """
        delay = self.delay if self.delay is not None and _hit(self.delay.millionths, draw) else None
        abort = self.abort if self.abort is not None and _hit(self.abort.millionths, draw) else None
        return (0.0 if delay is None else delay.delay_s), abort


def compile_fault(spec: HTTPFaultInjection | None) -> Fault | None:
    """The fault, or None where nothing of it can ever happen.

    Unlike a mirror, a fault without a percentage never happens. `grpcStatus` leaves 200 to clients
    that do not speak gRPC. Source: istio pilot/pkg/networking/core/route/route.go, TranslateFault;
    checked against Envoy 1.40.
    """
    if spec is None:
        return None
    delay: DelayFault | None = None
    if spec.delay is not None and spec.delay.fixed_delay:
        millionths = _delay_millionths(spec.delay)
        delay = DelayFault(spec.delay.fixed_delay, millionths) if millionths else None
    abort: AbortFault | None = None
    if spec.abort is not None:
        millionths = _millionths(spec.abort.percentage)
        if millionths and spec.abort.http_status is not None:
            abort = AbortFault(spec.abort.http_status, None, millionths)
        elif millionths and spec.abort.grpc_status is not None:
            abort = AbortFault(200, GRPC_STATUSES[spec.abort.grpc_status], millionths)
    return None if delay is None and abort is None else Fault(delay, abort)


def _delay_millionths(spec: Delay) -> int:
    if spec.percentage is not None:
        return percentage_millionths(spec.percentage)
    # A number outside 0 to 100 is read as unsigned, so it is above 100 either way.
    return spec.percent * 10_000 if 0 <= spec.percent <= 100 else ALL


def _millionths(percentage: Percent | None) -> int:
    return 0 if percentage is None else percentage_millionths(percentage)


def _hit(millionths: int, draw: Callable[[], float]) -> bool:
    return millionths >= ALL or int(draw() * ALL) < millionths

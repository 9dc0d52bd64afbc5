"""The breakers of one destination's endpoints. Says in the log when one opens and closes."""

import logging
from collections.abc import Callable

from mitm_mirror.routing.authority import bracketed
from mitm_mirror.routing.outlier import OutlierPolicy
from mitm_mirror.shadow.breaker import Breaker, BreakerState, is_failure
from mitm_mirror.shadow.message import ShadowResult

logger = logging.getLogger(__name__)

EndpointKey = tuple[str, int]
"""Address and port."""


class Breakers(dict[EndpointKey, Breaker]):
    """By endpoint, and only for those that failed since they last answered.

    A dict, as that says at no cost that there is none, which is so for every shadow of a healthy mirror.
    """

    __slots__ = ("_destination",)

    def __init__(self, destination: str) -> None:
        super().__init__()
        self._destination = destination

    def refusal(self, endpoint: EndpointKey, now: float) -> str:
        """Why no shadow is sent to the endpoint now; empty where one may be."""
        breaker = self.get(endpoint)
        if breaker is None or not breaker.refuses(now):
            return ""
        return f"{endpoint_text(endpoint)} {breaker.reason} and is left alone until it may have recovered"

    def sent(self, endpoint: EndpointKey) -> bool:
        """A shadow that was not refused was sent; True where it is a probe."""
        breaker = self.get(endpoint)
        if breaker is None or breaker.state is BreakerState.CLOSED:
            return False
        breaker.probe()
        return True

    def ended(
        self,
        endpoint: EndpointKey,
        policy: OutlierPolicy | None,
        result: ShadowResult | None,
        *,
        probe: bool,
        now: float,
        draw: Callable[[], float],
    ) -> None:
        """A shadow that was sent has ended; `result` None: in a way that says nothing about the endpoint."""
        breaker = self.get(endpoint)
        if breaker is None:
            if result is None or not is_failure(policy, result):
                return
            breaker = self[endpoint] = Breaker()
        was = breaker.state
        breaker.ended(policy, result, probe=probe, now=now, draw=draw)
        if breaker.spotless:
            del self[endpoint]
        name = f"{endpoint_text(endpoint)} of {self._destination}"
        if was is BreakerState.CLOSED and breaker.state is BreakerState.OPEN:
            logger.warning("mirror: %s %s; no shadows until it answers again.", name, breaker.reason)
        elif was is not BreakerState.CLOSED and breaker.state is BreakerState.CLOSED:
            logger.info("mirror: %s answers again and gets its shadows.", name)

    def forget_unused(self, since: float) -> None:
        """Drop those of endpoints to which nothing was sent since; the rules may not have them any more."""
        for endpoint, breaker in list(self.items()):
            idle = max(breaker.ended_at, breaker.retry_at) < since
            if idle and breaker.state is not BreakerState.HALF_OPEN:
                del self[endpoint]


def endpoint_text(endpoint: EndpointKey) -> str:
    """`127.0.0.1:8002`."""
    address, port = endpoint
    return f"{bracketed(address)}:{port}"

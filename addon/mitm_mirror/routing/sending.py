"""A route's `timeout` and `retries` together: whether they ask for more than sending once, and what."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mitm_mirror.resources.virtual_service import HTTPRoute
from mitm_mirror.routing.decision import Sending, Target
from mitm_mirror.routing.destinations import ResolvedDestination
from mitm_mirror.routing.port_targets import Balance
from mitm_mirror.routing.retry import RetryPolicy, choose_another, compile_retry
from mitm_mirror.routing.view import RequestView


@dataclass(frozen=True, slots=True)
class RouteSending:
    """What a route says about sending, before a destination is chosen."""

    timeout_s: float | None
    """None where it has none. (0 s, which means none to Envoy, is refused by Istio and by our validation.)"""
    retry: RetryPolicy | None

    def sending(
        self,
        destination: ResolvedDestination,
        view: RequestView,
        draw: Callable[[], float],
        balance: Balance,
    ) -> Sending:
        """For one request to one destination."""
        port = view.head.port
        sticky = destination.is_sticky(port)
        ignore_previous = self.retry is not None and self.retry.ignore_previous_hosts
        if self.retry is not None and self.retry.ignore_previous_hosts is None:
            ignore_previous = not sticky

        def choose() -> Target | None:
            # Of a sticky destination that is to be left: by chance (Envoy goes on along its ring).
            if sticky and ignore_previous:
                chosen = destination.choose(port, draw, balance)
            else:
                chosen, _ = destination.choose_for(view, draw, balance)
            return None if chosen is None else chosen.seen_by(view.head)

        def choose_again(tried: Sequence[Target]) -> Target | None:
            # A key is not asked again where it need not be: a cookie that is made here differs each time.
            if sticky and not ignore_previous and destination.is_usable(tried[-1], port, balance):
                return tried[-1]
            return choose_another(choose, tried if ignore_previous else ())

        return Sending(self.timeout_s, self.retry, choose_again)


def compile_sending(spec: HTTPRoute) -> RouteSending | None:
    """None where the route asks for nothing.

    Istio's default retries hold where the route has a `timeout` only: such a request is not sent by
    mitmproxy itself anyway. That path, which cannot retry, is not left for their sake.
    """
    timeout_s = spec.timeout or None
    retry = compile_retry(spec.retries)
    if timeout_s is None and (spec.retries is None or retry is None):
        return None
    return RouteSending(timeout_s, retry)

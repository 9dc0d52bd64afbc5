"""Choosing among the endpoints of one cluster that get requests now."""

from collections.abc import Callable

from mitm_mirror.routing.decision import Target
from mitm_mirror.routing.edf import EdfSchedule
from mitm_mirror.routing.endpoint_state import EndpointState
from mitm_mirror.routing.load_balancer import LoadBalancer
from mitm_mirror.routing.port_targets import PortTargets
from mitm_mirror.routing.weights import Weighted


class EndpointChoice:
    """Made anew when endpoints come, go, are ejected or are let in again.

    Source: Envoy's source/extensions/load_balancing_policies/{round_robin,least_request,random}.
    """

    __slots__ = ("_by_weight", "_is_whole", "_schedule", "_targets", "turn", "usable")

    def __init__(
        self, targets: PortTargets, usable: tuple[EndpointState, ...], *, is_whole: bool, turn: int = 0
    ) -> None:
        """`is_whole` says whether `usable` are all endpoints of the cluster."""
        self.turn = turn
        """Whose turn it is where all weights are equal; it goes on counting over the next choice."""
        self._targets = targets
        self.usable = usable
        self._is_whole = is_whole
        self._by_weight: Weighted[EndpointState] | None = None
        self._schedule: EdfSchedule[EndpointState] | None = None
        if targets.balancer is LoadBalancer.BY_WEIGHT and usable:
            self._by_weight = Weighted(usable, [endpoint.weight for endpoint in usable])
        elif len({endpoint.weight for endpoint in usable}) > 1:
            self._schedule = _schedule(targets.balancer, usable)

    def is_same(self, targets: PortTargets, usable: tuple[EndpointState, ...]) -> bool:
        """Whether there is nothing to make anew."""
        mine = self._targets
        return (
            self.usable == usable
            and mine.balancer is targets.balancer
            and mine.targets.weights == targets.targets.weights
            and mine.sticky is targets.sticky
        )

    def choose(self, key: bytes | None, draw: Callable[[], float]) -> Target | None:
        """The endpoint of the next request, None where there is none; `key` is the one to hash.

        Draws nothing where there is no choice.
        """
        usable = self.usable
        if len(usable) < 2:
            return usable[0].target if usable else None
        if key is not None and self._targets.sticky is not None:
            return self._find(key)
        if self._by_weight is not None:
            return self._by_weight.choose(draw).target
        if self._schedule is not None:
            return self._schedule.next().target
        balancer = self._targets.balancer
        if balancer is LoadBalancer.RANDOM:
            return usable[int(draw() * len(usable))].target
        if balancer is LoadBalancer.ROUND_ROBIN:
            self.turn += 1
            return usable[(self.turn - 1) % len(usable)].target
        one, other = (usable[int(draw() * len(usable))] for _ in range(2))
        return (other if other.active < one.active else one).target

    def _find(self, key: bytes) -> Target:
        sticky = self._targets.sticky
        assert sticky is not None
        if self._is_whole:
            return sticky.ring.find(key)
        usable = {id(endpoint.target) for endpoint in self.usable}
        return sticky.ring.find(key, lambda target: id(target) in usable)


def _schedule(balancer: LoadBalancer, usable: tuple[EndpointState, ...]) -> EdfSchedule[EndpointState] | None:
    """Turns for endpoints of different weights; with equal ones there is no schedule, as in Envoy."""
    if balancer is LoadBalancer.ROUND_ROBIN:
        return EdfSchedule(usable, lambda endpoint: endpoint.weight)
    if balancer is LoadBalancer.LEAST_REQUEST:
        return EdfSchedule(usable, lambda endpoint: endpoint.weight / (endpoint.active + 1))
    return None

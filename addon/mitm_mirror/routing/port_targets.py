"""What one port of a destination leads to, and how one of several endpoints is chosen."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from mitm_mirror.routing.decision import Target
from mitm_mirror.routing.hash_policy import HashPolicy
from mitm_mirror.routing.hash_ring import HashRing
from mitm_mirror.routing.load_balancer import LoadBalancer
from mitm_mirror.routing.maglev import MaglevTable
from mitm_mirror.routing.outlier import OutlierPolicy
from mitm_mirror.routing.pool_limits import PoolLimits
from mitm_mirror.routing.traffic_policy import SourcedPolicy
from mitm_mirror.routing.weights import Weighted


@dataclass(frozen=True, slots=True)
class Sticky:
    """Endpoints chosen by something of the request."""

    policy: HashPolicy
    ring: HashRing[Target] | MaglevTable[Target]


@dataclass(frozen=True, slots=True)
class PortTargets:
    """One cluster: at least one target."""

    cluster: str
    targets: Weighted[Target]
    sticky: Sticky | None = None
    """Where a DestinationRule asks for `consistentHash`."""
    balancer: LoadBalancer = LoadBalancer.LEAST_REQUEST
    limits: PoolLimits | None = None
    outlier: OutlierPolicy | None = None
    policies: tuple[SourcedPolicy | None, SourcedPolicy | None] = (None, None)
    """The traffic policies of rule and subset that all this was compiled from, for `find_setting`."""

    is_settled: bool = field(init=False)
    """Whether there is nothing to choose and nothing to remember: one endpoint without limits."""

    def __post_init__(self) -> None:
        settled = len(self.targets.items) == 1 and self.limits is None and self.outlier is None
        object.__setattr__(self, "is_settled", settled)


class Balance(Protocol):
    """Chooses the endpoints of primaries."""

    def choose(self, found: PortTargets, key: bytes | None, draw: Callable[[], float]) -> Target | None:
        """One of its targets, by `key` where there is one to hash; None where all are ejected."""
        ...

    def usable(self, found: PortTargets) -> tuple[Target, ...]:
        """Its targets that may be chosen now."""
        ...


class ByWeight:
    """Endpoints by weight and chance: what a `Balance` does that remembers nothing."""

    def choose(self, found: PortTargets, key: bytes | None, draw: Callable[[], float]) -> Target | None:
        if key is not None and found.sticky is not None:
            return found.sticky.ring.find(key)
        return found.targets.choose(draw)

    def usable(self, found: PortTargets) -> tuple[Target, ...]:
        return found.targets.items


BY_WEIGHT = ByWeight()

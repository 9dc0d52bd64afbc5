"""All that is remembered between requests. It outlives the rules, which are immutable."""

from collections.abc import Callable, Iterator, Mapping

from mitm_mirror.routing.cluster_state import ClusterState, Entry, HealthChange, Waiting
from mitm_mirror.routing.decision import Target
from mitm_mirror.routing.port_targets import PortTargets
from mitm_mirror.routing.weights import Weighted


class ClusterStates:
    """The state of each cluster that has been asked for, by name. Not for several threads."""

    def __init__(self, clock: Callable[[], float], on_change: Callable[[HealthChange], None]) -> None:
        """`clock` gives monotonic seconds. `on_change` is told of each ejection and of each return, when it
        is found."""
        self._clock = clock
        self._on_change = on_change
        self._clusters: dict[str, ClusterState] = {}

    def __iter__(self) -> Iterator[ClusterState]:
        return iter(self._clusters.values())

    def choose(self, found: PortTargets, key: bytes | None, draw: Callable[[], float]) -> Target | None:
        """See `Balance`."""
        cluster = self._clusters.get(found.cluster)
        if cluster is None:
            cluster = self._begin(found)
        return cluster.choose(key, draw)

    def enter(self, target: Target, on_turn: Callable[[Entry], None]) -> Entry | Waiting:
        """A request is about to be sent to a target that `is_tracked`. None where a limit turns it away.

        Where it has to wait for a connection, `on_turn` is called later, once, with what has become of it.
        """
        cluster = self._clusters.get(target.cluster)
        if cluster is None:
            # A reload took it out of the rules while this request was held.
            targets = Weighted((target,), (1,))
            cluster = self._begin(
                PortTargets(target.cluster, targets, limits=target.limits, outlier=target.outlier)
            )
        return cluster.enter(target, on_turn)

    def adopt(self, clusters: Mapping[str, PortTargets]) -> None:
        """New rules are served. Clusters and endpoints that stay keep their state, others lose it.

        Requests in flight to those are no longer counted, and end as if they were.
        """
        gone = [name for name in self._clusters if name not in clusters]
        for name in gone:
            self._clusters.pop(name).dissolve()
        for name, cluster in self._clusters.items():
            cluster.adopt(clusters[name])

    def advance(self) -> float | None:
        """Lets in again whose time has come. Seconds until the next; None where none is ejected."""
        for cluster in self._clusters.values():
            cluster.advance()
        times = [
            cluster.returns_at(endpoint)
            for cluster in self._clusters.values()
            for endpoint in cluster.ejected
        ]
        return max(0.0, min(times) - self._clock()) if times else None

    def usable(self, found: PortTargets) -> tuple[Target, ...]:
        """Its targets that get requests now: without those that are ejected."""
        cluster = self._clusters.get(found.cluster)
        if cluster is None:
            return found.targets.items
        cluster.advance()
        return cluster.usable

    def _begin(self, targets: PortTargets) -> ClusterState:
        state = ClusterState(targets, self._clock, self._on_change)
        self._clusters[targets.cluster] = state
        return state

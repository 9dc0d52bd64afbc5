"""What is remembered of one cluster: whose turn it is, what is in flight, which endpoints are ejected."""

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import replace
from itertools import islice
from typing import NamedTuple
from weakref import WeakValueDictionary

from mitm_mirror.routing.decision import Target
from mitm_mirror.routing.endpoint_choice import EndpointChoice
from mitm_mirror.routing.endpoint_state import EndpointState, LocalFailure
from mitm_mirror.routing.port_targets import PortTargets

_OVERPROVISIONING_PERCENT = 140
"""Envoy's default, which Istio leaves: with 5 of 7 endpoints left a cluster does not count as in need."""


class HealthChange(NamedTuple):
    """An endpoint was ejected, or gets requests again."""

    target: Target
    ejected_for: str
    """Why it was ejected; empty where it gets requests again."""
    seconds: float
    """How long it is, or was, without requests."""


class Attempt:
    """One request on its way to an endpoint: in flight until `end`, which may be called again."""

    __slots__ = ("_cluster", "_endpoint", "_is_open")

    def __init__(self, cluster: "ClusterState", endpoint: EndpointState) -> None:
        self._cluster = cluster
        self._endpoint = endpoint
        self._is_open = True
        cluster.active += 1
        endpoint.active += 1

    def answered(self, status: int) -> None:
        """The head of its answer has come."""
        outlier = self._cluster.targets.outlier
        if outlier is not None and (reason := self._endpoint.answered(outlier, status)):
            self._cluster.eject(self._endpoint, reason)

    def failed(self, failure: LocalFailure) -> None:
        """There is no answer, or no whole one, and that is not the client's doing."""
        outlier = self._cluster.targets.outlier
        if outlier is not None and (reason := self._endpoint.failed(outlier, failure)):
            self._cluster.eject(self._endpoint, reason)

    def end(self) -> None:
        """It is over, however it ended; who waits for a connection has its turn."""
        if self._is_open:
            self._is_open = False
            self._cluster.active -= 1
            self._endpoint.active -= 1
            self._cluster.wake()


Entry = Attempt | None
"""None where a limit turned the request away."""


class Waiting:
    """A request that waits for one of `maxConnections`."""

    __slots__ = ("_cluster", "endpoint", "on_turn")

    def __init__(
        self, cluster: "ClusterState", endpoint: EndpointState, on_turn: Callable[[Entry], None]
    ) -> None:
        self._cluster = cluster
        self.endpoint = endpoint
        self.on_turn = on_turn

    def leave(self) -> None:
        """It waits no longer, and `on_turn` is not called; nothing where it has had its turn."""
        self._cluster.forget(self)


class ClusterState:
    """One cluster. Not for several threads; times are seconds of one monotonic clock."""

    def __init__(
        self, targets: PortTargets, clock: Callable[[], float], on_change: Callable[[HealthChange], None]
    ) -> None:
        self.targets = targets
        self.active = 0
        """Requests in flight, those of endpoints that have left included."""
        self.overflowed = 0
        """Requests that a limit turned away."""
        self.endpoints: tuple[EndpointState, ...] = ()
        self._on_change = on_change
        self._clock = clock
        self._started = clock()
        """Since when there are looks for endpoints to let in again, see `EndpointState.returns_at`."""
        self._by_key: dict[Hashable, EndpointState] = {}
        self._unlisted: WeakValueDictionary[Hashable, EndpointState] = WeakValueDictionary()
        """Endpoints that are none of the rules' while requests are on their way there: the request named
        its own (`Endpoint.lookup`), or a reload took it out. They count connections and are never ejected."""
        self._waiting: dict[Waiting, None] = {}
        self._restless = False
        """Whether time can change anything: an endpoint is ejected, or was not long ago."""
        self._choice = EndpointChoice(targets, (), is_whole=True)
        self._take_over(targets)

    @property
    def waiting(self) -> int:
        """Requests that wait for a connection."""
        return len(self._waiting)

    def adopt(self, targets: PortTargets) -> None:
        """What the rules say now. Endpoints that stay keep their state; the others are forgotten."""
        if targets is not self.targets:
            self._take_over(targets)
            self.wake()

    def choose(self, key: bytes | None, draw: Callable[[], float]) -> Target | None:
        """See `EndpointChoice.choose`; None where all endpoints are ejected."""
        if self._restless:
            self.advance()
        return self._choice.choose(key, draw)

    def enter(self, target: Target, on_turn: Callable[[Entry], None]) -> Entry | Waiting:
        """A request is about to be sent to `target`. None where a limit turns it away.

        Where it has to wait for a connection, `on_turn` is called later, once, with what has become of it.
        In the order of Envoy's connection pool (source/common/conn_pool/conn_pool_base.cc), which however
        has a queue for each endpoint.
        """
        limits = self.targets.limits
        endpoint = self._endpoint(target)
        if self._is_full(endpoint):
            if (
                limits is not None
                and limits.max_pending_requests is not None
                and self.waiting >= limits.max_pending_requests
            ):
                self.overflowed += 1
                return None
            waiting = Waiting(self, endpoint, on_turn)
            self._waiting[waiting] = None
            return waiting
        return self._admit(endpoint)

    def wake(self) -> None:
        """Gives those who wait their turn, first come first served, as far as there are connections."""
        while self._waiting:
            # Where no connection is left over, those for an endpoint that has none need not wait.
            idle = any(not endpoint.active for endpoint in self.endpoints)
            candidates = self._waiting if idle else islice(self._waiting, 1)
            waiting = next((one for one in candidates if not self._is_full(one.endpoint)), None)
            if waiting is None:
                return
            del self._waiting[waiting]
            waiting.on_turn(self._admit(waiting.endpoint))

    def dissolve(self) -> None:
        """The rules have it no more: nothing limits who waits, and no endpoint is to be let in again."""
        self.targets = replace(self.targets, limits=None, outlier=None)
        self.wake()

    def forget(self, waiting: Waiting) -> None:
        """See `Waiting.leave`."""
        self._waiting.pop(waiting, None)

    def eject(self, endpoint: EndpointState, reason: str) -> None:
        """Ejects an endpoint, unless it is, or too many would be: by default a tenth, so none of nine."""
        outlier = self.targets.outlier
        if outlier is None or endpoint not in self.endpoints:
            return
        self.advance()
        now = self._clock()
        share_percent = 100 * (len(self.ejected) + 1) / len(self.endpoints)
        if endpoint.ejected_at is not None or share_percent > outlier.max_ejection_percent:
            return
        endpoint.eject(outlier, now)
        self._refresh()
        lasts_s = endpoint.returns_at(outlier, self._started) - now
        self._on_change(HealthChange(endpoint.target, reason, lasts_s))

    def advance(self) -> None:
        """Lets in again whose time has come."""
        outlier, now = self.targets.outlier, self._clock()
        if not self._restless or outlier is None:
            return
        returned = []
        for endpoint in self.endpoints:
            if endpoint.ejected_at is not None and endpoint.returns_at(outlier, self._started) <= now:
                returned.append(HealthChange(endpoint.target, "", now - endpoint.ejected_at))
                endpoint.let_in(outlier, self._started)
            endpoint.calm_down(outlier, self._started, now)
        self._restless = any(endpoint.backoff for endpoint in self.endpoints)
        if returned:
            self._refresh()
        for change in returned:
            self._on_change(change)

    @property
    def ejected(self) -> list[EndpointState]:
        """The endpoints that are ejected, as far as `advance` has looked."""
        return [endpoint for endpoint in self.endpoints if endpoint.ejected_at is not None]

    @property
    def usable(self) -> tuple[Target, ...]:
        """The endpoints that get requests: all that are not ejected, or all in a panic."""
        return tuple(endpoint.target for endpoint in self._choice.usable)

    def returns_at(self, endpoint: EndpointState) -> float:
        """When an ejected endpoint is let in again."""
        assert self.targets.outlier is not None
        return endpoint.returns_at(self.targets.outlier, self._started)

    def _is_full(self, endpoint: EndpointState) -> bool:
        """Whether there is no connection for it; an endpoint without any always gets one, as in Envoy."""
        limits = self.targets.limits
        if limits is None or limits.max_connections is None or not endpoint.active:
            return False
        return self.active >= limits.max_connections

    def _admit(self, endpoint: EndpointState) -> Entry:
        limits = self.targets.limits
        if limits is not None and limits.max_requests is not None and self.active >= limits.max_requests:
            self.overflowed += 1
            return None
        return Attempt(self, endpoint)

    def _endpoint(self, target: Target) -> EndpointState:
        key = _key(target, 0)
        return self._by_key.get(key) or self._unlisted.setdefault(key, EndpointState(target, 1))

    def _take_over(self, targets: PortTargets) -> None:
        seen: Counter[Hashable] = Counter()
        by_key: dict[Hashable, EndpointState] = {}
        for target, weight in zip(targets.targets.items, targets.targets.weights, strict=True):
            key = _key(target, seen[_key(target, 0)])
            seen[_key(target, 0)] += 1
            by_key[key] = endpoint = self._by_key.get(key) or EndpointState(target, weight)
            endpoint.target, endpoint.weight = target, weight
            if targets.outlier is None:
                endpoint.ejected_at = None
        self.targets = targets
        self._by_key = by_key
        self.endpoints = tuple(by_key.values())
        self._refresh()

    def _refresh(self) -> None:
        """After a change of endpoints or ejections."""
        self._restless = any(endpoint.backoff for endpoint in self.endpoints)
        usable = tuple(endpoint for endpoint in self.endpoints if endpoint.ejected_at is None)
        if self._is_panic(len(usable)):
            usable = self.endpoints
        if not self._choice.is_same(self.targets, usable):
            is_whole = len(usable) == len(self.endpoints)
            turn = self._choice.turn
            self._choice = EndpointChoice(self.targets, usable, is_whole=is_whole, turn=turn)

    def _is_panic(self, healthy: int) -> bool:
        """Whether so few are left that all are used, ejected ones too.

        Source: Envoy's load_balancing_policies/common/load_balancer_impl.cc, recalculatePerPriorityPanic.
        """
        outlier = self.targets.outlier
        total = len(self.endpoints)
        if outlier is None or _OVERPROVISIONING_PERCENT * healthy >= 100 * total:
            return False
        return 100 * healthy < outlier.min_health_percent * total


def _key(target: Target, occurrence: int) -> Hashable:
    """The same endpoint after a reload; `occurrence` tells those of one address apart."""
    return target.endpoint.address, target.endpoint.port, occurrence

"""Which mirrors a request is copied to, and what the copies look like."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

from mitm_mirror.outcome import Outcome
from mitm_mirror.resources.annotations import MirrorAnnotations
from mitm_mirror.resources.virtual_service import HTTPRoute, Percent
from mitm_mirror.routing.authority import server_name, suffix_authority
from mitm_mirror.routing.decision import HeaderOperations, MirrorCopy, Target
from mitm_mirror.routing.destinations import ResolvedDestination
from mitm_mirror.routing.headers import shadow_operations
from mitm_mirror.routing.kept import Kept
from mitm_mirror.routing.port_targets import BY_WEIGHT
from mitm_mirror.routing.view import RequestView
from mitm_mirror.text import encode

ALL = 1_000_000
"""Parts per million that mean every request."""


def route_millionths(route: HTTPRoute) -> int:
    """Parts per million of requests that the route's `mirror` copies.

    Absent means all; an explicit 0, and an empty `mirrorPercentage: {}`, mean none.
    Source: istio pilot/pkg/networking/core/route/route.go, MirrorPercent.
    """
    if route.mirror_percentage is None and route.mirror_percent is not None:
        return min(route.mirror_percent * 10_000, ALL)
    return percentage_millionths(route.mirror_percentage)


def percentage_millionths(percentage: Percent | None) -> int:
    """Whole parts per million, the rest cut off: 0.57 becomes 5,699, as in Istio.

    Source: route.go, MirrorPercentByPolicy and translatePercentToFractionalPercent.
    """
    return ALL if percentage is None else max(0, min(int(percentage.value * 10_000), ALL))


@dataclass(frozen=True, slots=True)
class MirrorPolicy:
    """One mirror of a route. One that can never fire is left out when rules are compiled, as in Istio."""

    destination: ResolvedDestination
    millionths: int


class Mirrors:
    """All mirrors of one route. At least one policy."""

    __slots__ = (
        "_drawn",
        "_headers",
        "_host_suffix",
        "_kept",
        "_timeout_s",
        "annotations",
        "is_settled",
        "policies",
    )

    def __init__(
        self,
        policies: tuple[MirrorPolicy, ...],
        annotations: MirrorAnnotations,
        host_suffix: str,
        timeout_s: float | None = None,
    ) -> None:
        """`timeout_s` is the route's, which holds where no annotation says otherwise."""
        self.policies = policies
        self.annotations = annotations
        self._host_suffix = host_suffix
        self._timeout_s = timeout_s if annotations.timeout_s is None else annotations.timeout_s
        self._headers: HeaderOperations = shadow_operations(
            annotations.set_headers, annotations.remove_headers
        )
        self._drawn = any(policy.millionths < ALL for policy in policies)
        self.is_settled = (
            not self._drawn
            and annotations.methods is None
            and all(policy.destination.is_settled for policy in policies)
        )
        """Whether the copies of all requests with one authority and port are the same."""
        self._kept: Kept[tuple[MirrorCopy, ...]] = Kept()

    def copies(self, view: RequestView, authority: str, draw: Callable[[], float]) -> tuple[MirrorCopy, ...]:
        """One pair for each policy. `authority` is the Host that the primary gets.

        A guarded method is settled before the percentage, and that before the endpoint: a request
        that was never to be copied is not counted as lost. One number serves all policies, as in
        Envoy, so a 25 % and a 60 % mirror come out nested.
        """
        if not self.is_settled:
            return self._copies(view, authority, draw)
        key = (authority, view.head.port)
        copies = self._kept.get(key)
        if copies is None:
            copies = self._copies(view, authority, draw)
            self._kept.keep(key, copies)
        return copies

    def _copies(self, view: RequestView, authority: str, draw: Callable[[], float]) -> tuple[MirrorCopy, ...]:
        head = view.head
        ended: Outcome | None = None
        position = 0
        methods = self.annotations.methods
        if methods is not None and head.method not in methods:
            ended = Outcome.METHOD_GUARDED
        elif self._drawn:
            position = self._position(view, draw)
        shadow_authority, sni = self._names(authority)
        copies = []
        for policy in self.policies:
            outcome = ended
            target: Target | None = None
            if outcome is None and position >= policy.millionths:
                outcome = Outcome.NOT_SAMPLED
            if outcome is None:
                target = policy.destination.choose(head.port, draw, BY_WEIGHT)
                target = None if target is None else target.seen_by(head)
                outcome = Outcome.NO_ENDPOINT if target is None else None
            copies.append(
                MirrorCopy(
                    destination=policy.destination.cluster(head.port),
                    outcome=outcome,
                    target=target,
                    authority=shadow_authority,
                    sni=sni if target is None else target.endpoint.server_name(sni),
                    headers=self._headers,
                    timeout_s=self._timeout_s,
                    ignore=self.annotations.ignore,
                )
            )
        return tuple(copies)

    def _names(self, authority: str) -> tuple[str, str]:
        """(Host, server name) of the shadow; the server name never has the suffix."""
        host = self.annotations.host
        if host == "keep":
            return authority, server_name(authority)
        if host != "suffix":
            return host, server_name(host)
        return suffix_authority(authority, self._host_suffix), server_name(authority)

    def _position(self, view: RequestView, draw: Callable[[], float]) -> int:
        """Where the request stands among a million: by chance, or always the same for one user."""
        identity = self.identity(view)
        if identity is None:
            return int(draw() * ALL)
        # Not Python's hash(), which differs from process to process: a restart must not regroup users.
        return int.from_bytes(blake2b(identity, digest_size=8).digest(), "big") * ALL >> 64

    def identity(self, view: RequestView) -> bytes | None:
        """What `mitm-mirror/sample-by` names; None, so chance decides, where the request has none of it."""
        if self.annotations.sample_by is None:
            return None
        source, name = self.annotations.sample_by
        if source == "client":
            return encode(view.head.client)
        if source == "cookie":
            return view.cookie(name.encode())
        return next(iter(view.header(name.lower().encode())), None)

"""What routing says about one request. Values only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import msgspec

from mitm_mirror.ignore_rules import NO_RULES, IgnoreRules
from mitm_mirror.outcome import Outcome
from mitm_mirror.routing.authority import DEFAULT_PORTS, bracketed, server_name, written_port
from mitm_mirror.routing.outlier import OutlierPolicy
from mitm_mirror.routing.pool_limits import PoolLimits
from mitm_mirror.routing.request import HeaderFields, RequestHead
from mitm_mirror.routing.retry import RetryPolicy
from mitm_mirror.upstream_tls import UpstreamTls

UNIX = "unix://"

Lookup = Literal["", "original_dst", "host"]
"""How an endpoint's address is found: it is known; it is the one that the client addressed (resolution
NONE); it is the one in the request's Host (DYNAMIC_DNS)."""

AnswerReason = Literal[
    "redirect",
    "direct_response",
    "no_route",
    "no_endpoint",
    "fault_abort",
    "cors_preflight",
    "overflow",
    "timeout",
]


@dataclass(frozen=True, slots=True)
class HeaderOperations:
    """Header changes in Envoy's order: removals first, then `set` (overwrite), then `add` (append).

    Names in `remove` are lower case. Names elsewhere keep the rule's case.
    """

    remove: frozenset[bytes] = frozenset()
    set: HeaderFields = ()
    add: HeaderFields = ()

    def __bool__(self) -> bool:
        return bool(self.remove or self.set or self.add)


_LOOKUPS = {"original_dst": "where the client addressed its request", "host": "the request's Host"}


@dataclass(frozen=True)  # without slots: they leave no place for what is found out once
class Endpoint:
    """Where to connect. `scheme` is None where the client's own scheme is kept."""

    address: str
    """An IP address (IPv6 without brackets), a DNS name, or a Unix socket as Istio writes it (`unix:///path`,
    `unix://@abstract`); empty where a request has to come first."""
    port: int
    """0 where a request has to come first; of no use for a Unix socket."""
    scheme: Literal["http", "https"] | None = None
    tls: UpstreamTls | None = None
    """What a DestinationRule says about TLS to it; None where it says nothing, or for `http`."""
    lookup: Lookup = ""
    http2: bool = False
    """Whether HTTP/2 is spoken to it whatever the client speaks (over TLS: offered)."""

    def seen_by(self, head: RequestHead) -> "Endpoint | None":
        """The endpoint with its address, which may be the request's to give; None where it gives none."""
        if not self.lookup:
            return self
        if self.lookup == "original_dst":
            address, port = head.original_host, self.port or head.original_port
        else:
            address = server_name(head.authority)
            port = written_port(head.authority) or DEFAULT_PORTS[self.scheme or head.scheme]
        return replace(self, address=address, port=port, lookup="") if address and port else None

    def server_name(self, default: str) -> str:
        """The SNI to send: the rule's, else `default`."""
        return (self.tls is not None and self.tls.sni) or default

    @cached_property
    def is_unix(self) -> bool:
        """Whether it is a Unix socket."""
        return self.address.startswith(UNIX)

    @cached_property
    def host_port(self) -> str:
        """`127.0.0.1:8001`, `[::1]:8001`, `unix:///path`; words where a request has to come first."""
        if self.lookup:
            port = f", port {self.port}" if self.port else ""
            return f"{_LOOKUPS[self.lookup]}{port}"
        return self.address if self.is_unix else f"{bracketed(self.address)}:{self.port}"


@dataclass(frozen=True)  # as above
class Target:
    """A destination that was resolved to one of its endpoints."""

    host: str
    """The service's host; a short name is qualified: `httpbin.default.svc.cluster.local`."""
    subset: str
    """Empty where the destination names none."""
    port: int
    """The service's port, which is not the endpoint's."""
    endpoint: Endpoint
    limits: PoolLimits | None = None
    """Of the whole cluster; None where nothing is limited."""
    outlier: OutlierPolicy | None = None
    """None where errors eject no endpoint."""
    is_tracked: bool = False
    """Whether its requests are counted while they are in flight, see `ClusterStates.enter`."""

    def seen_by(self, head: RequestHead) -> "Target | None":
        """The target with its endpoint's address, see `Endpoint.seen_by`."""
        if not self.endpoint.lookup:
            return self
        endpoint = self.endpoint.seen_by(head)
        return None if endpoint is None else replace(self, endpoint=endpoint)

    @cached_property
    def cluster(self) -> str:
        """Istio's name for this destination: `outbound|8080|v1|httpbin.default.svc.cluster.local`."""
        return f"outbound|{self.port}|{self.subset}|{self.host}"


@dataclass(frozen=True, slots=True)
class RuleRef:
    """The route that decided."""

    virtual_service: str
    """`namespace/name`."""
    route: str
    """The route's name, or `http[2]` where it has none. Empty where no route matched."""
    source: str
    """`file:line` of the route."""

    def seen_from(self, rule: "RuleRef") -> str:
        """The route's name, beside another rule of the same host: with its VirtualService if that differs."""
        same = self.virtual_service == rule.virtual_service
        return self.route if same else f"VirtualService {self.virtual_service} {self.route}"


class MirrorCopy(msgspec.Struct, frozen=True):
    """What is to become of one (request, mirror policy) pair.

    `outcome` is None where a shadow is to be sent; else the pair ended in routing already
    (`not_sampled`, `no_endpoint` or `method_guarded`), and `target` may be None.
    """

    destination: str
    """Names the policy in logs and counts: the mirror's cluster name, also where nothing is there."""
    outcome: Outcome | None
    target: Target | None
    authority: str
    """The shadow's Host, suffix included."""
    sni: str
    """The server name for TLS to the mirror: never with the suffix, never with a port."""
    headers: HeaderOperations
    """On the shadow only, after everything else (`mitm-mirror/set-headers`, `remove-headers`)."""
    timeout_s: float | None
    """`mitm-mirror/timeout`, else the route's `timeout`; None for `mirror_timeout`."""
    ignore: IgnoreRules = NO_RULES
    """`mitm-mirror/ignore`: what a comparison of its answer leaves out."""


def is_any_due(copies: Sequence[MirrorCopy]) -> bool:
    """Whether a shadow is to be sent for one of them at least."""
    for copy in copies:  # noqa: SIM110  (a generator costs five times as much)
        if copy.outcome is None:
            return True
    return False


@dataclass(frozen=True, slots=True)
class PassThrough:
    """No rule is about this request: it goes on as if we were not there."""


class Answer(msgspec.Struct, frozen=True):
    """The rules answer the request themselves; nothing is sent and nothing is mirrored."""

    rule: RuleRef
    status: int
    headers: HeaderFields
    body: bytes
    reason: AnswerReason
    destination: str = ""
    """The cluster that the request would have gone to; empty where the route has none."""
    delay_s: float = 0.0
    """How long a fault holds the request before it is answered."""


@dataclass(frozen=True, slots=True)
class Sending:
    """How a primary is sent whose route has a `timeout` or `retries`."""

    timeout_s: float | None
    """For the whole answer, all attempts and pauses included; None waits for ever."""
    retry: RetryPolicy | None
    choose_again: Callable[[Sequence[Target]], Target | None] = field(compare=False)
    """The endpoint of a retry, from those of the attempts before, in order; None where none is left."""


class Forward(msgspec.Struct, frozen=True):
    """The request goes to `target`, changed as said, and maybe to mirrors."""

    rule: RuleRef
    target: Target
    authority: str
    """The Host to send; equal to the request's where no rule rewrites it."""
    sni: str
    """The server name for TLS to the primary."""
    path: bytes | None
    """The raw target to send, query included; None keeps the request's, where no rule rewrites it."""
    request_headers: tuple[HeaderOperations, ...]
    """Applied in this order, see `mitm_mirror.routing.headers.apply_operations`."""
    response_headers: tuple[HeaderOperations, ...]
    mirrors: tuple[MirrorCopy, ...]
    delay_s: float = 0.0
    """How long a fault holds the request before it, and then its shadows, are sent."""
    sending: Sending | None = None
    """None where the proxy's own way of sending is all that the route asks for."""


Decision = PassThrough | Answer | Forward

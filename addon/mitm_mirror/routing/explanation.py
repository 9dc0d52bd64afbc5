"""What routing says about one request and why. Values only; shares are in percent, nothing is drawn."""

from dataclasses import dataclass

from mitm_mirror.outcome import Outcome
from mitm_mirror.routing.decision import Answer, Endpoint, Forward, MirrorCopy, RuleRef
from mitm_mirror.routing.request import RequestHead


@dataclass(frozen=True, slots=True)
class PassedMatch:
    """A match that was not met."""

    index: int
    """Its place in the route's `match`."""
    reason: str


@dataclass(frozen=True, slots=True)
class PassedRoute:
    """A route that was asked before the one that decided, or that nothing can reach."""

    rule: RuleRef
    matches: tuple[PassedMatch, ...]
    reason: str
    """Why no request can reach it; empty where its matches say why this one did not."""


@dataclass(frozen=True, slots=True)
class DecidingRoute:
    """The route that decided."""

    rule: RuleRef
    passed: tuple[PassedMatch, ...]
    """Its matches before the one that was met."""
    index: int | None
    """The place of the match that was met; None where the route has none, so takes every request."""
    conditions: str
    """What that match asks."""


@dataclass(frozen=True, slots=True)
class EndpointShare:
    """An endpoint that may be chosen, and how often it is."""

    endpoint: Endpoint
    percent: float
    is_ejected: bool = False
    """It gets no primaries now."""


@dataclass(frozen=True, slots=True)
class ExplainedDestination:
    """A destination of this request, and where it leads."""

    host: str
    subset: str
    port: int
    cluster: str
    endpoints: tuple[EndpointShare, ...]
    problem: str
    """Why there is no endpoint; empty where there is one."""
    chosen_by: str = ""
    """The load balancer, and what it makes of this request; empty without a choice, and for mirrors."""
    bounds: tuple[str, ...] = ()
    """Limits, and when an endpoint is ejected, in words; none for mirrors."""


@dataclass(frozen=True, slots=True)
class ExplainedMirror:
    """What becomes of one mirror policy."""

    percent: float
    destination: ExplainedDestination
    copy: MirrorCopy
    """As routing makes it where the draw is for it; its target is one endpoint among several."""
    sampling: str
    """What decides whether this request is among the percentage; empty where that is chance."""
    settled: bool
    """Whether `sampling` has decided already; `ended` says how."""
    ended: Outcome | None
    """Why there is no copy whatever is drawn; None where there may be one."""
    reason: str
    """`ended` in words."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """One of the destinations that the request may go to, and all that follows if it does."""

    percent: float
    destination: ExplainedDestination
    decision: Forward | Answer
    """An Answer where the destination has no endpoint. Its target is one endpoint among several."""
    mirrors: tuple[ExplainedMirror, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that can be said before chance has its say."""

    head: RequestHead
    host: str = ""
    """The host in the rules that the request goes by; empty where no rule is about it."""
    close_hosts: tuple[str, ...] = ()
    """Hosts in the rules that look like the request's, where no rule is about that."""
    unused: str = ""
    """The VirtualService for another proxy that is about the request's host, where none for this one is."""
    virtual_service: RuleRef | None = None
    ports: tuple[int, ...] = ()
    """The ports that the VirtualService is for, where the request's is none of them: it passes through."""
    passed: tuple[PassedRoute, ...] = ()
    """Every route before the one that decided, in order; all of them where none did."""
    route: DecidingRoute | None = None
    faults: tuple[str, ...] = ()
    """What the route's `fault` may do before anything below happens, with its shares."""
    sending: tuple[tuple[str, str], ...] = ()
    """(`timeout` or `retries`, in words) where the route has either."""
    alternatives: tuple[Alternative, ...] = ()
    """In the order of the rule, for a request that no fault hits; empty where the rules answer themselves."""
    answer: Answer | None = None
    """Where the rules answer whatever is drawn: redirect, direct response, no route."""

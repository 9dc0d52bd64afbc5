"""What a matched route does: forward, redirect, or answer by itself."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from mitm_mirror.routing.authority import server_name
from mitm_mirror.routing.cors import Cors
from mitm_mirror.routing.decision import Answer, Decision, Forward, HeaderOperations, RuleRef
from mitm_mirror.routing.destinations import ResolvedDestination
from mitm_mirror.routing.fault import ABORT_BODY, Fault
from mitm_mirror.routing.kept import Kept
from mitm_mirror.routing.local_reply import local_reply
from mitm_mirror.routing.mirror import Mirrors
from mitm_mirror.routing.port_targets import Balance
from mitm_mirror.routing.redirect import Redirect
from mitm_mirror.routing.rewrite import PathRewrite
from mitm_mirror.routing.sending import RouteSending
from mitm_mirror.routing.view import RequestView
from mitm_mirror.routing.weights import Weighted


class Action(Protocol):
    """What a route does with a request that matched it."""

    def decide(
        self,
        view: RequestView,
        rule: RuleRef,
        prefix_length: int | None,
        draw: Callable[[], float],
        balance: Balance,
    ) -> Decision:
        """`prefix_length` is the part of the path that matched, None for all of it."""
        ...


@dataclass(frozen=True, slots=True)
class RouteDestination:
    """One weighted destination of a route, with the header operations that hold when it is chosen."""

    destination: ResolvedDestination
    request_headers: tuple[HeaderOperations, ...]
    response_headers: tuple[HeaderOperations, ...]
    authority: str
    """The rewritten authority; empty keeps the request's."""
    is_fixed: bool = field(init=False, repr=False, compare=False)
    """Of `destination`, which takes longer to say it."""
    kept: Kept[Forward] = field(init=False, repr=False, compare=False, default_factory=Kept)
    """What was decided for (authority, port) where that decides all, see `ForwardAction`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_fixed", self.destination.is_fixed)


@dataclass(frozen=True, slots=True)
class ForwardAction:
    """Sends the request to one of its destinations, and copies of it to the mirrors.

    A route without rewrite of the path, fault, CORS, timeout and retries decides the same for all requests
    with one authority and port, but for the destination's draw: that is then decided once.
    """

    destinations: Weighted[RouteDestination]
    rewrite: PathRewrite | None
    mirrors: Mirrors | None
    fault: Fault | None = None
    cors: Cors | None = None
    sending: RouteSending | None = None
    _is_plain: bool = field(init=False, repr=False, compare=False)
    """Whether nothing but the authority, the port and the chosen destination makes a difference."""

    def __post_init__(self) -> None:
        parts = (self.rewrite, self.fault, self.cors, self.sending)
        is_plain = all(part is None for part in parts) and (self.mirrors is None or self.mirrors.is_settled)
        object.__setattr__(self, "_is_plain", is_plain)

    def decide(
        self,
        view: RequestView,
        rule: RuleRef,
        prefix_length: int | None,
        draw: Callable[[], float],
        balance: Balance,
    ) -> Decision:
        """A Forward; or an answer without any mirror, for the first of these that holds: the fault
        aborts the request, it is a preflight, the destination has no endpoint (503).

        That is the order of Envoy's filters as Istio lines them up (fault, CORS, router: istio
        pilot/pkg/networking/core/listener_builder.go), so an aborted request gets no CORS headers,
        and a preflight is delayed and aborted like any other request.

        Numbers are drawn in this order, each only where there is a choice: destination, delay, abort,
        endpoint (or a new cookie's value, which decides it), mirrors, endpoint of each mirror.
        """
        chosen = self.destinations.choose(draw)
        if not (self._is_plain and chosen.is_fixed):
            return self._decide(chosen, view, rule, prefix_length, draw, balance)
        key = (view.head.authority, view.head.port)
        kept = chosen.kept.get(key)
        if kept is not None:
            return kept
        decision = self._decide(chosen, view, rule, prefix_length, draw, balance)
        if isinstance(decision, Forward):
            chosen.kept.keep(key, decision)
        return decision

    def _decide(
        self,
        chosen: RouteDestination,
        view: RequestView,
        rule: RuleRef,
        prefix_length: int | None,
        draw: Callable[[], float],
        balance: Balance,
    ) -> Forward | Answer:
        head = view.head
        response_headers = chosen.response_headers
        delay_s = 0.0
        if self.fault is not None:
            delay_s, abort = self.fault.choose(draw)
            if abort is not None:
                reply = local_reply(
                    view, abort.status, ABORT_BODY, response_headers, grpc_status=abort.grpc_status
                )
                cluster = chosen.destination.cluster(head.port)
                return Answer(rule, *reply, "fault_abort", cluster, delay_s)
        if self.cors is not None:
            stamp = self.cors.stamp(view)
            preflight = self.cors.preflight(view, allowed=stamp is not None)
            if preflight is not None:
                cluster = chosen.destination.cluster(head.port)
                return Answer(rule, 200, preflight, b"", "cors_preflight", cluster, delay_s)
            if stamp is not None:
                # Behind the router on the way back: what the rules say of these headers is overwritten.
                response_headers += (stamp,)
        target, on_response = chosen.destination.choose_for(view, draw, balance)
        if target is not None and target.endpoint.lookup:
            target = target.seen_by(head)
        if target is None:
            cluster = chosen.destination.cluster(head.port)
            # Envoy's text for a cluster without a healthy host.
            reply = local_reply(view, 503, b"no healthy upstream", response_headers)
            return Answer(rule, *reply, "no_endpoint", cluster, delay_s)
        authority = chosen.authority or head.authority
        return Forward(
            rule=rule,
            target=target,
            authority=authority,
            sni=target.endpoint.server_name(server_name(authority) or target.host),
            path=None if self.rewrite is None else self.rewrite(head.target, prefix_length),
            request_headers=chosen.request_headers,
            response_headers=response_headers if on_response is None else (*response_headers, on_response),
            mirrors=() if self.mirrors is None else self.mirrors.copies(view, authority, draw),
            delay_s=delay_s,
            sending=None
            if self.sending is None
            else self.sending.sending(chosen.destination, view, draw, balance),
        )


@dataclass(frozen=True, slots=True)
class RedirectAction:
    """Sends the client elsewhere."""

    redirect: Redirect
    response_headers: HeaderOperations

    def decide(
        self,
        view: RequestView,
        rule: RuleRef,
        prefix_length: int | None,
        draw: Callable[[], float],  # noqa: ARG002 - this and the next are the protocol's, nothing is chosen here
        balance: Balance,  # noqa: ARG002
    ) -> Decision:
        """The redirect, with the response operations applied to it."""
        location = self.redirect.location(view.head, prefix_length)
        headers = ((b"location", location),)
        reply = local_reply(view, self.redirect.status, b"", (self.response_headers,), headers=headers)
        return Answer(rule, *reply, "redirect")


@dataclass(frozen=True, slots=True)
class DirectResponseAction:
    """Answers with a fixed response. The body's length is left to whoever writes it."""

    status: int
    body: bytes
    response_headers: HeaderOperations

    def decide(
        self,
        view: RequestView,
        rule: RuleRef,
        prefix_length: int | None,  # noqa: ARG002 - the protocol's as the next two, the answer is fixed
        draw: Callable[[], float],  # noqa: ARG002
        balance: Balance,  # noqa: ARG002
    ) -> Decision:
        """The response, with the response operations applied to it."""
        reply = local_reply(view, self.status, self.body, (self.response_headers,))
        return Answer(rule, *reply, "direct_response")

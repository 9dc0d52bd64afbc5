"""What a matched route does: forward, redirect, or answer by itself."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mitm_mirror.routing.authority import server_name
from mitm_mirror.routing.decision import Answer, Decision, Forward, HeaderOperations, RuleRef
from mitm_mirror.routing.destinations import ResolvedDestination
from mitm_mirror.routing.headers import apply_operations
from mitm_mirror.routing.mirror import Mirrors
from mitm_mirror.routing.redirect import Redirect
from mitm_mirror.routing.request import HeaderFields
from mitm_mirror.routing.rewrite import PathRewrite
from mitm_mirror.routing.view import RequestView
from mitm_mirror.routing.weights import Weighted

_PLAIN_TEXT: HeaderFields = ((b"content-type", b"text/plain"),)


class Action(Protocol):
    """What a route does with a request that matched it."""

    def decide(
        self, view: RequestView, rule: RuleRef, prefix_length: int | None, draw: Callable[[], float]
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


@dataclass(frozen=True, slots=True)
class ForwardAction:
    """Sends the request to one of its destinations, and copies of it to the mirrors."""

    destinations: Weighted[RouteDestination]
    rewrite: PathRewrite | None
    mirrors: Mirrors | None

    def decide(
        self, view: RequestView, rule: RuleRef, prefix_length: int | None, draw: Callable[[], float]
    ) -> Decision:
        """A Forward, or a 503 without any mirror where the destination has no endpoint.

        Numbers are drawn in this order, each only where there is a choice: destination, endpoint (or a
        new cookie's value, which decides it), mirrors, endpoint of each mirror.
        """
        head = view.head
        chosen = self.destinations.choose(draw)
        target, on_response = chosen.destination.choose_for(view, draw)
        if target is None:
            cluster = chosen.destination.cluster(head.port)
            # Envoy's text for a cluster without a healthy host.
            return Answer(rule, 503, _PLAIN_TEXT, b"no healthy upstream", "no_endpoint", cluster)
        authority = chosen.authority or head.authority
        return Forward(
            rule=rule,
            target=target,
            authority=authority,
            sni=target.endpoint.server_name(server_name(authority) or target.host),
            path=head.target if self.rewrite is None else self.rewrite(head.target, prefix_length),
            request_headers=chosen.request_headers,
            response_headers=(
                chosen.response_headers if on_response is None else (*chosen.response_headers, on_response)
            ),
            mirrors=() if self.mirrors is None else self.mirrors.copies(view, authority, draw),
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
        draw: Callable[[], float],  # noqa: ARG002 - the protocol's, nothing is chosen here
    ) -> Decision:
        """The redirect, with the response operations applied to it."""
        location = self.redirect.location(view.head, prefix_length)
        headers = apply_operations(((b"location", location),), self.response_headers)
        return Answer(rule, self.redirect.status, headers, b"", "redirect")


@dataclass(frozen=True, slots=True)
class DirectResponseAction:
    """Answers with a fixed response. The body's length is left to whoever writes it."""

    status: int
    body: bytes
    response_headers: HeaderOperations

    def decide(
        self,
        view: RequestView,  # noqa: ARG002 - this and the next two are the protocol's, the answer is fixed
        rule: RuleRef,
        prefix_length: int | None,  # noqa: ARG002
        draw: Callable[[], float],  # noqa: ARG002
    ) -> Decision:
        """Source of the content type: Envoy's Utility::prepareLocalReply, after the operations."""
        headers = apply_operations((), self.response_headers)
        if self.body and not any(name.lower() == b"content-type" for name, _ in headers):
            headers += _PLAIN_TEXT
        return Answer(rule, self.status, headers, self.body, "direct_response")

"""Sends some safe requests to their primary a second time: what differs then is noise."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mitmproxy import http

from mitm_mirror.outcome import Outcome
from mitm_mirror.proxy.compared import ComparedRequest
from mitm_mirror.proxy.flows import RoutedRequest, primary_request
from mitm_mirror.routing.decision import Forward
from mitm_mirror.shadow.answer import CompareTerms, Want
from mitm_mirror.shadow.pool import ShadowPool
from mitm_mirror.shadow.terms import Terms

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""RFC 9110, 9.2.1, without TRACE: a second one of these changes nothing."""


@dataclass(slots=True)
class NoiseCopy:
    """One of them. No mirror's, so it is in no pair, no outcome and no log."""

    compared: ComparedRequest
    number: int = 0
    is_third: bool = True
    ended: bool = False


class NoiseCopies:
    """All of one addon instance, and how they ended."""

    def __init__(
        self, is_own_address: Callable[[str, int], bool], draw: Callable[[], float] = random.random
    ) -> None:
        self.share = 0.0
        """The option `mirror_noise_share`."""
        self.sent = 0
        self.ended: Counter[Outcome] = Counter()
        self._is_own_address = is_own_address
        self._draw = draw

    def make(
        self,
        flow: http.HTTPFlow,
        forward: Forward,
        request: ComparedRequest,
        pool: ShadowPool[Any],
        timeout_s: float,
    ) -> NoiseCopy | None:
        """Sends one, where it is due: a shadow is on its way, and none of them is a third copy by itself."""
        if not self.share or not request.waiting or request.thirds or flow.request.method not in _SAFE:
            return None
        endpoint = forward.target.endpoint
        if flow.request.raw_content or self._is_own_address(endpoint.address, endpoint.port):
            return None
        if self._draw() >= self.share:
            return None
        copy = NoiseCopy(request)
        want = Want(compare=CompareTerms(request.primary_authorities))
        target = forward.target
        terms = Terms(timeout_s, target.cluster, target.limits, want=want)
        self.sent += 1
        copy.number = pool.submit(
            primary_request(RoutedRequest.of(flow), forward, target, b""), b"", copy, terms
        )
        return copy

    def __str__(self) -> str:
        """What `mirror.stats` shows."""
        ended = "".join(f", {outcome} {self.ended[outcome]}" for outcome in Outcome if self.ended[outcome])
        return f"noise copies, which are no shadows: {self.sent} sent{ended}"

"""Takes the copies of a routed request, has them sent, and accounts for each of them."""

import logging
import random
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass

from mitmproxy import http

from mitm_mirror.client.request import OutgoingRequest
from mitm_mirror.observe.ledger import Ledger, MirrorKey, OpenPair
from mitm_mirror.observe.record import AccessRecord, pick_headers
from mitm_mirror.outcome import Outcome
from mitm_mirror.proxy.exchange import Exchange
from mitm_mirror.proxy.flows import copy_request
from mitm_mirror.routing.authority import server_name
from mitm_mirror.routing.decision import Forward, MirrorCopy, Target
from mitm_mirror.shadow.ending import Ending
from mitm_mirror.shadow.governor import Governor
from mitm_mirror.shadow.pool import ShadowPool

logger = logging.getLogger(__name__)

FLOW_OUTCOMES = "mirror_outcomes"
"""Flow metadata: how each shadow of the flow ended, by cluster name. `~meta mirror` finds such flows."""


@dataclass(slots=True)
class Shadow:
    """One (matched request, mirror policy) pair from its opening to its end."""

    pair: OpenPair
    copy: MirrorCopy
    exchange: Exchange
    flow: "weakref.ref[http.HTTPFlow]"
    """Weak: a shadow that waits must not keep a flow that the view has dropped."""
    id: str
    submitted: float
    """UNIX seconds."""
    request: OutgoingRequest | None = None
    body_bytes: int | None = None


class Mirrors:
    """All mirroring of one addon instance. For mitmproxy's event loop only."""

    def __init__(
        self,
        ledger: Ledger,
        log_copy: Callable[[Callable[[], AccessRecord]], None],
        is_own_address: Callable[[str, int], bool],
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.ledger = ledger
        self.paused = False
        self.pool: ShadowPool[Shadow] | None = None
        """None before the first configuration and after the drain."""
        self.governor: Governor | None = None
        """None where it is off."""
        self.timeout_s = 0.0
        self.host_suffix = ""
        self.body_limit_bytes = 0
        self._log_copy = log_copy
        self._is_own_address = is_own_address
        self._draw = draw

    def mirror(self, flow: http.HTTPFlow, exchange: Exchange, forward: Forward) -> None:
        """Opens a pair for every mirror of the route, and sends a shadow where one is due.

        Call it when the request is complete. Every pair that is opened ends, whatever goes wrong.
        """
        body = _body_of(flow, exchange)
        held_back = self._held_back(forward) if self.governor is not None and not self.paused else ""
        for copy in forward.mirrors:
            rule = forward.rule
            pair = self.ledger.open(MirrorKey(rule.virtual_service, rule.route, copy.destination))
            shadow = Shadow(pair, copy, exchange, weakref.ref(flow), flow.id, time.time())
            try:
                self._send(flow, shadow, body, held_back)
            except Exception as error:
                # Ours, not the mirror's. The pair must end, and the hook's guard reports the bug.
                if pair.outcome is None:
                    self._end(shadow, Outcome.PROTOCOL_ERROR, f"internal error: {type(error).__name__}")
                raise

    def saw_primary(self, flow: http.HTTPFlow, exchange: Exchange) -> None:
        """Tells the governor how long a primary took to begin its answer, or to fail."""
        started = flow.request.timestamp_end
        if self.governor is None or started is None or not isinstance(exchange.decision, Forward):
            return
        if flow.response is not None:
            self.governor.saw_primary(flow.response.timestamp_start - started - exchange.decision.delay_s)
        elif flow.error is not None:
            self.governor.saw_primary(flow.error.timestamp - started - exchange.decision.delay_s)

    def on_end(self, ending: Ending[Shadow]) -> None:
        """What the pool calls, once for each shadow that was submitted."""
        self._end(ending.token, ending.outcome, ending.error, ending)

    def _held_back(self, forward: Forward) -> str:
        """Why the governor lets no shadow of a request through; empty where it does. Drawn once for all."""
        due = any(copy.outcome is None for copy in forward.mirrors)
        if self.governor is None or not due or self.governor.admits(self._draw()):
            return ""
        return f"held back by mirror_governor: {self.governor.reason}"

    def _send(self, flow: http.HTTPFlow, shadow: Shadow, body: bytes | None, held_back: str) -> None:
        copy = shadow.copy
        refusal = self._refusal(flow, shadow.exchange, copy, body, held_back)
        if refusal is not None:
            self._end(shadow, *refusal)
            return
        assert copy.target is not None
        assert body is not None
        assert self.pool is not None
        shadow.body_bytes = len(body)
        shadow.request = copy_request(flow, copy, copy.target, body)
        self.pool.submit(
            shadow.request,
            body,
            shadow,
            copy.timeout_s or self.timeout_s,
            destination=copy.destination,
            limits=copy.target.limits,
            outlier=copy.target.outlier,
        )

    def _refusal(
        self, flow: http.HTTPFlow, exchange: Exchange, copy: MirrorCopy, body: bytes | None, held_back: str
    ) -> tuple[Outcome, str] | None:
        """Why no shadow is sent for this copy, and in which words; None where one is."""
        if copy.outcome is not None:
            return copy.outcome, ""
        if self.paused or held_back:
            return Outcome.PAUSED, held_back
        if self.pool is None:
            return Outcome.CANCELLED, "the proxy is shutting down"
        target = copy.target
        if target is None:
            return Outcome.NO_ENDPOINT, ""
        if self._is_own_address(target.endpoint.address, target.endpoint.port):
            return Outcome.LOOP, f"{target.endpoint.host_port} is this proxy itself"
        if self.host_suffix and server_name(exchange.head.authority).endswith(self.host_suffix):
            # Under which name or through how many proxies it came back does not matter here.
            return Outcome.LOOP, f"the request is a shadow already: its Host ends in {self.host_suffix}"
        if body is None:
            return Outcome.BODY_TOO_LARGE, "streamed without a copy"
        if len(body) > self.body_limit_bytes:
            return Outcome.BODY_TOO_LARGE, f"{len(body)} bytes, mirror_body_limit is {self.body_limit_bytes}"
        if "upgrade" in flow.request.headers:
            return Outcome.PROTOCOL_ERROR, "a request to upgrade the connection is not mirrored"
        return None

    def _end(
        self, shadow: Shadow, outcome: Outcome, error: str, ending: Ending[Shadow] | None = None
    ) -> None:
        shadow.pair.close(outcome)
        flow = shadow.flow()
        if flow is not None:
            flow.metadata.setdefault(FLOW_OUTCOMES, {})[shadow.copy.destination] = outcome.value
        self._log_copy(lambda: _record(shadow, outcome, error, ending))


def _body_of(flow: http.HTTPFlow, exchange: Exchange) -> bytes | None:
    if exchange.request_body is not None:
        return exchange.request_body.take_body()
    return flow.request.raw_content


def _record(shadow: Shadow, outcome: Outcome, error: str, ending: Ending[Shadow] | None) -> AccessRecord:
    exchange, copy = shadow.exchange, shadow.copy
    result = ending.result if ending else None
    rule = exchange.decision.rule
    request = shadow.request
    target: Target | None = copy.target
    return AccessRecord(
        copy="shadow",
        id=shadow.id,
        start_time=shadow.submitted,
        client=exchange.head.client,
        method=exchange.head.method,
        target=request.target if request else exchange.head.target,
        http_version="HTTP/1.1",
        authority=copy.authority,
        status=result.status if result else 0,
        request_bytes=shadow.body_bytes,
        response_bytes=result.response_bytes if result else None,
        duration_ms=result.duration_ms if result else None,
        waited_ms=ending.waited_ms if ending else None,
        destination=copy.destination,
        endpoint=target.endpoint.host_port if target else "",
        virtual_service=rule.virtual_service,
        route=rule.route,
        rules_generation=exchange.generation,
        outcome=outcome,
        error=error,
        headers=pick_headers(request.headers if request else exchange.head.headers),
    )

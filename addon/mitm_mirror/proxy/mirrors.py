"""Takes the copies of a routed request, has them sent, and accounts for each of them."""

import logging
import random
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from mitmproxy import http

from mitm_mirror.client.request import OutgoingRequest
from mitm_mirror.gathering import Gathering
from mitm_mirror.observe.access_log import AccessLog
from mitm_mirror.observe.compare import Comparison
from mitm_mirror.observe.ledger import Ledger, MirrorKey
from mitm_mirror.outcome import Outcome
from mitm_mirror.proxy.admission import Admission, Refusal, has_suffix
from mitm_mirror.proxy.bugs import BugCounter
from mitm_mirror.proxy.compared import ComparedCopy, ComparedRequest
from mitm_mirror.proxy.comparing import Comparing
from mitm_mirror.proxy.exchange import Exchange
from mitm_mirror.proxy.flows import RoutedRequest, copy_request, trailers_of
from mitm_mirror.proxy.loops import head_key, shadow_key
from mitm_mirror.proxy.meter import Meter
from mitm_mirror.proxy.noise_copies import NoiseCopies, NoiseCopy
from mitm_mirror.proxy.pairs import begin_pair
from mitm_mirror.proxy.shadows import Shadow, shadow_record
from mitm_mirror.proxy.shown_pairs import SHOWN_BYTES, ShownPairs
from mitm_mirror.proxy.uploads import ShadowUpload
from mitm_mirror.routing.decision import Forward, MirrorCopy, is_any_due
from mitm_mirror.routing.port_targets import PortTargets
from mitm_mirror.shadow.answer import Want
from mitm_mirror.shadow.ending import Ending
from mitm_mirror.shadow.pool import ShadowPool
from mitm_mirror.shadow.terms import Terms

logger = logging.getLogger(__name__)

FLOW_OUTCOMES = "mirror_outcomes"
"""Flow metadata: how each shadow of the flow ended, by cluster name. `~meta mirror` finds such flows."""


GATHERED_BYTES = 256 * 1024
"""With so many bytes of bodies, copies that are gathered are sent at once: nothing else counts them yet."""


class _Original(msgspec.Struct, frozen=True):
    """A request that is to be copied."""

    flow: http.HTTPFlow
    exchange: Exchange
    forward: Forward
    request: RoutedRequest
    body: bytes | None
    """None where it went past us."""


class Mirrors:
    """All mirroring of one addon instance. For mitmproxy's event loop only."""

    def __init__(
        self,
        bugs: BugCounter,
        ledger: Ledger,
        is_own_address: Callable[[str, int], bool],
        shown: ShownPairs,
        draw: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.bugs = bugs
        self.ledger = ledger
        self.admission = Admission(is_own_address, draw)
        self.pool: ShadowPool[Shadow | NoiseCopy] | None = None
        """None before the first configuration and after the drain."""
        self.meter: Meter | None = None
        """None without `mirror_metrics`."""
        self.log: AccessLog | None = None
        """Of both copies; None without `mirror_access_log`."""
        self.comparing = Comparing(self._on_verdict)
        self.noise_copies = NoiseCopies(is_own_address, draw)
        self.timeout_s = 0.0
        self.unsample_traces = False
        self.gathered = Gathering[_Original](self._send_gathered)
        """Requests whose copies are still to be sent."""
        ledger.before_reading = self.gathered.flush
        self._gathered_bytes = 0
        self._shown = shown
        self._draw = draw
        self._clock = clock

    def mirror(self, flow: http.HTTPFlow, exchange: Exchange, forward: Forward) -> None:
        """Opens a pair for every mirror of the route, and sends a shadow where one is due.

        Call it when the request is complete, unless `feed` has been. Every pair that is opened ends,
        whatever goes wrong. The request is taken as it is now, and its copies are sent with those of others,
        when `gathered` has its turn: its primary goes first.
        """
        if self.admission.governor is not None:
            exchange.sent_at = self._clock()
        if not forward.mirrors:
            return
        body = _body_of(flow, exchange)
        original = _Original(flow, exchange, forward, RoutedRequest.of(flow), body)
        if self._shown.wanted or self.comparing.is_on:
            # Now: both have to know of the shadows before the primary is answered.
            self._begin(flow, exchange, forward)
            self._send(original, forward.mirrors, is_shown=self._shown.wanted)
            if self.noise_copies.share and exchange.compared is not None:
                self._send_noise_copy(original, exchange.compared)
            return
        self.gathered.add(original)
        if body:
            self._gathered_bytes += len(body)
            if self._gathered_bytes > GATHERED_BYTES:
                self.gathered.flush()

    def resend(
        self,
        flow: http.HTTPFlow,
        exchange: Exchange,
        forward: Forward,
        clusters: Mapping[str, PortTargets],
        only: str | None,
    ) -> int:
        """Sends the flow's shadows again because a person wants it; returns how many are on their way.

        New pairs, for which neither methods, percentage, `mirror.pause` nor the governor count. Where none of
        those let routing choose an endpoint at the time, it is chosen now from `clusters`, by name. `only`
        names the one cluster that is meant.
        """
        copies = [copy for copy in forward.mirrors if only in (None, copy.destination)]
        chosen = [_with_target(copy, exchange, clusters, self._draw) for copy in copies]
        original = _Original(flow, exchange, forward, RoutedRequest.of(flow), flow.request.raw_content)
        return self._send(original, chosen, is_shown=self._shown.wanted, forced=True)

    def _send_gathered(self, originals: list[_Original]) -> None:
        self._gathered_bytes = 0
        for original in originals:
            try:
                self._send(original, original.forward.mirrors, is_shown=False)
            except Exception as error:  # noqa: BLE001  (a guard: the others' copies are not to be lost)
                self.bugs.report("_send_gathered", error)

    def _send(
        self, original: _Original, copies: Sequence[MirrorCopy], *, is_shown: bool, forced: bool = False
    ) -> int:
        body = original.body
        size = None if body is None else len(body)
        sent = 0
        for shadow in self._open_pairs(original, copies, size, is_shown=is_shown, forced=forced):
            try:
                assert body is not None  # else all were refused
                assert self.pool is not None
                shadow.body_bytes = size
                request = self._request(original, shadow, body, size)
                number = self.pool.submit(request, body, shadow, self._terms(shadow))
                if shadow.compared is not None:
                    self._submitted(shadow, shadow.compared, number)
            except Exception as error:
                self._end_by_bug(shadow, error)
                raise
            sent += 1
        return sent

    def feed(self, flow: http.HTTPFlow, exchange: Exchange, forward: Forward, data: bytes) -> None:
        """A piece of a body that mitmproxy streams. The first one opens the pairs and the shadows."""
        if exchange.uploads is None:
            exchange.uploads = []
            size = _promised_size(flow.request)
            original = _Original(flow, exchange, forward, RoutedRequest.of(flow), None)
            self._begin(flow, exchange, forward)
            is_shown = self._shown.wanted
            for shadow in self._open_pairs(original, forward.mirrors, size or 0, is_shown=is_shown):
                try:
                    exchange.uploads.append(self._open_upload(original, shadow, size))
                except Exception as error:
                    self._end_by_bug(shadow, error)
                    raise
        for upload in exchange.uploads:
            upload.write(data)

    def finish(self, flow: http.HTTPFlow, exchange: Exchange) -> None:
        """The body that was fed is complete, and about to be so for the primary."""
        # Where it was answered before its end, nothing is to be measured.
        if flow.response is None and self.admission.governor is not None:
            exchange.sent_at = self._clock()
        trailers = trailers_of(flow.request)
        for upload in exchange.uploads or ():
            upload.finish(trailers)

    def abort(self, exchange: Exchange) -> None:
        """The flow has failed: what was fed and is not complete will never be."""
        for upload in exchange.uploads or ():
            upload.abort("the request was not completed, by its client or for its primary")

    def _begin(self, flow: http.HTTPFlow, exchange: Exchange, forward: Forward) -> None:
        """Before the first pair of a request is opened."""
        if self.comparing.is_on:
            self.comparing.begin(exchange, forward)
        if self._shown.wanted:
            begin_pair(flow, forward.target.cluster)

    def saw_primary(self, exchange: Exchange) -> None:
        """Tells the governor how long a primary took to begin its answer, or to fail.

        Where we send it ourselves, its whole answer is read before anybody hears of it. By a clock of
        our own: mitmproxy's times are the wall's, and somebody may set that.
        """
        sent_at, exchange.sent_at = exchange.sent_at, None
        if self.admission.governor is not None and sent_at is not None:
            self.admission.governor.saw_primary(self._clock() - sent_at)

    def on_end(self, ending: Ending[Any]) -> None:
        """What the pool calls, once for each copy that was submitted."""
        copy = ending.token
        if isinstance(copy, NoiseCopy):
            copy.ended = True
            self.noise_copies.ended[ending.outcome] += 1
            self._wait_or_drop(copy.compared, copy, ending.outcome)
        else:
            self._end(copy, ending.outcome, ending.error, ending)

    def on_compared(self, copy: Shadow | NoiseCopy, comparison: Comparison) -> None:
        """What the pool calls, once for each copy that ended `ok` and is to be compared."""
        assert copy.compared is not None
        self.comparing.compared(copy.compared, copy, comparison)

    def _open_pairs(
        self,
        original: _Original,
        copies: Sequence[MirrorCopy],
        body_bytes: int | None,
        *,
        is_shown: bool,
        forced: bool = False,
    ) -> Iterator[Shadow]:
        """Opens a pair for every mirror, and ends those that are not to be sent; the others are yielded.

        `body_bytes` is None where the body went past us.
        """
        flow, exchange, forward = original.flow, original.exchange, original.forward
        rule = forward.rule
        due = is_any_due(copies)
        refusal = self._refusal(original, body_bytes, forced=forced) if due else None
        # Before any of its own shadows is under way. All copies of a route have one Host.
        may_be_back = (
            due
            and refusal is None
            and not has_suffix(copies[0].authority, self.admission.host_suffix)
            and self.admission.loops.may_be_back(head_key(exchange.head))
        )
        for copy in copies:
            pair = self.ledger.open(MirrorKey(rule.virtual_service, rule.route, copy.destination))
            shadow = Shadow(pair, copy, exchange, weakref.ref(flow), flow.id, time.time(), may_be_back)
            shadow.is_shown = is_shown
            # Not where it is sent again: the primary's answer was handed over before, and the UI compares
            # when asked.
            if exchange.compared is not None and not forced:
                shadow.compared = exchange.compared
                shadow.is_third = copy.destination == forward.target.cluster
            ended = (
                (copy.outcome, "")
                if copy.outcome is not None
                else refusal or self.admission.refusal_of_copy(copy)
            )
            if ended is None:
                yield shadow
            else:
                self._end(shadow, *ended)

    def _refusal(self, original: _Original, body_bytes: int | None, *, forced: bool) -> Refusal | None:
        if self.pool is None:
            return Outcome.CANCELLED, "the proxy is shutting down"
        return self.admission.refusal(
            original.flow.client_conn, original.exchange.head, original.request, body_bytes, forced=forced
        )

    def _open_upload(self, original: _Original, shadow: Shadow, body_bytes: int | None) -> ShadowUpload:
        request = self._request(original, shadow, None, body_bytes)
        assert self.pool is not None
        upload = self.pool.open(request, shadow, self._terms(shadow))
        shadow.upload = ShadowUpload(upload, self.admission.body_limit_bytes)
        if shadow.compared is not None:
            self._submitted(shadow, shadow.compared, upload.number)
        return shadow.upload

    def _submitted(self, shadow: Shadow, request: ComparedRequest, number: int) -> None:
        if shadow.pair.outcome is None:
            shadow.number = number
            self.comparing.submitted(request, shadow)

    def _send_noise_copy(self, original: _Original, request: ComparedRequest) -> None:
        if self.pool is not None:
            flow, forward = original.flow, original.forward
            copy = self.noise_copies.make(flow, forward, request, self.pool, self.timeout_s)
            if copy is not None and not copy.ended:
                self.comparing.submitted(request, copy)

    def _request(
        self, original: _Original, shadow: Shadow, body: bytes | None, body_bytes: int | None
    ) -> OutgoingRequest:
        assert shadow.copy.target is not None
        shadow.request = copy_request(
            original.request,
            shadow.copy,
            shadow.copy.target,
            body_bytes,
            unsample_traces=self.unsample_traces,
        )
        if not has_suffix(shadow.copy.authority, self.admission.host_suffix):
            if shadow.may_be_back:
                marked = self.admission.loops.marked(shadow.request.headers)
                shadow.request = msgspec.structs.replace(shadow.request, headers=marked)
            shadow.loop_key = shadow_key(shadow.request, shadow.copy.authority)
            self.admission.loops.sent(shadow.loop_key)
        if shadow.is_shown:
            self._shown.sketch(original.flow, shadow, body)
        return shadow.request

    def _terms(self, shadow: Shadow) -> Terms:
        copy, target = shadow.copy, shadow.copy.target
        assert target is not None
        want = None
        if shadow.compared is not None or shadow.is_shown:
            compare = None if shadow.compared is None else self.comparing.terms(copy)
            want = Want(compare=compare, body_bytes=SHOWN_BYTES if shadow.is_shown else None)
        return Terms(copy.timeout_s or self.timeout_s, copy.destination, target.limits, target.outlier, want)

    def _end_by_bug(self, shadow: Shadow, error: Exception) -> None:
        # Ours, not the mirror's. The pair must end, and the hook's guard reports the bug.
        if shadow.pair.outcome is None:
            self._end(shadow, Outcome.PROTOCOL_ERROR, f"internal error: {type(error).__name__}")

    def _end(
        self, shadow: Shadow, outcome: Outcome, error: str, ending: Ending[Shadow] | None = None
    ) -> None:
        shadow.pair.close(outcome)
        if shadow.loop_key is not None:
            self.admission.loops.ended(shadow.loop_key)
        if self.meter is not None:
            self.meter.count_shadow(shadow, outcome, ending)
        flow = shadow.flow()
        if flow is not None:
            flow.metadata.setdefault(FLOW_OUTCOMES, {})[shadow.copy.destination] = str(outcome)
        if shadow.compared is None or not self._wait_or_drop(shadow.compared, shadow, outcome):
            self._tell(shadow, outcome, error, ending)
        else:
            shadow.ending = ending

    def _wait_or_drop(self, request: ComparedRequest, copy: Shadow | NoiseCopy, outcome: Outcome) -> bool:
        """Whether a copy that has ended gets a verdict, for which its line in the log waits."""
        if outcome is Outcome.OK:
            self.comparing.wait(request, copy)
            return True
        self.comparing.drop(request, copy)
        return False

    def _on_verdict(self, copy: ComparedCopy, comparison: Comparison, status: int) -> None:
        if isinstance(copy, Shadow):
            assert copy.ending is not None
            copy.pair.compared(comparison.verdict)
            self._tell(copy, copy.ending.outcome, copy.ending.error, copy.ending, comparison, status)

    def _tell(
        self,
        shadow: Shadow,
        outcome: Outcome,
        error: str,
        ending: Ending[Shadow] | None,
        comparison: Comparison | None = None,
        compared_status: int = 0,
    ) -> None:
        """Says how a pair ended, when all is known."""
        if self.log is not None:
            self.log.add(partial(shadow_record, shadow, outcome, error, ending, comparison, compared_status))
        if shadow.is_shown:
            self._shown.ended(shadow, outcome, error, ending, comparison)


def _with_target(
    copy: MirrorCopy, exchange: Exchange, clusters: Mapping[str, PortTargets], draw: Callable[[], float]
) -> MirrorCopy:
    """The same copy, to be sent in any case that there is an endpoint."""
    if copy.target is not None:
        return msgspec.structs.replace(copy, outcome=None)
    found = clusters.get(copy.destination)
    target = None if found is None else found.targets.choose(draw).seen_by(exchange.head)
    sni = copy.sni if target is None else target.endpoint.server_name(copy.sni)
    return msgspec.structs.replace(copy, outcome=None, target=target, sni=sni)


def _body_of(flow: http.HTTPFlow, exchange: Exchange) -> bytes | None:
    if exchange.request_body is not None and not exchange.request_body.size:
        return b""  # to be streamed, but there was nothing
    return flow.request.data.content


def _promised_size(request: http.Request) -> int | None:
    """What the Content-Length says; None without one, or where it makes no sense."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() else None

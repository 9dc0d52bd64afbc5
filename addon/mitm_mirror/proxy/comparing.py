"""Has shadows compared with their primaries, and says what came of it, once for each that ended `ok`.

The comparison itself is the worker's. Here it is decided what is compared, and which differences are noise:
one learner for all workers.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from mitmproxy import http

from mitm_mirror.observe.compare import Comparison, NotCompared
from mitm_mirror.observe.noise import NoiseLearner
from mitm_mirror.proxy.audience import is_wanted
from mitm_mirror.proxy.compared import BodyKeeper, ComparedCopy, ComparedRequest
from mitm_mirror.proxy.exchange import Exchange
from mitm_mirror.proxy.retrying import PrimaryEnd
from mitm_mirror.routing.decision import Forward, MirrorCopy
from mitm_mirror.shadow.answer import COMPARED_BYTES, CompareTerms, PrimaryAnswer

WAIT_S = 30.0
"""How long a shadow that was answered waits for its primary, and its line in the log with it."""
WAITING_LIMIT = 10_000
"""How many may wait so; past it the oldest goes without."""
_SWEEP_S = 1.0


class ComparingPool(Protocol):
    """What is used of a `ShadowPool`."""

    def compare(self, number: int, answer: PrimaryAnswer, body: bytes) -> None: ...

    def leave_uncompared(self, number: int, reason: NotCompared) -> None: ...


class Comparing:
    """All comparisons of one addon instance. For mitmproxy's event loop only."""

    def __init__(
        self,
        on_verdict: Callable[[ComparedCopy, Comparison, int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_verdict(copy, comparison, primary's status)` is called once for each copy that waits."""
        self.in_use = False
        """Whether anything was ever compared: without, hooks do nothing more than look here."""
        self._choice = "auto"
        self.is_on = False
        """Whether shadows are compared now."""
        self.pool: ComparingPool | None = None
        self._on_verdict = on_verdict
        self._clock = clock
        self._learner = NoiseLearner()
        self._waiting: dict[int, tuple[float, ComparedRequest]] = {}
        """(until when it waits, request) by number, oldest first."""
        self._timer: asyncio.TimerHandle | None = None

    def configure(self, choice: str) -> None:
        """`choice` is the option `mirror_compare`."""
        self._choice = choice
        self.look_again()

    def look_again(self) -> None:
        """What `auto` means may be something else now."""
        self.is_on = is_wanted(self._choice)

    def begin(self, exchange: Exchange, forward: Forward) -> None:
        """Called before the shadows of a request are sent, where `is_on`. Sets what it needs."""
        self.in_use = True
        rule = forward.rule
        exchange.compared = ComparedRequest(
            f"{rule.virtual_service} {rule.route}",
            _sendable(forward.authority, forward.target.endpoint.host_port),
        )

    def terms(self, copy: MirrorCopy) -> CompareTerms:
        """How that mirror's answer is compared."""
        endpoint = copy.target.endpoint.host_port if copy.target else ""
        return CompareTerms(_sendable(copy.authority, endpoint), copy.ignore.rules)

    def submitted(self, request: ComparedRequest, copy: ComparedCopy) -> None:
        """A copy that has not ended went to the pool."""
        request.waiting[copy.number] = copy
        request.thirds += copy.is_third

    def see_head(self, flow: http.HTTPFlow, request: ComparedRequest) -> None:
        """The head of the primary's answer has come, and nobody has changed it yet."""
        if flow.response is not None:
            request.received = flow.response.data.headers.fields

    def keep_stream(self, exchange: Exchange) -> Callable[[bytes], object] | None:
        """What is to be told of each piece of an answer that mitmproxy streams; None for nobody."""
        if exchange.compared is None:
            return None
        exchange.compared.streamed = BodyKeeper(COMPARED_BYTES)
        return exchange.compared.streamed.add

    def answered(self, flow: http.HTTPFlow, exchange: Exchange) -> None:
        """The primary's answer is complete."""
        request, response = exchange.compared, flow.response
        if request is None or request.status or response is None or self.pool is None:
            return
        if exchange.sent is not None and exchange.sent.end is not PrimaryEnd.ANSWERED:
            self.failed(exchange)  # the answer is ours
            return
        body = request.streamed.body() if request.streamed else response.raw_content
        if body is not None and len(body) > COMPARED_BYTES:
            body = None
        target = exchange.target
        if target is not None:  # the one that answered, after retries
            request.primary_authorities = _sendable(*request.primary_authorities, target.endpoint.host_port)
        answer = PrimaryAnswer(
            response.status_code, request.received, body is not None, request.primary_authorities
        )
        request.status = response.status_code
        request.streamed = None
        for number in list(request.waiting):
            self.pool.compare(number, answer, body or b"")

    def failed(self, exchange: Exchange) -> None:
        """The primary has no whole answer of its destination."""
        request = exchange.compared
        if request is not None and not request.status and self.pool is not None:
            for number in list(request.waiting):
                self.pool.leave_uncompared(number, NotCompared.NO_PRIMARY)

    def wait(self, request: ComparedRequest, copy: ComparedCopy) -> None:
        """A copy was answered: it gets its verdict later, or now where it is known."""
        self._waiting[copy.number] = (self._clock() + WAIT_S, request)
        if len(self._waiting) > WAITING_LIMIT:
            self._give_up(next(iter(self._waiting)), NotCompared.OVERLOADED)
        if self._timer is None:
            self._plan_sweep()

    def drop(self, request: ComparedRequest, copy: ComparedCopy) -> None:
        """A copy ended without an answer: it gets no verdict."""
        if request.waiting.pop(copy.number, None) is not None:
            request.thirds -= copy.is_third
            self._judge(request)

    def compared(self, request: ComparedRequest, copy: ComparedCopy, comparison: Comparison) -> None:
        """The pool has concluded for a copy that waits."""
        del request.waiting[copy.number]
        if copy.is_third:
            request.thirds -= 1
            self._learner.learn(request.route, comparison)
        request.held.append((copy, comparison))
        self._judge(request)

    def sweep(self) -> None:
        """Ends the waiting of those that have waited for too long."""
        now = self._clock()
        for number, (until, request) in list(self._waiting.items()):
            if until > now:
                break
            self._give_up(number, NotCompared.OVERLOADED if request.status else NotCompared.PRIMARY_LATE)

    def close(self) -> None:
        """Nothing waits any more; call it after the pool's drain."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self, number: int, reason: NotCompared) -> None:
        _, request = self._waiting[number]
        if number in request.waiting:
            assert self.pool is not None
            self.pool.leave_uncompared(number, reason)
        if number in self._waiting:  # it is compared, and a third copy still is not
            self._tell(request)

    def _judge(self, request: ComparedRequest) -> None:
        if not request.thirds:
            self._tell(request)

    def _tell(self, request: ComparedRequest) -> None:
        held, request.held = request.held, []
        for copy, comparison in held:
            del self._waiting[copy.number]
            self._on_verdict(copy, self._learner.judge(request.route, comparison), request.status)

    def _plan_sweep(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep_and_plan)

    def _sweep_and_plan(self) -> None:
        self._timer = None
        self.sweep()
        if self._waiting:
            self._plan_sweep()


def _sendable(*authorities: str) -> tuple[str, ...]:
    """Those that a message to a worker can hold; names of hosts are ASCII."""
    return tuple(authority for authority in authorities if authority.isascii())

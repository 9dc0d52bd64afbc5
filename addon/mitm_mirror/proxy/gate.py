"""How a request that was decided on goes on: at once, later, when there is a connection, or not at all.

All in `requestheaders` and not in `request`: a streamed body connects in between, and mitmproxy looks after
this hook whether the client has left. Nothing to await is the plain path, which costs nothing.
"""

import asyncio
from collections.abc import Awaitable

from mitmproxy import connection, ctx, http

from mitm_mirror.observe.ledger import Ledger
from mitm_mirror.proxy.attempts import Attempts
from mitm_mirror.proxy.delays import Delays
from mitm_mirror.proxy.exchange import Exchange
from mitm_mirror.routing.decision import Answer, Forward
from mitm_mirror.routing.overflow import late_answer, overflow_answer

UNANSWERABLE_HOST = "answered-by-rules.mitm-mirror.invalid"
"""Never connected to. RFC 6761, 6.4: names in .invalid do not exist."""


class Gate:
    """Lets requests go on, and counts each of them as forwarded or as answered.

    For mitmproxy's event loop only.
    """

    def __init__(self, ledger: Ledger, attempts: Attempts) -> None:
        self.delays = Delays()
        self._ledger = ledger
        self._attempts = attempts

    def answer(self, flow: http.HTTPFlow, answer: Answer) -> Awaitable[None] | None:
        """Prepares what `MirrorAddon.request` then answers with."""
        self._prepare_answer(flow, answer)
        return self.delays.hold(flow.client_conn.id, answer.delay_s) if answer.delay_s else None

    def forward(self, flow: http.HTTPFlow, exchange: Exchange, forward: Forward) -> Awaitable[None] | None:
        """Lets the request go to its endpoint, after its delay, or turns it away: `exchange.decision` then
        becomes the answer."""
        if forward.delay_s:
            return self._forward_later(flow, exchange, forward)
        return self._forward(flow, exchange, forward)

    def release(self, client: str) -> None:
        """The client (mitmproxy's connection id) has left: nothing is held for it any longer."""
        self.delays.release(client)
        self._attempts.release(client)

    async def _forward_later(self, flow: http.HTTPFlow, exchange: Exchange, forward: Forward) -> None:
        await self.delays.hold(flow.client_conn.id, forward.delay_s)
        waits = self._forward(flow, exchange, forward)
        if waits is not None:
            await waits

    def _forward(self, flow: http.HTTPFlow, exchange: Exchange, forward: Forward) -> Awaitable[None] | None:
        if not forward.target.is_tracked:
            self._ledger.count_forwarded()
            return None
        may_go = self._attempts.enter(flow, forward.target)
        if isinstance(may_go, bool):
            self._go_or_overflow(flow, exchange, forward, may_go=may_go)
            return None
        return self._forward_when(may_go, flow, exchange, forward)

    async def _forward_when(
        self, may_go: Awaitable[bool], flow: http.HTTPFlow, exchange: Exchange, forward: Forward
    ) -> None:
        """The route's timeout counts meanwhile, as in Envoy, where a request is complete before it waits."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(None if forward.sending is None else forward.sending.timeout_s):
                goes = await may_go
        except TimeoutError:
            self._answer_instead(flow, exchange, late_answer(exchange.head, forward))
            return
        exchange.waited_s = loop.time() - began
        self._go_or_overflow(flow, exchange, forward, may_go=goes)

    def _go_or_overflow(
        self, flow: http.HTTPFlow, exchange: Exchange, forward: Forward, *, may_go: bool
    ) -> None:
        if may_go:
            self._ledger.count_forwarded()
            return
        self._answer_instead(flow, exchange, overflow_answer(exchange.head, forward))

    def _answer_instead(self, flow: http.HTTPFlow, exchange: Exchange, answer: Answer) -> None:
        exchange.decision = answer
        self._prepare_answer(flow, answer)

    def _prepare_answer(self, flow: http.HTTPFlow, answer: Answer) -> None:
        """What can be done before the request is complete."""
        self._ledger.count_answered(answer.reason)
        if flow.request.stream or ctx.options.stream_large_bodies:
            # Should mitmproxy stream this upload, now or half-way, it connects first, and cannot take
            # an answer of ours any more: `MirrorAddon` refuses that connection, and the client gets a 502.
            flow.request.data.host = UNANSWERABLE_HOST
            flow.server_conn = connection.Server(address=None)  # and not via an upstream proxy

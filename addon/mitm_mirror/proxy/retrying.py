"""Sends a primary, again where its route's `retries` say so, within its `timeout`. Knows no mitmproxy."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Protocol

from mitm_mirror.client.answer import AnswerHead, UnwantedAnswerError
from mitm_mirror.client.client import Client, Sent
from mitm_mirror.client.errors import FailureKind
from mitm_mirror.client.request import OutgoingRequest
from mitm_mirror.routing.decision import Sending, Target
from mitm_mirror.routing.retry import AttemptEnd, AttemptResult

_LATE = "no complete answer before the route's timeout"
_LATE_TRY = "no answer before perTryTimeout"


class PrimaryEnd(Enum):
    """How a primary ended that was sent here."""

    ANSWERED = auto()
    CONNECT_FAILURE = auto()
    RESET = auto()
    """The connection ended before the head of an answer."""
    NOT_HTTP = auto()
    TIMEOUT = auto()
    """The route's, or `perTryTimeout` without a retry left or wanted."""
    NO_ENDPOINT = auto()
    """There was none any more for a retry."""
    OVERFLOW = auto()
    """A limit of the destination's `connectionPool` turned a retry away."""
    CUT_SHORT = auto()
    """The connection ended within an answer."""
    TOO_LARGE = auto()
    """The answer is larger than what may be held."""
    EVENT_STREAM = auto()
    """The answer is `text/event-stream`, which has no end to wait for."""
    UNSENDABLE = auto()
    """The client cannot write the request as one HTTP/1.1 message; nothing was sent."""


_REFUSALS = {
    PrimaryEnd.TOO_LARGE: "the answer is larger than what a route with timeout or retries can hold",
    PrimaryEnd.EVENT_STREAM: "a route with timeout or retries cannot hand on text/event-stream",
}
_ENDS = {
    AttemptEnd.CONNECT_FAILURE: PrimaryEnd.CONNECT_FAILURE,
    AttemptEnd.RESET: PrimaryEnd.RESET,
    AttemptEnd.NOT_HTTP: PrimaryEnd.NOT_HTTP,
    AttemptEnd.TIMEOUT: PrimaryEnd.TIMEOUT,
}
_ATTEMPT_ENDS = {
    FailureKind.CONNECT: AttemptEnd.CONNECT_FAILURE,
    FailureKind.NOT_HTTP: AttemptEnd.NOT_HTTP,
}
_FINAL = frozenset({FailureKind.UNSENDABLE, FailureKind.BUG})
"""What is wrong with the request, or with us, is so the next time, too."""


@dataclass(frozen=True, slots=True)
class SentPrimary:
    """A primary that was sent, and its answer where there is one."""

    end: PrimaryEnd
    target: Target
    """Where the last attempt went."""
    attempts: int
    exhausted: bool = False
    """Whether one more retry was wanted than there are."""
    error: str = ""
    """Why there is no answer, in one line without any header or body content."""
    head: AnswerHead | None = None
    head_at: float = 0.0
    """UNIX seconds; 0 where no head came."""
    body: bytes = b""


class _Answer:
    """Takes one attempt's answer, as long as it is wanted."""

    def __init__(
        self, wants_retry: Callable[[AttemptResult], bool], on_head: Callable[[], None], limit_bytes: int
    ) -> None:
        self._wants_retry = wants_retry
        self._on_head = on_head
        self._limit_bytes = limit_bytes
        self._body: list[bytes] = []
        self._size = 0
        self.result: AttemptResult | None = None
        """Set with the head."""
        self.answer: AnswerHead | None = None
        self.head_at = 0.0
        self.retry = False
        """The head asks for another attempt, and there is one left."""
        self.refused: PrimaryEnd | None = None

    def head(self, head: AnswerHead) -> None:
        self.answer = head
        self.head_at = time.time()
        self.result = AttemptResult(AttemptEnd.ANSWERED, head.status, head.headers)
        self.retry = self._wants_retry(self.result)
        types = [value for name, value in head.headers if name.lower() == b"content-type"]
        if any(value.lower().startswith(b"text/event-stream") for value in types):
            self.refused = PrimaryEnd.EVENT_STREAM
        if self.retry or self.refused:
            raise UnwantedAnswerError
        self._on_head()

    def chunk(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._limit_bytes:
            self.refused = PrimaryEnd.TOO_LARGE
            raise UnwantedAnswerError
        self._body.append(data)

    @property
    def body(self) -> bytes:
        return b"".join(self._body)


class _Attempt:
    """One attempt, which knows how many there were."""

    def __init__(
        self, client: Client, sending: Sending, deadline: float | None, number: int, limit_bytes: int
    ) -> None:
        self._client = client
        self._retry = sending.retry
        self._deadline = deadline
        self._number = number
        self._limit_bytes = limit_bytes
        self._exhausted = False

    async def send(
        self, target: Target, request: OutgoingRequest, body: bytes
    ) -> tuple[SentPrimary | None, AttemptResult]:
        """(how the primary ended, or None where it is to be sent again; how the attempt ended)."""
        timer = asyncio.timeout_at(self._first_limit())

        def on_head() -> None:
            # perTryTimeout is for the head alone (checked with Envoy 1.40). It may have passed just now.
            if not timer.expired():
                timer.reschedule(self._deadline)

        answer = _Answer(self._wants_retry, on_head, self._limit_bytes)
        exchange: Sent | None = None
        late = False
        try:
            async with timer:
                exchange = await self._client.send(request, body, None, answer)
        except TimeoutError:
            late = True
        kind = None if exchange is None else exchange.kind
        result = answer.result or _result(exchange)
        if late and timer.when() == self._deadline:
            result = replace(result, end=AttemptEnd.TIMEOUT)
            return self._ended(PrimaryEnd.TIMEOUT, target, answer, _LATE), result
        if answer.retry or (answer.result is None and kind not in _FINAL and self._wants_retry(result)):
            return None, result
        if exchange is None:
            return self._ended(PrimaryEnd.TIMEOUT, target, answer, _LATE_TRY), result
        if kind is not None:
            end = _ENDS[result.end] if answer.result is None else PrimaryEnd.CUT_SHORT
            end = PrimaryEnd.UNSENDABLE if kind is FailureKind.UNSENDABLE else end
            if end is PrimaryEnd.CUT_SHORT:
                result = replace(result, end=AttemptEnd.RESET, blameless=exchange.blameless)
            return self._ended(end, target, answer, exchange.error), result
        end = answer.refused or PrimaryEnd.ANSWERED
        return self._ended(end, target, answer, _REFUSALS.get(end, "")), result

    def _first_limit(self) -> float | None:
        per_try = None if self._retry is None else self._retry.per_try_timeout_s
        if per_try is None:
            return self._deadline
        limit = asyncio.get_running_loop().time() + per_try
        return limit if self._deadline is None else min(limit, self._deadline)

    def _wants_retry(self, result: AttemptResult) -> bool:
        """Whether there is to be another attempt, and takes note where one would be too many."""
        if self._retry is None or not self._retry.wants_retry(result):
            return False
        self._exhausted = self._number > self._retry.attempts
        return not self._exhausted

    def _ended(self, end: PrimaryEnd, target: Target, answer: _Answer, error: str) -> SentPrimary:
        answered = end is PrimaryEnd.ANSWERED
        return SentPrimary(
            end,
            target,
            self._number,
            exhausted=self._exhausted,
            error=error,
            head=answer.answer if answered else None,
            head_at=answer.head_at,
            body=answer.body if answered else b"",
        )


def _result(exchange: Sent | None) -> AttemptResult:
    """Of an attempt without the head of an answer; without an end of the exchange, it was late."""
    if exchange is None or exchange.kind is None:
        return AttemptResult(AttemptEnd.TIMEOUT)
    end = _ATTEMPT_ENDS.get(exchange.kind, AttemptEnd.RESET)
    return AttemptResult(end, blameless=exchange.blameless)


class Watcher(Protocol):
    """Who counts what is in flight to endpoints, and how they do. The first attempt has entered already."""

    async def enter(self, target: Target) -> bool:
        """Whether a retry may go to `target`; it may have to wait for that."""
        ...

    def ended(self, target: Target, result: AttemptResult) -> None:
        """An attempt is over. Not called for a request that only mitmproxy can send."""


class Retrier:
    """Sends primaries over one client. Needs a running event loop."""

    def __init__(
        self,
        client: Client,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._sleep = sleep
        self._draw = draw

    async def send(
        self,
        sending: Sending,
        first: Target,
        make_request: Callable[[Target], OutgoingRequest],
        body: bytes,
        *,
        limit_bytes: int,
        watcher: Watcher,
    ) -> SentPrimary:
        """Send until there is an answer to give, or a reason to give none. Raises nothing but cancellation.

        The route's timeout counts from now. The answer's body is held up to `limit_bytes`.
        """
        timeout_s = sending.timeout_s
        deadline = None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s
        tried = [first]
        while True:
            attempt = _Attempt(self._client, sending, deadline, len(tried), limit_bytes)
            sent, result = await attempt.send(tried[-1], make_request(tried[-1]), body)
            if sent is None or sent.end is not PrimaryEnd.UNSENDABLE:
                watcher.ended(tried[-1], result)
            if sent is not None:
                return sent
            assert sending.retry is not None
            try:
                async with asyncio.timeout_at(deadline):
                    await self._sleep(sending.retry.pause_s(len(tried), self._draw))
                    again = sending.choose_again(tried)
                    if again is None:
                        return SentPrimary(PrimaryEnd.NO_ENDPOINT, tried[-1], len(tried))
                    if not await watcher.enter(again):
                        return SentPrimary(PrimaryEnd.OVERFLOW, tried[-1], len(tried))
            except TimeoutError:
                return SentPrimary(PrimaryEnd.TIMEOUT, tried[-1], len(tried), error=_LATE)
            tried.append(again)

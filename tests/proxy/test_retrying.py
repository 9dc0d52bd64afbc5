"""Retrier at a primary: what is sent again, what is given up, and when. No socket is opened."""

import asyncio
import contextlib
import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from lab import loopback
from mitm_mirror.client.client import Client
from mitm_mirror.client.request import OutgoingRequest
from mitm_mirror.client.settings import ClientSettings
from mitm_mirror.proxy.retrying import PrimaryEnd, Retrier, SentPrimary
from mitm_mirror.resources.virtual_service import HTTPRetry
from mitm_mirror.routing.decision import Endpoint, Sending, Target
from mitm_mirror.routing.retry import AttemptEnd, AttemptResult, compile_retry

A, B = (Target("a", "", 80, Endpoint(f"10.0.0.{i}", 80, "http")) for i in (1, 2))

Act = Callable[[], Any]


class Body(httpx.AsyncByteStream):
    """The pieces of a body, of which an exception is one."""

    def __init__(self, *pieces: bytes | Exception | None) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> Any:
        for piece in self._pieces:
            if piece is None:
                await asyncio.Event().wait()
            elif isinstance(piece, Exception):
                raise piece
            else:
                yield piece


def answer(status: int, *pieces: bytes | Exception | None, **headers: str) -> httpx.Response:
    fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return httpx.Response(status, headers=fields, stream=Body(*pieces), extensions={"reason_phrase": b"Yes"})


@dataclass
class Net(httpx.AsyncBaseTransport):
    """One server behind all addresses. Each request gets the next act; None is silence."""

    acts: list[httpx.Response | Exception | None]
    asked: list[str] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    entered: list[Target] = field(default_factory=list)
    full: Target | None = None
    results: list[tuple[Target, AttemptResult]] = field(default_factory=list)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.host)
        act = self.acts.pop(0)
        if act is None:
            await asyncio.Event().wait()
        if isinstance(act, Exception):
            raise act
        assert act is not None
        return act

    async def enter(self, target: Target) -> bool:
        self.entered.append(target)
        return target is not self.full

    def ended(self, target: Target, result: AttemptResult) -> None:
        self.results.append((target, result))

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    @property
    def ends(self) -> list[AttemptEnd]:
        return [result.end for _, result in self.results]


def send(
    net: Net, timeout_s: float | None, again: Sequence[Target | None] = (), **retries: Any
) -> SentPrimary:
    """Send one primary to A, retries going to `again` in turn."""
    turns = iter(again)
    retry = compile_retry(HTTPRetry.model_validate({"attempts": 0, **retries}))
    sending = Sending(timeout_s, retry, lambda tried: next(turns, tried[-1]))
    sent: list[SentPrimary] = []

    def request(target: Target) -> OutgoingRequest:
        return OutgoingRequest("http", target.endpoint.address, 80, "", b"GET", b"/", ((b"Host", b"a"),))

    async def test() -> None:
        client = Client(ClientSettings(), make_transport=lambda _: net, report=pytest.fail)
        async with contextlib.aclosing(client):
            retrier = Retrier(client, net.sleep, lambda: 0.5)
            sent.append(await retrier.send(sending, A, request, b"", limit_bytes=10, watcher=net))

    loopback.run(test)
    return sent[0]


RESET = httpx.ReadError("s3cret")
REFUSED = httpx.ConnectError("s3cret")


def test_an_answer_is_handed_on_whole() -> None:
    net = Net([answer(201, b"ab", b"c", X_a="1")])

    sent = send(net, 60.0)

    assert (sent.end, sent.target, sent.attempts, sent.exhausted) == (PrimaryEnd.ANSWERED, A, 1, False)
    assert sent.head is not None
    assert (sent.head.status, sent.head.reason, sent.head.headers) == (201, b"Yes", ((b"X-a", b"1"),))
    assert sent.body == b"abc"
    assert net.ends == [AttemptEnd.ANSWERED]


@pytest.mark.parametrize(
    ("act", "retry_on", "attempt_end"),
    [
        pytest.param(answer(503), "5xx", AttemptEnd.ANSWERED, id="a status"),
        pytest.param(REFUSED, "connect-failure", AttemptEnd.CONNECT_FAILURE, id="no connection"),
        pytest.param(RESET, "reset", AttemptEnd.RESET, id="reset"),
        pytest.param(httpx.RemoteProtocolError("s3cret"), "reset", AttemptEnd.NOT_HTTP, id="no HTTP"),
    ],
)
def test_what_is_retried_goes_to_the_next_endpoint(
    act: httpx.Response | Exception, retry_on: str, attempt_end: AttemptEnd
) -> None:
    net = Net([act, answer(200, b"ok")])

    sent = send(net, None, [B], attempts=2, retryOn=retry_on)

    assert (sent.end, sent.target, sent.attempts, sent.body) == (PrimaryEnd.ANSWERED, B, 2, b"ok")
    assert net.asked == ["10.0.0.1", "10.0.0.2"]
    assert [target for target, _ in net.results] == [A, B]
    assert net.ends == [attempt_end, AttemptEnd.ANSWERED]
    assert net.pauses == [0.0125]
    assert net.entered == [B], "the first attempt had entered before"


@pytest.mark.parametrize(
    ("acts", "end", "text"),
    [
        pytest.param(
            [answer(503, b"1"), answer(503, b"2"), answer(503, b"3")], PrimaryEnd.ANSWERED, "", id="503"
        ),
        pytest.param([REFUSED] * 3, PrimaryEnd.CONNECT_FAILURE, "no connection", id="no connection"),
        pytest.param([answer(500), REFUSED, RESET], PrimaryEnd.RESET, "the connection broke", id="mixed"),
    ],
)
def test_after_the_last_retry_its_end_is_what_the_client_gets(
    acts: list[httpx.Response | Exception | None], end: PrimaryEnd, text: str
) -> None:
    net = Net(acts)

    sent = send(net, None, attempts=2, retryOn="5xx", backoff="1s")

    assert (sent.end, sent.attempts, sent.exhausted) == (end, 3, True)
    assert sent.error.startswith(text)
    assert "s3cret" not in sent.error
    assert sent.body == (b"3" if end is PrimaryEnd.ANSWERED else b"")
    assert net.pauses == [0.5, 1.0]


@pytest.mark.parametrize(
    ("act", "end"),
    [
        pytest.param(answer(404, b"no"), PrimaryEnd.ANSWERED, id="a status that is not named"),
        pytest.param(answer(200, b"a", RESET), PrimaryEnd.CUT_SHORT, id="reset within the answer"),
        pytest.param(answer(200, b"x" * 11), PrimaryEnd.TOO_LARGE, id="too large"),
        pytest.param(
            answer(200, None, content_type="Text/Event-Stream; charset=utf-8"),
            PrimaryEnd.EVENT_STREAM,
            id="events without an end",
        ),
        pytest.param(httpx.LocalProtocolError("s3cret"), PrimaryEnd.UNSENDABLE, id="cannot be written"),
    ],
)
def test_what_is_never_retried(act: httpx.Response | Exception, end: PrimaryEnd) -> None:
    net = Net([act])

    sent = send(net, None, attempts=5, retryOn="5xx,reset,connect-failure")

    assert (sent.end, sent.attempts, sent.exhausted) == (end, 1, False)
    assert "s3cret" not in sent.error
    assert (sent.error == "") == (end is PrimaryEnd.ANSWERED)


def test_a_bug_of_ours_is_no_reason_to_send_again() -> None:
    net = Net([KeyError("s3cret")])
    with pytest.raises(pytest.fail.Exception, match="unexpected KeyError"):
        send(net, None, attempts=5, retryOn="5xx")

    assert net.asked == ["10.0.0.1"]


@pytest.mark.parametrize(
    "act",
    [pytest.param(None, id="silence"), pytest.param(answer(200, b"a", None), id="within the answer")],
)
def test_the_routes_timeout_ends_everything(act: httpx.Response | None) -> None:
    net = Net([act])

    sent = send(net, 0.02, attempts=5, retryOn="5xx", perTryTimeout="1h")

    assert (sent.end, sent.attempts, sent.exhausted) == (PrimaryEnd.TIMEOUT, 1, False)
    assert sent.error == "no complete answer before the route's timeout"


def test_the_routes_timeout_ends_a_pause() -> None:
    net = Net([answer(503)])

    async def sleep_for_ever(seconds: float) -> None:
        await asyncio.Event().wait()

    net.sleep = sleep_for_ever  # type: ignore[method-assign]
    sent = send(net, 0.02, attempts=5, retryOn="5xx")

    assert (sent.end, sent.attempts) == (PrimaryEnd.TIMEOUT, 1)


def test_per_try_timeout_is_retried() -> None:
    net = Net([None, None, answer(200, b"ok")])

    sent = send(net, None, [B, A], attempts=2, retryOn="gateway-error", perTryTimeout="10ms")

    assert (sent.end, sent.attempts, sent.target) == (PrimaryEnd.ANSWERED, 3, A)
    assert net.ends == [AttemptEnd.TIMEOUT, AttemptEnd.TIMEOUT, AttemptEnd.ANSWERED]


@pytest.mark.parametrize(
    ("retry_on", "attempts", "exhausted"),
    [
        pytest.param("5xx", 2, True, id="no retry left"),
        pytest.param("connect-failure", 1, False, id="none wanted"),
    ],
)
def test_per_try_timeout_is_a_timeout_in_the_end(retry_on: str, attempts: int, exhausted: bool) -> None:
    net = Net([None, None])

    sent = send(net, None, attempts=1, retryOn=retry_on, perTryTimeout="10ms")

    assert (sent.end, sent.attempts, sent.exhausted) == (PrimaryEnd.TIMEOUT, attempts, exhausted)
    assert sent.error == "no answer before perTryTimeout"


def test_per_try_timeout_is_for_the_head_alone() -> None:
    class Slow(Body):
        async def __aiter__(self) -> Any:
            await asyncio.sleep(0.05)  # far above perTryTimeout, or the test would say nothing
            yield b"ok"

    response = answer(200)
    response.stream = Slow()
    net = Net([response])

    assert send(net, 60.0, attempts=1, retryOn="5xx", perTryTimeout="10ms").body == b"ok"


def test_no_endpoint_is_left_for_a_retry() -> None:
    net = Net([REFUSED])

    assert send(net, None, [None], attempts=3, retryOn="5xx").end is PrimaryEnd.NO_ENDPOINT


def test_a_limit_turns_a_retry_away() -> None:
    net = Net([REFUSED], full=B)

    sent = send(net, None, [B], attempts=3, retryOn="5xx")

    assert (sent.end, sent.target) == (PrimaryEnd.OVERFLOW, A)
    assert net.asked == ["10.0.0.1"]


@pytest.mark.parametrize(
    ("act", "timeout_s", "expected"),
    [
        pytest.param(answer(500), None, [(AttemptEnd.ANSWERED, 500, False)], id="a status"),
        pytest.param(
            answer(200, RESET), None, [(AttemptEnd.RESET, 200, False)], id="reset within the answer"
        ),
        pytest.param(answer(200, None), 0.02, [(AttemptEnd.TIMEOUT, 200, False)], id="late within it"),
        pytest.param(None, 0.02, [(AttemptEnd.TIMEOUT, 0, False)], id="late"),
        pytest.param(OSError(errno.EMFILE, ""), None, [(AttemptEnd.CONNECT_FAILURE, 0, True)], id="EMFILE"),
        pytest.param(httpx.LocalProtocolError("s3cret"), None, [], id="left to mitmproxy"),
    ],
)
def test_what_is_told_of_an_endpoint(
    act: httpx.Response | Exception | None,
    timeout_s: float | None,
    expected: list[tuple[AttemptEnd, int, bool]],
) -> None:
    net = Net([act])
    send(net, timeout_s)

    assert [(result.end, result.status, result.blameless) for _, result in net.results] == expected

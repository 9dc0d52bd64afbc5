"""What is compared, how long it is waited for, and which differences turn out to be noise."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from mitmproxy import http
from mitmproxy.test import tflow

from lab import loopback
from mitm_mirror.ignore_rules import parse_ignore_rules
from mitm_mirror.observe.compare import Comparison, Difference, Kind, NotCompared, Verdict, not_compared
from mitm_mirror.proxy import audience as audience_module
from mitm_mirror.proxy import comparing as comparing_module
from mitm_mirror.proxy.compared import ComparedCopy, ComparedRequest
from mitm_mirror.proxy.comparing import WAIT_S, Comparing
from mitm_mirror.proxy.exchange import Exchange
from mitm_mirror.proxy.retrying import PrimaryEnd, SentPrimary
from mitm_mirror.routing.decision import Endpoint, Forward, HeaderOperations, MirrorCopy, RuleRef, Target
from mitm_mirror.routing.request import RequestHead
from mitm_mirror.shadow.answer import COMPARED_BYTES, CompareTerms, PrimaryAnswer

V1 = Target("httpbin", "v1", 8080, Endpoint("127.0.0.1", 8001))
V2 = Target("httpbin", "v2", 8080, Endpoint("127.0.0.1", 8002))
MIRROR = MirrorCopy(
    V2.cluster,
    None,
    V2,
    "httpbin-shadow:8080",
    "httpbin",
    HeaderOperations(),
    None,
    parse_ignore_rules("header:x-a"),
)
FORWARD = Forward(
    RuleRef("default/httpbin", "http[0]", "f:1"), V1, "httpbin:8080", "httpbin", b"/", (), (), (MIRROR,)
)
HEAD = RequestHead("GET", "http", "httpbin:8080", b"/", (), 8080, "192.0.2.1", "httpbin", 8080)


def differing(*paths: str) -> Comparison:
    return Comparison(Verdict.DIFFERS, "", tuple(Difference(path, Kind.VALUE, "1", "2") for path in paths))


@dataclass
class Copy:
    number: int
    is_third: bool = False


@dataclass
class Pool:
    """Stands in for the shadow pool; as that one it concludes at once where a copy is left uncompared."""

    compared: list[tuple[int, PrimaryAnswer, bytes]] = field(default_factory=list)
    left: list[tuple[int, str]] = field(default_factory=list)
    conclude: Callable[[int, Comparison], None] = lambda number, comparison: None

    def compare(self, number: int, answer: PrimaryAnswer, body: bytes) -> None:
        self.compared.append((number, answer, body))

    def leave_uncompared(self, number: int, reason: NotCompared) -> None:
        self.left.append((number, reason))
        self.conclude(number, not_compared(reason))


class Stage:
    """One request whose copies are compared, and a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.verdicts: dict[int, tuple[str, str, int]] = {}
        """(verdict, reason, primary's status) by number."""
        self.noise: dict[int, set[str]] = {}
        self.comparing = Comparing(self.on_verdict, lambda: self.now)
        self.comparing.configure("on")
        self.pool = self.comparing.pool = Pool(conclude=self.conclude)
        self.copies: dict[int, Copy] = {}
        self.exchange = Exchange(HEAD, FORWARD, 1)
        self.flow = tflow.tflow()
        self.flow.response = http.Response.make(200, b"answer", {"X-A": "1"})
        self.comparing.begin(self.exchange, FORWARD)

    @property
    def request(self) -> ComparedRequest:
        assert self.exchange.compared is not None
        return self.exchange.compared

    def on_verdict(self, copy: ComparedCopy, comparison: Comparison, status: int) -> None:
        assert copy.number not in self.verdicts
        self.verdicts[copy.number] = (comparison.verdict.value, str(comparison.reason), status)
        self.noise[copy.number] = {found.path for found in comparison.differences if found.noise}

    def submit(self, *numbers: int, third: int = 0) -> None:
        for number in numbers:
            self.copies[number] = Copy(number, number == third)
            self.comparing.submitted(self.request, self.copies[number])

    def end(self, *numbers: int) -> None:
        for number in numbers:
            self.comparing.wait(self.request, self.copies[number])

    def conclude(self, number: int, comparison: Comparison) -> None:
        self.comparing.compared(self.request, self.copies[number], comparison)

    def answer(self) -> None:
        self.comparing.see_head(self.flow, self.request)
        self.comparing.answered(self.flow, self.exchange)


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture(autouse=True)
def no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests move the clock and call `sweep` themselves."""
    monkeypatch.setattr(Comparing, "_plan_sweep", lambda self: None)


@pytest.mark.parametrize(
    ("choice", "has_audience", "expected"),
    [("on", False, True), ("off", True, False), ("auto", True, True), ("auto", False, False)],
)
def test_the_option_decides(
    choice: str, has_audience: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audience_module, "has_audience", lambda: has_audience)
    stage = Stage()
    stage.comparing.configure(choice)

    assert stage.comparing.is_on == expected


def test_an_audience_that_comes_later_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    audience = [False]
    monkeypatch.setattr(audience_module, "has_audience", lambda: audience[0])
    comparing = Comparing(lambda copy, comparison, status: None)
    comparing.configure("auto")
    assert (comparing.is_on, comparing.in_use) == (False, False)
    audience[0] = True
    comparing.look_again()
    assert (comparing.is_on, comparing.in_use) == (True, False)
    exchange = Exchange(HEAD, FORWARD, 1)
    comparing.begin(exchange, FORWARD)

    assert exchange.compared is not None
    assert comparing.in_use


def test_terms_have_the_mirrors_names_and_what_is_ignored(stage: Stage) -> None:
    expected = CompareTerms(("httpbin-shadow:8080", "127.0.0.1:8002"), ("header:x-a",))
    assert stage.comparing.terms(MIRROR) == expected


def test_the_answer_goes_to_each_copy_as_its_destination_gave_it(stage: Stage) -> None:
    stage.submit(1, 2)
    assert stage.flow.response is not None
    stage.comparing.see_head(stage.flow, stage.request)
    received = stage.flow.response.data.headers.fields
    stage.flow.response.headers["X-By-The-Rules"] = "1"
    stage.comparing.answered(stage.flow, stage.exchange)
    stage.comparing.answered(stage.flow, stage.exchange)

    answer = PrimaryAnswer(200, received, True, ("httpbin:8080", "127.0.0.1:8001"))
    assert stage.pool.compared == [(1, answer, b"answer"), (2, answer, b"answer")]


@pytest.mark.parametrize(
    ("content", "complete"),
    [(b"x" * COMPARED_BYTES, True), (b"x" * (COMPARED_BYTES + 1), False), (None, False)],
    ids=["just fits", "too large", "streamed unseen"],
)
def test_a_body_that_is_not_there_is_said_to_be_incomplete(
    stage: Stage, content: bytes | None, complete: bool
) -> None:
    stage.submit(1)
    assert stage.flow.response is not None
    stage.flow.response.raw_content = content
    stage.answer()

    [(_, answer, body)] = stage.pool.compared
    assert (answer.complete, body) == (complete, content if complete else b"")


@pytest.mark.parametrize("pieces", [[b"ab", b"cd"], [b"x" * COMPARED_BYTES, b"y"]], ids=["kept", "too large"])
def test_a_body_that_is_streamed_is_kept_up_to_the_limit(stage: Stage, pieces: list[bytes]) -> None:
    stage.submit(1)
    keep = stage.comparing.keep_stream(stage.exchange)
    assert keep is not None
    for piece in pieces:
        keep(piece)
    assert stage.flow.response is not None
    stage.flow.response.raw_content = None
    stage.answer()

    [(_, answer, body)] = stage.pool.compared
    whole = b"".join(pieces)
    assert (answer.complete, body) == ((True, whole) if len(whole) <= COMPARED_BYTES else (False, b""))


def test_without_a_primary_nothing_is_compared(stage: Stage) -> None:
    stage.submit(1)
    stage.end(1)
    stage.comparing.failed(stage.exchange)
    stage.comparing.failed(stage.exchange)

    assert stage.verdicts == {1: ("not_compared", "no_primary", 0)}


def test_an_answer_of_our_own_is_no_primary(stage: Stage) -> None:
    stage.submit(1)
    stage.end(1)
    stage.exchange.sent = SentPrimary(PrimaryEnd.TIMEOUT, V1, 1)
    stage.answer()

    assert stage.verdicts == {1: ("not_compared", "no_primary", 0)}


def test_a_verdict_comes_with_the_primarys_status(stage: Stage) -> None:
    stage.submit(1, 2)
    stage.answer()
    stage.end(1, 2)
    stage.conclude(1, differing("json.a"))
    stage.comparing.drop(stage.request, stage.copies[2])

    assert stage.verdicts == {1: ("differs", "", 200)}


def test_what_differs_in_the_third_copy_too_is_noise_also_of_a_copy_that_came_before(stage: Stage) -> None:
    stage.submit(1, 2, third=2)
    stage.answer()
    stage.end(1, 2)
    stage.conclude(1, differing("json.a", "json.id"))
    assert stage.verdicts == {}
    stage.conclude(2, differing("json.id"))

    assert stage.verdicts == {1: ("differs", "", 200), 2: ("equal", "", 200)}
    assert stage.noise == {1: {"json.id"}, 2: {"json.id"}}


def test_a_third_copy_that_failed_holds_nobody_up(stage: Stage) -> None:
    stage.submit(1, 2, third=2)
    stage.answer()
    stage.end(1)
    stage.conclude(1, differing("json.id"))
    stage.comparing.drop(stage.request, stage.copies[2])

    assert stage.verdicts == {1: ("differs", "", 200)}
    assert stage.noise == {1: set()}


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        pytest.param(lambda _: None, ("not_compared", "primary_late", 0), id="for the primary"),
        pytest.param(Stage.answer, ("not_compared", "overloaded", 200), id="for the worker"),
    ],
)
def test_nothing_waits_for_ever(
    stage: Stage, prepare: Callable[[Stage], None], expected: tuple[str, str, int]
) -> None:
    stage.submit(1)
    prepare(stage)
    stage.end(1)
    stage.now += WAIT_S - 0.1
    stage.comparing.sweep()
    assert stage.verdicts == {}
    stage.now += 0.1
    stage.comparing.sweep()

    assert stage.verdicts == {1: expected}


def test_a_third_copy_that_hangs_does_not_hold_up_the_others_for_ever(stage: Stage) -> None:
    stage.submit(1, 2, third=2)
    stage.answer()
    stage.end(1)
    stage.conclude(1, differing("json.a"))
    stage.now += WAIT_S
    stage.comparing.sweep()

    assert stage.verdicts == {1: ("differs", "", 200)}


def test_past_the_limit_the_oldest_goes_without(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing_module, "WAITING_LIMIT", 2)
    stage.submit(1, 2, 3)
    stage.end(1, 2, 3)

    assert stage.verdicts == {1: ("not_compared", "overloaded", 0)}


def test_the_timer_runs_while_something_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(comparing_module, "_SWEEP_S", 0.001)

    async def test() -> None:
        stage = Stage()
        stage.submit(1)
        stage.end(1)
        stage.now += WAIT_S
        await loopback.poll_until(lambda: bool(stage.verdicts))
        assert stage.comparing._timer is None
        stage.comparing.close()

    asyncio.run(test())

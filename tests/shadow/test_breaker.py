"""When an endpoint is left alone, and when it is tried again."""

from typing import Any

import pytest

from mitm_mirror.outcome import Outcome
from mitm_mirror.routing.outlier import OutlierPolicy
from mitm_mirror.shadow.breaker import FIRST_PAUSE_S, LONGEST_PAUSE_S, Breaker, BreakerState, is_failure
from mitm_mirror.shadow.breakers import Breakers
from mitm_mirror.shadow.message import ShadowResult

REFUSED = ShadowResult(1, Outcome.CONNECT_ERROR, 0, 0, 1.0, "no connection: Connection refused")
OWN_FAULT = ShadowResult(1, Outcome.CONNECT_ERROR, 0, 0, 1.0, "Too many open files", blameless=True)


def answered(status: int = 200) -> ShadowResult:
    return ShadowResult(1, Outcome.OK, status, 0, 1.0, "")


class Stage:
    def __init__(self, policy: OutlierPolicy | None = None, draw: float = 0.0) -> None:
        self.breaker = Breaker()
        self.policy = policy
        self.draw = draw
        self.now = 1000.0

    def end(self, *results: ShadowResult | None, probe: bool = False) -> None:
        for result in results:
            self.breaker.ended(self.policy, result, probe=probe, now=self.now, draw=lambda: self.draw)

    def probe(self, result: ShadowResult | None) -> None:
        self.now = self.breaker.retry_at
        assert not self.breaker.refuses(self.now)
        self.breaker.probe()
        assert self.breaker.refuses(self.now)
        self.end(result, probe=True)

    @property
    def pause_s(self) -> float:
        assert self.breaker.state is BreakerState.OPEN
        return self.breaker.retry_at - self.now


CASES: list[Any] = [
    pytest.param(None, [REFUSED] * 4, False, id="default: four are not enough"),
    pytest.param(None, [REFUSED] * 5, True, id="default: five are"),
    pytest.param(None, [*[REFUSED] * 4, answered(), *[REFUSED] * 4], False, id="an answer starts again"),
    pytest.param(None, [*[REFUSED] * 4, answered(500), REFUSED], False, id="default: any answer does"),
    pytest.param(None, [answered(503)] * 99, False, id="default: statuses do not count"),
    pytest.param(
        None, [*[REFUSED] * 4, *[OWN_FAULT] * 9, None], False, id="what is our own fault counts not"
    ),
    pytest.param(None, [*[REFUSED] * 4, OWN_FAULT, None, REFUSED], True, id="nor does it start again"),
    pytest.param(OutlierPolicy(), [answered(500)] * 4, False, id="rule: four 5xx are not enough"),
    pytest.param(OutlierPolicy(), [answered(500)] * 5, True, id="rule: five are"),
    pytest.param(OutlierPolicy(), [answered(404)] * 9, False, id="rule: a 404 is no error"),
    pytest.param(OutlierPolicy(consecutive_5xx=2), [answered(500), REFUSED], True, id="a failure is a 5xx"),
    pytest.param(
        OutlierPolicy(consecutive_5xx=0),
        [answered(500), REFUSED] * 9,
        False,
        id="0 is never: rule turns it off",
    ),
    pytest.param(
        OutlierPolicy(consecutive_5xx=0, consecutive_gateway_errors=3),
        [answered(502), answered(504), REFUSED],
        True,
        id="gateway errors",
    ),
    pytest.param(
        OutlierPolicy(consecutive_5xx=0, consecutive_gateway_errors=3),
        [answered(502), answered(503), answered(500), answered(504)],
        False,
        id="a 500 is no gateway error and starts again",
    ),
    pytest.param(
        OutlierPolicy(split_local_origin_errors=True, consecutive_local_origin_failures=3, consecutive_5xx=2),
        [answered(500), REFUSED, REFUSED],
        False,
        id="split: failures are no 5xx",
    ),
    pytest.param(
        OutlierPolicy(split_local_origin_errors=True, consecutive_local_origin_failures=3, consecutive_5xx=9),
        [REFUSED, REFUSED, REFUSED],
        True,
        id="split: they count by themselves",
    ),
    pytest.param(
        OutlierPolicy(consecutive_5xx=2, error_codes=frozenset({429})),
        [answered(429), answered(429)],
        True,
        id="listed codes are errors",
    ),
    pytest.param(
        OutlierPolicy(consecutive_5xx=2, error_codes=frozenset({429})),
        [answered(500)] * 9,
        False,
        id="and no others",
    ),
]


@pytest.mark.parametrize(("policy", "results", "opens"), CASES)
def test_when_it_opens(policy: OutlierPolicy | None, results: list[Any], opens: bool) -> None:
    stage = Stage(policy)
    stage.end(*results)

    assert stage.breaker.refuses(stage.now) is opens


@pytest.mark.parametrize(
    ("outcome", "failure"),
    [
        pytest.param(
            outcome, outcome in {"connect_error", "tls_error", "timeout", "protocol_error"}, id=outcome
        )
        for outcome in Outcome
        if outcome is not Outcome.OK
    ],
)
def test_which_ends_speak_against_an_endpoint(outcome: Outcome, failure: bool) -> None:
    assert bool(is_failure(None, ShadowResult(1, outcome, 0, 0, 1.0, ""))) is failure


def test_it_tries_again_with_one_shadow_after_each_pause_and_an_answer_closes_it() -> None:
    stage = Stage()
    stage.end(*[REFUSED] * 5)
    assert stage.breaker.refuses(stage.now + FIRST_PAUSE_S - 0.001)
    pauses = [stage.pause_s]
    for _ in range(39):
        stage.probe(REFUSED)
        pauses.append(stage.pause_s)
    assert pauses[:3] == pytest.approx([FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 3 * FIRST_PAUSE_S])
    assert pauses[-10:] == pytest.approx([LONGEST_PAUSE_S] * 10)
    stage.probe(answered())
    assert stage.breaker.state is BreakerState.CLOSED
    assert stage.breaker.spotless
    stage.end(*[REFUSED] * 5)
    assert stage.pause_s == pytest.approx(FIRST_PAUSE_S)


@pytest.mark.parametrize(
    ("draw", "longer"), [pytest.param(0.0, 1.0, id="never shorter"), pytest.param(0.999, 1.2, id="a fifth")]
)
def test_the_pause_is_the_rules_and_a_little_longer(draw: float, longer: float) -> None:
    policy = OutlierPolicy(consecutive_5xx=1, base_ejection_time_s=7.0, max_ejection_time_s=10.0)
    stage = Stage(policy, draw)
    stage.end(answered(500))
    assert stage.pause_s == pytest.approx(7.0 * longer, rel=1e-3)
    stage.probe(REFUSED)
    assert stage.pause_s == pytest.approx(10.0 * longer, rel=1e-3)


def test_only_the_probe_decides_once_it_is_open() -> None:
    stage = Stage()
    stage.end(*[REFUSED] * 5)
    retry_at = stage.breaker.retry_at
    stage.end(answered(), REFUSED)  # sent before it opened
    assert (stage.breaker.state, stage.breaker.retry_at) == (BreakerState.OPEN, retry_at)
    stage.now = retry_at
    stage.breaker.probe()
    stage.end(answered(), REFUSED)
    assert stage.breaker.state is BreakerState.HALF_OPEN


@pytest.mark.parametrize("result", [pytest.param(None, id="lost"), pytest.param(OWN_FAULT, id="our fault")])
def test_a_probe_that_says_nothing_is_followed_by_another_at_once(result: ShadowResult | None) -> None:
    stage = Stage()
    stage.end(*[REFUSED] * 5)
    stage.probe(result)
    assert stage.breaker.state is BreakerState.OPEN
    assert not stage.breaker.refuses(stage.now)


def test_a_destination_keeps_a_breaker_for_each_endpoint_that_fails_and_for_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    breakers = Breakers("v2")
    bad, good = ("::1", 1), ("127.0.0.1", 2)

    def end(
        endpoint: tuple[str, int], result: ShadowResult | None, now: float, *, probe: bool = False
    ) -> None:
        breakers.ended(endpoint, None, result, probe=probe, now=now, draw=lambda: 0.0)

    for _ in range(5):
        end(bad, REFUSED, 10.0)
        end(good, answered(), 10.0)
        end(good, None, 10.0)
        end(good, OWN_FAULT, 10.0)
    assert list(breakers) == [bad]
    text = "[::1]:1 failed 5 times in a row, the last time with connect_error"
    assert breakers.refusal(bad, 10.5) == f"{text} and is left alone until it may have recovered"
    assert breakers.refusal(good, 10.5) == ""
    assert not breakers.sent(good)
    assert breakers.sent(bad)
    end(bad, answered(), 11.0, probe=True)
    assert not breakers
    assert caplog.messages == [
        f"mirror: {text.replace(':1 ', ':1 of v2 ')}; no shadows until it answers again.",
        "mirror: [::1]:1 of v2 answers again and gets its shadows.",
    ]


def test_an_endpoint_that_is_used_no_more_is_forgotten_unless_a_probe_is_on_its_way() -> None:
    breakers = Breakers("v2")
    for port in (1, 2, 3):
        for _ in range(5):
            breakers.ended(("a", port), None, REFUSED, probe=False, now=10.0 * port, draw=lambda: 0.0)
    breakers.sent(("a", 2))
    breakers.forget_unused(25.0)
    assert list(breakers) == [("a", 2), ("a", 3)]

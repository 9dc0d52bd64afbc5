"""How a pair ended, at a glance and in words."""

import pytest

from mitm_mirror.observe.compare import Comparison, Difference, Kind, Verdict
from mitm_mirror.observe.inspect import PairResult, describe_end, pair_result, worst
from mitm_mirror.outcome import Outcome

VERSION = Difference("json.version", Kind.VALUE, '"v1"', '"v2"')
ID = Difference("json.id", Kind.VALUE, "1", "2", noise="differs in 3 of 3 third copies")


@pytest.mark.parametrize(
    ("outcome", "comparison", "result", "text"),
    [
        pytest.param(Outcome.OK, None, PairResult.ANSWERED, "answered, not compared", id="nobody compared"),
        pytest.param(Outcome.OK, Comparison(Verdict.EQUAL), PairResult.EQUAL, "equal", id="equal"),
        pytest.param(
            Outcome.OK,
            Comparison(Verdict.EQUAL, "", (ID,)),
            PairResult.EQUAL,
            "equal, apart from noise at json.id",
            id="equal but for noise",
        ),
        pytest.param(
            Outcome.OK,
            Comparison(Verdict.DIFFERS, "", (ID, VERSION)),
            PairResult.DIFFERS,
            "differs at json.version",
            id="one difference, noise not counted",
        ),
        pytest.param(
            Outcome.OK,
            Comparison(Verdict.DIFFERS, "", (VERSION, VERSION), truncated=True),
            PairResult.DIFFERS,
            "differs at json.version and at least 1 more",
            id="cut off",
        ),
        pytest.param(
            Outcome.OK,
            Comparison(Verdict.DIFFERS, "", (ID,), truncated=True),
            PairResult.DIFFERS,
            "differs in more places than were kept",
            id="only noise was kept",
        ),
        pytest.param(
            Outcome.OK,
            Comparison(Verdict.NOT_COMPARED, "no_primary"),
            PairResult.ANSWERED,
            "answered, not compared: no_primary",
            id="not compared, and why",
        ),
        pytest.param(Outcome.QUEUE_FULL, None, PairResult.FAILED, "queue_full: full", id="dropped"),
        pytest.param(Outcome.NOT_SAMPLED, None, PairResult.NOT_SENT, "not_sampled: full", id="not sampled"),
    ],
)
def test_result_and_words(
    outcome: Outcome, comparison: Comparison | None, result: PairResult, text: str
) -> None:
    assert pair_result(outcome, comparison) is result
    assert describe_end(outcome, "full", comparison) == text


@pytest.mark.parametrize("outcome", Outcome)
def test_only_what_was_asked_for_is_not_sent_without_being_a_failure(outcome: Outcome) -> None:
    quiet = {Outcome.NOT_SAMPLED, Outcome.METHOD_GUARDED, Outcome.PAUSED}
    assert (pair_result(outcome, None) is PairResult.NOT_SENT) == (outcome in quiet)


def test_of_several_results_the_worst_is_shown() -> None:
    found = [worst([PairResult.EQUAL, PairResult(value)]) for value in PairResult]
    assert found == [
        PairResult.EQUAL,
        PairResult.DIFFERS,
        PairResult.FAILED,
        PairResult.ANSWERED,
        PairResult.EQUAL,
    ]

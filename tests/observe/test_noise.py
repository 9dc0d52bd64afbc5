"""What is learned to be noise, what only might be, and what stays a difference."""

from uuid import UUID

import pytest

from mitm_mirror.observe.compare import Comparison, Difference, Kind, NotCompared, Verdict
from mitm_mirror.observe.compare.comparison import conclude
from mitm_mirror.observe.noise import FieldEvidence, NoiseLearner

ROUTE = "default/httpbin http[0]"


def comparison(*paths: str, truncated: bool = False, doubt: NotCompared | None = None) -> Comparison:
    differences = [Difference(path, Kind.VALUE, "1", "2") for path in paths]
    return conclude(differences, truncated=truncated, doubt=doubt)


def noisy(judged: Comparison) -> list[str]:
    return [difference.path for difference in judged.differences if difference.noise]


@pytest.mark.parametrize(
    ("learned", "path", "expected"),
    [
        pytest.param("json.id", "json.id", True, id="the same path"),
        pytest.param("json.items[3].id", "json.items[7].id", True, id="another element"),
        pytest.param(
            "json.items[3]", "json.items[0].price", True, id="below an array that changes by nature"
        ),
        pytest.param("json.items[3].id", "json.items[3]", False, id="above it"),
        pytest.param("json.id", "json.ids", False, id="a longer name"),
        pytest.param("header.etag", "header.vary", False, id="another header"),
        pytest.param("header.set-cookie.a", "header.set-cookie.a;expires", True, id="a cookie's attribute"),
        pytest.param("form.a", "form.b", False, id="another form field"),
    ],
)
def test_what_differs_in_a_third_copy_is_noise(learned: str, path: str, expected: bool) -> None:
    learner = NoiseLearner()
    learner.learn(ROUTE, comparison(learned))

    judged = learner.judge(ROUTE, comparison(path))

    assert (noisy(judged) == [path]) is expected
    assert (judged.verdict is Verdict.EQUAL) is expected


def test_the_reason_tells_counts() -> None:
    learner = NoiseLearner()
    for paths in (("json.id", "json.at"), ("json.id",), ()):
        learner.learn(ROUTE, comparison(*paths))

    judged = learner.judge(ROUTE, comparison("json.id", "json.at", "json.price"))

    assert judged.verdict is Verdict.DIFFERS
    assert [difference.noise for difference in judged.differences] == [
        "differs between two copies of the primary too (2 of 3)",
        "differs between two copies of the primary too (1 of 3)",
        "",
    ]


def test_what_differs_once_in_a_thousand_third_copies_is_no_noise() -> None:
    learner = NoiseLearner()
    learner.learn(ROUTE, comparison("status"))
    for _ in range(999):
        learner.learn(ROUTE, comparison())

    assert noisy(learner.judge(ROUTE, comparison("status"))) == []


def test_routes_are_apart() -> None:
    learner = NoiseLearner()
    learner.learn("one", comparison("json.id"))

    assert noisy(learner.judge("other", comparison("json.id"))) == []


def test_a_third_copy_that_was_not_compared_teaches_nothing() -> None:
    learner = NoiseLearner()
    learner.learn(ROUTE, Comparison(Verdict.NOT_COMPARED, NotCompared.NO_SHADOW))
    learner.learn(ROUTE, comparison("json.id"))

    assert "1 of 1" in learner.judge(ROUTE, comparison("json.id")).differences[0].noise


@pytest.mark.parametrize(
    ("given", "verdict", "reason"),
    [
        pytest.param(comparison("json.id", truncated=True), Verdict.DIFFERS, "", id="more than was kept"),
        pytest.param(comparison(), Verdict.EQUAL, "", id="equal"),
        pytest.param(
            comparison("json.id", doubt=NotCompared.BODY_INCOMPLETE),
            Verdict.NOT_COMPARED,
            "body_incomplete",
            id="a doubt stays",
        ),
    ],
)
def test_the_verdict_after_noise(given: Comparison, verdict: Verdict, reason: str) -> None:
    learner = NoiseLearner()
    learner.learn(ROUTE, comparison("json.id"))

    judged = learner.judge(ROUTE, given)

    assert (judged.verdict, judged.reason) == (verdict, reason)


def test_the_learner_is_bounded() -> None:
    learner = NoiseLearner()
    for i in range(600):
        learner.learn(ROUTE, comparison(f"json.k{i}"))
    learner.learn(ROUTE, comparison("json.k599"))
    for i in range(1000):
        learner.learn(f"route {i}", comparison("json.id"))

    # 600 copies were compared, so that one of them is below the share that counts
    assert noisy(learner.judge(ROUTE, comparison("json.k599"))) == []
    assert noisy(learner.judge("route 998", comparison("json.id"))) == ["json.id"]
    assert noisy(learner.judge("route 999", comparison("json.id"))) == []


def evidence(*pairs: tuple[str | None, str | None]) -> FieldEvidence:
    found = FieldEvidence()
    for primary, shadow in pairs:
        found.add(primary, shadow)
    return found


@pytest.mark.parametrize(
    ("pairs", "compared", "expected"),
    [
        pytest.param(
            [(f'"{UUID(int=i)}"', f'"{UUID(int=-i + 2**90)}"') for i in range(3)], 900, "UUIDs", id="UUID"
        ),
        pytest.param(
            [('"2026-11-22T10:00:00Z"', '"2026-11-22 10:00:01"')] * 3, 900, "points in time", id="ISO time"
        ),
        pytest.param([("1795361610", "1795361610.25")] * 3, 900, "points in time", id="UNIX time"),
        pytest.param([("1795361610123", "1795361610124")] * 3, 900, "points in time", id="UNIX time in ms"),
        pytest.param([("Sun, 22 Nov 2026 10:00:00 GMT",) * 2] * 3, 900, "points in time", id="HTTP date"),
        pytest.param([("0123456789abcdef", "fedcba9876543210")] * 3, 9, "random tokens", id="hex"),
        pytest.param(
            [("dGhpcyBpcyBhIHRva2Vu4", "aXMgdG9rZW4gdGhpcyBh2")] * 3, 9, "random tokens", id="base64"
        ),
        pytest.param([("1", "2")] * 3, 3, "", id="a difference that is always the same"),
        pytest.param([("1795361610", None)] * 3, 3, "", id="one side has none"),
        pytest.param([('"2026-11-22"', '"2026-11-23"')] * 2, 2, "", id="too few"),
        pytest.param([("1795361610", "1795361611")] * 3 + [("1", "2")], 900, "", id="not all look so"),
        pytest.param(
            [(str(i), str(-i - 1)) for i in range(100)], 100, "100 of 100", id="never the same value"
        ),
        pytest.param([(str(i), str(-i - 1)) for i in range(100)], 1000, "", id="not in all answers"),
        pytest.param([(str(i % 50), str(-i - 1)) for i in range(100)], 100, "", id="values come again"),
        pytest.param([("an ordinary long sentence", "another one like that")] * 3, 3, "", id="prose"),
    ],
)
def test_values_that_might_be_noise(
    pairs: list[tuple[str | None, str | None]], compared: int, expected: str
) -> None:
    suspicion = evidence(*pairs).suspicion("json.a", len(pairs), compared)

    assert expected in suspicion
    assert bool(expected) is bool(suspicion)


def test_a_header_of_the_moment_might_be_noise() -> None:
    assert evidence(("a", "b")).suspicion("header.etag", 1, 1) == (
        "etag often differs between two machines or two moments"
    )

"""The worker's half of a comparison: whichever answer comes first waits for the other, in a bounded room."""

from typing import Any

import pytest

from mitm_mirror.observe.compare import Comparison, NotCompared, Verdict
from mitm_mirror.shadow import comparer as comparer_module
from mitm_mirror.shadow.answer import AnswerRoom, CompareTerms, PrimaryAnswer, ShadowAnswer
from mitm_mirror.shadow.comparer import Comparer

JSON = ((b"Content-Type", b"application/json"),)


def shadow(body: bytes, *, complete: bool = True) -> ShadowAnswer:
    return ShadowAnswer(200, b"OK", b"HTTP/1.1", JSON, body, complete, 0.0, 0.0, 0.0, None)


class Stage:
    def __init__(self) -> None:
        self.found: dict[int, Comparison] = {}
        self.room = AnswerRoom(100)
        self.comparer = Comparer(self.room, self.found.__setitem__)

    def expect(self, number: int, **terms: Any) -> None:
        self.comparer.expect(number, CompareTerms(**terms))

    def primary(self, number: int, body: bytes) -> None:
        self.comparer.primary(number, PrimaryAnswer(200, JSON, True, ("shop:80",)), body)

    def shadow(self, number: int, body: bytes) -> None:
        assert self.room.take(len(body))
        self.comparer.shadow(number, shadow(body))


@pytest.mark.parametrize("first", ["primary", "shadow"])
def test_whichever_comes_first_waits_for_the_other(first: str) -> None:
    stage = Stage()
    stage.expect(1)
    second = {"primary": "shadow", "shadow": "primary"}[first]
    getattr(stage, first)(1, b'{"a": 1}')
    assert stage.found == {}
    getattr(stage, second)(1, b'{"a": 2}')

    assert stage.found[1].verdict is Verdict.DIFFERS
    assert [difference.path for difference in stage.found[1].differences] == ["json.a"]
    assert stage.room.free_bytes == 100


def test_terms_say_what_is_left_out_and_under_which_names_the_servers_were_asked() -> None:
    stage = Stage()
    stage.expect(1, authorities=("shop-shadow:80",), ignore=("json:$.id",))
    stage.primary(1, b'{"id": 1, "url": "http://shop:80/x"}')
    stage.shadow(1, b'{"id": 2, "url": "http://shop-shadow:80/x"}')

    assert stage.found == {1: Comparison(Verdict.EQUAL)}


def test_what_is_forgotten_is_not_compared_and_gives_its_memory_back() -> None:
    stage = Stage()
    stage.expect(1)
    stage.shadow(1, b"1234")
    assert stage.room.free_bytes == 96
    stage.comparer.forget(1)
    stage.comparer.forget(1)
    stage.primary(1, b"1234")
    stage.primary(2, b"never heard of")

    assert stage.found == {}
    assert stage.room.free_bytes == 100
    assert not stage.comparer.expects(1)


def test_a_bug_in_comparing_is_a_conclusion_and_said_once_without_the_answers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("s3cret")

    monkeypatch.setattr(comparer_module, "compare_responses", fail)
    stage = Stage()
    for number in (1, 2):
        stage.expect(number)
        stage.primary(number, b"a")
        stage.shadow(number, b"b")

    assert {found.reason for found in stage.found.values()} == {NotCompared.FAILED}
    assert [record.getMessage() for record in caplog.records] == [
        "Comparing two answers failed with an unexpected RuntimeError; said once."
    ]

"""Each shadow of which a comparison was wanted, and that ended ok, gets one conclusion after its end."""

from typing import Any

import pytest

from mitm_mirror.observe.compare import Comparison, NotCompared, Verdict
from mitm_mirror.outcome import Outcome
from mitm_mirror.shadow.answer import CompareTerms, PrimaryAnswer, Want
from mitm_mirror.shadow.message import ShadowResult
from mitm_mirror.shadow.pool import ShadowPool
from mitm_mirror.shadow.settings import PoolSettings
from mitm_mirror.shadow.terms import Terms

EQUAL = Comparison(Verdict.EQUAL)
PRIMARY = PrimaryAnswer(200, (), True)


class FakeBackend:
    """Writes down what it is told."""

    def __init__(self, owner: Any, pid: int) -> None:
        self.owner = owner
        self.pid = pid
        self.told: list[tuple[Any, ...]] = []

    def want(self, number: int, want: Want) -> None:
        self.told.append(("want", number))

    def send(self, number: int, request: Any, body: bytes, timeout_s: float) -> None:
        self.told.append(("send", number))

    def primary(self, number: int, answer: PrimaryAnswer, body: bytes) -> None:
        self.told.append(("primary", number, body))

    def forget(self, number: int) -> None:
        self.told.append(("forget", number))

    def waiting_files(self) -> list[Any]:
        return []

    def close(self) -> None:
        pass

    def join(self, timeout_s: float) -> None:
        pass

    def end(self, number: int, outcome: Outcome = Outcome.OK) -> None:
        self.owner.backend_results([ShadowResult(number, outcome, 200, 0, 1.0, "")])

    def compared(self, number: int) -> None:
        self.owner.backend_compared([(number, EQUAL)])


class Stage:
    def __init__(self, kit: Any, **settings: Any) -> None:
        self.kit = kit
        self.backends: list[FakeBackend] = []
        self.heard: list[tuple[str, Any]] = []
        """(token, outcome or conclusion), in order."""
        self.pool: ShadowPool[str] = ShadowPool(
            PoolSettings(**settings),
            lambda ending: self.heard.append((ending.token, ending.outcome)),
            lambda: 100.0,
            self.start_backend,
            on_compared=lambda token, found: self.heard.append((token, found.reason or found.verdict)),
        )
        self.pool.start()
        for backend in self.backends:
            backend.owner.backend_ready()
        self.backend = self.backends[0]

    def start_backend(self, owner: Any) -> FakeBackend:
        self.backends.append(FakeBackend(owner, 1000 + len(self.backends)))
        return self.backends[-1]

    def submit(self, token: str, want: Want | None = Want(compare=CompareTerms())) -> int:  # noqa: B008 - frozen
        return self.pool.submit(self.kit.shadow(), b"", token, Terms(15.0, want=want))

    @property
    def held_bytes(self) -> int:
        return self.pool.stats().held_bytes


def test_the_worker_concludes_and_the_memory_is_free_again(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit)
        number = stage.submit("a")
        stage.pool.compare(number, PRIMARY, b"body")
        stage.backend.end(number)
        assert stage.held_bytes == 1024 + len(b"body")
        stage.backend.compared(number)
        stage.backend.compared(number)  # nobody waits for it any more
        assert stage.backend.told == [("want", number), ("send", number), ("primary", number, b"body")]
        assert stage.heard == [("a", Outcome.OK), ("a", Verdict.EQUAL)]
        stage.pool.drain(0.0)
        assert stage.held_bytes == 0

    kit.run(test)


def test_a_primary_waits_for_a_shadow_that_is_not_sent_yet(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit, max_inflight=1)
        first, second = stage.submit("a"), stage.submit("b")
        stage.pool.compare(second, PRIMARY, b"body")
        assert ("primary", second, b"body") not in stage.backend.told
        stage.backend.end(first)
        assert stage.backend.told[-2:] == [("send", second), ("primary", second, b"body")]
        stage.pool.drain(0.0)

    kit.run(test)


def test_a_shadow_that_failed_gets_no_conclusion(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit)
        number = stage.submit("a")
        stage.pool.compare(number, PRIMARY, b"body")
        stage.backend.end(number, Outcome.TIMEOUT)
        stage.pool.compare(number, PRIMARY, b"body")
        stage.pool.leave_uncompared(number, NotCompared.PRIMARY_LATE)
        stage.backend.compared(number)
        assert stage.backend.told[-1] == ("forget", number)
        assert stage.held_bytes == 0
        stage.pool.drain(0.0)
        assert stage.heard == [("a", Outcome.TIMEOUT)]

    kit.run(test)


def test_a_shadow_of_which_none_was_wanted_gets_none(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit)
        for token, want in (("a", None), ("b", Want(body_bytes=1))):
            number = stage.submit(token, want)
            stage.pool.compare(number, PRIMARY, b"body")
            stage.backend.end(number)
        stage.pool.drain(0.0)
        assert stage.heard == [("a", Outcome.OK), ("b", Outcome.OK)]
        assert [told[0] for told in stage.backend.told] == ["send", "want", "send"]

    kit.run(test)


@pytest.mark.parametrize("early", [True, False], ids=["while it is on its way", "after its end"])
def test_it_can_be_left_without(kit: Any, early: bool) -> None:
    async def test() -> None:
        stage = Stage(kit)
        number = stage.submit("a")
        if not early:
            stage.backend.end(number)
        stage.pool.leave_uncompared(number, NotCompared.NO_PRIMARY)
        stage.pool.leave_uncompared(number, NotCompared.PRIMARY_LATE)
        stage.pool.compare(number, PRIMARY, b"late")
        if early:
            stage.backend.end(number)
        assert stage.heard == [("a", Outcome.OK), ("a", NotCompared.NO_PRIMARY)]
        assert stage.backend.told[-1] == ("forget", number)
        assert stage.held_bytes == 0
        stage.pool.drain(0.0)

    kit.run(test)


def test_a_primary_for_which_there_is_no_memory_is_not_compared(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit, queue_bytes=4096)
        number = stage.submit("a")
        stage.pool.compare(number, PRIMARY, b"x" * 4096)
        stage.backend.end(number)
        assert stage.heard == [("a", Outcome.OK), ("a", NotCompared.OVERLOADED)]
        stage.pool.drain(0.0)

    kit.run(test)


def test_a_worker_that_dies_takes_its_comparisons_with_it(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit)
        ended, on_its_way = stage.submit("ended"), stage.submit("on its way")
        for number in (ended, on_its_way):
            stage.pool.compare(number, PRIMARY, b"body")
        stage.backend.end(ended)
        stage.backend.owner.backend_gone("was ended by SIGKILL", "")
        assert stage.heard == [
            ("ended", Outcome.OK),
            ("on its way", Outcome.LOST),
            ("ended", NotCompared.WORKER_LOST),
        ]
        assert stage.held_bytes == 0
        stage.pool.drain(0.0)

    kit.run(test)


def test_at_the_end_what_still_waits_is_concluded(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit)
        number = stage.submit("a")
        stage.submit("on its way")
        stage.backend.end(number)
        stage.pool.drain(0.0)
        assert stage.heard == [
            ("a", Outcome.OK),
            ("on its way", Outcome.CANCELLED),
            ("a", NotCompared.CANCELLED),
        ]

    kit.run(test)


def test_a_listener_that_raises_does_not_keep_the_others_from_theirs(
    kit: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        stage = Stage(kit)
        listen = stage.pool._comparisons._on_compared

        def fail_once(token: str, found: Comparison) -> None:
            listen(token, found)
            if token == "a":
                raise ValueError("a bug")

        stage.pool._comparisons._on_compared = fail_once
        for token in ("a", "b"):
            stage.backend.end(stage.submit(token))
        stage.backend.owner.backend_compared([(1, EQUAL), (2, EQUAL)])
        stage.pool.drain(0.0)
        assert stage.heard[-2:] == [("a", Verdict.EQUAL), ("b", Verdict.EQUAL)]

    kit.run(test)
    assert [record.getMessage() for record in caplog.records] == [
        "mirror: what was told of a comparison failed."
    ]

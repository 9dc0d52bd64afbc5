"""A seat starts the next backend with back-off, and says what happened at the right level."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from mitm_mirror.outcome import Outcome
from mitm_mirror.shadow.message import ShadowResult
from mitm_mirror.shadow.seat import LONGEST_DELAY_S, Seat


class FakeBackend:
    pid: int | None = 4242

    def __init__(self) -> None:
        self.killed = self.closed = False

    def send(self, number: int, request: Any, body: bytes, timeout_s: float) -> None:
        pass

    def waiting_files(self) -> list[Any]:
        return []

    def kill(self) -> None:
        self.killed = True

    def close(self) -> None:
        self.closed = True

    def join(self, timeout_s: float) -> None:
        pass


class Owner:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def seat_ready(self) -> None:
        self.calls.append("ready")

    def seat_results(self, results: list[ShadowResult]) -> None:
        self.calls.append("results")

    def seat_emptied(self, seat: Seat) -> None:
        self.calls.append("emptied")


class Stage:
    """A seat with a clock, delays that are kept instead of waited for, and backends that do nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail: bool = False) -> None:
        self.now = 0.0
        self.fail = fail
        self.delays: list[float] = []
        self.due: Callable[[], None] | None = None
        self.owner = Owner()
        self.cancelled = 0
        monkeypatch.setattr(asyncio.get_running_loop(), "call_later", self.call_later)
        self.seat = Seat(self.start_backend, self.owner, lambda: self.now)

    def start_backend(self, owner: Any) -> FakeBackend:
        if self.fail:
            raise OSError(11, "Resource temporarily unavailable")
        return FakeBackend()

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Any:
        self.delays.append(delay_s)
        self.due = call
        return self

    def cancel(self) -> None:
        self.cancelled += 1

    def run_due(self) -> None:
        assert self.due is not None
        self.due()


RESULT = ShadowResult(1, Outcome.OK, 200, 0, 1.0, "")


def test_delays_double_up_to_a_limit_and_start_again_after_a_result(
    kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        stage = Stage(monkeypatch)
        stage.seat.start()
        for _ in range(8):
            stage.seat.backend_gone("exited with status 1", "")
            stage.run_due()
        assert stage.delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, LONGEST_DELAY_S, LONGEST_DELAY_S]
        stage.seat.backend_ready()
        stage.seat.backend_results([RESULT])
        stage.seat.backend_gone("was ended by SIGKILL", "")
        assert stage.delays[-1] == 0.1
        assert stage.seat.restarts == 9

    kit.run(test)


def test_a_worker_that_does_not_start_is_reported_once_with_its_last_words(
    kit: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        caplog.set_level(logging.INFO, "mitm_mirror")
        stage = Stage(monkeypatch)
        stage.seat.start()
        for _ in range(3):
            stage.seat.backend_gone("exited with status 1", "ModuleNotFoundError: httpx")
            stage.run_due()
        [record] = caplog.records
        assert record.levelno == logging.WARNING
        assert "exited with status 1" in record.getMessage()
        assert "ModuleNotFoundError: httpx" in record.getMessage()
        stage.seat.backend_ready()
        assert "after 3 failures" in caplog.text

    kit.run(test)


def test_a_system_that_refuses_processes_is_a_failed_start(
    kit: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        stage = Stage(monkeypatch, fail=True)
        stage.seat.start()
        assert "Resource temporarily unavailable" in caplog.text
        assert not stage.seat.ready
        stage.fail = False
        stage.run_due()
        assert stage.seat.backend is not None

    kit.run(test)


def test_each_death_is_a_warning(
    kit: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        stage = Stage(monkeypatch)
        stage.seat.start()
        stage.seat.backend_ready()
        stage.seat.load = 3
        stage.seat.backend_gone("was ended by SIGKILL", "")
        assert caplog.messages == ["mirror: shadow worker 4242 was ended by SIGKILL; 3 shadows are lost."]
        assert {record.levelno for record in caplog.records} == {logging.WARNING}
        assert stage.owner.calls == ["ready", "emptied"]

    kit.run(test)


@pytest.mark.parametrize(
    ("silent_s", "pid", "killed"),
    [
        pytest.param(1.9, 4242, False, id="not long enough"),
        pytest.param(2.0, 4242, True, id="long enough"),
        pytest.param(99.0, None, False, id="the event loop is not replaced"),
    ],
)
def test_a_silent_worker_is_replaced(
    kit: Any, monkeypatch: pytest.MonkeyPatch, silent_s: float, pid: int | None, killed: bool
) -> None:
    async def test() -> None:
        stage = Stage(monkeypatch)
        stage.seat.start()
        backend = stage.seat.backend
        assert isinstance(backend, FakeBackend)
        backend.pid = pid
        stage.now = 10.0
        stage.seat.backend_results([RESULT])
        stage.now += silent_s
        stage.seat.replace_if_silent(2.0)
        assert backend.killed == killed

    kit.run(test)


def test_a_closed_seat_starts_nothing(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        stage = Stage(monkeypatch)
        stage.seat.start()
        stage.seat.backend_gone("exited with status 1", "")
        stage.seat.close()
        assert stage.cancelled == 1
        stage.seat.backend_gone("exited with status 1", "")
        assert len(stage.delays) == 1

    kit.run(test)

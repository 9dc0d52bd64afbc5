from collections.abc import Callable
from functools import partial
from pathlib import Path

from mitm_mirror.observe.access_log import AccessLog
from mitm_mirror.observe.record import AccessRecord, PrimaryOutcome
from mitm_mirror.observe.writer import LogWriter


def record(identity: str) -> AccessRecord:
    return AccessRecord(
        copy="primary",
        id=identity,
        start_time=1.0,
        client="127.0.0.1",
        method="GET",
        target=b"/",
        http_version="HTTP/1.1",
        authority="httpbin",
        outcome=PrimaryOutcome.OK,
    )


class Log:
    """An access log whose turns the test runs, and what is in its file."""

    def __init__(self, folder: Path) -> None:
        self.turns: list[Callable[[], None]] = []
        self.path = folder / "access.log"
        self.bugs: list[tuple[str, Exception]] = []
        self.log = AccessLog(
            LogWriter(str(self.path)), lambda record: record.id, self.turns.append, self.report
        )

    def report(self, where: str, error: Exception) -> None:
        self.bugs.append((where, error))

    @property
    def lines(self) -> list[str]:
        return self.path.read_text(encoding="utf-8").splitlines()


def test_records_are_written_together_in_one_turn_and_in_order(tmp_path: Path) -> None:
    log = Log(tmp_path)

    for identity in ("a", "b", "c"):
        log.log.add(partial(record, identity))
    before = log.lines
    (turn,) = log.turns
    turn()

    assert [] == before
    assert ["a", "b", "c"] == log.lines


def test_a_record_after_a_turn_gets_a_turn_of_its_own(tmp_path: Path) -> None:
    log = Log(tmp_path)

    log.log.add(partial(record, "a"))
    log.turns.pop()()
    log.log.add(partial(record, "b"))

    assert 1 == len(log.turns)
    assert ["a"] == log.lines


def test_closing_writes_what_waits_and_a_late_turn_does_nothing(tmp_path: Path) -> None:
    log = Log(tmp_path)

    log.log.add(partial(record, "a"))
    log.log.close()
    log.path.unlink()
    log.turns.pop()()

    assert not log.path.exists()


def test_the_format_at_the_turn_counts(tmp_path: Path) -> None:
    log = Log(tmp_path)

    log.log.add(partial(record, "a"))
    log.log.format_record = lambda record: record.id.upper()
    log.log.flush()

    assert ["A"] == log.lines


def test_a_record_that_cannot_be_made_is_reported_and_loses_no_other_line(tmp_path: Path) -> None:
    log, error = Log(tmp_path), ZeroDivisionError("ours")

    def fail() -> AccessRecord:
        raise error

    for make in (partial(record, "a"), fail, partial(record, "b")):
        log.log.add(make)
    log.turns.pop()()

    assert ["a", "b"] == log.lines
    assert [("access log", error)] == log.bugs

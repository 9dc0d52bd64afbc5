"""How lines become counts, and counts a summary."""

from datetime import UTC, datetime
from typing import Any

import pytest

from mitm_mirror.observe.compare import Comparison, NotCompared, Verdict
from mitm_mirror.observe.record import PrimaryOutcome
from mitm_mirror.observe.report.lines import parse_line
from mitm_mirror.observe.report.summary import Report, summarise
from mitm_mirror.observe.report.tally import DROPPED, FAILED, OTHERS, Tally
from mitm_mirror.outcome import Outcome


def summary(tally: Tally) -> Report:
    return summarise(tally, logs=["a"], bad_lines=0, made_at=datetime(2026, 11, 22, tzinfo=UTC), version="0")


def test_every_outcome_is_counted_once_and_in_order(log: Any) -> None:
    for outcome in reversed(Outcome):
        log.failed(outcome)

    report = summary(log.tally())

    assert list(report.outcomes.items()) == [(outcome.value, 1) for outcome in Outcome]
    assert (report.shadows, report.failed, report.dropped) == (len(Outcome), len(FAILED), len(DROPPED))


def test_failed_and_dropped_leave_out_what_nobody_wanted_to_be_sent() -> None:
    assert set(Outcome) - FAILED - DROPPED == {
        Outcome.OK,
        Outcome.NOT_SAMPLED,
        Outcome.METHOD_GUARDED,
        Outcome.PAUSED,
    }
    assert not FAILED & DROPPED


def test_routes_and_destinations_are_apart(log: Any) -> None:
    for route in ("a", "b"):
        log.primary(route=route, duration_ms=5.0 if route == "a" else 50.0)
        for destination in ("x", "y"):
            log.shadow(route=route, destination=destination)

    report = summary(log.tally())

    assert [(mirror.route, mirror.destination, mirror.shadows) for mirror in report.mirrors] == [
        ("a", "x", 1),
        ("a", "y", 1),
        ("b", "x", 1),
        ("b", "y", 1),
    ]
    assert [mirror.primary_latency.max_ms for mirror in report.mirrors] == [5.0, 5.0, 50.0, 50.0]
    assert [primary.latency.max_ms for primary in report.primaries] == [5.0, 50.0]


def test_what_was_not_answered_has_no_latency(log: Any) -> None:
    log.primary(outcome=PrimaryOutcome.NO_ROUTE, status=404, duration_ms=0.1)
    log.shadow(outcome=Outcome.TIMEOUT, status=0, duration_ms=15_000.0)

    report = summary(log.tally())

    assert (report.mirrors[0].latency.count, report.mirrors[0].primary_latency.count) == (0, 0)
    assert report.primaries[0].statuses == {404: 1}


@pytest.mark.parametrize("reason", [*NotCompared, "made up"])
def test_reasons_of_what_was_not_compared_are_counted(log: Any, reason: str) -> None:
    log.not_compared(Comparison(Verdict.NOT_COMPARED, reason))

    report = summary(log.tally())

    assert report.mirrors[0].not_compared == {reason if reason in set(NotCompared) else "unknown": 1}
    assert (report.not_compared, report.compared, report.mismatch) == (1, 0, None)


def test_times_are_of_the_first_and_the_last_line_wherever_they_stand(log: Any) -> None:
    for after_s in (5, 0, 9, 3):
        log.shadow(after_s=after_s)

    report = summary(log.tally())

    assert (report.first_time, report.last_time) == ("2026-11-22 15:33:30", "2026-11-22 15:33:39")
    assert [slot.start_time[17:19] for slot in report.mirrors[0].timeline] == ["30", "33", "35", "39"]


def test_groups_are_bounded(log: Any) -> None:
    log.shadow(route="ROUTE")
    tally = Tally()
    for number in range(600):
        tally.add(parse_line(log.lines[0].replace("ROUTE", str(number)).encode()))

    assert len(tally.mirrors) == 501
    assert tally.mirrors[OTHERS].outcomes.total() == 100

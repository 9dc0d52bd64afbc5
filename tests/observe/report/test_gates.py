"""What `--fail-on` understands, and when it fails."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mitm_mirror.observe.compare import Comparison, Difference, Kind, NotCompared, Verdict
from mitm_mirror.observe.report.gates import METRICS, parse_gate
from mitm_mirror.observe.report.summary import Report, summarise
from mitm_mirror.observe.report.tally import DROPPED, FAILED
from mitm_mirror.outcome import Outcome


def report(log: Any, bad_lines: int = 0) -> Report:
    return summarise(
        log.tally(),
        logs=["a.log"],
        bad_lines=bad_lines,
        made_at=datetime(2026, 11, 22, tzinfo=UTC),
        version="0",
    )


def traffic(log: Any) -> None:
    """10 requests: 4 shadows equal, 1 differs, 1 not compared, 2 time-outs, 1 dropped, 1 not sampled."""
    for i in range(10):
        log.primary(str(i), duration_ms=10.0)
    for i in range(4):
        log.compared(id_=str(i), duration_ms=20.0)
    log.compared(Difference("status", Kind.VALUE, "200", "503"), id_="4", status=503, duration_ms=20.0)
    log.not_compared(Comparison(Verdict.NOT_COMPARED, NotCompared.BODY_TOO_LARGE), id_="5")
    log.failed(Outcome.TIMEOUT, "6")
    log.failed(Outcome.TIMEOUT, "7")
    log.failed(Outcome.QUEUE_FULL, "8")
    log.failed(Outcome.NOT_SAMPLED, "9")


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        pytest.param("mismatch>20%", "", id="share, at the limit"),
        pytest.param("mismatch>=20%", "mismatch is 20%", id="share, or equal"),
        pytest.param("mismatch>0", "mismatch is 1", id="count"),
        pytest.param("  Mismatch >= 0.1 % ", "mismatch is 20%", id="space and case"),
        pytest.param("status_mismatch>0", "status_mismatch is 1", id="status"),
        pytest.param("status-mismatch>16%", "status_mismatch is 16.67%", id="dash, with 6 pairs"),
        pytest.param("not_compared>10%", "not_compared is 16.67%", id="not compared, of what might be"),
        pytest.param("timeout>1", "timeout is 2", id="an outcome"),
        pytest.param("timeout>=21%", "", id="an outcome's share of all shadows"),
        pytest.param("error>19.9%", "error is 20%", id="errors"),
        pytest.param("dropped>0", "dropped is 1", id="dropped: not sampled is none"),
        pytest.param("connect_error>0", "", id="an outcome that never was"),
        pytest.param("shadows<11", "shadows is 10", id="fewer than"),
        pytest.param("shadows<=9", "", id="fewer, or equal"),
        pytest.param("compared<100%", "compared is 50%", id="share that was compared"),
        pytest.param("bad_lines>0", "bad_lines is 3", id="bad lines"),
        pytest.param(
            "p50_ratio>1.5", "p50_ratio is 2 for default/httpbin http[0]", id="latency against the primary"
        ),
        pytest.param("p99 ratio>2.5", "", id="latency, within"),
        pytest.param("p99_ms>5", "p99_ms is 20 for", id="latency in milliseconds"),
    ],
)
def test_gate(log: Any, gate: str, expected: str) -> None:
    traffic(log)

    reasons = parse_gate(gate).judge(report(log, bad_lines=3))

    assert len(reasons) == bool(expected)
    assert expected in "".join(reasons)


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_can_be_asked(log: Any, metric: str) -> None:
    traffic(log)

    assert parse_gate(f"{metric}>=0").judge(report(log))


def only_a_primary(log: Any) -> None:
    log.primary()


def not_compared(log: Any) -> None:
    log.primary()
    log.shadow()


def not_sampled(log: Any) -> None:
    log.primary()
    log.failed(Outcome.NOT_SAMPLED)


@pytest.mark.parametrize(
    ("gate", "given"),
    [
        pytest.param("mismatch>0.1%", not_compared, id="share of no comparison"),
        pytest.param("mismatch>0", not_compared, id="count of no comparison"),
        pytest.param("timeout>0", only_a_primary, id="no shadow"),
        pytest.param("p99_ratio>2", not_sampled, id="no answer"),
        pytest.param("p99_ms>2", only_a_primary, id="no mirror"),
    ],
)
def test_what_cannot_be_told_does_not_pass(log: Any, gate: str, given: Callable[[Any], None]) -> None:
    given(log)

    assert "cannot be told" in "".join(parse_gate(gate).judge(report(log)))


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        pytest.param("", "expected METRIC", id="empty"),
        pytest.param("mismatch", "expected METRIC, then >", id="no limit"),
        pytest.param("mismatch=1", "expected METRIC, then >", id="no such operator"),
        pytest.param("mismatch>1e3", "expected METRIC", id="no plain number"),
        pytest.param("mismatch>-1", "expected METRIC", id="negative"),
        pytest.param(
            "missmatch>1", "'missmatch' is no metric; expected one of mismatch, status_mismatch", id="unknown"
        ),
        pytest.param(
            "p99_ratio>150%", "p99_ratio is no share; expected a number without %", id="ratio with %"
        ),
    ],
)
def test_a_wrong_gate_is_told_what_is_expected(gate: str, expected: str) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        parse_gate(gate)

    assert expected in str(caught.value)


def test_every_metric_is_documented() -> None:
    document = (Path(__file__).parents[3] / "docs" / "report.md").read_text(encoding="utf-8")
    table = {
        name for row in document.splitlines() if row.startswith("| ") for name in re.findall("`([^`]+)`", row)
    }

    # of outcomes the table names those that another metric sums up, and points to all of them
    assert set(METRICS) - set(Outcome) <= table
    assert {*FAILED, *DROPPED} <= table

"""`mitm-mirror report`, as it is called."""

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mitm_mirror.cli import main
from mitm_mirror.observe.compare import Difference, Kind
from mitm_mirror.observe.report.progress import Progress

PRICE = Difference("json.price", Kind.VALUE, "1", "2")


def traffic(log: Any) -> Path:
    log.primary("1")
    log.compared(id_="1")
    log.primary("2")
    log.compared(PRICE, id_="2", status=503)
    written: Path = log.write()
    return written


def test_the_page_is_written_where_it_is_asked_for(
    log: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"

    assert main(["report", str(traffic(log)), "-o", str(page)]) == 0

    assert "json.price" in page.read_text(encoding="utf-8")
    assert capsys.readouterr() == (
        "",
        f"4 lines, 0 bad: 2 requests, 2 shadows, 1 of 2 compared answers differ\nwrote {page}\n",
    )


def test_without_a_name_it_is_report_html(log: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["report", str(traffic(log))]) == 0
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_json_has_the_whole_report_and_writes_no_page(
    log: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["report", str(traffic(log)), "--json", "--fail-on", "mismatch>0"]) == 1

    report = json.loads(capsys.readouterr().out)
    mirror = report["mirrors"][0]
    assert (report["requests"], report["shadows"], report["mismatch"]) == (2, 2, 0.5)
    assert mirror["status_pairs"] == [
        {"primary": 200, "shadow": 200, "count": 1},
        {"primary": 200, "shadow": 503, "count": 1},
    ]
    assert [(field["path"], field["answers"], field["share"]) for field in mirror["fields"]] == [
        ("json.price", 1, 0.5)
    ]
    assert mirror["fields"][0]["examples"] == [
        {"id": "2", "path": "json.price", "primary": "1", "shadow": "2"}
    ]
    assert report["gates"] == ["mismatch>0: mismatch is 1"]
    assert not (tmp_path / "report.html").exists()


def test_a_page_on_standard_output(log: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(traffic(log)), "-o", "-"]) == 0
    assert capsys.readouterr().out.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("gates", "status", "expected"),
    [
        (["mismatch>60%"], 0, "passed: mismatch>60%"),
        (["mismatch>60%", "mismatch>0"], 1, "failed: mismatch>0: mismatch is 1"),
    ],
)
def test_gates_decide_the_exit_status(
    log: Any, capsys: pytest.CaptureFixture[str], gates: list[str], status: int, expected: str
) -> None:
    arguments = [argument for gate in gates for argument in ("--fail-on", gate)]

    assert main(["report", str(traffic(log)), "-o", "-", *arguments]) == status
    assert expected in capsys.readouterr().err


def test_logs_of_several_proxies_are_one_report(
    log: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = traffic(log)
    second = tmp_path / "second.log.gz"
    second.write_bytes(gzip.compress(first.read_bytes()))

    main(["report", str(first), str(second), "--json"])

    report = json.loads(capsys.readouterr().out)
    assert (report["logs"], report["lines"], report["shadows"]) == ([str(first), str(second)], 8, 4)


def test_status_pairs_without_a_comparison_are_made_by_id(
    log: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    log.shadow("1", status=404)
    log.primary("1", status=200)

    main(["report", str(log.write()), "--json"])

    assert json.loads(capsys.readouterr().out)["mirrors"][0]["status_pairs"] == [
        {"primary": 200, "shadow": 404, "count": 1}
    ]


def test_bad_lines_are_told_but_not_without_end(log: Any, capsys: pytest.CaptureFixture[str]) -> None:
    log.lines += ["nonsense"] * 25
    path = traffic(log)

    assert main(["report", str(path), "--json"]) == 0

    told = capsys.readouterr()
    assert f"{path}:20: no line of a JSON access log: " in told.err
    assert f"{path}:21: " not in told.err
    assert "and 5 more bad lines" in told.err
    assert json.loads(told.out)["bad_lines"] == 25


def missing(log: Any) -> list[str]:
    return [str(log.write()) + ".1"]


def folder(log: Any) -> list[str]:
    return [str(log.write().parent)]


def another_format(log: Any) -> list[str]:
    log.lines.append('127.0.0.1 - - [22/Nov/2026:15:33:30 +0000] "GET / HTTP/1.1" 200 123')
    return [str(log.write())]


def bad_gate(log: Any) -> list[str]:
    return [str(traffic(log)), "--fail-on", "much>1"]


def both_on_standard_output(log: Any) -> list[str]:
    return [str(traffic(log)), "--json", "-o", "-"]


def unwritable(log: Any) -> list[str]:
    return [str(traffic(log)), "-o", str(log.write().parent / "no" / "page.html")]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (missing, "access.log.1: No such file or directory"),
        (folder, "Is a directory"),
        (another_format, "has to be written with mirror_access_log_format=json"),
        (bad_gate, "--fail-on 'much>1': 'much' is no metric"),
        (both_on_standard_output, "both want standard output"),
        (unwritable, "page.html: No such file or directory"),
    ],
)
def test_usage_errors(
    log: Any,
    capsys: pytest.CaptureFixture[str],
    arguments: Callable[[Any], list[str]],
    expected: str,
) -> None:
    assert main(["report", *arguments(log)]) == 2

    told = capsys.readouterr()
    assert expected in told.err
    assert told.out == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_drawn_on_a_terminal_only_and_not_too_often() -> None:
    now = 0.0
    terminal, pipe = Terminal(), io.StringIO()
    bars = [Progress(2_000_000, "2 MB", stream, lambda: now) for stream in (terminal, pipe)]

    for bar in bars:
        bar.show(0, 500_000)
    now = 1.0
    for bar in bars:
        bar.show(500_000, 500_000)
        bar.show(500_000, 600_000)
        bar.clear()

    assert terminal.getvalue() == f"\r[{'#' * 15:<30}]  50% of 2 MB\r\x1b[K"
    assert pipe.getvalue() == ""

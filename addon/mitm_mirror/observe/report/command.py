"""What `mitm-mirror report` does: reads logs, writes a page or JSON, judges gates."""
# ruff: noqa: T201 - it prints by trade

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

from mitm_mirror import __version__
from mitm_mirror.observe.report.gates import Gate, parse_gate
from mitm_mirror.observe.report.lines import read_lines
from mitm_mirror.observe.report.page import render_page
from mitm_mirror.observe.report.progress import Progress
from mitm_mirror.observe.report.summary import Report, summarise
from mitm_mirror.observe.report.tally import Tally

DEFAULT_PAGE = "report.html"
_BAD_LINES_SHOWN = 20


class UsageError(Exception):
    """The command cannot do what it was asked; its text says why."""


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What the command line says."""

    logs: Sequence[str]
    output: str | None = None
    """Where the page goes; `-` is standard output. None: `report.html`, or nowhere with `as_json`."""
    as_json: bool = False
    fail_on: Sequence[str] = ()
    sources: Sequence[str] = ()
    """What the page names in the place of the logs, where they were made of something else."""


def run_report(options: ReportOptions) -> bool:
    """Writes the report and says whether every gate passed. Raises UsageError."""
    try:
        gates = [parse_gate(text) for text in options.fail_on]
    except ValueError as error:
        raise UsageError(f"--fail-on {error}") from error
    page = options.output or (None if options.as_json else DEFAULT_PAGE)
    if page == "-" and options.as_json:
        raise UsageError("--json and -o - both want standard output")
    report = _read(options.logs)
    if options.sources:
        report = replace(report, logs=tuple(options.sources))
    report = replace(report, gates=tuple(reason for gate in gates for reason in gate.judge(report)))
    if options.as_json:
        print(msgspec.json.encode(report).decode())
    if page == "-":
        print(render_page(report), end="")
    elif page is not None:
        _write(page, render_page(report))
    _print_end(report, page, gates)
    return not report.gates


def _read(logs: Sequence[str]) -> Report:
    paths = [Path(log) for log in logs]
    try:
        sizes = [path.stat().st_size for path in paths]
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}") from error
    progress = Progress(sum(sizes), f"{sum(sizes) / 1e6:.0f} MB", sys.stderr)
    tally = Tally()
    bad_lines = 0

    def on_bad(message: str) -> None:
        nonlocal bad_lines
        bad_lines += 1
        if bad_lines <= _BAD_LINES_SHOWN:
            progress.clear()
            print(message, file=sys.stderr)

    for i, path in enumerate(paths):
        before = sum(sizes[:i])
        try:
            for line in read_lines(path, on_bad, partial(progress.show, before)):
                tally.add(line)
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from error
    progress.clear()
    if bad_lines > _BAD_LINES_SHOWN:
        print(f"and {bad_lines - _BAD_LINES_SHOWN} more bad lines", file=sys.stderr)
    if bad_lines and not tally.lines:
        raise UsageError(
            "no line could be read; the log has to be written with mirror_access_log_format=json"
        )
    return summarise(tally, logs=logs, bad_lines=bad_lines, made_at=datetime.now(UTC), version=__version__)


def _write(page: str, text: str) -> None:
    try:
        Path(page).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {page}: {error.strerror}") from error


def _print_end(report: Report, page: str | None, gates: Sequence[Gate]) -> None:
    compared = f"{report.differing} of {report.compared} compared answers differ"
    print(
        f"{report.lines} lines, {report.bad_lines} bad: {report.requests} requests, "
        f"{report.shadows} shadows, {compared if report.compared else 'no answer was compared'}",
        file=sys.stderr,
    )
    if page not in (None, "-"):
        print(f"wrote {page}", file=sys.stderr)
    for reason in report.gates:
        print(f"failed: {reason}", file=sys.stderr)
    if gates and not report.gates:
        print(f"passed: {', '.join(gate.text for gate in gates)}", file=sys.stderr)

"""What is read of a log, and what is said about lines that cannot be."""

import gzip
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mitm_mirror.observe.compare import Difference, Kind
from mitm_mirror.observe.report.lines import LINE_LIMIT_BYTES, Line, parse_line, read_lines


def read(path: Path) -> tuple[list[Line], list[str]]:
    bad: list[str] = []
    return list(read_lines(path, bad.append, lambda _done: None)), bad


def test_what_the_addon_writes_is_read(log: Any) -> None:
    log.compared(Difference("json.a", Kind.VALUE, "1", "2", noise="why"), status=503)

    line = parse_line(log.lines[0].encode())

    assert line.differences is not None
    assert msgspec.to_builtins(line.differences[0]) == {
        "path": "json.a",
        "kind": "value",
        "primary": "1",
        "shadow": "2",
        "noise": "why",
    }
    assert (line.copy, line.outcome, line.status, line.compared_status) == ("shadow", "ok", 503, 200)
    assert line.start_time.timestamp() == 1795361610.0


GOOD: dict[str, object] = {
    "start_time": "2026-11-22T15:33:30.123Z",
    "copy": "shadow",
    "id": "1",
    "outcome": "ok",
}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param({"copy": "third"}, "Invalid enum value 'third' - at `$.copy`", id="copy"),
        pytest.param({"outcome": "fine"}, "outcome 'fine' of a shadow", id="outcome"),
        pytest.param(
            {"outcome": "no_route"}, "outcome 'no_route' of a shadow", id="outcome of the other copy"
        ),
        pytest.param({"status": 7}, "`$.status`", id="status"),
        pytest.param({"status": "200"}, "`$.status`", id="status as text"),
        pytest.param({"duration_ms": -1}, "`$.duration_ms`", id="duration"),
        pytest.param({"start_time": "yesterday"}, "`$.start_time`", id="time"),
        pytest.param({"start_time": "2026-11-22T15:33:30"}, "`$.start_time`", id="time without a zone"),
        pytest.param({"differences": [{"path": "a"}]}, "`kind`", id="difference"),
    ],
)
def test_a_bad_line_is_refused(change: dict[str, object], expected: str) -> None:
    parse_line(msgspec.json.encode(GOOD))

    with pytest.raises(ValueError, match="no line of a JSON access log") as caught:
        parse_line(msgspec.json.encode({**GOOD, **change}))

    assert expected in str(caught.value)


@pytest.mark.parametrize("missing", GOOD)
def test_a_line_without_what_every_line_has_is_refused(missing: str) -> None:
    with pytest.raises(ValueError, match=f"missing required field `{missing}`"):
        parse_line(msgspec.json.encode({name: value for name, value in GOOD.items() if name != missing}))


def test_bad_lines_are_told_with_their_place_and_passed_over(log: Any) -> None:
    log.primary("1")
    log.lines += ["", '127.0.0.1 - - "GET / HTTP/1.1"', "\xff", "{}", "[]"]
    log.primary("2")
    path = log.write()

    lines, bad = read(path)

    assert [line.id for line in lines] == ["1", "2"]
    assert [message.partition(": ")[0] for message in bad] == [f"{path}:{number}" for number in (3, 4, 5, 6)]


def test_a_line_without_end_does_not_fill_the_memory(log: Any) -> None:
    log.lines.append("x" * (2 * LINE_LIMIT_BYTES + 5))
    log.primary("2")
    path = log.write()

    lines, bad = read(path)

    assert [line.id for line in lines] == ["2"]
    assert bad == [f"{path}:1: a line above {LINE_LIMIT_BYTES} bytes"]


def test_a_last_line_that_is_cut_off_is_bad(log: Any) -> None:
    log.primary("1")
    path = log.write()
    path.write_bytes(path.read_bytes() * 2 + b'{"start_time":"2026')

    lines, bad = read(path)

    assert (len(lines), len(bad)) == (2, 1)


def test_a_gzipped_log_is_read_whatever_its_name_is(log: Any) -> None:
    log.primary("1")
    log.primary("2")
    path = log.write()
    path.write_bytes(gzip.compress(path.read_bytes()))

    assert [line.id for line in read(path)[0]] == ["1", "2"]


def test_the_damaged_end_of_a_gzipped_log_is_told(log: Any) -> None:
    for number in range(1000):
        log.primary(str(number))
    path = log.write()
    path.write_bytes(gzip.compress(path.read_bytes())[:-20])

    lines, bad = read(path)

    assert 0 < len(lines) <= 1000
    assert len(bad) == 1
    assert "damaged gzip, the rest is not read" in bad[0]


def test_progress_is_told_in_bytes_of_the_file(log: Any) -> None:
    for number in range(3000):
        log.primary(str(number))
    path = log.write()
    done: list[int] = []

    assert len(list(read_lines(path, pytest.fail, done.append))) == 3000

    assert len(done) == 3
    assert done == sorted(done)
    assert 0 < done[0] <= path.stat().st_size

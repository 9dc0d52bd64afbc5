import contextlib
import errno
import io
import logging
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mitm_mirror.observe.writer import PENDING_LIMIT_BYTES, LogWriter

needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
not_for_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Turns:
    """An event loop's call_soon, with its turns run by the test."""

    def __init__(self) -> None:
        self.callbacks: list[Callable[[], None]] = []

    def __call__(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)

    def run(self) -> None:
        callbacks, self.callbacks = self.callbacks, []
        for callback in callbacks:
            callback()


class FakeWrite:
    """os.write that writes as much, or fails, as the script says; then as the system does."""

    def __init__(self, *script: int | OSError) -> None:
        self.script = list(script)
        self.calls = 0
        self.real = os.write

    def __call__(self, fd: int, data: bytes) -> int:
        self.calls += 1
        step = self.script.pop(0) if self.script else len(data)
        if isinstance(step, OSError):
            raise step
        return self.real(fd, data[:step])


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


class Pipe:
    """Standard output as a pipe. In the test's own call: pytest replaces sys.stdout after the fixtures."""

    def __init__(self) -> None:
        self.reader, end = os.pipe()
        os.set_blocking(self.reader, False)
        self.stream = io.TextIOWrapper(io.FileIO(end, "w"), encoding="utf-8")

    def writer(self, turns: Turns | None = None, retry: Turns | None = None) -> LogWriter:
        with contextlib.redirect_stdout(self.stream):
            return LogWriter("-", schedule=turns, retry=retry) if turns else LogWriter("-", retry=retry)

    def read(self) -> bytes:
        """What is in the pipe now."""
        data = b""
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(self.reader, 65536):
                data += piece
        return data

    def read_all(self, writer: LogWriter) -> bytes:
        """What comes until the writer has no more."""
        data = self.read()
        while writer.pending:
            writer.flush()
            piece = self.read()
            assert piece, "the writer stands still although it is read from"
            data += piece
        return data

    def hang_up(self) -> None:
        os.close(self.reader)
        self.reader = -1


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.stream.close()
    if pipe.reader >= 0:
        pipe.hang_up()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_each_line_is_appended_at_once_by_default(log: Path) -> None:
    log.write_text("before\n")
    writer = LogWriter(str(log))

    writer.write("one")
    assert log.read_text() == "before\none\n"
    writer.write("zwei ä")
    writer.close()

    assert log.read_text(encoding="utf-8") == "before\none\nzwei ä\n"
    assert writer.dropped == 0


def test_a_new_file_is_not_for_everybody(log: Path) -> None:
    LogWriter(str(log)).close()

    assert stat.S_IMODE(log.stat().st_mode) & 0o007 == 0


def test_a_relative_path_stays_where_it_was(log: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.chdir(log.parent)
    writer = LogWriter(log.name, clock=clock)
    monkeypatch.chdir("/")
    log.unlink()
    clock.now += 1

    writer.write("one")
    writer.close()

    assert log.read_text() == "one\n"


def test_a_home_folder_is_expanded(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(log.parent))

    LogWriter("~/access.log").close()

    assert log.exists()


def test_the_lines_of_one_turn_are_written_together(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turns, write = Turns(), FakeWrite()
    monkeypatch.setattr(os, "write", write)
    writer = LogWriter(str(log), schedule=turns)

    for number in range(100):
        writer.write(str(number))
    assert len(turns.callbacks) == 1
    assert log.read_text() == ""
    assert writer.pending == 100
    turns.run()
    writer.write("next turn")
    turns.run()

    assert log.read_text().splitlines() == [*map(str, range(100)), "next turn"]
    assert write.calls == 2
    assert writer.pending == 0
    writer.close()


def test_close_writes_what_waits_and_may_be_repeated(log: Path) -> None:
    turns = Turns()
    writer = LogWriter(str(log), schedule=turns)
    writer.write("one")

    writer.close()
    writer.close()
    turns.run()
    writer.write("too late")

    assert log.read_text() == "one\n"
    assert writer.dropped == 1


@pytest.mark.parametrize("content", ["a\n", ""], ids=["with content", "empty"])
def test_rename_and_create(log: Path, clock: Clock, content: str) -> None:
    writer = LogWriter(str(log), clock=clock)
    writer.write("one")
    log.rename(log.with_suffix(".1"))
    log.write_text(content)

    writer.write("still the old file: it is not looked for at every line")
    clock.now += 1
    writer.write("three")
    writer.close()

    assert log.with_suffix(".1").read_text().splitlines()[0] == "one"
    assert len(log.with_suffix(".1").read_text().splitlines()) == 2
    assert log.read_text() == content + "three\n"
    assert writer.dropped == 0


def test_rename_without_create(log: Path, clock: Clock) -> None:
    writer = LogWriter(str(log), clock=clock)
    writer.write("one")
    log.rename(log.with_suffix(".1"))
    clock.now += 1
    writer.write("two")
    writer.close()

    assert log.with_suffix(".1").read_text() == "one\n"
    assert log.read_text() == "two\n"


def test_copytruncate_leaves_no_hole(log: Path, clock: Clock) -> None:
    writer = LogWriter(str(log), clock=clock)
    writer.write("one")
    os.truncate(log, 0)
    writer.write("two")
    writer.close()

    assert log.read_bytes() == b"two\n"


def test_a_deleted_file_is_created_again(log: Path, clock: Clock) -> None:
    writer = LogWriter(str(log), clock=clock)
    writer.write("one")
    log.unlink()
    clock.now += 1
    writer.write("two")
    writer.close()

    assert log.read_text() == "two\n"


def test_rotation_closes_the_old_file(log: Path, clock: Clock) -> None:
    writer = LogWriter(str(log), clock=clock)
    lowest_free = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest_free)
    for number in range(5):
        log.rename(log.with_suffix(f".{number}"))
        clock.now += 1
        writer.write("line")
    free_now = os.open(os.devnull, os.O_RDONLY)
    os.close(free_now)
    writer.close()

    assert free_now <= lowest_free + 1


def test_a_symlink_that_points_elsewhere_is_followed(log: Path, clock: Clock) -> None:
    first, second = log.with_name("first"), log.with_name("second")
    log.symlink_to(first)
    writer = LogWriter(str(log), clock=clock)
    writer.write("one")
    log.unlink()
    log.symlink_to(second)
    clock.now += 1
    writer.write("two")
    writer.close()

    assert (first.read_text(), second.read_text()) == ("one\n", "two\n")


def test_lines_that_could_only_go_to_a_deleted_file_are_counted(
    log: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    folder = log.parent / "folder"
    folder.mkdir()
    writer = LogWriter(str(folder / "log"), clock=clock)
    (folder / "log").unlink()
    folder.rmdir()
    for _ in range(3):
        clock.now += 1
        writer.write("lost")
    assert writer.dropped == 3
    writer.write("waits for the next look at the folder")
    folder.mkdir()
    clock.now += 1
    writer.write("there again")
    writer.close()

    assert (folder / "log").read_text().splitlines() == [
        "waits for the next look at the folder",
        "there again",
    ]
    assert warnings(caplog) == [
        f"mirror_access_log: cannot write {folder / 'log'}: its folder does not exist",
        "mirror_access_log: lines dropped in all: 3",
    ]


def test_the_end_looks_for_a_lost_folder_once_more(log: Path, clock: Clock) -> None:
    folder = log.parent / "folder"
    folder.mkdir()
    writer = LogWriter(str(folder / "log"), clock=clock)
    (folder / "log").unlink()
    folder.rmdir()
    clock.now += 1
    writer.write("lost")
    writer.write("waits")
    folder.mkdir()
    writer.close()

    assert (folder / "log").read_text() == "waits\n"
    assert writer.dropped == 1


def test_what_waits_for_a_lost_folder_is_counted_at_the_end(log: Path, clock: Clock) -> None:
    folder = log.parent / "folder"
    folder.mkdir()
    writer = LogWriter(str(folder / "log"), clock=clock)
    (folder / "log").unlink()
    folder.rmdir()
    clock.now += 1
    writer.write("lost")
    writer.write("waits")
    writer.close()

    assert writer.dropped == 2


def test_a_renamed_file_goes_on_where_no_new_one_can_be_made(
    log: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    writer = LogWriter(str(log), clock=clock)
    log.rename(log.with_suffix(".1"))
    log.mkdir()
    clock.now += 1
    writer.write("one")
    writer.close()

    assert log.with_suffix(".1").read_text() == "one\n"
    assert writer.dropped == 0
    assert warnings(caplog) == [f"mirror_access_log: cannot write {log}: Is a directory"]


@pytest.mark.parametrize("sizes", [(1,), (3, 1, 1), (4,), (5, 2)], ids=str)
def test_a_short_write_tears_no_line(
    log: Path, monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, ...]
) -> None:
    monkeypatch.setattr(os, "write", FakeWrite(*sizes))
    turns = Turns()
    writer = LogWriter(str(log), schedule=turns)
    for line in ("one", "two", "three"):
        writer.write(line)
    turns.run()
    writer.close()

    assert log.read_text() == "one\ntwo\nthree\n"
    assert writer.dropped == 0


def test_a_line_half_written_when_the_disk_filled_is_made_whole(
    log: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(os, "write", FakeWrite(6, full, full))
    turns = Turns()
    writer = LogWriter(str(log), schedule=turns)
    for line in ("one", "two", "lost"):
        writer.write(line)
    turns.run()
    assert log.read_text() == "one\ntw"
    assert writer.dropped == 1
    writer.write("lost too")
    turns.run()
    assert writer.dropped == 2
    writer.write("three")
    turns.run()
    writer.close()

    assert log.read_text() == "one\ntwo\nthree\n"
    assert warnings(caplog) == [
        f"mirror_access_log: cannot write {log}: No space left on device",
        "mirror_access_log: lines dropped in all: 2",
    ]


def test_the_rest_of_a_torn_line_does_not_go_into_the_next_file(
    log: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(os, "write", FakeWrite(2, OSError(errno.ENOSPC, "full")))
    writer = LogWriter(str(log), clock=clock)
    writer.write("torn")
    log.rename(log.with_suffix(".1"))
    clock.now += 1
    writer.write("whole")
    writer.close()

    assert log.with_suffix(".1").read_text() == "to"
    assert log.read_text() == "whole\n"
    assert writer.dropped == 1


@pytest.mark.parametrize("failures", [0, 100], ids=["written", "dropped"])
def test_only_what_waits_counts_against_the_limit(
    log: Path, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    monkeypatch.setattr(os, "write", FakeWrite(*[OSError(errno.ENOSPC, "full")] * failures))
    writer = LogWriter(str(log))
    line = "x" * (PENDING_LIMIT_BYTES // 50)
    for _ in range(100 + failures):
        writer.write(line)
    writer.close()

    assert log.stat().st_size == 100 * (len(line) + 1)
    assert writer.dropped == failures


def test_of_lines_that_come_together_all_that_fit_are_kept(log: Path) -> None:
    turns = Turns()
    writer = LogWriter(str(log), schedule=turns)
    line = "x" * (PENDING_LIMIT_BYTES // 5 - 1)
    writer.write(line, line)

    writer.write("before", "y" * PENDING_LIMIT_BYTES, "behind", line, line, line, "last")
    assert (writer.pending, writer.dropped, len(turns.callbacks)) == (7, 2, 1)
    turns.run()
    writer.write()
    writer.close()

    assert log.read_text().splitlines() == [line, line, "before", "behind", line, line, "last"]
    assert (writer.dropped, turns.callbacks) == (2, [])


@needs_dev_full
def test_a_full_disk_is_counted_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    writer = LogWriter("/dev/full")
    for _ in range(5):
        writer.write("lost")
    writer.close()

    assert writer.dropped == 5
    assert warnings(caplog) == [
        "mirror_access_log: cannot write /dev/full: No space left on device",
        "mirror_access_log: lines dropped in all: 5",
    ]


def test_each_kind_of_failure_is_told(
    log: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    full, broken = OSError(errno.ENOSPC, "full"), OSError(errno.EIO, "broken")
    monkeypatch.setattr(os, "write", FakeWrite(full, broken, full, broken))
    writer = LogWriter(str(log))
    for _ in range(4):
        writer.write("lost")
    writer.write("kept")
    writer.close()

    assert log.read_text() == "kept\n"
    assert [message.rsplit(": ", 1)[-1] for message in warnings(caplog)] == [
        "full",
        "broken",
        "4",
    ]


def test_standard_output_comes_in_order_with_what_is_printed(pipe: Pipe) -> None:
    writer = pipe.writer()
    pipe.stream.write("printed ")
    pipe.stream.write("first\n")
    writer.write("logged")
    pipe.stream.write("printed last\n")
    writer.close()
    pipe.stream.flush()

    assert pipe.read() == b"printed first\nlogged\nprinted last\n"


def test_standard_output_stays_open(pipe: Pipe) -> None:
    pipe.writer().close()

    pipe.stream.write("open")
    pipe.stream.flush()
    assert pipe.read() == b"open"


def test_a_reader_that_does_not_read_holds_nobody_up(pipe: Pipe) -> None:
    writer = pipe.writer()
    lines = [f"{number:05} " + "x" * 100 for number in range(3000)]
    for line in lines:
        writer.write(line)
    assert writer.pending > 0

    assert pipe.read_all(writer).decode().splitlines() == lines
    assert writer.dropped == 0
    writer.close()


def test_a_reader_need_not_wait_for_the_next_line(pipe: Pipe) -> None:
    """A row of many lines is more than a pipe takes at once."""
    retry = Turns()
    writer = pipe.writer(retry=retry)
    lines = [f"{number:05} " + "x" * 100 for number in range(3000)]
    writer.write(*lines)
    assert len(retry.callbacks) == 1

    received = pipe.read()
    while retry.callbacks:
        retry.run()
        assert len(retry.callbacks) <= 1
        received += pipe.read()

    assert received.decode().splitlines() == lines
    assert (writer.pending, writer.dropped) == (0, 0)


def test_nothing_is_tried_again_where_nothing_waits(pipe: Pipe, log: Path) -> None:
    retry = Turns()
    writer = pipe.writer(retry=retry)
    writer.write("a")
    LogWriter(str(log), retry=retry).write("b" * 200_000)
    assert not retry.callbacks

    writer.write("x" * 200_000)
    pipe.hang_up()
    retry.run()
    assert not retry.callbacks
    writer.close()
    assert (writer.pending, writer.dropped) == (0, 1)


def test_what_a_reader_gets_ends_with_a_whole_line(pipe: Pipe) -> None:
    turns = Turns()
    writer = pipe.writer(turns)
    for number in range(3000):
        writer.write("x" * (number % 300))
    turns.run()
    assert writer.pending > 0

    assert pipe.read().endswith(b"\n")


def test_a_line_longer_than_a_pipe_takes_at_once_arrives_whole(pipe: Pipe) -> None:
    writer = pipe.writer()
    writer.write("x" * 200_000)
    writer.write("y")
    assert writer.pending == 2

    assert pipe.read_all(writer) == b"x" * 200_000 + b"\ny\n"


def test_a_line_that_the_end_cuts_off_is_counted(pipe: Pipe) -> None:
    writer = pipe.writer()
    writer.write("x" * 200_000)
    writer.write("y")
    writer.close()

    assert b"\n" not in pipe.read()
    assert writer.pending == 0
    assert writer.dropped == 2


def test_what_waits_for_a_reader_is_bounded_and_counted(pipe: Pipe, caplog: pytest.LogCaptureFixture) -> None:
    writer = pipe.writer()
    count = 3 * PENDING_LIMIT_BYTES // 65_536
    for _ in range(count):
        writer.write("x" * 65_535)

    assert 0 < writer.pending <= PENDING_LIMIT_BYTES // 65_536 + 1
    assert writer.dropped > 0
    received = pipe.read()
    writer.close()
    received += pipe.read()
    assert writer.pending == 0
    assert received.count(b"\n") + writer.dropped == count
    assert warnings(caplog) == [
        "mirror_access_log: cannot write standard output: nobody reads it fast enough",
        f"mirror_access_log: lines dropped in all: {writer.dropped}",
    ]


def test_a_closed_pipe_is_counted(pipe: Pipe, caplog: pytest.LogCaptureFixture) -> None:
    writer = pipe.writer()
    pipe.hang_up()
    writer.write("lost")
    writer.write("lost")
    writer.close()

    assert writer.dropped == 2
    assert warnings(caplog) == [
        "mirror_access_log: cannot write standard output: Broken pipe",
        "mirror_access_log: lines dropped in all: 2",
    ]


def test_a_closed_standard_output_is_counted(log: Path) -> None:
    with log.open("w") as stream, contextlib.redirect_stdout(stream):
        writer = LogWriter("-")
    writer.write("lost")
    writer.close()

    assert writer.dropped == 1


def test_a_fifo_without_a_reader_is_refused_and_with_one_is_written(log: Path) -> None:
    os.mkfifo(log)
    with pytest.raises(ValueError, match=r"cannot write .*access\.log: nobody reads this pipe$"):
        LogWriter(str(log))

    reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    writer = LogWriter(str(log))
    writer.write("one")
    writer.close()

    assert os.read(reader, 100) == b"one\n"
    os.close(reader)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("none/log", "its folder does not exist", id="no folder"),
        pytest.param(".", "Is a directory", id="a folder"),
        pytest.param("file/log", "Not a directory", id="a file for a folder"),
        pytest.param("x" * 300, "File name too long", id="long name"),
        pytest.param("nul\0byte", "embedded null", id="no path at all"),
    ],
)
def test_a_path_that_cannot_be_written_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ValueError, match="mirror_access_log: cannot write ") as caught:
        LogWriter(f"{tmp_path}/{name}")

    assert reason in str(caught.value).rsplit(": ", 1)[-1]


def test_the_home_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^mirror_access_log: cannot write ~no-such-user/log: "):
        LogWriter("~no-such-user/log")


@not_for_root
def test_a_path_without_permission_is_refused(log: Path) -> None:
    log.touch(0o400)

    with pytest.raises(ValueError, match="Permission denied"):
        LogWriter(str(log))


@pytest.mark.parametrize("stream", [None, io.StringIO()], ids=["none", "no descriptor"])
def test_a_standard_output_that_is_no_file_is_refused(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO | None
) -> None:
    monkeypatch.setattr(sys, "stdout", stream)

    with pytest.raises(ValueError, match="mirror_access_log: cannot write standard output: "):
        LogWriter("-")

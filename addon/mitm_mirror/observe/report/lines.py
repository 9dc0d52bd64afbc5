"""Reads the lines of JSON access logs, one at a time."""

import gzip
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Annotated, Literal

import msgspec

from mitm_mirror.observe.record import PrimaryOutcome
from mitm_mirror.outcome import Outcome

LINE_LIMIT_BYTES = 1024 * 1024
"""A longer line is bad. Ours have some kilobytes; a file without line breaks must not fill the memory."""
_GZIP_MAGIC = b"\x1f\x8b"
_OUTCOMES = {"primary": frozenset(PrimaryOutcome), "shadow": frozenset(Outcome)}

Status = Annotated[int, msgspec.Meta(ge=100, le=999)]
Milliseconds = Annotated[float, msgspec.Meta(ge=0)]


class DifferenceField(msgspec.Struct, gc=False):
    """One of a line's `differences`."""

    path: str
    kind: Literal["value", "type", "only_primary", "only_shadow"]
    primary: str | None = None
    shadow: str | None = None
    noise: str | None = None


class Line(msgspec.Struct):
    """What the report reads of one line, by the names of `AccessRecord.to_dict`. Others are passed over, so
    that logs of later versions can be read."""

    start_time: Annotated[datetime, msgspec.Meta(tz=True)]
    copy: Literal["primary", "shadow"]
    id: str
    outcome: str
    status: Status | None = None
    duration_ms: Milliseconds | None = None
    destination: str | None = None
    virtual_service: str | None = None
    route: str | None = None
    comparison: Literal["equal", "differs", "not_compared"] | None = None
    not_compared: str | None = None
    compared_status: Status | None = None
    differences: list[DifferenceField] | None = None


_decode = msgspec.json.Decoder(Line).decode


def parse_line(raw: bytes) -> Line:
    """Raises ValueError with the reason where `raw` is no line of a JSON access log."""
    if len(raw) >= LINE_LIMIT_BYTES:
        raise ValueError(f"a line above {LINE_LIMIT_BYTES} bytes")
    try:
        line = _decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"no line of a JSON access log: {error}") from error
    if line.outcome not in _OUTCOMES[line.copy]:
        raise ValueError(f"no line of a JSON access log: outcome {line.outcome!r} of a {line.copy}")
    return line


def read_lines(
    path: Path, on_bad: Callable[[str], None], on_progress: Callable[[int], None]
) -> Iterator[Line]:
    """The lines of one file, which may be gzipped, whatever its name is.

    `on_bad` gets `file:line: why` for what cannot be read, also for the rest of a damaged gzip file;
    `on_progress` gets the number of the file's bytes read so far, after each line.
    Raises OSError where the file cannot be opened or read.
    """
    with path.open("rb") as file:
        compressed = file.peek(2)[:2] == _GZIP_MAGIC
        stream: IO[bytes] | gzip.GzipFile = gzip.GzipFile(fileobj=file) if compressed else file
        number = 0
        try:
            while raw := stream.readline(LINE_LIMIT_BYTES):
                number += 1
                if raw.isspace():
                    continue
                try:
                    yield parse_line(raw)
                except ValueError as error:
                    on_bad(f"{path}:{number}: {error}")
                    while len(raw) >= LINE_LIMIT_BYTES and not raw.endswith(b"\n"):
                        raw = stream.readline(LINE_LIMIT_BYTES)
                if not number % 1000:
                    on_progress(file.tell())
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            on_bad(f"{path}:{number + 1}: damaged gzip, the rest is not read: {error}")

"""From records to the log's lines, many at once."""

from collections.abc import Callable

from mitm_mirror.gathering import Gathering, Schedule
from mitm_mirror.observe.record import AccessRecord
from mitm_mirror.observe.writer import LogWriter

_LINES_PER_FLUSH = 1000
"""Far below the writer's limit: at a shutdown ten thousands of shadows may end in one turn."""


MakeRecord = Callable[[], AccessRecord]


class AccessLog:
    """Gathers copies until their turn, and then makes, formats and writes their records. For one thread."""

    def __init__(
        self,
        writer: LogWriter,
        format_record: Callable[[AccessRecord], str],
        schedule: Schedule,
        on_bug: Callable[[str, Exception], None],
    ) -> None:
        """`schedule` is asked once for the turn in which what was added by then is written.

        `on_bug` is told, while it is being handled, of an exception that lost a line: (where, exception).
        """
        self.format_record = format_record
        self._writer = writer
        self._on_bug = on_bug
        self._copies = Gathering[MakeRecord](self._write, schedule)

    def add(self, make_record: MakeRecord) -> None:
        """Takes one copy. Never raises, never waits; what cannot be written is dropped, see `LogWriter`.

        `make_record` is called later, so it has to hold what it needs as it is now.
        """
        self._copies.add(make_record)

    def flush(self) -> None:
        """Writes what has been added."""
        self._copies.flush()

    def close(self) -> None:
        """Writes what has been added, and closes the log."""
        self.flush()
        self._writer.close()

    def _write(self, copies: list[MakeRecord]) -> None:
        for start in range(0, len(copies), _LINES_PER_FLUSH):
            for make_record in copies[start : start + _LINES_PER_FLUSH]:
                try:
                    line = self.format_record(make_record())
                except Exception as error:  # noqa: BLE001  (a bug of ours; the others' lines are not to be lost)
                    self._on_bug("access log", error)
                else:
                    self._writer.write(line)
            self._writer.flush()

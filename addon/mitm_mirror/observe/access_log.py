"""From records to the log's lines, many at once."""

from collections.abc import Callable

from mitm_mirror.gathering import Gathering, Schedule
from mitm_mirror.observe.record import AccessRecord
from mitm_mirror.observe.writer import LogWriter

_LINES_PER_FLUSH = 1000
"""Far below the writer's limit: at a shutdown ten thousands of shadows may end in one turn."""


MakeRecord = Callable[[], AccessRecord]


class AccessLog(Gathering[MakeRecord]):
    """Gathers copies until their turn, and then makes, formats and writes their records. For one thread.

    `add` never raises and never waits; what cannot be written is dropped, see `LogWriter`. What it takes is
    called later, so it has to hold what it needs as it is now.
    """

    __slots__ = ("_on_bug", "_writer", "format_record")

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
        super().__init__(self._write, schedule)
        self.format_record = format_record
        self._writer = writer
        self._on_bug = on_bug

    def close(self) -> None:
        """Writes what has been added, and closes the log."""
        self.flush()
        self._writer.close()

    def _write(self, copies: list[MakeRecord]) -> None:
        for start in range(0, len(copies), _LINES_PER_FLUSH):
            lines = []
            for make_record in copies[start : start + _LINES_PER_FLUSH]:
                try:
                    lines.append(self.format_record(make_record()))
                except Exception as error:  # noqa: BLE001  (a bug of ours; the others' lines are not to be lost)
                    self._on_bug("access log", error)
            self._writer.write(*lines)
            self._writer.flush()

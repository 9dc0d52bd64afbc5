"""From records to the log's lines, many at once."""

from collections.abc import Callable

from mitm_mirror.gathering import Gathering, Schedule
from mitm_mirror.observe.record import AccessRecord
from mitm_mirror.observe.writer import LogWriter

_LINES_PER_FLUSH = 1000
"""Far below the writer's limit: at a shutdown ten thousands of shadows may end in one turn."""


class AccessLog:
    """Gathers records until their turn, and then formats and writes them. For one thread."""

    def __init__(
        self, writer: LogWriter, format_record: Callable[[AccessRecord], str], schedule: Schedule
    ) -> None:
        """`schedule` is asked once for the turn in which what was added by then is written."""
        self.format_record = format_record
        self._writer = writer
        self._records = Gathering[AccessRecord](self._write, schedule)

    def add(self, record: AccessRecord) -> None:
        """Takes one record. Never raises, never waits; what cannot be written is dropped, see `LogWriter`."""
        self._records.add(record)

    def flush(self) -> None:
        """Writes what has been added."""
        self._records.flush()

    def close(self) -> None:
        """Writes what has been added, and closes the log."""
        self.flush()
        self._writer.close()

    def _write(self, records: list[AccessRecord]) -> None:
        for start in range(0, len(records), _LINES_PER_FLUSH):
            for record in records[start : start + _LINES_PER_FLUSH]:
                self._writer.write(self.format_record(record))
            self._writer.flush()

"""From records to the log's lines, many at once."""

from collections.abc import Callable

from mitm_mirror.observe.record import AccessRecord
from mitm_mirror.observe.writer import LogWriter

_LINES_PER_FLUSH = 1000
"""Far below the writer's limit: at a shutdown ten thousands of shadows may end in one turn."""

Schedule = Callable[[Callable[[], None]], object]


class AccessLog:
    """Gathers records until their turn, and then formats and writes them.

    Formatting one record amid a request's other work costs three times what it costs in a row of them: the
    code and the data that it needs have left the processor's caches by then. For one thread.
    """

    def __init__(
        self, writer: LogWriter, format_record: Callable[[AccessRecord], str], schedule: Schedule
    ) -> None:
        """`schedule` is asked once for the turn in which what was added by then is written."""
        self.format_record = format_record
        self._writer = writer
        self._schedule = schedule
        self._records: list[AccessRecord] = []

    def add(self, record: AccessRecord) -> None:
        """Takes one record. Never raises, never waits; what cannot be written is dropped, see `LogWriter`."""
        if not self._records:
            self._schedule(self.flush)
        self._records.append(record)

    def flush(self) -> None:
        """Writes what has been added."""
        records, self._records = self._records, []
        for start in range(0, len(records), _LINES_PER_FLUSH):
            for record in records[start : start + _LINES_PER_FLUSH]:
                self._writer.write(self.format_record(record))
            self._writer.flush()

    def close(self) -> None:
        """Writes what has been added, and closes the log."""
        self.flush()
        self._writer.close()

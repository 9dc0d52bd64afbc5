"""Reading a JSON access log while it is written."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Record = dict[str, Any]


class AccessLog:
    """The records of a JSON access log that only grows, by VirtualService. For one thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_bytes = 0
        self._records: dict[str, list[Record]] = {}

    @property
    def options(self) -> dict[str, str]:
        """What mitmdump has to be started with."""
        return {"mirror_access_log": str(self.path), "mirror_access_log_format": "json"}

    def records(self, virtual_service: str) -> list[Record]:
        """The whole lines so far about a VirtualService of namespace `default`, in order."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._read_bytes)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read_bytes += len(whole)
            for line in whole.splitlines():
                record = json.loads(line)
                self._records.setdefault(record["virtual_service"], []).append(record)
        return list(self._records.get(f"default/{virtual_service}", ()))

    def wait_for_pairs(self, virtual_service: str, count: int, timeout_s: float = 60.0) -> list[Record]:
        """The shadows of `count` requests in the order of their start, once the log has both lines of each.

        Raises TimeoutError past the deadline, and ValueError where a request has other lines than these two.
        """
        records = self._wait(virtual_service, lambda lines: len(lines) >= 2 * count, timeout_s)
        copies = sorted((record["id"], record["copy"]) for record in records)
        ids = sorted({record["id"] for record in records})
        if len(ids) != count or copies != [(id_, copy) for id_ in ids for copy in ("primary", "shadow")]:
            raise ValueError(f"{virtual_service}: expected a primary and a shadow for {count} ids: {copies}")
        shadows = [record for record in records if record["copy"] == "shadow"]
        return sorted(shadows, key=lambda record: str(record["start_time"]))

    def _wait(
        self, virtual_service: str, is_enough: Callable[[list[Record]], bool], timeout_s: float
    ) -> list[Record]:
        deadline = time.monotonic() + timeout_s
        while not is_enough(records := self.records(virtual_service)):
            if time.monotonic() >= deadline:
                raise TimeoutError(f"{virtual_service}: {len(records)} lines after {timeout_s:g} s")
            time.sleep(0.02)  # a file that grows tells nobody
        return records

"""Access logs as the addon writes them."""

from pathlib import Path

import pytest

from mitm_mirror.observe.compare import Comparison, Difference
from mitm_mirror.observe.compare.comparison import conclude
from mitm_mirror.observe.formats import format_json
from mitm_mirror.observe.record import AccessRecord, PrimaryOutcome
from mitm_mirror.observe.report.lines import parse_line
from mitm_mirror.observe.report.tally import Tally
from mitm_mirror.outcome import Outcome

START = 1795361610.0
"""2026-11-22 15:33:30 UTC."""


class Log:
    """Collects records, as a file or as a tally."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.lines: list[str] = []

    def primary(self, id_: str = "1", *, after_s: float = 0, **fields: object) -> None:
        values: dict[str, object] = {
            "copy": "primary",
            "id": id_,
            "start_time": START + after_s,
            "client": "192.0.2.7",
            "method": "GET",
            "target": b"/",
            "http_version": "HTTP/1.1",
            "authority": "httpbin:8080",
            "status": 200,
            "duration_ms": 5.0,
            "destination": "outbound|8080|v1|httpbin.default.svc.cluster.local",
            "virtual_service": "default/httpbin",
            "route": "http[0]",
            "outcome": PrimaryOutcome.OK,
        }
        record = AccessRecord(**{**values, **fields})  # type: ignore[arg-type]  # each test names real fields
        self.lines.append(format_json(record))

    def shadow(self, id_: str = "1", **fields: object) -> None:
        values: dict[str, object] = {
            "copy": "shadow",
            "destination": "outbound|8080|v2|httpbin.default.svc.cluster.local",
            "outcome": Outcome.OK,
        }
        self.primary(id_, **{**values, **fields})  # type: ignore[arg-type]  # as above

    def failed(self, outcome: Outcome, id_: str = "1") -> None:
        self.shadow(id_, outcome=outcome, status=0, duration_ms=None)

    def compared(self, *differences: Difference, id_: str = "1", **fields: object) -> None:
        comparison = conclude(differences, truncated=False)
        self.shadow(id_, compared_status=200, comparison=comparison, **fields)

    def not_compared(self, comparison: Comparison, id_: str = "1") -> None:
        self.shadow(id_, comparison=comparison)

    def write(self, name: str = "access.log") -> Path:
        path = self._folder / name
        path.write_text("".join(f"{line}\n" for line in self.lines))
        return path

    def tally(self) -> Tally:
        tally = Tally()
        for line in self.lines:
            tally.add(parse_line(line.encode()))
        return tally


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)

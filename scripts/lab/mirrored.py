"""What has to be true of mirrored requests, whatever way they came in."""

import json
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.backend import Backend
from lab.mitmdump import Mitmdump


@dataclass(frozen=True, slots=True)
class MirroringTask:
    """The primary, the mirror, and the JSON access log of a mitmdump that mirrors all from v1 to v2."""

    v1: Backend
    v2: Backend
    log: Path

    @property
    def options(self) -> dict[str, str]:
        """What mitmdump has to be started with."""
        return {
            "mirror_access_log": str(self.log),
            "mirror_access_log_format": "json",
            # No expectation: on a loaded machine a worker may need longer than the default to start.
            "mirror_drain_timeout": "20",
        }

    def check(self, mitmdump: Mitmdump, hosts: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        """Stops mitmdump, asserts that both versions got their copies, and returns the primaries' records.

        `hosts` are the (primary's, shadow's) Host of each request, which were sent one after the other.
        """
        assert mitmdump.stop(signal.SIGINT) == 0, mitmdump.output
        return self.check_ended(mitmdump, hosts)

    def check_ended(self, mitmdump: Mitmdump, hosts: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        """As `check`, for a mitmdump that has ended by itself."""
        assert mitmdump.totals() == {"shadows": len(hosts), "ok": len(hosts), "pending": 0}
        for backend, seen in ((self.v1, [host for host, _ in hosts]), (self.v2, [host for _, host in hosts])):
            assert backend.errors == []
            # A worker sends shadows beside one another, so they may overtake each other.
            assert sorted(_host(request.values(b"host")) for request in backend.requests) == sorted(seen)
        records = [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]
        primaries = [record for record in records if record["copy"] == "primary"]
        shadows = {record["id"]: record for record in records if record["copy"] == "shadow"}
        assert {record["outcome"] for record in records} == {"ok"}
        assert len(primaries) == len(shadows) == len(hosts)
        assert [(record["authority"], shadows[record["id"]]["authority"]) for record in primaries] == list(
            hosts
        )
        return primaries


def _host(values: Sequence[bytes]) -> str:
    (value,) = values  # one Host line, never two
    return value.decode()

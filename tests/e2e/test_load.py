"""Many requests at once: every shadow is delivered and counted."""

import json
import signal
from pathlib import Path

from lab.backend import Backend
from lab.load import Load
from lab.mitmdump import StartMitmdump
from lab.rules import HOST, SHADOW_HOST

GET = f"GET http://{HOST}/get HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


def test_10_000_requests_are_all_mirrored(
    v1: Backend, v2: Backend, start: StartMitmdump, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    mitmdump = start(mirror_access_log=str(log), mirror_access_log_format="json", mirror_timeout="300")
    result = Load(mitmdump.port, GET, concurrency=32, total=10_000).join()
    v2.wait_for_count(10_000, timeout_s=300)
    assert mitmdump.stop(signal.SIGINT) == 0

    assert result.errors == []
    assert result.statuses == {200: 10_000}
    assert result.bodies == {b"v1": 10_000}
    assert (v1.count, v2.count) == (10_000, 10_000)
    assert v1.errors == v2.errors == []
    assert {request.values(b"host")[0] for request in v1.requests} == {HOST.encode()}
    assert {request.values(b"host")[0] for request in v2.requests} == {SHADOW_HOST.encode()}
    assert mitmdump.totals() == {"shadows": 10_000, "ok": 10_000, "pending": 0}

    records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    primaries = {record["id"] for record in records if record["copy"] == "primary"}
    shadows = {record["id"] for record in records if record["copy"] == "shadow"}
    assert len(records) == 20_000
    assert len(primaries) == 10_000
    assert primaries == shadows

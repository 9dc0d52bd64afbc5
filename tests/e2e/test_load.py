"""Many requests at once: every shadow is delivered and counted, and no client notices a mirror."""

import json
import signal
from pathlib import Path

import pytest

from lab.backend import Backend, RefusingPort
from lab.load import Load
from lab.mitmdump import StartMitmdump
from lab.rules import HOST, SHADOW_HOST, endpoints_text, write_atomically
from lab.wire import Message
from mitm_mirror.shadow.breaker import FAILURES

GET = f"GET http://{HOST}/get HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


def test_10_000_requests_are_all_mirrored(
    v1: Backend, v2: Backend, start: StartMitmdump, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    mitmdump = start(mirror_access_log=str(log), mirror_access_log_format="json")
    result = Load(mitmdump.port, GET, concurrency=32, total=10_000).join()
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


def check_failed(totals: dict[str, int], count: int, outcome: str) -> None:
    """Every shadow failed, or was left out after so many had that the breaker opened."""
    assert totals.pop("shadows") == count
    assert totals.pop("pending") == 0
    assert totals[outcome] >= FAILURES
    assert totals[outcome] + totals.get("circuit_open", 0) == sum(totals.values()) == count


def never(_request: Message) -> None:
    return None


def hang_up(_request: Message) -> bytes:
    return b""


def no_http(_request: Message) -> bytes:
    return b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n"


@pytest.mark.parametrize(
    ("respond", "outcome"),
    [
        pytest.param(never, "timeout", id="never answers"),
        pytest.param(hang_up, "protocol_error", id="hangs up"),
        pytest.param(no_http, "protocol_error", id="speaks something else"),
    ],
)
def test_no_client_notices_a_mirror_that(
    v1: Backend, rules: Path, start: StartMitmdump, respond: object, outcome: str
) -> None:
    assert callable(respond)
    with Backend("v2", respond) as mirror:
        write_atomically(rules / "httpbin-endpoints.yaml", endpoints_text(v1.port, mirror.port))
        mitmdump = start(mirror_timeout="1")
        result = Load(mitmdump.port, GET, concurrency=8, total=200).join()
        mirror.wait_for_count(FAILURES)
        assert mitmdump.stop(signal.SIGINT) == 0
    assert result.errors == []
    assert result.bodies == {b"v1": 200}
    check_failed(mitmdump.totals(), 200, outcome)


def test_no_client_notices_a_mirror_that_refuses(v1: Backend, rules: Path, start: StartMitmdump) -> None:
    with RefusingPort() as mirror:
        write_atomically(rules / "httpbin-endpoints.yaml", endpoints_text(v1.port, mirror.port))
        mitmdump = start()
        result = Load(mitmdump.port, GET, concurrency=8, total=200).join()
        assert mitmdump.stop(signal.SIGINT) == 0
    assert result.errors == []
    assert result.bodies == {b"v1": 200}
    check_failed(mitmdump.totals(), 200, "connect_error")

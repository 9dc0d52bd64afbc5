"""`mitm-mirror replay` with recordings, against two real versions of a service."""

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mitmproxy import connection, http
from mitmproxy.io import FlowWriter

from lab.backend import Backend, RefusingPort, response
from lab.mitmdump import ROOT, child_environment
from lab.rules import HOST, SHADOW_HOST, endpoints_text, write_atomically
from lab.wire import Message

START = 1_700_000_000.0
DIFFERENT = {7, 77, 177, 577, 977}


def answer(message: Message, *, old: bool) -> bytes:
    number = int(message.target.rpartition(b"/")[2])
    price = 1 if old or number not in DIFFERENT else 2
    body = json.dumps({"number": number, "price": price}).encode()
    return response(body, "200 OK", b"Content-Type: application/json")


def record(path: Path, count: int, *, clients: int = 10, host: str = HOST, step_s: float = 0.001) -> Path:
    """A flow file as mitmdump -w writes it: `/0`, `/1`... of several clients in turn, each answered."""
    connections = [
        connection.Client(peername=("127.0.0.1", 40_000 + i), sockname=("127.0.0.1", 8080))
        for i in range(clients)
    ]
    with path.open("wb") as file:
        writer = FlowWriter(file)
        for number in range(count):
            flow = http.HTTPFlow(connections[number % clients], connection.Server(address=("old", 80)))
            flow.request = http.Request.make("GET", f"http://{host}/item/{number}", headers={"Host": host})
            flow.request.timestamp_start = START + number * step_s
            flow.response = http.Response.make(200, b"recorded")
            writer.add(flow)
    return path


def replay(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mitm_mirror", "replay", *map(str, arguments)]
    command += ["--set", f"confdir={folder / 'confdir'}"]
    environment = child_environment({"PYTHONPATH": str(ROOT / "addon")})
    return subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment, timeout=240, check=False
    )


Serve = Callable[..., tuple[Backend, Backend]]


@pytest.fixture
def versions(rules: Path) -> Iterator[Serve]:
    """v1, and a v2 that answers five of a thousand requests differently unless told not to."""
    with contextlib.ExitStack() as stack:

        def serve(*, equal: bool) -> tuple[Backend, Backend]:
            v1 = stack.enter_context(Backend("v1", lambda message: answer(message, old=True)))
            v2 = stack.enter_context(Backend("v2", lambda message: answer(message, old=equal)))
            write_atomically(rules / "httpbin-endpoints.yaml", endpoints_text(v1.port, v2.port))
            return v1, v2

        yield serve


def test_equal_versions_pass(tmp_path: Path, rules: Path, versions: Serve) -> None:
    v1, v2 = versions(equal=True)
    flows = record(tmp_path / "flows", 1000)

    done = replay(tmp_path, flows, "--rules", rules, "--speed", "max", "--json")

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["requests"], report["compared"], report["differing"]) == (1000, 1000, 0)
    assert (v1.count, v2.count) == (1000, 1000)
    assert v1.errors == v2.errors == []
    assert "passed: mismatch>0" in done.stderr
    assert re.search(r"replayed 1000 requests of 10 client connections in \d", done.stderr)
    for backend, host in ((v1, HOST), (v2, SHADOW_HOST)):
        assert {request.values(b"host")[0] for request in backend.requests} == {host.encode()}


def test_five_of_a_thousand_that_differ_fail_and_are_named(
    tmp_path: Path, rules: Path, versions: Serve
) -> None:
    versions(equal=False)
    flows = record(tmp_path / "flows", 1000)

    done = replay(tmp_path, flows, "--rules", rules, "--speed", "max", "-o", "page.html", "--log", "log.json")

    assert done.returncode == 1, done.stderr
    assert "failed: mismatch>0: mismatch is 5" in done.stderr
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "price" in page
    assert str(flows) in page
    records = [json.loads(line) for line in (tmp_path / "log.json").read_text("utf-8").splitlines()]
    differing = {record["target"]: record["differences"] for record in records if record["differences"]}
    assert set(differing) == {f"/item/{number}" for number in DIFFERENT}
    assert {difference["path"] for found in differing.values() for difference in found} == {"json.price"}


def test_requests_of_one_client_stay_in_order(tmp_path: Path, rules: Path, versions: Serve) -> None:
    v1, _ = versions(equal=True)
    flows = record(tmp_path / "flows", 60, clients=3)

    done = replay(tmp_path, flows, "--rules", rules, "--rps", "500", "--fail-on", "shadows<60")

    assert done.returncode == 0, done.stderr
    numbers = [int(request.target.rpartition(b"/")[2]) for request in v1.requests]
    for client in range(3):
        own = [number for number in numbers if number % 3 == client]
        assert own == sorted(own)
        assert len(own) == 20


def test_a_har_file_of_a_browser(tmp_path: Path, rules: Path, versions: Serve) -> None:
    v1, v2 = versions(equal=True)
    entry = {
        "startedDateTime": "2026-11-22T12:00:00.000Z",
        "time": 3,
        "request": {
            "method": "POST",
            "url": f"http://{HOST}/item/7",
            "httpVersion": "h2",
            "headers": [
                {"name": ":authority", "value": HOST},
                {"name": ":method", "value": "POST"},
                {"name": "content-type", "value": "text/plain"},
            ],
            "postData": {"mimeType": "text/plain", "text": "hello"},
        },
        "response": {"status": 200, "httpVersion": "h2", "headers": [], "content": {"text": "x"}},
    }
    har = tmp_path / "browser.har"
    har.write_text("\ufeff" + json.dumps({"log": {"entries": [entry]}}), "utf-8")

    done = replay(tmp_path, har, "--rules", rules, "--fail-on", "shadows<1")

    assert done.returncode == 0, done.stderr
    for backend, host in ((v1, HOST), (v2, SHADOW_HOST)):
        (request,) = backend.requests
        assert (request.method, request.body) == (b"POST", b"hello")
        assert request.values(b"host") == [host.encode()]
        assert not [name for name, _ in request.fields if name.startswith(b":")]


def test_no_rule_is_about_what_was_recorded(tmp_path: Path, rules: Path, versions: Serve) -> None:
    v1, _ = versions(equal=True)
    flows = record(tmp_path / "flows", 3, host="elsewhere.example")

    done = replay(tmp_path, flows, "--rules", rules)

    assert done.returncode == 2
    assert (
        "no rule is about any request: no rule is about its host 3. Recorded hosts: elsewhere.example; "
        in (done.stderr)
    )
    assert v1.count == 0


def test_a_primary_that_refuses_ends_it_soon_and_is_named(tmp_path: Path, rules: Path, v2: Backend) -> None:
    with RefusingPort() as refusing:
        write_atomically(rules / "httpbin-endpoints.yaml", endpoints_text(refusing.port, v2.port))
        flows = record(tmp_path / "flows", 1000, step_s=1)

        done = replay(tmp_path, flows, "--rules", rules, "--speed", "50x")

    assert done.returncode == 2
    assert f"no primary can be reached: 127.0.0.1:{refusing.port} of outbound|8080|v1|" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"not a flow", "Invalid data format. Expected a flow file", id="something else"),
        pytest.param(b'{"log": 1}', "Unable to read HAR file", id="no HAR"),
        pytest.param(b"", "nothing to replay in ", id="empty"),
        pytest.param(None, "flows: No such file or directory", id="missing"),
    ],
)
def test_no_recording(tmp_path: Path, rules: Path, content: bytes | None, expected: str) -> None:
    flows = tmp_path / "flows"
    if content is not None:
        flows.write_bytes(content)

    done = replay(tmp_path, flows, "--rules", rules)

    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_errors_in_rules_and_options_are_said_and_nothing_is_sent(
    tmp_path: Path, rules: Path, versions: Serve
) -> None:
    v1, _ = versions(equal=True)
    flows = record(tmp_path / "flows", 1)

    option = replay(tmp_path, flows, "--rules", rules, "--set", "mirror_timeout=soon")
    unknown = replay(tmp_path, flows, "--rules", rules, "--set", "mirror_tmeout=1")
    write_atomically(rules / "httpbin.yaml", "kind: VirtualService\n")
    broken = replay(tmp_path, flows, "--rules", rules)

    assert (option.returncode, unknown.returncode, broken.returncode) == (2, 2, 2)
    assert "mirror_timeout: 'soon', expected a number of seconds" in option.stderr
    assert "there is no option mirror_tmeout" in unknown.stderr
    assert "httpbin.yaml:1:" in broken.stderr
    assert v1.count == 0

"""Comparison over real processes: what v2 changed is named, and what differs by nature is not."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest

from lab.backend import Backend, Respond, response
from lab.load import Load
from lab.mitmdump import ROOT, StartMitmdump
from lab.rules import HOST, endpoints_text, write_atomically
from lab.wire import Message

GET = f"GET http://{HOST}/cart HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
COUNT = 1_000
NOISE = {"json.id", "json.at", "json.items[*].trace"}

RULES = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: httpbin
  annotations: {{{annotations}}}
spec:
  hosts: [httpbin]
  http:
  - route:
    - destination: {{host: httpbin, subset: v1}}
    mirrors:
    - destination: {{host: httpbin, subset: v2}}
{third}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: httpbin}}
spec:
  host: httpbin
  subsets:
  - {{name: v1, labels: {{version: v1}}}}
  - {{name: v2, labels: {{version: v2}}}}
"""
THIRD_COPY = "    - destination: {host: httpbin, subset: v1}"


def shop(version: int) -> Respond:
    """An id and a time, which always differ, its Host, and a currency, which v2 writes its own way."""
    random = Random(version)

    def respond(request: Message) -> bytes:
        body = {
            "id": str(UUID(int=random.getrandbits(128), version=4)),
            "at": f"2026-11-22T15:{random.randrange(60):02}:{random.uniform(0, 59):09.6f}Z",
            "url": f"http://{request.values(b'host')[0].decode()}/cart",
            "items": [{"sku": f"sku-{i}", "trace": f"{random.getrandbits(64):016x}"} for i in range(3)],
            "currency": "EUR" if version == 1 else "eur",
        }
        return response(json.dumps(body).encode(), "200 OK", b"Content-Type: application/json")

    return respond


def write_rules(folder: Path, v1: int, v2: int, *, third: str = "", annotations: str = "") -> None:
    write_atomically(folder / "httpbin-endpoints.yaml", endpoints_text(v1, v2))
    write_atomically(folder / "httpbin.yaml", RULES.format(third=third, annotations=annotations))


def run_shops(
    start: StartMitmdump, folder: Path, log: Path, count: int, *, third: str = "", **options: str
) -> tuple[list[dict[str, Any]], int]:
    """`count` requests through the proxy: the log's lines of shadows, and how many requests v1 got."""
    with Backend("v1", shop(1), keep_requests=False) as v1, Backend("v2", shop(2), keep_requests=False) as v2:
        write_rules(folder, v1.port, v2.port, third=third)
        mitmdump = start(
            mirror_access_log=str(log), mirror_access_log_format="json", mirror_compare="on", **options
        )
        result = Load(mitmdump.port, GET, concurrency=4, total=count).join()
        v2.wait_for_count(count)
        assert mitmdump.stop(signal.SIGINT) == 0
        assert result.errors == []
        assert mitmdump.totals()["ok"] == (2 if third else 1) * count
        return shadow_lines(log), v1.count


def shadow_lines(log: Path) -> list[dict[str, Any]]:
    lines = map(json.loads, log.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line["copy"] == "shadow"]


def reported(log: Path) -> dict[str, Any]:
    """What `mitm-mirror report --json` says of the mirror of v2."""
    run = subprocess.run(
        [sys.executable, "-m", "mitm_mirror", "report", "--json", str(log)],
        cwd=ROOT / "addon",
        check=True,
        capture_output=True,
        text=True,
    )
    (mirror,) = [found for found in json.loads(run.stdout)["mirrors"] if "|v2|" in found["destination"]]
    return dict(mirror)


def test_with_a_third_copy_the_report_names_the_one_field_and_no_other(
    start: StartMitmdump, rules: Path, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    lines, _ = run_shops(start, rules, log, COUNT, third=THIRD_COPY)

    assert Counter((line["destination_subset"], line["comparison"]) for line in lines) == {
        ("v1", "equal"): COUNT,
        ("v2", "differs"): COUNT,
    }
    mirror = reported(log)
    assert [(field["path"], field["answers"]) for field in mirror["fields"]] == [("json.currency", COUNT)]
    assert {field["path"] for field in mirror["noise"]} == NOISE
    assert all(field["noise"] for field in mirror["noise"])


def test_without_one_the_report_says_which_fields_might_be_noise_and_why(
    start: StartMitmdump, rules: Path, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    _, requests_to_v1 = run_shops(start, rules, log, COUNT)

    assert requests_to_v1 == COUNT
    assert {field["path"]: field["might_be_noise"] for field in reported(log)["fields"]} == {
        "json.currency": "",
        "json.id": "all values look like UUIDs",
        "json.at": "all values look like points in time",
        "json.items[*].trace": "all values look like random tokens",
    }


def test_requests_that_are_sent_to_the_primary_again_teach_what_is_noise(
    start: StartMitmdump, rules: Path, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    lines, requests_to_v1 = run_shops(start, rules, log, 100, mirror_noise_share="1")

    assert requests_to_v1 == 200
    assert len(lines) == 100  # a noise copy is no mirror's, and in no line
    mirror = reported(log)
    assert [field["path"] for field in mirror["fields"]] == ["json.currency"]
    assert {field["path"] for field in mirror["noise"]} == NOISE


def answered(status: str, body: bytes, *lines: bytes) -> Respond:
    return lambda _request: response(body, status, *lines)


LARGE = b"x" * (1024 * 1024 + 1)
HANGS_UP: Respond = lambda _request: b""  # noqa: E731 - a row of the table below


@pytest.mark.parametrize(
    ("primary", "shadow", "options", "expected"),
    [
        pytest.param(
            answered("200 OK", b"a"), answered("200 OK", b"a"), {}, ("equal", None, 200, []), id="equal"
        ),
        pytest.param(
            answered("200 OK", b"a", b"X-A: 1", b"ETag: 1"),
            answered("404 Not Found", b"a", b"X-A: 2", b"ETag: 2"),
            {},
            ("differs", None, 200, ["status", "header.etag"]),
            id="with an annotation that ignores a header",
        ),
        pytest.param(
            HANGS_UP, answered("200 OK", b"a"), {}, ("not_compared", "no_primary", None, []), id="no primary"
        ),
        pytest.param(
            answered("200 OK", LARGE),
            answered("200 OK", LARGE),
            {},
            ("not_compared", "body_incomplete", 200, []),
            id="too large",
        ),
        pytest.param(
            answered("200 OK", b"a" * 5000),
            answered("200 OK", b"b" * 5000),
            {"stream_large_bodies": "1000"},
            ("differs", None, 200, ["text.line 1"]),
            id="streamed",
        ),
        pytest.param(
            answered("200 OK", LARGE),
            answered("200 OK", b"a"),
            {"stream_large_bodies": "1000"},
            ("not_compared", "body_incomplete", 200, []),
            id="streamed, too large",
        ),
        pytest.param(
            answered("200 OK", b"a"), HANGS_UP, {}, (None, None, None, None), id="a shadow that failed"
        ),
    ],
)
def test_verdicts(
    start: StartMitmdump,
    rules: Path,
    tmp_path: Path,
    primary: Respond,
    shadow: Respond,
    options: dict[str, str],
    expected: tuple[object, ...],
) -> None:
    log = tmp_path / "access.log"
    with Backend("v1", primary) as v1, Backend("v2", shadow) as v2:
        write_rules(rules, v1.port, v2.port, annotations='mitm-mirror/ignore: "header:x-a"')
        mitmdump = start(
            mirror_access_log=str(log), mirror_access_log_format="json", mirror_compare="on", **options
        )
        Load(mitmdump.port, GET, concurrency=1, total=1).join()
        v2.wait_for_count(1)
        assert mitmdump.stop(signal.SIGINT) == 0

    (line,) = shadow_lines(log)
    differences = line["differences"]
    paths = None if differences is None else [difference["path"] for difference in differences]
    assert (line["comparison"], line["not_compared"], line["compared_status"], paths) == expected


@pytest.mark.parametrize("workers", ["0", "2"])
def test_with_a_flow_file_auto_compares_and_without_one_it_does_not(
    start: StartMitmdump, rules: Path, tmp_path: Path, v1: Backend, v2: Backend, workers: str
) -> None:
    for options, expected in (({}, None), ({"save_stream_file": str(tmp_path / "flows")}, "differs")):
        log = tmp_path / f"{expected}.log"
        mitmdump = start(
            mirror_access_log=str(log), mirror_access_log_format="json", mirror_workers=workers, **options
        )
        Load(mitmdump.port, GET, concurrency=2, total=20).join()
        wait_for_lines(log, 40)
        assert mitmdump.stop(signal.SIGINT) == 0

        assert [line["comparison"] for line in shadow_lines(log)] == [expected] * 20


def wait_for_lines(log: Path, count: int, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while log.read_bytes().count(b"\n") < count:
        assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
        time.sleep(0.05)

"""What Prometheus reads from a proxy under load adds up to what the access log says."""

import json
import re
import signal
import time
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lab.backend import Backend, response
from lab.load import Load
from lab.mitmdump import Mitmdump, StartMitmdump
from lab.ports import ReservedPort
from lab.rules import HOST, endpoints_text, write_atomically
from lab.wire import Message

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
Sample = tuple[str, dict[str, str], float]


def scrape(port: int) -> list[Sample]:
    with OPENER.open(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    return [
        (sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


def total(samples: list[Sample], name: str) -> float:
    return sum(value for found, _, value in samples if found == name)


def by(samples: list[Sample], name: str, *labels: str) -> Counter[tuple[str, ...]]:
    counts: Counter[tuple[str, ...]] = Counter()
    for found, has, value in samples:
        if found == name:
            counts[tuple(has[label] for label in labels)] += int(value)
    return counts


def request(number: int) -> bytes:
    return f"GET http://{HOST}/{number % 10} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


def answer(message: Message) -> bytes:
    """Mostly 200, some 503, and for some no answer at all."""
    if message.target.endswith(b"/3"):
        return response(b"busy", "503 Service Unavailable")
    return b"" if message.target.endswith(b"/7") else response(b"fine")


def settled(port: int, requests: int) -> list[Sample]:
    """The samples once all shadows have ended and were compared. Polls, as a scraper does."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        samples = scrape(port)
        done = total(samples, "mitm_mirror_shadows_total")
        answered = by(samples, "mitm_mirror_shadows_total", "outcome")["ok",]
        judged = total(samples, "mitm_mirror_comparisons_total")
        if done == requests and judged == answered:
            return samples
    raise TimeoutError(f"{done} of {requests} shadows ended")


def test_totals_are_those_of_the_log(v1: Backend, rules: Path, start: StartMitmdump, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with Backend("v2", answer) as v2, ReservedPort() as reserved:
        write_atomically(rules / "httpbin-endpoints.yaml", endpoints_text(v1.port, v2.port))
        mitmdump = start(
            mirror_access_log=str(log),
            mirror_access_log_format="json",
            mirror_compare="on",
            mirror_metrics=f"127.0.0.1:{reserved.port}",
        )
        load = Load(mitmdump.port, request, concurrency=16, total=3000)
        seen = []
        for progress in (500, 1500, 2500):
            load.wait_for_progress(progress)
            seen.append(scrape(reserved.port))
        result = load.join()
        samples = settled(reserved.port, 3000)
        assert mitmdump.stop(signal.SIGINT) == 0

    assert result.errors == []
    # in the middle of it: the counts grow, and those of one page agree
    totals = [total(page, "istio_requests_total") for page in (*seen, samples)]
    assert totals == sorted(totals)
    for page in seen:
        opened = total(page, "mitm_mirror_shadows_total") + total(page, "mitm_mirror_shadows_pending")
        assert opened <= total(page, "mitm_mirror_requests_total")

    records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert by(samples, "mitm_mirror_shadows_total", "destination", "outcome") == Counter(
        (record["destination"], record["outcome"]) for record in records if record["copy"] == "shadow"
    )
    verdicts = by(samples, "mitm_mirror_comparisons_total", "destination", "verdict")
    assert verdicts == Counter(
        (record["destination"], record["comparison"]) for record in records if record["comparison"]
    )
    assert {verdict for _, verdict in verdicts} == {"differs"}  # v1 says its name
    # a shadow that was not sent (its breaker was open) has an outcome, but was no request
    sent = [record for record in records if record["duration_ms"] is not None]
    assert by(
        samples, "istio_requests_total", "mirror_copy", "destination_version", "response_code"
    ) == Counter(
        (record["copy"], record["destination_subset"], str(record["status"] or 0)) for record in sent
    )
    name = "istio_request_duration_milliseconds"
    assert total(samples, f"{name}_count") == len(sent)
    assert total(samples, f"{name}_sum") == pytest.approx(
        sum(record["duration_ms"] for record in sent), abs=0.001 * len(sent)
    )
    assert by(samples, "istio_requests_total", "mirror_copy")["primary",] == 3000


def test_a_taken_port_stops_the_start(rules: Path, tmp_path: Path, v1: Backend) -> None:
    options = {"mirror_rules": str(rules), "mirror_metrics": f"127.0.0.1:{v1.port}"}
    with Mitmdump(tmp_path, options, wait=False) as mitmdump:
        assert mitmdump.wait() == 1
        said = "\n".join(mitmdump.lines)
    assert re.search(
        rf"mirror_metrics: cannot listen at 127\.0\.0\.1:{v1.port}: Address already in use", said
    )
    assert "Traceback" not in said

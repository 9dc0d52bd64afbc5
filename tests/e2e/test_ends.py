"""A worker that is killed, and a proxy that is stopped, both under load."""

import os
import signal
import threading
from pathlib import Path

import pytest

from lab.backend import Backend, response
from lab.load import Load
from lab.mitmdump import StartMitmdump
from lab.process import is_alive, wait_until_gone
from lab.rules import HOST, endpoints_text, write_atomically
from lab.wire import Message

HELD = 7
"""Requests that ask the mirror never to answer, so that some are in flight whenever we look."""


def request_bytes(number: int) -> bytes:
    hold = "X-Hold: yes\r\n" if number < HELD else ""
    return f"GET http://{HOST}/{number} HTTP/1.1\r\nHost: {HOST}\r\n{hold}\r\n".encode()


class HoldingMirror:
    """Answers everything but the requests that ask to be held; tells when all of those have come."""

    def __init__(self) -> None:
        self.held = 0
        self.all_held = threading.Event()

    def __call__(self, request: Message) -> bytes | None:
        if not request.values(b"x-hold"):
            return response(b"v2")
        self.held += 1
        if self.held == HELD:
            self.all_held.set()
        return None


def test_a_killed_worker_costs_its_shadows_and_nothing_else(
    v1: Backend, rules: Path, start: StartMitmdump
) -> None:
    holding = HoldingMirror()
    with Backend("v2", holding) as mirror:
        write_atomically(rules / "httpbin-endpoints.yaml", endpoints_text(v1.port, mirror.port))
        mitmdump = start(mirror_timeout="120")
        load = Load(mitmdump.port, request_bytes, concurrency=16)
        assert holding.all_held.wait(60)
        (worker,) = mitmdump.worker_pids
        os.kill(worker, signal.SIGKILL)
        at_death = mirror.count
        # Only another worker can bring more than what the old one had on the way.
        mirror.wait_for_count(at_death + 500)
        (successor,) = mitmdump.worker_pids
        result = load.stop()
        assert mitmdump.stop(signal.SIGINT) == 0

    assert successor != worker
    assert result.errors == []
    assert set(result.statuses) == {200}
    totals = mitmdump.totals()
    assert totals.pop("shadows") == result.count == v1.count
    assert totals.pop("pending") == 0
    assert set(totals) == {"ok", "lost"}
    assert totals["lost"] >= HELD
    assert totals["ok"] + totals["lost"] == result.count
    assert not any(map(is_alive, (mitmdump.pid, worker, successor)))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_under_load_it_ends_with_its_worker(
    v1: Backend, rules: Path, start: StartMitmdump, number: signal.Signals
) -> None:
    holding = HoldingMirror()
    with Backend("v2", holding) as mirror:
        write_atomically(rules / "httpbin-endpoints.yaml", endpoints_text(v1.port, mirror.port))
        mitmdump = start(mirror_timeout="120", mirror_drain_timeout="1")
        load = Load(mitmdump.port, request_bytes, concurrency=16)
        assert holding.all_held.wait(60)
        workers = mitmdump.worker_pids
        # Far below `mirror_timeout`: the held shadows do not keep it.
        status = mitmdump.stop(number, timeout_s=20)
        left = [pid for pid in workers if not wait_until_gone(pid, timeout_s=10)]
        load.stop()

    assert status == 0
    assert workers
    assert left == []
    totals = mitmdump.totals()
    assert totals["cancelled"] >= HELD
    shadows, pending = totals.pop("shadows"), totals.pop("pending")
    assert (shadows, pending) == (sum(totals.values()), 0)


def test_a_killed_proxy_takes_its_worker_along(v1: Backend, v2: Backend, start: StartMitmdump) -> None:
    mitmdump = start()
    load = Load(mitmdump.port, request_bytes, concurrency=4)
    v2.wait_for_count(50)
    (worker,) = mitmdump.worker_pids
    mitmdump.signal(signal.SIGKILL)
    assert mitmdump.wait() == -signal.SIGKILL
    assert wait_until_gone(worker, timeout_s=20)
    load.stop()
    assert v1.count >= v2.count

"""Whatever happens to the worker, clients see what they see without a mirror, and all shadows add up."""

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.access_log import AccessLog
from lab.backend import Backend, response
from lab.client_view import VIEW_REQUESTS, answer_by_digest, look
from lab.load import Load
from lab.memory import MEASURABLE, peak_memory, reset_peak_memory
from lab.mirror_rules import PRIMARY, policy, route, service
from lab.misbehaviour import deaf_port
from lab.mitmdump import Mitmdump, StartMitmdump
from lab.process import wait_until_gone

CONCURRENCY = 16
BODY = b"b" * 100_000
POST = b"POST http://load.example/ HTTP/1.1\r\nHost: load.example\r\nContent-Length: %d\r\n\r\n" % len(BODY)
QUEUE_BYTES = 16 << 20


AfterEach = Callable[[int], object]
"""Called with the number of requests of the client's view that have been answered."""


def nothing(_sent: int) -> None:
    """For faults that last."""


@contextlib.contextmanager
def killed(mitmdump: Mitmdump, mirror: Backend) -> Iterator[AfterEach]:
    """Also those that take its place, and between the requests of a connection."""

    for _ in range(2):
        (pid,) = mitmdump.worker_pids
        os.kill(pid, signal.SIGKILL)
        mitmdump.wait_for_log(f"shadow worker {pid} was ended by SIGKILL")
        # Only a successor can bring more than what fits into `QUEUE_BYTES`.
        mirror.wait_for_count(mirror.count + 2 * QUEUE_BYTES // len(BODY))

    def kill(_sent: int) -> None:
        for pid in mitmdump.worker_pids:  # perhaps none, or one that is still starting
            os.kill(pid, signal.SIGKILL)
            assert wait_until_gone(pid)

    yield kill


@contextlib.contextmanager
def stopped(mitmdump: Mitmdump, _mirror: Backend) -> Iterator[AfterEach]:
    (pid,) = mitmdump.worker_pids
    os.kill(pid, signal.SIGSTOP)
    yield nothing
    mitmdump.wait_for_log(f"shadow worker {pid} has been silent for .* and is replaced")
    assert wait_until_gone(pid)


@contextlib.contextmanager
def one_of_two_stopped(mitmdump: Mitmdump, mirror: Backend) -> Iterator[AfterEach]:
    """For less time than would have it replaced."""
    pids = mitmdump.worker_pids
    os.kill(pids[0], signal.SIGSTOP)
    try:
        # Only the other one can bring more.
        mirror.wait_for_count(mirror.count + 20)
        yield nothing
    finally:
        os.kill(pids[0], signal.SIGCONT)
    assert mitmdump.worker_pids == pids
    assert len(pids) == 2


@contextlib.contextmanager
def without_descriptors(mitmdump: Mitmdump, _mirror: Backend) -> Iterator[AfterEach]:
    (pid,) = mitmdump.worker_pids
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, hard))
    yield nothing
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    assert mitmdump.worker_pids == [pid]


@dataclass(frozen=True, slots=True)
class WorkerFault:
    """Something that happens to the worker."""

    happens: Callable[[Mitmdump, Backend], contextlib.AbstractContextManager[AfterEach]]
    """Lasts for as long as its context is open. Told the mirror as well, which shows what a worker does."""
    outcomes: frozenset[str]
    """Shadows end so, each of these is there."""
    may_also: frozenset[str] = frozenset()
    timeout_s: int = 1
    workers: int = 1


FAULTS = {
    "killed": WorkerFault(killed, frozenset({"ok"}), frozenset({"lost", "queue_full"}), timeout_s=60),
    "stopped": WorkerFault(stopped, frozenset({"ok", "timeout"}), frozenset({"lost", "queue_full"})),
    "one of two stopped": WorkerFault(
        one_of_two_stopped, frozenset({"ok"}), frozenset({"queue_full"}), timeout_s=60, workers=2
    ),
    "without descriptors": WorkerFault(
        without_descriptors,
        frozenset({"ok", "connect_error"}),
        frozenset({"queue_full"}),
        timeout_s=60,
    ),
}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux changes another process's limits")
@pytest.mark.parametrize("fault", [pytest.param(fault, id=key) for key, fault in FAULTS.items()])
def test_no_client_can_tell_what_happens_to_the_worker(
    tmp_path: Path, confdir: Path, start: StartMitmdump, fault: WorkerFault
) -> None:
    log = AccessLog(tmp_path / "access.log")
    closing = response(b"v2", "200 OK", b"Connection: close")  # so that each shadow needs a descriptor
    with (
        Backend("v1", answer_by_digest) as primary,
        Backend("busy", keep_requests=False) as busy,
        Backend("v2", lambda _: closing, keep_requests=False) as mirror,
    ):
        rules = [
            route("plain.example", "", name="plain") + service(PRIMARY, primary.port),
            route("looked.example", "mirror.example", name="looked"),
            route("load.example", "mirror.example", name="load", primary="busy.example"),
            service("busy.example", busy.port),
            service("mirror.example", mirror.port) + policy("mirror.example"),
        ]
        (tmp_path / "rules" / "faults.yaml").write_text("".join(rules), encoding="utf-8")
        mitmdump = start(
            mirror_timeout=str(fault.timeout_s),
            mirror_workers=str(fault.workers),
            mirror_queue_bytes=str(QUEUE_BYTES),
            **log.options,
        )
        authority = confdir / "mitmproxy-ca-cert.pem"
        without_mirror = look(mitmdump.port, "plain.example", primary, authority, nothing)
        load = Load(mitmdump.port, POST + BODY, concurrency=CONCURRENCY)
        mirror.wait_for_count(50)
        with fault.happens(mitmdump, mirror) as after_each:
            seen = look(mitmdump.port, "looked.example", primary, authority, after_each)
            load.wait_for_progress(load.progress + 200)
        mirror.wait_for_count(mirror.count + 50)
        result = load.stop()
        pairs = log.wait_for_pairs("load", result.count)
        looked = log.wait_for_pairs("looked", VIEW_REQUESTS)
        assert mitmdump.stop(signal.SIGINT) == 0

    assert seen == without_mirror
    assert result.errors == []
    assert result.bodies == {b"busy": result.count}
    ended = {record["outcome"] for record in (*pairs, *looked)}
    assert fault.outcomes <= ended <= fault.outcomes | fault.may_also
    totals = mitmdump.totals()
    assert totals.pop("pending") == 0
    assert totals.pop("shadows") == sum(totals.values()) == result.count + VIEW_REQUESTS


@pytest.mark.skipif(not MEASURABLE, reason="memory is measured through Linux's /proc")
def test_a_mirror_that_does_not_read_costs_bounded_memory(
    tmp_path: Path, start: StartMitmdump, v1: Backend
) -> None:
    """Hundreds of megabytes are to be copied, of which no more than `mirror_queue_bytes` are kept."""
    body = b"b" * (1 << 20)
    count = 400
    head = f"POST http://{{}}.example/ HTTP/1.1\r\nHost: {{}}.example\r\nContent-Length: {len(body)}\r\n\r\n"
    with deaf_port() as port, Backend("busy", keep_requests=False) as busy:
        rules = [
            route("plain.example", "", name="plain", primary="busy.example"),
            route("load.example", "mirror.example", name="load", primary="busy.example"),
            service("busy.example", busy.port),
            service("mirror.example", port) + policy("mirror.example"),
        ]
        (tmp_path / "rules" / "faults.yaml").write_text("".join(rules), encoding="utf-8")
        mitmdump = start(mirror_timeout="300", mirror_queue_bytes=str(QUEUE_BYTES), mirror_drain_timeout="0")
        processes = [mitmdump.pid, *mitmdump.worker_pids]
        peaks = []
        for host in ("plain", "load"):
            request = head.format(host, host).encode() + body
            for pid in processes:
                reset_peak_memory(pid)
            # Two at a time: what mitmproxy itself holds of more would differ more than what is measured.
            result = Load(mitmdump.port, request, concurrency=2, total=count).join()
            assert (result.errors, result.bodies) == ([], {b"busy": count})
            peaks.append([peak_memory(pid) for pid in processes])
        assert mitmdump.stop(signal.SIGINT) == 0

    totals = mitmdump.totals()
    assert totals["queue_full"] >= count - QUEUE_BYTES // len(body)
    assert totals["queue_full"] + totals["cancelled"] == totals["shadows"] == count
    growth = [mirrored - plain for plain, mirrored in zip(*peaks, strict=True)]
    # Each process holds what is kept, and Python does not give everything back at once.
    assert max(growth) < 4 * QUEUE_BYTES < count * len(body) / 4

"""The pool with real worker processes, real signals and real mirrors, and without any process."""

import logging
import os
import resource
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from lab.http2 import Http2Backend
from mitm_mirror.client.settings import ClientSettings
from mitm_mirror.outcome import Outcome
from mitm_mirror.shadow import process
from mitm_mirror.shadow.answer import Want
from mitm_mirror.shadow.pool import ShadowPool
from mitm_mirror.shadow.priority import NICENESS
from mitm_mirror.shadow.settings import PoolSettings
from mitm_mirror.shadow.terms import Terms

TIMEOUT_S = 20.0


def is_gone(pid: int) -> bool:
    """Whether no such process exists, a zombie of somebody else's aside."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(") ", 1)[1].startswith("Z")


def session_of(pid: int) -> str:
    """`/autogroup-7 nice 0`; empty where the system shares processors among processes alone."""
    autogroup = Path(f"/proc/{pid}/autogroup")
    return autogroup.read_text().strip() if autogroup.exists() else ""


def counts_waiting() -> bool:
    schedstat = Path("/proc/self/schedstat")
    return schedstat.exists() and schedstat.read_text().split()[2] != "0"


def start_python(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-P", "-c", code, *arguments], stdout=subprocess.PIPE)


class Stage:
    def __init__(self, kit: Any, **settings: Any) -> None:
        self.kit = kit
        self.endings = kit.Endings()
        self.pool: ShadowPool[Any] = ShadowPool(PoolSettings(**settings), self.endings)
        self.pool.start()

    def submit(self, port: int, *tokens: Any, timeout_s: float = TIMEOUT_S, **request: Any) -> None:
        for token in tokens:
            self.pool.submit(self.kit.shadow(port, **request), b"", token, Terms(timeout_s))

    async def up(self) -> int:
        await self.kit.poll_until(lambda: self.pool.stats().workers_up == 1)
        return self.pool.stats().pids[0]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_shadows_are_sent_and_answered(kit: Any, workers: int) -> None:
    async def test() -> None:
        async with kit.serve() as mirror:
            stage = Stage(kit, workers=workers)
            body = bytes(range(256)) * 4096
            headers = ((b"hOst", b"httpbin-shadow"), (b"Content-Length", str(len(body)).encode()))
            for token in range(20):
                stage.pool.submit(
                    kit.shadow(mirror.port, method=b"PUT", target=b"/a//../b", headers=headers),
                    body,
                    token,
                    Terms(TIMEOUT_S),
                )
            await stage.endings.until(20)
            head = b"PUT /a//../b HTTP/1.1\r\nhOst: httpbin-shadow\r\nContent-Length: 1048576\r\n\r\n"
            assert set(mirror.requests) == {head + body}
            assert len(mirror.requests) == 20
            assert stage.endings.outcomes == dict.fromkeys(range(20), "ok")
            pids = stage.pool.stats().pids
            assert len(pids) == workers
            stage.pool.drain(5.0)
            await mirror.until(lambda: mirror.lost_connections == len(mirror.connections))
        assert all(is_gone(pid) for pid in pids)

    kit.run(test)


MIB = 1024 * 1024
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (MIB, b"0123456789abcdef" * (MIB // 16))


@pytest.mark.parametrize("workers", [0, 1])
def test_trailers_get_to_the_mirror(kit: Any, workers: int) -> None:
    trailers = ((b"x-sum", b"6"), (b"x-sum", b"7"))

    with Http2Backend("v2") as mirror:

        async def test() -> None:
            stage = Stage(kit, workers=workers)
            headers = ((b"Host", b"httpbin"), (b"Transfer-Encoding", b"chunked"))
            request = replace(kit.shadow(mirror.port, headers=headers), http2=True, trailers=trailers)
            stage.pool.submit(request, b"abc", "whole", Terms(TIMEOUT_S))
            for sent in (trailers, ()):
                upload = stage.pool.open(replace(request, trailers=()), f"upload {sent}", Terms(TIMEOUT_S))
                upload.write(b"abc")
                upload.finish(sent)
            await stage.endings.until(3)
            assert set(stage.endings.outcomes.values()) == {"ok"}
            stage.pool.drain(5.0)
            await kit.poll_until(lambda: mirror.lost_connections == mirror.connections)

        kit.run(test)
        seen = mirror.wait_for_count(3)
    assert {bytes(request.body) for request in seen} == {b"abc"}
    assert sorted(request.trailers for request in seen) == [[], list(trailers), list(trailers)]


@pytest.mark.parametrize("workers", [0, 1])
def test_answers_come_back_where_they_are_wanted_and_only_there(kit: Any, workers: int) -> None:
    async def test() -> None:
        async with kit.serve(LONG) as mirror:
            stage = Stage(kit, workers=workers)
            for token in range(10):
                want = Want(MIB) if token % 2 else None
                stage.pool.submit(kit.shadow(mirror.port), b"", token, Terms(TIMEOUT_S, want=want))
            await stage.endings.until(10)
            stage.pool.drain(5.0)
            await mirror.until(lambda: mirror.lost_connections == len(mirror.connections))
        for ending in stage.endings.all:
            assert ending.result is not None
            answer = ending.result.answer
            if ending.token % 2:
                assert answer is not None
                assert (answer.complete, answer.body) == (True, LONG[-MIB:])
            else:
                assert answer is None

    kit.run(test)


def test_a_killed_worker_loses_what_it_held_and_is_replaced(
    kit: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with kit.serve(b"") as mirror:
            stage = Stage(kit, max_inflight=3)
            pid = await stage.up()
            stage.submit(mirror.port, 1, 2, 3, 4, 5)
            await mirror.until(lambda: len(mirror.requests) == 3)
            mirror.answer = lambda connection: connection.transport.write(kit.OK)
            os.kill(pid, signal.SIGKILL)
            await stage.endings.until(5)
            assert stage.endings.outcomes == {1: "lost", 2: "lost", 3: "lost", 4: "ok", 5: "ok"}
            assert await stage.up() != pid
            assert stage.pool.stats().restarts == 1
            assert is_gone(pid)
            stage.pool.drain(5.0)
        assert f"mirror: shadow worker {pid} was ended by SIGKILL; 3 shadows are lost." in caplog.messages
        assert max(record.levelno for record in caplog.records) == logging.WARNING

    kit.run(test)


def test_a_stopped_worker_is_replaced_and_costs_no_more_than_its_shadows(kit: Any) -> None:
    async def test() -> None:
        async with kit.serve() as mirror:
            stage = Stage(kit, max_inflight=2, unresponsive_s=0.2)
            pid = await stage.up()
            os.kill(pid, signal.SIGSTOP)
            stage.submit(mirror.port, 1, timeout_s=0.2)
            stage.submit(mirror.port, 2, 3)
            await stage.endings.until(3)
            assert stage.endings.outcomes == {1: "timeout", 2: "lost", 3: "ok"}
            assert is_gone(pid)
            stage.pool.drain(5.0)

    kit.run(test)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux changes another process's limits")
def test_a_worker_without_free_descriptors_fails_by_name_blames_no_mirror_and_recovers(kit: Any) -> None:
    async def test() -> None:
        async with kit.serve() as other, kit.serve() as mirror:
            stage = Stage(kit, workers=1)
            pid = await stage.up()
            stage.submit(other.port, "before")
            await stage.endings.until(1)
            soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, hard))
            stage.submit(mirror.port, *range(20))
            await stage.endings.until(21)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
            stage.submit(mirror.port, "after")
            await stage.endings.until(22)
            assert {(str(ending.outcome), ending.error) for ending in stage.endings.all[1:21]} == {
                ("connect_error", "no connection: Too many open files")
            }
            assert stage.endings.outcomes["after"] == "ok"
            assert stage.pool.stats().pids == (pid,)
            stage.pool.drain(5.0)

    kit.run(test)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_worker_ignores_the_signals_that_are_meant_for_the_proxy(kit: Any, number: signal.Signals) -> None:
    async def test() -> None:
        async with kit.serve() as mirror:
            stage = Stage(kit)
            pid = await stage.up()
            os.kill(pid, number)
            stage.submit(mirror.port, 1)
            await stage.endings.until(1)
            assert stage.endings.outcomes == {1: "ok"}
            assert stage.pool.stats().pids == (pid,)
            stage.pool.drain(5.0)

    kit.run(test)


def test_a_workers_session_lets_others_go_first_and_the_proxys_does_not(kit: Any) -> None:
    own = session_of(os.getpid())
    if not own or not counts_waiting():
        pytest.skip("this system has no sessions with a niceness, or does not count how long a process waits")

    async def test() -> None:
        stage = Stage(kit)
        pid = await stage.up()
        await kit.poll_until(lambda: session_of(pid).endswith(f" nice {NICENESS}"))
        assert session_of(os.getpid()) == own
        stage.pool.drain(5.0)

    kit.run(test)


def test_drain_sends_what_waits_and_collects_the_results_without_the_event_loop(kit: Any) -> None:
    """The mirror runs in a process of its own, since the loop stands still meanwhile."""
    server = (
        "import http.server as h\n"
        "class H(h.BaseHTTPRequestHandler):\n"
        "    protocol_version = 'HTTP/1.1'\n"
        "    def do_GET(self):\n"
        "        self.send_response(200); self.send_header('Content-Length', '0'); self.end_headers()\n"
        "    def log_message(self, *a): pass\n"
        "s = h.ThreadingHTTPServer(('127.0.0.1', 0), H); s.daemon_threads = True\n"
        "print(s.server_port, flush=True); s.serve_forever()\n"
    )

    async def test() -> None:
        with start_python(server) as mirror:
            try:
                assert mirror.stdout is not None
                port = int(mirror.stdout.readline())
                stage = Stage(kit, max_inflight=8)
                stage.submit(port, *range(300))  # most of them wait, the worker itself has not started
                [pid] = stage.pool.stats().pids
                stage.pool.drain(TIMEOUT_S)
                assert Counter(stage.endings.outcomes.values()) == {"ok": 300}
                assert is_gone(pid)
                assert stage.pool.stats().workers_up == 0
            finally:
                mirror.kill()

    kit.run(test)


@pytest.mark.parametrize("stopped", [False, True])
def test_drain_gives_up_in_time_and_leaves_no_process(kit: Any, stopped: bool) -> None:
    async def test() -> None:
        async with kit.serve(b"") as mirror:
            stage = Stage(kit, max_inflight=1)
            pid = await stage.up()
            stage.submit(mirror.port, 1, 2)
            await mirror.until(lambda: len(mirror.requests) == 1)
            if stopped:
                os.kill(pid, signal.SIGSTOP)
            stage.pool.drain(0.1)
            assert stage.endings.outcomes == {1: "cancelled", 2: "cancelled"}
            assert is_gone(pid)

    kit.run(test)


def test_drain_when_the_worker_dies_in_it(kit: Any) -> None:
    async def test() -> None:
        async with kit.serve(b"") as mirror:
            stage = Stage(kit, max_inflight=1)
            pid = await stage.up()
            stage.submit(mirror.port, 1, 2)
            await mirror.until(lambda: len(mirror.requests) == 1)
            os.kill(pid, signal.SIGKILL)
            stage.pool.drain(TIMEOUT_S)
            assert stage.endings.outcomes == {1: "lost", 2: "cancelled"}

    kit.run(test)


def test_without_a_process_drain_cancels(kit: Any) -> None:
    async def test() -> None:
        async with kit.serve(b"") as mirror:
            stage = Stage(kit, workers=0)
            await kit.poll_until(lambda: stage.pool.stats().workers_up == 1)
            stage.submit(mirror.port, 1)
            await mirror.until(lambda: len(mirror.requests) == 1)
            stage.pool.drain(TIMEOUT_S)
            assert stage.endings.outcomes == {1: "cancelled"}
            await mirror.until(lambda: mirror.lost_connections == 1)

    kit.run(test)


def test_a_worker_ends_when_its_proxy_is_killed(kit: Any) -> None:
    """Also while it waits for a mirror that never answers."""
    proxy = (
        "import asyncio, sys; sys.path.insert(0, sys.argv[1])\n"
        "from mitm_mirror.shadow.pool import ShadowPool\n"
        "from mitm_mirror.client.request import OutgoingRequest\n"
        "from mitm_mirror.shadow.settings import PoolSettings\n"
        "from mitm_mirror.shadow.terms import Terms\n"
        "async def main():\n"
        "    pool = ShadowPool(PoolSettings(), print); pool.start()\n"
        "    pool.submit(OutgoingRequest('http', '127.0.0.1', int(sys.argv[2]), '', b'GET', b'/',"
        " ((b'Host', b'x'),)), b'', 1, Terms(60.0))\n"
        "    print(pool.stats().pids[0], flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )

    async def test() -> None:
        async with kit.serve(b"") as mirror:
            with start_python(proxy, process._SOURCE_ROOT, str(mirror.port)) as child:
                assert child.stdout is not None
                pid = int(child.stdout.readline())
                await mirror.until(lambda: len(mirror.requests) == 1)
                assert not is_gone(pid)
                child.kill()
            await kit.poll_until(lambda: is_gone(pid))

    kit.run(test)


def test_a_worker_that_cannot_start_says_why_once(kit: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        stage = Stage(kit, client=ClientSettings(ca_file="/nonexistent/ca.pem"))
        stage.submit(1, 1, timeout_s=1.0)
        await kit.poll_until(lambda: stage.pool.stats().restarts >= 2)
        [message] = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert "mirror: the shadow worker does not start: it exited with status 1" in message
        assert "FileNotFoundError" in message
        await stage.endings.until(1)
        assert stage.endings.outcomes == {1: "timeout"}
        stage.pool.drain(1.0)

    kit.run(test)


BOOTS: list[Any] = [
    pytest.param("print('from a library')\nimport os; os.write(1, b'raw')\n", "from a library", id="stdout"),
    pytest.param("sys.stderr.write('from stderr\\n')\n", "from stderr", id="stderr"),
]


@pytest.mark.parametrize(("code", "text"), BOOTS)
def test_what_a_library_prints_goes_to_the_log_and_not_between_the_frames(
    kit: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, code: str, text: str
) -> None:
    patched = (
        "import mitm_mirror.shadow.worker as w\n"
        "real = w._settle_sniffio\n"
        f"def noisy():\n    real()\n    exec({code!r})\n"
        "w._settle_sniffio = noisy\n"
    )
    boot = process._BOOT.replace("from mitm_mirror", patched + "from mitm_mirror", 1)
    monkeypatch.setattr(process, "_BOOT", boot)

    async def test() -> None:
        async with kit.serve() as mirror:
            stage = Stage(kit)
            stage.submit(mirror.port, 1)
            await stage.endings.until(1)
            assert stage.endings.outcomes == {1: "ok"}
            await kit.poll_until(lambda: text in caplog.text)
            stage.pool.drain(5.0)

    kit.run(test)


def test_a_worker_that_writes_nonsense_is_replaced(
    kit: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    nonsense = "import os, time\nos.write(1, bytes([0, 0, 0, 0, 1]) + bytes(24) + b'x')\ntime.sleep(60)\n"
    boot = process._BOOT

    async def test() -> None:
        monkeypatch.setattr(process, "_BOOT", nonsense)
        async with kit.serve() as mirror:
            stage = Stage(kit)
            monkeypatch.setattr(process, "_BOOT", boot)
            stage.submit(mirror.port, 1)
            await stage.endings.until(1)
            assert stage.endings.outcomes == {1: "ok"}
            assert "wrote a broken frame" in caplog.text
            stage.pool.drain(5.0)

    kit.run(test)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        pytest.param(3, "exited with status 3", id="status"),
        pytest.param(-9, "was ended by SIGKILL", id="signal"),
        pytest.param(-99, "was ended by signal 99", id="signal without a name"),
    ],
)
def test_how_an_end_is_described(status: int, text: str) -> None:
    assert process._describe_exit(status) == text


def test_many_shadows_under_kills_add_up(kit: Any) -> None:
    async def test() -> None:
        async with kit.serve() as mirror:
            stage = Stage(kit, workers=2, max_inflight=16)
            for token in range(1200):
                stage.submit(mirror.port, token)
                if token in (300, 600, 900):
                    await stage.endings.until(token - 200)
                    os.kill(stage.pool.stats().pids[0], signal.SIGKILL)
            await stage.endings.until(1200)
            assert len(stage.endings.all) == len(stage.endings.outcomes) == 1200
            counts = Counter(stage.endings.outcomes.values())
            assert set(counts) <= {str(Outcome.OK), str(Outcome.LOST)}
            assert counts["lost"] <= 3 * 16
            stats = stage.pool.stats()
            assert (stats.waiting, stats.in_flight, stats.held_bytes) == (0, 0, 0)
            stage.pool.drain(5.0)

    kit.run(test)

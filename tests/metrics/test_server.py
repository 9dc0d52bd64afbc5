"""The endpoint, over a real socket."""

import queue
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest

from lab.ports import ReservedPort
from mitm_mirror.metrics.server import MetricsServer
from mitm_mirror.metrics.snapshot import MetricsSnapshot

MakeSnapshot = Callable[..., MetricsSnapshot]

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(port: int) -> tuple[int, str]:
    try:
        with OPENER.open(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def at_once(call: Callable[[], None]) -> None:
    call()


def test_a_scrape_is_answered(make_snapshot: MakeSnapshot) -> None:
    with ReservedPort() as reserved:
        server = MetricsServer("127.0.0.1", reserved.port, make_snapshot, at_once)
        status, text = get(reserved.port)
        server.close()

        assert status == 200
        assert "mitm_mirror_rules_generation 3.0" in text
        with pytest.raises(urllib.error.URLError):
            get(reserved.port)


def test_the_snapshot_is_taken_in_the_thread_that_is_asked(make_snapshot: MakeSnapshot) -> None:
    calls: queue.Queue[Callable[[], None]] = queue.Queue()
    threads = []

    def take() -> MetricsSnapshot:
        threads.append(threading.current_thread())
        return make_snapshot()

    with ReservedPort() as reserved:
        server = MetricsServer("127.0.0.1", reserved.port, take, calls.put)
        client = threading.Thread(target=get, args=(reserved.port,))
        client.start()
        calls.get(timeout=30)()
        client.join()
        server.close()

    assert threads == [threading.main_thread()]


def test_a_scrape_that_waits_when_the_proxy_ends_is_told_so(make_snapshot: MakeSnapshot) -> None:
    asked = threading.Event()
    answers = []
    with ReservedPort() as reserved:
        server = MetricsServer("127.0.0.1", reserved.port, make_snapshot, lambda _: asked.set())
        client = threading.Thread(target=lambda: answers.append(get(reserved.port)))
        client.start()
        assert asked.wait(30)
        server.close()
        client.join()

    assert answers == [(503, "the proxy ends, or its event loop is blocked\n")]


def test_a_loop_that_has_ended_is_told(make_snapshot: MakeSnapshot) -> None:
    def ended(_call: Callable[[], None]) -> None:
        raise RuntimeError("Event loop is closed")

    with ReservedPort() as reserved:
        server = MetricsServer("127.0.0.1", reserved.port, make_snapshot, ended)
        answer = get(reserved.port)
        server.close()

    assert answer == (503, "the proxy's event loop has ended\n")


def test_a_bug_is_logged_and_the_next_scrape_goes_on(
    make_snapshot: MakeSnapshot, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [KeyError("x")]

    def take() -> MetricsSnapshot:
        if failures:
            raise failures.pop()
        return make_snapshot()

    with ReservedPort() as reserved:
        server = MetricsServer("127.0.0.1", reserved.port, take, at_once)
        first, second = get(reserved.port), get(reserved.port)
        server.close()

    assert first == (500, "see the proxy's log\n")
    assert second[0] == 200
    assert caplog.messages == ["mirror: the metrics cannot be shown."]


def test_a_port_that_is_taken_is_an_error_that_says_so(make_snapshot: MakeSnapshot) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ValueError, match=rf"cannot listen at 127.0.0.1:{port}: Address already in use; ex"
        ):
            MetricsServer("127.0.0.1", port, make_snapshot, at_once)


def test_an_address_of_another_machine_is_an_error_that_says_so(make_snapshot: MakeSnapshot) -> None:
    with pytest.raises(
        ValueError, match=r"cannot listen at 192\.0\.2\.1:9464: .*expected an address of this"
    ):
        MetricsServer("192.0.2.1", 9464, make_snapshot, at_once)

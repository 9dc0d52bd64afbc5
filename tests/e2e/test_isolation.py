"""One bad mirror costs neither the client nor another mirror anything."""

import signal
from pathlib import Path

from lab.backend import Backend, RefusingPort
from lab.client import send_raw
from lab.load import Load
from lab.mitmdump import StartMitmdump
from lab.rules import HOST, endpoints_text, write_atomically
from lab.wire import Message
from mitm_mirror.shadow.breaker import FAILURES

GET = f"GET http://{HOST}/get HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()

TWO_MIRRORS = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: httpbin}
spec:
  hosts: [httpbin]
  http:
  - route:
    - destination: {host: httpbin, subset: v1}
    mirrors:
    - destination: {host: httpbin, subset: v2}
    - destination: {host: httpbin, subset: v3}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: httpbin}
spec:
  host: httpbin
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
  - {name: v3, labels: {version: v3}}
"""

V3 = """\
  - address: 127.0.0.1
    labels: {{version: v3}}
    ports: {{http: {port}}}
"""


def never(_request: Message) -> None:
    return None


def test_a_silent_mirror_costs_a_healthy_one_nothing(
    v1: Backend, v2: Backend, rules: Path, start: StartMitmdump
) -> None:
    slots, count = 64, 4_000
    with Backend("v3", never) as silent:
        endpoints = endpoints_text(v1.port, v2.port).rstrip() + "\n" + V3.format(port=silent.port)
        write_atomically(rules / "httpbin-endpoints.yaml", endpoints)
        write_atomically(rules / "httpbin.yaml", TWO_MIRRORS)
        # The silent one gives nothing back while this runs, so it holds all the slots that it can. There is
        # memory for every shadow: whether a worker keeps up with the proxy is not what is asked here.
        mitmdump = start(
            mirror_timeout="300",
            mirror_max_inflight=str(slots),
            mirror_queue_bytes="32m",
            mirror_drain_timeout="3",
        )
        result = Load(mitmdump.port, GET, concurrency=32, total=count).join()
        v2.wait_for_count(count)
        assert silent.count == slots * 3 // 4
        assert mitmdump.stop(signal.SIGINT) == 0

    assert result.errors == []
    assert result.statuses == {200: count}
    assert result.bodies == {b"v1": count}
    totals = mitmdump.totals()
    assert totals.pop("shadows") == 2 * count == sum(totals.values())
    assert totals["ok"] == count
    assert totals["cancelled"] == count
    assert set(totals) == {"ok", "cancelled", "pending"}


def test_a_refusing_mirror_is_left_alone_and_comes_back(
    v1: Backend, rules: Path, start: StartMitmdump
) -> None:
    with RefusingPort() as port:
        write_atomically(rules / "httpbin-endpoints.yaml", endpoints_text(v1.port, port.port))
        mitmdump = start()
        load = Load(mitmdump.port, GET, concurrency=8)
        mitmdump.wait_for_log(
            rf"127\.0\.0\.1:{port.port} of outbound\|8080\|v2\|\S+ failed {FAILURES} times in a row, "
            "the last time with connect_error; no shadows until it answers again"
        )
        load.wait_for_progress(load.progress + 500)
        with Backend("v2", listener=port.socket) as mirror:
            mitmdump.wait_for_log("answers again and gets its shadows")
            mirror.wait_for_count(mirror.count + 200)
            result = load.stop()
            assert mitmdump.stop(signal.SIGINT) == 0

    assert result.errors == []
    assert result.bodies == {b"v1": result.count}
    totals = mitmdump.totals()
    assert totals.pop("shadows") == result.count
    assert totals.pop("pending") == 0
    assert sum(totals.values()) == result.count
    assert set(totals) == {"ok", "connect_error", "circuit_open"}
    assert totals["connect_error"] >= FAILURES
    assert totals["circuit_open"] >= 400
    assert totals["ok"] == mirror.count >= 200


def test_what_a_rule_says_about_outliers_and_connections_holds_for_its_mirror(
    v1: Backend, rules: Path, start: StartMitmdump
) -> None:
    policy = """\
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 3, baseEjectionTime: 600s}
"""
    write_atomically(rules / "httpbin.yaml", (rules / "httpbin.yaml").read_text().rstrip() + "\n" + policy)
    broken = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
    with Backend("v2", lambda _: broken) as mirror:
        write_atomically(rules / "httpbin-endpoints.yaml", endpoints_text(v1.port, mirror.port))
        mitmdump = start()
        assert send_raw(mitmdump.port, GET).status == 200
        mirror.wait_for_count(1)  # else all might wait for the worker, and be sent at once
        result = Load(mitmdump.port, GET, concurrency=1, total=399).join()
        assert mitmdump.stop(signal.SIGINT) == 0
    assert result.bodies == {b"v1": 399}
    totals = mitmdump.totals()
    assert totals["ok"] == mirror.count >= 3
    assert totals["circuit_open"] == 400 - mirror.count > 0


def test_mirroring_gives_way_to_slow_primaries_and_comes_back_by_itself(
    v1: Backend, v2: Backend, start: StartMitmdump
) -> None:
    mitmdump = start(mirror_governor="primary=0.000001")  # which no primary keeps
    load = Load(mitmdump.port, GET, concurrency=8)
    mitmdump.wait_for_log("mirror: primaries are slow: less is mirrored until that is over")
    load.wait_for_progress(load.progress + 500)
    result = load.stop()
    mitmdump.wait_for_log(r"mirror: everything is mirrored again; \d+ requests were not")
    assert mitmdump.stop(signal.SIGINT) == 0

    assert result.errors == []
    assert result.bodies == {b"v1": result.count}
    totals = mitmdump.totals()
    assert totals == {
        "shadows": result.count,
        "ok": v2.count,
        "paused": result.count - v2.count,
        "pending": 0,
    }
    assert totals["paused"] > 0


BLOCKS_THE_LOOP = """\
import time


def request(flow):
    time.sleep(0.15)
"""


def test_mirroring_gives_way_to_a_loop_that_is_late_and_comes_back_by_itself(
    v1: Backend, v2: Backend, tmp_path: Path, start: StartMitmdump
) -> None:
    script = tmp_path / "blocks_the_loop.py"
    script.write_text(BLOCKS_THE_LOOP)
    mitmdump = start(mirror_governor="lag=0.1", arguments=("-s", str(script)))
    load = Load(mitmdump.port, GET, concurrency=8)
    mitmdump.wait_for_log("mirror: the proxy's event loop lags: less is mirrored until that is over")
    load.wait_for_progress(load.progress + 20)
    result = load.stop()
    mitmdump.wait_for_log(r"mirror: everything is mirrored again; \d+ requests were not")
    assert mitmdump.stop(signal.SIGINT) == 0

    assert result.errors == []
    assert result.bodies == {b"v1": result.count}
    totals = mitmdump.totals()
    assert totals.pop("paused") == result.count - v2.count > 0
    assert totals == {"shadows": result.count, "ok": v2.count, "pending": 0}

"""Load balancers, limits and ejection in a real mitmdump."""

import json
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from lab.backend import Backend, RefusingPort, response
from lab.client import RawConnection, proxy_get
from lab.mitmdump import Mitmdump, StartMitmdump
from lab.rules import write_atomically

HOST = "app.example.com"
RULES = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: app}}
spec:
  hosts: [app.example.com]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{endpoints}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: app}}
spec: {{host: app.example.com, trafficPolicy: {{{policy}}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: app}}
spec:
  hosts: [app.example.com]
  http: [{{route: [{{destination: {{host: app.example.com}}}}]}}]
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    folder = tmp_path / "rules"
    folder.mkdir()
    return folder


def write_rules(folder: Path, policy: str, *endpoints: tuple[Backend | RefusingPort, int]) -> None:
    places = (
        f"{{address: 127.0.0.1, ports: {{http: {backend.port}}}, weight: {weight}}}"
        for backend, weight in endpoints
    )
    write_atomically(folder / "app.yaml", RULES.format(endpoints=", ".join(places), policy=policy))


def get(mitmdump: Mitmdump) -> int:
    return proxy_get(mitmdump.port, f"http://{HOST}/").status


@pytest.mark.parametrize(
    ("balancer", "weights", "least", "most"),
    [
        pytest.param("ROUND_ROBIN", (1, 1), 30, 30, id="round robin"),
        pytest.param("ROUND_ROBIN", (2, 1), 40, 40, id="round robin by weight"),
        pytest.param("LEAST_REQUEST", (2, 1), 40, 40, id="least request by weight, nothing in flight"),
        # 60 fair draws leave these bounds once in 30 million runs; draws by weight stay above them.
        pytest.param("LEAST_REQUEST", (1, 1), 10, 50, id="least request"),
        pytest.param("RANDOM", (99, 1), 10, 50, id="random, whatever the weights"),
    ],
)
def test_shares(
    v1: Backend,
    v2: Backend,
    rules: Path,
    start: StartMitmdump,
    balancer: str,
    weights: tuple[int, int],
    least: int,
    most: int,
) -> None:
    write_rules(rules, f"loadBalancer: {{simple: {balancer}}}", (v1, weights[0]), (v2, weights[1]))
    mitmdump = start()
    statuses = Counter(get(mitmdump) for _ in range(60))

    assert statuses == {200: 60}
    assert least <= v1.count <= most
    assert v1.count + v2.count == 60


@pytest.fixture
def failing() -> Iterator[Backend]:
    """Answers 500 until `label` is another."""

    def respond(_: object) -> bytes:
        return response(b"", "500 Internal Server Error" if backend.label == "failing" else "200 OK")

    with Backend("failing", respond) as backend:
        yield backend


def test_an_endpoint_is_ejected_after_five_errors_and_returns(
    v2: Backend, failing: Backend, rules: Path, start: StartMitmdump
) -> None:
    policy = (
        "loadBalancer: {simple: ROUND_ROBIN}, "
        "outlierDetection: {interval: 100ms, baseEjectionTime: 5s, maxEjectionPercent: 50}"
    )
    write_rules(rules, policy, (failing, 1), (v2, 1))
    mitmdump = start()

    assert Counter(get(mitmdump) for _ in range(10)) == {500: 5, 200: 5}
    assert Counter(get(mitmdump) for _ in range(10)) == {200: 10}
    mitmdump.wait_for_log(rf"127\.0\.0\.1:{failing.port} of .* is ejected for .*: 5 errors in a row")
    assert failing.count == 5
    failing.label = "well again"
    mitmdump.wait_for_log(rf"127\.0\.0\.1:{failing.port} of .* is let in again")
    assert Counter(get(mitmdump) for _ in range(10)) == {200: 10}
    assert failing.count == 10


def test_all_endpoints_ejected_is_a_503(failing: Backend, rules: Path, start: StartMitmdump) -> None:
    policy = "outlierDetection: {consecutive5xxErrors: 2, maxEjectionPercent: 100}"
    write_rules(rules, policy, (failing, 1))
    mitmdump = start()
    answers = [proxy_get(mitmdump.port, f"http://{HOST}/") for _ in range(4)]

    assert [answer.status for answer in answers] == [500, 500, 503, 503]
    assert answers[-1].raw_body == b"no healthy upstream"


def test_a_refusing_endpoint_is_ejected(v2: Backend, rules: Path, start: StartMitmdump) -> None:
    policy = (
        "loadBalancer: {simple: ROUND_ROBIN}, "
        "outlierDetection: {consecutiveGatewayErrors: 2, maxEjectionPercent: 50}"
    )
    with RefusingPort() as gone:
        write_rules(rules, policy, (gone, 1), (v2, 1))
        mitmdump = start()
        assert [get(mitmdump) for _ in range(8)] == [502, 200, 502, 200, 200, 200, 200, 200]


def test_requests_above_the_limit_are_turned_away_and_those_below_wait(
    tmp_path: Path, rules: Path, start: StartMitmdump
) -> None:
    log = tmp_path / "access.log"
    may_answer = threading.Event()
    with Backend("slow", lambda _: response(b"") if may_answer.is_set() else None) as slow:
        pool = "connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}"
        write_rules(rules, pool, (slow, 1))
        mitmdump = start(mirror_access_log=str(log), mirror_access_log_format="json")
        with RawConnection(mitmdump.port) as running, ThreadPoolExecutor() as threads:
            running.send(f"GET http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            slow.wait_for_count(1)
            asking = [threads.submit(proxy_get, mitmdump.port, f"http://{HOST}/") for _ in range(2)]
            # Whichever comes first waits, and so there is no place for the other.
            done, left = wait(asking, return_when=FIRST_COMPLETED)
            assert (len(done), slow.count) == (1, 1)
            may_answer.set()
            running.close()  # its client leaves, so who waits has its turn
            overflowed, answer = done.pop().result(), left.pop().result()
        assert mitmdump.stop(signal.SIGINT) == 0

    assert overflowed.status == 503
    assert overflowed.values(b"x-envoy-overloaded") == [b"true"]
    assert overflowed.raw_body.endswith(b"reset reason: overflow")
    assert answer.status == 200
    assert slow.count == 2
    outcomes = Counter(json.loads(line)["outcome"] for line in log.read_text().splitlines())
    assert outcomes == {"client_gone": 1, "ok": 1, "overflow": 1}

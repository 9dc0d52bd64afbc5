"""Routes with `timeout` and `retries` in a real mitmdump, before real servers."""

import itertools
import json
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.backend import Backend, Respond, response
from lab.certificates import Authority
from lab.client import RawConnection, proxy_get, send_raw
from lab.mitmdump import Mitmdump, StartMitmdump
from lab.rules import HOST, write_atomically
from lab.wire import Message

Serve = Callable[..., Backend]
Log = list[dict[str, Any]]

RULES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
# The first shadow waits for its worker to start, which may take longer than the timeouts below.
metadata: {{name: sending, annotations: {{mitm-mirror/timeout: 60s}}}}
spec:
  hosts: [httpbin]
  http:
  - match: [{{uri: {{prefix: /plain}}}}]
    route: [{{destination: {{host: primary}}}}]
  - {route}
    headers: {{response: {{set: {{x-rule: "1"}}, remove: [x-gone]}}}}
    route: [{{destination: {{host: primary}}}}]
    mirror: {{host: shadow}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: primary}}
spec:
  hosts: [primary]
  ports: [{{number: 8080, name: web, protocol: {protocol}}}]
  resolution: STATIC
  endpoints: [{endpoints}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: shadow}}
spec:
  hosts: [shadow]
  ports: [{{number: 8080, name: web, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{web: {shadow}}}}}]
"""


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts backends, which end with the test."""
    started: list[Backend] = []

    def start_backend(respond: Respond | None = None, **options: Any) -> Backend:
        started.append(Backend("primary", respond, **options))
        return started[-1]

    yield start_backend
    for backend in started:
        backend.stop()


@pytest.fixture
def dead_port() -> Iterator[int]:
    """Bound, not listening: refused, and nobody else can take it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


class Scene:
    """mitmdump with the rules above."""

    def __init__(self, tmp_path: Path, rules: Path, v2: Backend, start: StartMitmdump) -> None:
        self.log = tmp_path / "access.log"
        self._rules, self._shadow, self._start = rules, v2, start

    def start(
        self, route: str, *ports: int, protocol: str = "HTTP", form: str = "json", **options: str
    ) -> Mitmdump:
        """The route's text is what stands beside its destination."""
        endpoints = ", ".join(f"{{address: 127.0.0.1, ports: {{web: {port}}}}}" for port in ports)
        text = RULES.format(route=route, endpoints=endpoints, protocol=protocol, shadow=self._shadow.port)
        for file in self._rules.iterdir():
            file.unlink()
        write_atomically(self._rules / "rules.yaml", text)
        return self._start(mirror_access_log=str(self.log), mirror_access_log_format=form, **options)

    def records(self, copy: str = "primary") -> Log:
        records = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [record for record in records if record["copy"] == copy]


@pytest.fixture
def scene(tmp_path: Path, rules: Path, v2: Backend, start: StartMitmdump) -> Scene:
    return Scene(tmp_path, rules, v2, start)


def test_a_silent_primary_is_a_504_and_its_shadow_is_sent(scene: Scene, serve: Serve, v2: Backend) -> None:
    primary = serve(lambda _: None)
    mitmdump = scene.start("timeout: 1s", primary.port)

    answer = proxy_get(mitmdump.port, f"http://{HOST}/slow")
    grpc = proxy_get(mitmdump.port, f"http://{HOST}/slow", "Content-Type: application/grpc")
    v2.wait_for_count(2)
    assert mitmdump.stop(signal.SIGINT) == 0

    assert (answer.status, answer.raw_body) == (504, b"upstream request timeout")
    assert answer.values(b"x-rule") == [b"1"]
    assert answer.values(b"content-type") == [b"text/plain"]
    assert (grpc.status, grpc.values(b"grpc-status")) == (200, [b"14"])
    assert primary.count == v2.count == 2
    for record in scene.records():
        assert (record["outcome"], record["attempts"], record["retries_exhausted"]) == ("timeout", 1, False)
        assert record["endpoint"] == f"127.0.0.1:{primary.port}"
        assert record["error"] == "no complete answer before the route's timeout"
    assert mitmdump.totals() == {"shadows": 2, "ok": 2, "pending": 0}


def test_a_refused_connection_is_tried_elsewhere(
    scene: Scene, serve: Serve, v2: Backend, dead_port: int
) -> None:
    primary = serve()
    mitmdump = scene.start(
        "retries: {attempts: 10, retryOn: connect-failure, backoff: 1ms}", dead_port, primary.port
    )

    answers = [proxy_get(mitmdump.port, f"http://{HOST}/a") for _ in range(30)]
    v2.wait_for_count(30)
    assert mitmdump.stop(signal.SIGINT) == 0

    assert {answer.status for answer in answers} == {200}
    assert all(answer.values(b"x-rule") == [b"1"] for answer in answers)
    assert primary.count == v2.count == 30, "neither a primary nor a shadow twice"
    records = scene.records()
    assert {record["endpoint"] for record in records} == {f"127.0.0.1:{primary.port}"}
    assert {record["outcome"] for record in records} == {"ok"}
    # That none of 30 met the dead endpoint first has a probability of 2 to the power of -30.
    assert max(record["attempts"] for record in records) > 1


def test_nobody_is_there(scene: Scene, dead_port: int) -> None:
    mitmdump = scene.start("retries: {attempts: 2, retryOn: 5xx, backoff: 1ms}", dead_port, form="envoy")

    answer = proxy_get(mitmdump.port, f"http://{HOST}/a")
    plain = proxy_get(mitmdump.port, f"http://{HOST}/plain")
    assert mitmdump.stop(signal.SIGINT) == 0

    assert answer.status == 503
    assert answer.raw_body == (
        b"upstream connect error or disconnect/reset before headers. "
        b"retried and the latest reset reason: remote connection failure"
    )
    assert plain.status == 502, "mitmproxy's own path"
    assert (
        " 503 URX,UF upstream_reset_before_response_started{remote_connection_failure|"
        in scene.log.read_text()
    )


def test_a_status_is_retried_and_its_body_sent_again(scene: Scene, serve: Serve) -> None:
    number = itertools.count(1)
    primary = serve(lambda _: response(b"x", "503 No") if next(number) < 3 else response(b"done"))
    mitmdump = scene.start("retries: {attempts: 2, retryOn: '503', backoff: 1ms}", primary.port)
    body = b"b" * 100_000
    head = f"POST http://{HOST}/a HTTP/1.1\r\nHost: {HOST}\r\nX-b: 1\r\nContent-Length: {len(body)}\r\n\r\n"

    answer = send_raw(mitmdump.port, head.encode() + body)
    assert mitmdump.stop(signal.SIGINT) == 0

    assert (answer.status, answer.raw_body) == (200, b"done")
    assert [request.raw_body for request in primary.requests] == [body] * 3
    (record,) = scene.records()
    assert (record["attempts"], record["outcome"], record["status"]) == (3, "ok", 200)


@pytest.mark.parametrize(
    ("served", "status", "text"),
    [
        pytest.param(b"", 503, b"reset reason: connection termination", id="no answer"),
        pytest.param(b"SSH-2.0-x\r\n\r\n", 502, b"reset reason: protocol error", id="no HTTP"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
            502,
            b"upstream answer is an event stream, the route has timeout or retries",
            id="an event stream",
        ),
        pytest.param(response(b"x" * 2000), 502, b"upstream answer too large", id="too large"),
    ],
)
def test_answers_that_cannot_be_handed_on(
    scene: Scene, serve: Serve, served: bytes, status: int, text: bytes
) -> None:
    primary = serve(lambda _: served)
    mitmdump = scene.start("timeout: 30s", primary.port, body_size_limit="1k")

    answer = proxy_get(mitmdump.port, f"http://{HOST}/a")
    assert mitmdump.stop(signal.SIGINT) == 0

    assert answer.status == status
    assert text in answer.raw_body
    (record,) = scene.records()
    assert (record["outcome"], record["status"]) == ("error", status)
    assert record["error"]


ANSWERS = [
    pytest.param(
        "GET",
        response(b"body", "299 Very Odd", b"x-B: 2", b"X-a: 1", b"x-b: 3"),
        id="lines",
    ),
    pytest.param(
        "GET",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        id="chunked",
    ),
    pytest.param("GET", b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n", id="204"),
    pytest.param("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", id="304"),
    pytest.param("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", id="HEAD"),
    pytest.param("GET", response(b"no gzip", "200 OK", b"Content-Encoding: gzip"), id="coded"),
]


@pytest.mark.parametrize(("method", "served"), ANSWERS)
def test_the_answer_is_the_one_that_mitmproxy_would_give(
    scene: Scene, serve: Serve, method: str, served: bytes
) -> None:
    """Byte by byte, but for what the rules change, and where chunks begin."""
    primary = serve(lambda _: served)
    mitmdump = scene.start("timeout: 30s", primary.port)

    def ask(path: str) -> Message:
        request = f"{method} http://{HOST}{path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
        return send_raw(mitmdump.port, request.encode())

    ours, plain = ask("/ours"), ask("/plain")
    assert mitmdump.stop(signal.SIGINT) == 0

    assert ours.start_line == plain.start_line
    assert [field for field in ours.fields if field[0] != b"x-rule"] == list(plain.fields)
    assert ours.body == plain.body
    sent, sent_plainly = primary.requests
    assert sent.fields == sent_plainly.fields
    assert sent.start_line == sent_plainly.start_line.replace(b"/plain", b"/ours")


def test_a_client_that_leaves_ends_the_attempt(scene: Scene, serve: Serve) -> None:
    primary = serve(lambda _: None)
    mitmdump = scene.start("retries: {attempts: 3, retryOn: 5xx}", primary.port, flow_detail="1")
    with RawConnection(mitmdump.port) as leaving:
        leaving.send(f"GET http://{HOST}/late HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        primary.wait_for_count(1)
    mitmdump.wait_for_log("<< Client disconnected")
    assert mitmdump.stop(signal.SIGINT) == 0

    assert primary.count == 1
    (record,) = scene.records()
    assert record["outcome"] == "client_gone"


def test_a_request_under_way_does_not_hold_up_the_end(scene: Scene, serve: Serve) -> None:
    primary = serve(lambda _: None)
    mitmdump = scene.start("timeout: 1h", primary.port)
    with RawConnection(mitmdump.port) as connection:
        connection.send(f"GET http://{HOST}/late HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        primary.wait_for_count(1)
        assert mitmdump.stop(signal.SIGINT, timeout_s=30) == 0


def test_a_streamed_upload_goes_without_and_that_is_said_once(scene: Scene, serve: Serve) -> None:
    primary = serve()
    mitmdump = scene.start("timeout: 30s", primary.port, stream_large_bodies="1k")
    body = b"x" * 3_000
    head = f"POST http://{HOST}/a HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(body)}\r\n\r\n"

    answers = [send_raw(mitmdump.port, head.encode() + body) for _ in range(2)]
    assert mitmdump.stop(signal.SIGINT) == 0

    assert [answer.status for answer in answers] == [200, 200]
    assert [request.raw_body for request in primary.requests] == [body, body]
    said = [line for line in mitmdump.lines if "without the route's timeout and retries" in line]
    assert len(said) == 1
    assert "default/sending http[1]: mitmproxy streams the request" in said[0]
    assert [record["attempts"] for record in scene.records()] == [None, None]


@pytest.mark.parametrize(
    ("insecure", "status"), [("true", 200), ("false", 503)], ids=["not verified", "verified"]
)
def test_an_https_endpoint(tmp_path: Path, scene: Scene, serve: Serve, insecure: str, status: int) -> None:
    authority = Authority(tmp_path, "ca")
    names: list[str | None] = []
    context = authority.server_context(authority.issue("httpbin", label="server"), names, mutual=False)
    primary = serve(tls=context)
    mitmdump = scene.start("timeout: 30s", primary.port, protocol="HTTPS", ssl_insecure=insecure)

    answer = proxy_get(mitmdump.port, f"http://{HOST}/a")
    assert mitmdump.stop(signal.SIGINT) == 0

    assert answer.status == status
    assert names[0] == "httpbin"

"""Delays, aborts and preflights in a real mitmdump."""

import json
import signal
from pathlib import Path

from lab.backend import Backend
from lab.client import RawConnection, proxy_get, send_raw
from lab.mitmdump import Mitmdump, StartMitmdump
from lab.rules import HOST, MIRROR_TO_V2, write_atomically

RULES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: faulty}
spec:
  hosts: [httpbin]
  http:
  - match: [{uri: {prefix: /soon}}]
    fault: {delay: {fixedDelay: 20ms, percentage: {value: 100}}}
    route: [{destination: {host: httpbin, subset: v1}}]
    mirror: {host: httpbin, subset: v2}
  - match: [{uri: {prefix: /late}}]
    fault: {delay: {fixedDelay: 1h, percentage: {value: 100}}}
    route: [{destination: {host: httpbin, subset: v1}}]
    mirror: {host: httpbin, subset: v2}
  - match: [{uri: {prefix: /abort}}]
    fault: {abort: {grpcStatus: UNAVAILABLE, percentage: {value: 100}}}
    headers: {response: {set: {x-rule: "1"}}}
    route: [{destination: {host: httpbin, subset: v1}}]
    mirror: {host: httpbin, subset: v2}
  - corsPolicy: {allowOrigins: [{exact: "http://a"}], allowMethods: [GET], exposeHeaders: [x-e]}
    route: [{destination: {host: httpbin, subset: v1}}]
    mirror: {host: httpbin, subset: v2}
"""


def start_with_rules(start: StartMitmdump, rules: Path, **options: str) -> Mitmdump:
    """The task's rules, with their VirtualService replaced by the one above."""
    text = MIRROR_TO_V2.read_text(encoding="utf-8")
    kept = [document for document in text.split("\n---\n") if "kind: VirtualService" not in document]
    write_atomically(rules / "httpbin.yaml", "\n---\n".join([*kept, RULES]))
    return start(**options)


def test_a_delayed_request_is_answered_and_mirrored(
    tmp_path: Path, v1: Backend, v2: Backend, rules: Path, start: StartMitmdump
) -> None:
    log = tmp_path / "access.log"
    mitmdump = start_with_rules(
        start, rules, mirror_access_log=str(log), mirror_access_log_format="json", stream_large_bodies="1k"
    )
    body = b"x" * 3_000
    head = f"POST http://{HOST}/soon HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(body)}\r\n\r\n"

    answers = [proxy_get(mitmdump.port, f"http://{HOST}/soon"), send_raw(mitmdump.port, head.encode() + body)]
    v2.wait_for_count(2)
    assert mitmdump.stop(signal.SIGINT) == 0

    assert [answer.status for answer in answers] == [200, 200]
    assert sorted(len(request.raw_body) for request in v1.requests) == [0, len(body)]
    assert sorted(len(request.raw_body) for request in v2.requests) == [0, len(body)]
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert sorted((record["copy"], record["delay_ms"]) for record in records) == [
        ("primary", 20.0),
        ("primary", 20.0),
        ("shadow", None),
        ("shadow", None),
    ]


def test_a_held_request_holds_up_nobody_and_leaves_with_its_client(
    tmp_path: Path, v1: Backend, v2: Backend, rules: Path, start: StartMitmdump
) -> None:
    log = tmp_path / "access.log"
    mitmdump = start_with_rules(
        start, rules, mirror_access_log=str(log), mirror_access_log_format="json", flow_detail="1"
    )
    late = f"GET http://{HOST}/late HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    with RawConnection(mitmdump.port) as leaving, RawConnection(mitmdump.port) as staying:
        leaving.send(late)
        staying.send(late)
        assert proxy_get(mitmdump.port, f"http://{HOST}/other").status == 200
        leaving.close()
        v2.wait_for_count(1)
        mitmdump.wait_for_log("<< Client disconnected")
        # Far below the delay: the request that is still held does not keep the proxy.
        assert mitmdump.stop(signal.SIGINT, timeout_s=30) == 0

    assert [request.start_line for request in v1.requests] == [b"GET /other HTTP/1.1"]
    assert [request.start_line for request in v2.requests] == [b"GET /other HTTP/1.1"]
    assert mitmdump.totals() == {"shadows": 1, "ok": 1, "pending": 0}
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert "client_gone" in {record["outcome"] for record in records if record["target"] == "/late"}


def test_an_aborted_request_reaches_nobody(
    v1: Backend, v2: Backend, rules: Path, start: StartMitmdump
) -> None:
    mitmdump = start_with_rules(start, rules)
    url = f"http://{HOST}/abort"

    plain = proxy_get(mitmdump.port, url)
    grpc = proxy_get(mitmdump.port, url, "Content-Type: application/grpc")
    assert mitmdump.stop(signal.SIGINT) == 0

    assert (plain.status, plain.raw_body, plain.values(b"x-rule")) == (200, b"fault filter abort", [b"1"])
    assert (grpc.status, grpc.raw_body, grpc.values(b"x-rule")) == (200, b"", [b"1"])
    assert grpc.values(b"grpc-status") == [b"14"]
    assert v1.count == v2.count == 0
    assert mitmdump.totals() == {"shadows": 0, "pending": 0}
    mitmdump.wait_for_log(r"answered 2 \(fault_abort 2\)")


def test_a_preflight_is_answered_and_the_request_behind_it_is_stamped(
    v1: Backend, v2: Backend, rules: Path, start: StartMitmdump
) -> None:
    mitmdump = start_with_rules(start, rules)
    preflight = "\r\n".join(
        [
            f"OPTIONS http://{HOST}/ HTTP/1.1",
            f"Host: {HOST}",
            "Origin: http://a",
            "Access-Control-Request-Method: GET",
            "",
            "",
        ]
    )

    allowed = send_raw(mitmdump.port, preflight.encode())
    answer = proxy_get(mitmdump.port, f"http://{HOST}/", "Origin: http://a")
    v2.wait_for_count(1)
    assert mitmdump.stop(signal.SIGINT) == 0

    assert (allowed.status, allowed.raw_body) == (200, b"")
    assert allowed.values(b"access-control-allow-origin") == [b"http://a"]
    assert allowed.values(b"access-control-allow-methods") == [b"GET"]
    assert answer.values(b"access-control-allow-origin") == [b"http://a"]
    assert answer.values(b"access-control-expose-headers") == [b"x-e"]
    assert [request.method for request in v1.requests] == [b"GET"]
    assert mitmdump.totals() == {"shadows": 1, "ok": 1, "pending": 0}

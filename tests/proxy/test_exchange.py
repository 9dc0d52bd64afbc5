"""What the addon remembers of a flow: the tap in a streamed body, and the primary's record."""

from collections.abc import Iterable

import pytest
from mitmproxy import flow as mitm_flow
from mitmproxy.test import tflow

from mitm_mirror.observe.record import PrimaryOutcome
from mitm_mirror.proxy.exchange import Exchange, StreamTap, primary_record
from mitm_mirror.proxy.flows import read_head
from mitm_mirror.routing.decision import Answer, Endpoint, Forward, RuleRef, Target

RULE = RuleRef("default/httpbin", "http[0]", "rules/httpbin.yaml:9")
TARGET = Target("httpbin.default.svc.cluster.local", "v1", 8080, Endpoint("127.0.0.1", 8001))
FORWARD = Forward(RULE, TARGET, "address:22", "address", b"/path", (), (), ())


@pytest.mark.parametrize(
    ("keep_bytes", "expected"),
    [
        pytest.param(6, b"abcdef", id="exactly the limit is kept"),
        pytest.param(5, None, id="one byte more is not"),
        pytest.param(0, None, id="nothing wanted, nothing kept"),
    ],
)
def test_tap_keeps_a_body_up_to_its_limit(keep_bytes: int, expected: bytes | None) -> None:
    tap = StreamTap(True, keep_bytes)

    passed = [bytes(b"".join(tap(chunk))) for chunk in (b"abc", b"def", b"")]

    assert [b"abc", b"def", b""] == passed
    assert expected == tap.body
    assert 6 == tap.size


def test_tap_of_an_empty_body_keeps_an_empty_body() -> None:
    tap = StreamTap(True, 0)

    assert () == tuple(tap(b""))
    assert b"" == tap.body


@pytest.mark.parametrize(
    "inner",
    [
        pytest.param(lambda data: data.upper(), id="a function that gives bytes"),
        pytest.param(lambda data: [data.upper()], id="a function that gives chunks"),
    ],
)
def test_tap_keeps_what_another_addon_made_of_the_body(inner: object) -> None:
    tap = StreamTap(inner, 100)  # type: ignore[arg-type]  # mitmproxy takes either

    passed: list[Iterable[bytes]] = [tap(b"abc"), tap(b"")]

    assert b"ABC" == b"".join(chunk for chunks in passed for chunk in chunks)
    assert b"ABC" == tap.body


def test_record_of_an_answered_primary() -> None:
    flow = tflow.tflow(resp=True)
    record = primary_record(flow, Exchange(read_head(flow), FORWARD, 3))

    assert ("primary", PrimaryOutcome.OK, 200) == (record.copy, record.outcome, record.status)
    assert ("127.0.0.1:8001", TARGET.cluster) == (record.endpoint, record.destination)
    assert (flow.id, 3, "default/httpbin") == (record.id, record.rules_generation, record.virtual_service)
    assert (7, 7) == (record.request_bytes, record.response_bytes)
    assert b"" == record.original_target


def test_record_of_a_rewritten_primary_has_both_targets() -> None:
    flow = tflow.tflow(resp=True)
    exchange = Exchange(read_head(flow), FORWARD, 1)
    flow.request.path = "/rewritten"

    record = primary_record(flow, exchange)

    assert (b"/path", b"/rewritten") == (record.original_target, record.target)


def test_record_of_a_streamed_body_counts_its_bytes() -> None:
    flow = tflow.tflow(resp=True)
    assert flow.response is not None
    flow.response.data.content = None
    tap = StreamTap(True, 0)
    tap(b"12345")
    exchange = Exchange(read_head(flow), FORWARD, 1, response_body=tap)

    assert 5 == primary_record(flow, exchange).response_bytes


@pytest.mark.parametrize(
    ("message", "connected", "expected"),
    [
        pytest.param("Client disconnected.", True, PrimaryOutcome.CLIENT_GONE, id="the client left"),
        pytest.param("Connection refused", False, PrimaryOutcome.CONNECT_ERROR, id="refused"),
        pytest.param("server closed connection", True, PrimaryOutcome.ERROR, id="hung up on us"),
    ],
)
def test_record_names_how_a_primary_failed(message: str, connected: bool, expected: PrimaryOutcome) -> None:
    flow = tflow.tflow()
    flow.error = mitm_flow.Error(message)
    if not connected:
        flow.server_conn.timestamp_tcp_setup = None

    record = primary_record(flow, Exchange(read_head(flow), FORWARD, 1))

    assert (expected, 0, message) == (record.outcome, record.status, record.error)


def test_record_of_an_answer_names_its_reason() -> None:
    flow = tflow.tflow(resp=True)
    decision = Answer(RULE, 503, (), b"", "no_endpoint", destination="outbound|8080|v3|httpbin")

    record = primary_record(flow, Exchange(read_head(flow), decision, 1))

    assert (PrimaryOutcome.NO_ENDPOINT, "outbound|8080|v3|httpbin") == (record.outcome, record.destination)
    assert "" == record.endpoint

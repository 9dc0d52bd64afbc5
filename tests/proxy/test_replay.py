"""Replaying a flow that was routed before."""

from mitmproxy import http, io
from mitmproxy.test import tflow

from mitm_mirror.proxy.replay import ROUTED, remember_routing, request_state, restore_received


def routed_flow(*, with_headers: bool) -> http.HTTPFlow:
    flow = tflow.tflow()
    flow.request = http.Request.make("GET", "http://original.example:81/api/x")
    received = request_state(flow)
    flow.request.data.host, flow.request.data.port = "127.0.0.1", 8001
    flow.request.path = "/x"
    if with_headers:
        flow.request.headers.add("x-added", "1")
    remember_routing(flow, received)
    flow.is_replay = "request"
    return flow


def test_a_replay_starts_from_what_was_received() -> None:
    flow = routed_flow(with_headers=True)

    restore_received(flow)

    assert flow.request.url == "http://original.example:81/api/x"
    assert "x-added" not in flow.request.headers


def test_what_somebody_has_changed_since_stays() -> None:
    flow = routed_flow(with_headers=True)
    flow.request.path = "/edited"
    flow.request.headers["x-edited"] = "1"

    restore_received(flow)

    assert flow.request.path == "/edited"
    assert flow.request.headers["x-edited"] == "1"
    assert (flow.request.host, flow.request.port) == ("original.example", 81)


def test_headers_are_kept_only_where_rules_changed_them() -> None:
    received, sent = routed_flow(with_headers=False).metadata[ROUTED]

    assert received[-1] == sent[-1] == []


def test_a_live_flow_is_left_alone() -> None:
    flow = routed_flow(with_headers=False)
    flow.is_replay = None

    restore_received(flow)

    assert flow.request.path == "/x"


def test_it_survives_a_flow_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "flows"
    with path.open("wb") as file:
        io.FlowWriter(file).add(routed_flow(with_headers=True))
    with path.open("rb") as file:
        (flow,) = io.FlowReader(file).stream()
    assert isinstance(flow, http.HTTPFlow)
    flow.is_replay = "request"

    restore_received(flow)

    assert flow.request.path == "/api/x"
    assert "x-added" not in flow.request.headers

"""What is taken out of recordings."""

from pathlib import Path

import pytest
from mitmproxy import connection, flow, http
from mitmproxy.io import FlowWriter
from mitmproxy.test import tflow

from mitm_mirror.proxy.playback.recording import Recording, read_recording
from mitm_mirror.proxy.replay import remember_routing, request_state
from mitm_mirror.routing.request import RequestHead


def make_flow(path: str, started: float = 1.0) -> http.HTTPFlow:
    made = tflow.tflow(resp=True)
    made.request = http.Request.make("GET", f"http://httpbin{path}", headers={"Host": "httpbin"})
    made.request.timestamp_start = started
    return made


def is_httpbin(head: RequestHead) -> bool:
    return head.authority == "httpbin"


def read(path: Path, *flows: flow.Flow) -> Recording:
    with path.open("wb") as file:
        writer = FlowWriter(file)
        for item in flows:
            writer.add(item)
    return read_recording([str(path)], is_httpbin)


def shadow() -> http.HTTPFlow:
    made = make_flow("/")
    made.metadata["mirror_copy"] = "shadow"
    return made


def connect() -> http.HTTPFlow:
    made = make_flow("/")
    made.request.method = "CONNECT"
    return made


def without_body() -> http.HTTPFlow:
    made = make_flow("/")
    made.request.raw_content = None
    return made


def other_host() -> http.HTTPFlow:
    made = make_flow("/")
    made.request.headers["Host"] = "elsewhere"
    return made


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        pytest.param(tflow.ttcpflow(), "not HTTP", id="TCP"),
        pytest.param(tflow.tdnsflow(), "not HTTP", id="DNS"),
        pytest.param(tflow.twebsocketflow(), "a websocket", id="websocket"),
        pytest.param(shadow(), "a shadow", id="shadow"),
        pytest.param(connect(), "a CONNECT", id="CONNECT"),
        pytest.param(without_body(), "its body was not recorded", id="streamed"),
        pytest.param(other_host(), "no rule is about its host", id="no rule"),
    ],
)
def test_not_sent(tmp_path: Path, item: flow.Flow, reason: str) -> None:
    recording = read(tmp_path / "flows", item, make_flow("/kept"))

    assert recording.skipped == {reason: 1}
    assert [request.flow.request.path for request in recording.requests] == ["/kept"]


def test_requests_are_in_the_order_in_which_they_came_and_not_in_which_they_were_answered(
    tmp_path: Path,
) -> None:
    recording = read(tmp_path / "flows", make_flow("/2", 2.0), make_flow("/3", 3.0), make_flow("/1", 1.0))

    assert [request.flow.request.path for request in recording.requests] == ["/1", "/2", "/3"]


def test_a_flow_is_as_it_was_received_by_a_client_that_is_there(tmp_path: Path) -> None:
    made = make_flow("/api/x")
    received = request_state(made)
    made.request.path = "/x"
    remember_routing(made, received)
    made.client_conn.state = connection.ConnectionState.CLOSED
    made.error = flow.Error("the server hung up")

    (request,) = read(tmp_path / "flows", made).requests

    assert request.client == made.client_conn.id
    assert request.flow.request.path == "/api/x"
    assert request.flow.response is request.flow.error is None
    assert request.flow.client_conn.state is connection.ConnectionState.OPEN
    assert request.flow.server_conn.address is None


def test_a_file_that_ends_too_early_is_used_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "flows"
    read(path, make_flow("/1"), make_flow("/2"))
    path.write_bytes(path.read_bytes()[:-100])

    recording = read_recording([str(path)], is_httpbin)

    assert [request.flow.request.path for request in recording.requests] == ["/1"]
    assert recording.warnings == [f"{path}: only the first 1 flows can be read: Invalid data format."]


def test_several_files_are_one_recording(tmp_path: Path) -> None:
    read(tmp_path / "a", make_flow("/1", 1.0), make_flow("/3", 3.0))
    read(tmp_path / "b", make_flow("/2", 2.0))

    recording = read_recording([str(tmp_path / "a"), str(tmp_path / "b")], is_httpbin)

    assert [request.flow.request.path for request in recording.requests] == ["/1", "/2", "/3"]

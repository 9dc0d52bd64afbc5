"""Recorded traffic through the rules: mitmproxy's own `-C` and `replay.client`."""

from pathlib import Path

import pytest

from lab.client import send_raw
from lab.mirrored import MirroringTask
from lab.mitmdump import Mitmdump, StartMitmdump

HOSTS = [("httpbin:8080", "httpbin-shadow:8080"), ("httpbin", "httpbin-shadow")]

REPLAY = """
from mitmproxy import ctx, io

def running():
    with open({file!r}, "rb") as file:
        ctx.master.commands.call("replay.client", list(io.FlowReader(file).stream()))
"""
"""A script that does what `:replay.client @all` does in a UI."""


@pytest.fixture
def recorded(tmp_path: Path, confdir: Path, task: MirroringTask) -> Path:
    """A file of flows that mitmdump saved without the addon, one in regular and one in reverse mode."""
    file = tmp_path / "recorded.flows"
    service = f"127.0.0.1:{task.v1.port}"
    options = {"confdir": str(confdir), "save_stream_file": str(file), "keep_host_header": "true"}
    with Mitmdump(tmp_path, options, mode=["regular", f"reverse:http://{service}"], addon=None) as mitmdump:
        regular = mitmdump.port_of("HTTP(S) proxy")
        reverse = mitmdump.port_of(f"reverse proxy to http://{service}")
        head = f"POST http://{service}/1?a=b HTTP/1.1\r\nHost: {HOSTS[0][0]}\r\nContent-Length: 4\r\n\r\nbody"
        send_raw(regular, head.encode())
        send_raw(reverse, f"GET /2 HTTP/1.1\r\nHost: {HOSTS[1][0]}\r\n\r\n".encode())
        mitmdump.stop()
    task.v1.clear()
    return file


def test_client_replay_option(task: MirroringTask, begin: StartMitmdump, recorded: Path) -> None:
    mitmdump = begin(arguments=["-C", str(recorded)])

    assert mitmdump.wait() == 0, mitmdump.output
    task.check_ended(mitmdump, HOSTS)
    for backend in (task.v1, task.v2):
        assert {request.target: request.body for request in backend.requests} == {
            b"/1?a=b": b"body",
            b"/2": b"",
        }


def test_replay_command(task: MirroringTask, begin: StartMitmdump, recorded: Path, tmp_path: Path) -> None:
    script = tmp_path / "replay.py"
    script.write_text(REPLAY.format(file=str(recorded)), encoding="utf-8")

    mitmdump = begin(arguments=["-s", str(script)], flow_detail="1")
    mitmdump.wait_for_log(r"GET .*/2\b")  # shown when it was answered

    task.check(mitmdump, HOSTS)

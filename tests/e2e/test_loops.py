"""Shadows that come back to the proxy, without a suffix that would tell them."""

import signal
from pathlib import Path

import pytest

from lab.backend import Backend
from lab.client import RawConnection, send_raw
from lab.mitmdump import Mitmdump, StartMitmdump
from lab.rules import HOST, endpoints_text, write_atomically

REVERSE = "reverse:http://127.0.0.1:9"
REQUEST = f"GET /get HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


def lead_mirror_to(rules: Path, v1: Backend, port: int, address: str = "127.0.0.1") -> None:
    text = endpoints_text(v1.port, port)
    if address != "127.0.0.1":
        # A name, so that only the resolver could say beforehand that it is this proxy's own address.
        text = text.replace("resolution: STATIC", "resolution: DNS")
        head, _, tail = text.rpartition("address: 127.0.0.1")
        text = f"{head}address: {address}{tail}"
    write_atomically(rules / "httpbin-endpoints.yaml", text)


def test_straight_back_under_another_name(v1: Backend, rules: Path, start: StartMitmdump) -> None:
    mitmdump = start(mode=REVERSE, mirror_host_suffix="")
    lead_mirror_to(rules, v1, mitmdump.port, "LocalHost")
    mitmdump.wait_for_log(r"\(generation 2\)")

    assert send_raw(mitmdump.port, REQUEST).status == 200
    v1.wait_for_count(2)  # the shadow is routed like any request, and not mirrored again
    assert mitmdump.stop(signal.SIGINT) == 0

    assert mitmdump.totals() == {"shadows": 2, "ok": 1, "loop": 1, "pending": 0}
    assert [request.values(b"via") for request in v1.requests] == [[], []]


def test_through_another_proxy(v1: Backend, rules: Path, start: StartMitmdump, tmp_path: Path) -> None:
    mitmdump = start(mode=REVERSE, mirror_host_suffix="")
    plain = {"keep_host_header": "true"}
    with Mitmdump(
        tmp_path / "other", plain, mode=f"reverse:http://127.0.0.1:{mitmdump.port}", addon=None, cwd=tmp_path
    ) as other:
        lead_mirror_to(rules, v1, other.port)
        mitmdump.wait_for_log(r"\(generation 2\)")

        assert send_raw(mitmdump.port, REQUEST).status == 200
        v1.wait_for_count(3)
        assert mitmdump.stop(signal.SIGINT) == 0

    assert mitmdump.totals() == {"shadows": 3, "ok": 2, "loop": 1, "pending": 0}
    vias = [request.values(b"via") for request in v1.requests]
    assert vias[:2] == [[], []]
    assert len(vias[2]) == 1


@pytest.mark.parametrize(
    ("suffix", "marked"),
    [
        pytest.param("", 1, id="no suffix: the second copy gets a Via"),
        pytest.param("-shadow", 0, id="suffix"),
    ],
)
def test_equal_requests_of_a_client_are_no_loop(
    v1: Backend, rules: Path, start: StartMitmdump, suffix: str, marked: int
) -> None:
    with Backend("v2", lambda _: None) as silent:
        lead_mirror_to(rules, v1, silent.port)
        mitmdump = start(mode=REVERSE, mirror_host_suffix=suffix, mirror_drain_timeout="0")
        with RawConnection(mitmdump.port) as client:
            assert client.exchange(REQUEST).status == 200
            silent.wait_for_count(1)
            assert client.exchange(REQUEST).status == 200
            silent.wait_for_count(2)
        assert mitmdump.stop(signal.SIGINT) == 0

        assert mitmdump.totals() == {"shadows": 2, "cancelled": 2, "pending": 0}
        assert sum(len(request.values(b"via")) for request in silent.requests) == marked
        assert not any(request.values(b"via") for request in v1.requests)

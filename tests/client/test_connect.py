"""Connecting: which address of a name it is, and that nothing is left behind."""

import asyncio
import errno
import gc
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.backend import RefusingPort
from lab.misbehaviour import black_hole_port
from mitm_mirror.client.connect import connect

DESCRIPTORS = Path("/dev/fd")
Resolve = Callable[..., None]


def count_descriptors() -> int:
    return len(list(DESCRIPTORS.iterdir()))


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Within a running loop: has `mirror.example` mean these ports of 127.0.0.1, in this order."""

    def resolve(*ports: int) -> None:
        async def getaddrinfo(host: str, _port: int, **_: Any) -> list[Any]:
            assert host == "mirror.example"
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)

    return resolve


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_an_address_is_not_looked_up(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
            raise AssertionError

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            listener = socket.create_server((address, 0), family=family)
        except OSError as error:
            pytest.skip(f"no {address} here: {error}")
        with listener:
            port = listener.getsockname()[1]
            with await connect(address, port) as made:
                assert made.getpeername()[:2] == (address, port)
                assert not made.getblocking()

    asyncio.run(test())


def test_the_next_address_is_tried_where_one_refuses(resolve: Resolve, listening: int) -> None:
    async def test() -> None:
        with RefusingPort() as refusing:
            resolve(refusing.port, refusing.port, listening)
            with await connect("mirror.example", 80) as made:
                assert made.getpeername()[1] == listening

    asyncio.run(test())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux drops SYNs when a listener's queue is full")
def test_the_next_address_is_tried_where_one_says_nothing(resolve: Resolve, listening: int) -> None:
    async def test() -> None:
        with black_hole_port() as silent:
            resolve(silent, listening)
            with await connect("mirror.example", 80) as made:
                assert made.getpeername()[1] == listening

    asyncio.run(test())


@pytest.mark.parametrize("count", [1, 3])
def test_where_all_refuse_it_is_the_systems_error(resolve: Resolve, count: int) -> None:
    async def test() -> None:
        with RefusingPort() as refusing:
            resolve(*[refusing.port] * count)
            with pytest.raises(ConnectionRefusedError) as raised:
                await connect("mirror.example", 80)
            assert raised.value.errno == errno.ECONNREFUSED

    asyncio.run(test())


def test_a_name_without_any_address(resolve: Resolve) -> None:
    async def test() -> None:
        resolve()
        with pytest.raises(OSError, match="no address"):
            await connect("mirror.example", 80)

    asyncio.run(test())


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="this system does not show a process's descriptors")
@pytest.mark.parametrize("addresses", [1, 2])
def test_a_deadline_at_any_moment_leaves_no_socket_behind(
    resolve: Resolve, listening: int, addresses: int
) -> None:
    async def test() -> None:
        resolve(*[listening] * addresses)
        before = count_descriptors()
        for turns in range(20):
            connecting = asyncio.create_task(connect("mirror.example", 80))
            for _ in range(turns):
                await asyncio.sleep(0)
            connecting.cancel()
            await asyncio.wait([connecting])
            if not connecting.cancelled():
                connecting.result().close()
            for _ in range(3):  # for attempts that were cancelled with it
                await asyncio.sleep(0)
            assert count_descriptors() == before, turns

    gc.collect()
    gc.disable()
    try:
        asyncio.run(test())
    finally:
        gc.enable()

"""Whether a mirror would be this proxy itself."""

import asyncio
from dataclasses import dataclass

import pytest
from mitmproxy.test import taddons

from mitm_mirror.proxy.listeners import OwnAddresses, is_local, is_own_address


@dataclass
class Proxyserver:
    own_host: str
    name: str = "proxyserver"

    def listen_addrs(self) -> list[tuple[str, int]]:
        return [(self.own_host, 8080)]


@pytest.mark.parametrize(
    ("own_host", "address", "port", "expected"),
    [
        pytest.param("127.0.0.1", "127.0.0.1", 8080, True, id="the same"),
        pytest.param("127.0.0.1", "127.0.0.1", 8081, False, id="another port"),
        pytest.param("127.0.0.1", "localhost", 8080, True, id="by name"),
        pytest.param("0.0.0.0", "127.0.0.2", 8080, True, id="on all addresses, loopback"),
        pytest.param("::", "::ffff:127.0.0.1", 8080, True, id="on all addresses, mapped"),
        pytest.param("0.0.0.0", "192.0.2.1", 8080, False, id="on all addresses, another machine"),
        pytest.param("192.0.2.1", "192.0.2.1", 8080, True, id="the same, not local to the test"),
        pytest.param("0.0.0.0", "mirror.invalid", 8080, False, id="a name is not resolved"),
    ],
)
def test_own_address(own_host: str, address: str, port: int, expected: bool) -> None:
    async def run() -> bool:
        with taddons.context(loadcore=False) as context:
            context.master.addons.add(Proxyserver(own_host))
            return is_own_address(address, port)

    assert asyncio.run(run()) == expected


def test_without_a_proxy_no_address_is_its_own() -> None:
    async def run() -> bool:
        with taddons.context(loadcore=False):
            return is_own_address("127.0.0.1", 8080)

    assert not asyncio.run(run())


def test_own_addresses_are_looked_up_once_a_second() -> None:
    async def run() -> list[bool]:
        now = [0.0]
        addresses = OwnAddresses(clock=lambda: now[0])
        answers = []
        with taddons.context(loadcore=False) as context:
            answers.append(addresses("127.0.0.1", 8080))
            context.master.addons.add(Proxyserver("127.0.0.1"))
            now[0] = 0.9
            answers.append(addresses("127.0.0.1", 8080))
            now[0] = 1.0
            answers.append(addresses("127.0.0.1", 8080))
            answers.append(addresses("127.0.0.1", 8081))
        return answers

    assert asyncio.run(run()) == [False, False, True, False]


@pytest.mark.parametrize(
    ("address", "expected"),
    [("localhost", True), ("::1", True), ("127.9.9.9", True), ("192.0.2.7", False), ("2001:db8::7", False)],
)
def test_local_addresses(address: str, expected: bool) -> None:
    assert is_local(address) == expected

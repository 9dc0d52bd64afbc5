"""When the one connection of a transport is used again, and when another takes its place."""

from typing import Any

import httpcore
import httpx
import pytest

from mitm_mirror.client.one_connection import OneConnection, OneConnectionTransport

URL = "http://httpbin:8080/get"


class FakeConnection(httpcore.AsyncConnectionInterface):
    def __init__(self, **states: Any) -> None:
        self.available: bool = states.get("available", True)
        self.expired: bool = states.get("expired", False)
        self.raises: Exception | None = states.get("raises")
        self.requests: list[httpcore.Request] = []
        self.closed = 0

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        self.requests.append(request)
        if self.raises is not None:
            raise self.raises
        return httpcore.Response(200)

    def is_available(self) -> bool:
        return self.available

    def has_expired(self) -> bool:
        return self.expired

    async def aclose(self) -> None:
        self.closed += 1


class Pool(OneConnection):
    """Whose connections are those that it is given, in order."""

    def __init__(self, *connections: FakeConnection) -> None:
        super().__init__(httpx.create_ssl_context(verify=False), http1=True, http2=False, uds=None)
        self.to_make = list(connections)
        self.origins: list[httpcore.Origin] = []

    def create_connection(self, origin: httpcore.Origin) -> httpcore.AsyncConnectionInterface:
        self.origins.append(origin)
        return self.to_make.pop(0)

    async def get(self) -> int:
        return (await self.handle_async_request(httpcore.Request("GET", URL))).status


def test_it_begins_without_one_and_uses_it_again(kit: Any) -> None:
    async def test() -> None:
        connection = FakeConnection()
        pool = Pool(connection)
        assert pool.connections == []
        assert [await pool.get(), await pool.get()] == [200, 200]
        assert pool.connections == [connection]
        assert (len(connection.requests), connection.closed) == (2, 0)
        assert pool.origins == [httpcore.Origin(b"http", b"httpbin", 8080)]

    kit.run(test)


@pytest.mark.parametrize(
    "state",
    [
        pytest.param({"available": False}, id="that can take no request any more"),
        pytest.param({"expired": True}, id="that its server has closed"),
    ],
)
def test_one_that_cannot_be_used_is_closed_and_another_made(kit: Any, state: dict[str, bool]) -> None:
    async def test() -> None:
        first, second = FakeConnection(), FakeConnection()
        pool = Pool(first, second)
        await pool.get()
        vars(first).update(state)
        assert await pool.get() == 200
        assert (len(first.requests), first.closed) == (1, 1)
        assert (len(second.requests), second.closed) == (1, 0)
        assert pool.connections == [second]

    kit.run(test)


def test_a_request_that_the_server_did_not_take_goes_over_another(kit: Any) -> None:
    async def test() -> None:
        first, second = FakeConnection(raises=httpcore.ConnectionNotAvailable()), FakeConnection()
        pool = Pool(first, second)
        assert await pool.get() == 200
        assert first.requests == second.requests
        assert (first.closed, second.closed) == (1, 0)

    kit.run(test)


def test_any_other_failure_is_the_callers_and_httpxs(kit: Any) -> None:
    """A second attempt might be done twice."""

    async def test() -> None:
        only = FakeConnection(raises=httpcore.ReadError("reset"))
        transport = OneConnectionTransport(
            httpx.create_ssl_context(verify=False), http1=True, http2=False, uds=None
        )
        transport._pool = Pool(only)
        with pytest.raises(httpx.ReadError, match="reset"):
            await transport.handle_async_request(httpx.Request("GET", URL))
        assert len(only.requests) == 1
        await transport.aclose()
        assert only.closed == 1

    kit.run(test)


def test_closing_closes_it_once(kit: Any) -> None:
    async def test() -> None:
        connection = FakeConnection()
        pool = Pool(connection)
        await pool.aclose()
        await pool.get()
        await pool.aclose()
        await pool.aclose()
        assert connection.closed == 1
        assert pool.connections == []

    kit.run(test)

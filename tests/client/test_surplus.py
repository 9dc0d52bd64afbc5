"""A server that says more than its answer: what is left over is not taken for the next answer."""

import contextlib
from typing import Any

import pytest

from mitm_mirror.client.client import Client
from mitm_mirror.client.settings import ClientSettings
from mitm_mirror.outcome import Outcome

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SECOND = b"HTTP/1.1 500 Oh\r\nContent-Length: 6\r\n\r\nsecond"

SURPLUS: list[Any] = [
    pytest.param(b"GET", OK, SECOND, id="after a length"),
    pytest.param(
        b"GET",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        SECOND,
        id="after the last chunk",
    ),
    pytest.param(b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", b"but a body", id="a body where there is none"),
    pytest.param(b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"ok", id="a body for HEAD"),
    pytest.param(b"GET", OK, b"\x00", id="one byte"),
]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(("method", "answer", "surplus"), SURPLUS)
def test_a_connection_that_brought_more_than_an_answer_is_not_used_again(
    kit: Any, certificate: Any, scheme: str, method: bytes, answer: bytes, surplus: bytes
) -> None:
    def respond(connection: Any) -> None:
        # Two writes: two records of TLS, of which the second is read from the socket, but not decrypted.
        connection.transport.write(answer)
        connection.transport.write(surplus)

    tls = certificate.server_context if scheme == "https" else None

    async def test() -> None:
        async with kit.serve(respond, tls) as server:
            client = Client(ClientSettings(tls_verify=False), report=pytest.fail)
            async with contextlib.aclosing(client):
                request = kit.request(server.port, scheme=scheme, method=method)
                results = [await kit.exchange(client, request) for _ in range(3)]
                assert client.idle_connections <= 1
            assert {(result.outcome, result.status) for result in results} == {
                (Outcome.OK, int(answer.split()[1]))
            }
            assert len(server.connections) == 3

    kit.run(test)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_connection_that_brought_nothing_more_is_used_again(
    kit: Any, certificate: Any, scheme: str
) -> None:
    """The session tickets of TLS 1.3 come behind the handshake and are nothing that a server says."""
    tls = certificate.server_context if scheme == "https" else None

    async def test() -> None:
        async with kit.serve(OK, tls) as server:
            client = Client(ClientSettings(tls_verify=False), report=pytest.fail)
            async with contextlib.aclosing(client):
                for _ in range(3):
                    result = await kit.exchange(client, kit.request(server.port, scheme=scheme))
                    assert (result.outcome, result.body) == (Outcome.OK, b"ok")
            assert len(server.connections) == 1

    kit.run(test)


def test_a_server_that_announces_its_close_over_tls_gets_a_new_connection(kit: Any, certificate: Any) -> None:
    def respond(connection: Any) -> None:
        connection.transport.write(OK)
        connection.transport.close()

    async def test() -> None:
        async with kit.serve(respond, certificate.server_context) as server:
            client = Client(ClientSettings(tls_verify=False), report=pytest.fail)
            async with contextlib.aclosing(client):
                for number in (1, 2):
                    result = await kit.exchange(client, kit.request(server.port, scheme="https"))
                    assert (result.outcome, result.body) == (Outcome.OK, b"ok")
                    await server.until(lambda number=number: server.lost_connections == number)

    kit.run(test)

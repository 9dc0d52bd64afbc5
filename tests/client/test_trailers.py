"""Trailers: after the body in HTTP/2, left out in HTTP/1.1."""

import asyncio
import contextlib
import ssl
from typing import Any

import pytest

from lab.http2 import Http2Backend
from mitm_mirror.client.client import Client
from mitm_mirror.client.request import Fields
from mitm_mirror.client.settings import ClientSettings
from mitm_mirror.client.upload import Upload
from mitm_mirror.outcome import Outcome

HOST = (b"Host", b"httpbin:8080")
SIZED = (b"Content-Length", b"3")
CHUNKED = (b"Transfer-Encoding", b"chunked")
TRAILERS = ((b"X-Sum", b"6"), (b"x-b", b"2"), (b"x-sum", b"7"))
SENT = [(b"x-sum", b"6"), (b"x-b", b"2"), (b"x-sum", b"7")]


@pytest.fixture(params=["http", "https"])
def server(request: pytest.FixtureRequest, certificate: Any) -> Any:
    """(scheme, server): one that speaks HTTP/2 and nothing else."""
    context = None
    if request.param == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.file, certificate.file.replace("certificate.pem", "key.pem"))
    with Http2Backend("v2", context) as backend:
        yield request.param, backend


@pytest.mark.parametrize(
    ("framing", "body", "fields"),
    [
        pytest.param((SIZED,), b"abc", [(b"content-length", b"3")], id="sized"),
        pytest.param((CHUNKED,), b"abc", [], id="chunked"),
        pytest.param((CHUNKED,), b"x" * 100_000, [], id="more than one frame and one window"),
        pytest.param((), b"", [], id="no body"),
        pytest.param(((b"content-length", b"0"),), b"", [(b"content-length", b"0")], id="empty body"),
    ],
)
def test_they_follow_a_whole_body(
    kit: Any, server: Any, framing: Fields, body: bytes, fields: list[tuple[bytes, bytes]]
) -> None:
    scheme, backend = server

    async def test() -> None:
        request = kit.request(
            backend.port,
            scheme=scheme,
            method=b"POST",
            headers=(HOST, *framing),
            http2=True,
            trailers=TRAILERS,
        )
        result = await kit.send(request, body, tls_verify=False)
        assert (result.outcome, result.status, result.error) == (Outcome.OK, 200, "")

    kit.run(test)
    [seen] = backend.wait_for_count(1)
    assert seen.trailers == SENT
    assert seen.fields[4:] == fields
    assert seen.body == body


@pytest.mark.parametrize("trailers", [(), TRAILERS], ids=["without", "with"])
@pytest.mark.parametrize("pieces", [[], [b"one", b"four"]], ids=["empty", "two pieces"])
def test_they_come_with_the_end_of_an_upload(
    kit: Any, server: Any, pieces: list[bytes], trailers: Fields
) -> None:
    scheme, backend = server

    async def test() -> None:
        upload = Upload(lambda _: None)
        # What is known too early is not what counts: it would be sent twice.
        request = kit.request(
            backend.port,
            scheme=scheme,
            method=b"PUT",
            headers=(HOST, CHUNKED),
            http2=True,
            trailers=((b"x-early", b"1"),),
        )
        task = asyncio.create_task(kit.send(request, upload, tls_verify=False))
        for data in pieces:
            upload.put(data)
        await asyncio.sleep(0)
        upload.end(trailers)
        result = await task
        assert (result.outcome, result.status, result.error) == (Outcome.OK, 200, "")

    kit.run(test)
    [seen] = backend.wait_for_count(1)
    assert seen.trailers == (SENT if trailers else [])
    assert seen.fields[4:] == []
    assert seen.body == b"".join(pieces)


def test_a_connection_that_sent_some_is_used_again(kit: Any, server: Any) -> None:
    scheme, backend = server

    async def test() -> None:
        client = Client(ClientSettings(tls_verify=False), report=pytest.fail)
        async with contextlib.aclosing(client):
            for trailers in (TRAILERS, (), TRAILERS, ()):
                request = kit.request(
                    backend.port,
                    scheme=scheme,
                    headers=(HOST, SIZED),
                    http2=True,
                    trailers=trailers,
                )
                assert (await kit.exchange(client, request, b"abc")).outcome is Outcome.OK

    kit.run(test)
    assert [seen.trailers for seen in backend.wait_for_count(4)] == [SENT, [], SENT, []]
    assert backend.connections == 1


@pytest.mark.parametrize(
    ("framing", "body", "wire"),
    [
        pytest.param((SIZED,), b"abc", b"abc", id="sized"),
        pytest.param((CHUNKED,), b"abc", b"3\r\nabc\r\n0\r\n\r\n", id="chunked"),
        pytest.param((), b"", b"", id="no body"),
    ],
)
def test_they_are_left_out_where_the_server_chooses_http1(
    kit: Any, certificate: Any, framing: Fields, body: bytes, wire: bytes
) -> None:
    async def test() -> None:
        async with kit.serve(tls=certificate.server_context) as server:
            request = kit.request(
                server.port,
                scheme="https",
                headers=(HOST, *framing),
                http2=True,
                trailers=TRAILERS,
            )
            result = await kit.send(request, body, ca_file=certificate.file)
        assert (result.outcome, result.status) == (Outcome.OK, 200)
        lines = b"".join(b"%b: %b\r\n" % field for field in (HOST, *framing))
        assert server.requests == [b"GET / HTTP/1.1\r\n" + lines + b"\r\n" + wire]

    kit.run(test)


def test_an_upload_leaves_them_out_in_http1(kit: Any) -> None:
    async def test() -> None:
        upload = Upload(lambda _: None)
        upload.put(b"abc")
        upload.end(TRAILERS)
        async with kit.serve() as server:
            result = await kit.send(kit.request(server.port, headers=(HOST, CHUNKED)), upload)
        assert (result.outcome, result.status) == (Outcome.OK, 200)
        (request,) = server.requests
        assert request.partition(b"\r\n\r\n")[2] == b"3\r\nabc\r\n0\r\n\r\n"

    kit.run(test)


OF_THE_CONNECTION = (
    b"Connection",
    b"keep-alive",
    b"proxy-connection",
    b"TE",
    b"transfer-encoding",
    b"upgrade",
)


@pytest.mark.parametrize("kept", [((b"x-a", b"1"),), ()], ids=["beside another", "alone"])
def test_what_is_about_the_connection_is_left_out(kit: Any, server: Any, kept: Fields) -> None:
    scheme, backend = server

    async def test() -> None:
        request = kit.request(
            backend.port,
            scheme=scheme,
            headers=(HOST, SIZED),
            http2=True,
            trailers=(*((name, b"x") for name in OF_THE_CONNECTION), *kept),
        )
        assert (await kit.send(request, b"abc", tls_verify=False)).outcome is Outcome.OK

    kit.run(test)
    [seen] = backend.wait_for_count(1)
    assert (seen.trailers, seen.body) == (list(kept), b"abc")


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "upload"])
@pytest.mark.parametrize(
    "trailer",
    [
        pytest.param((b":path", b"s3cret"), id="pseudo header"),
        pytest.param((b":x", b"s3cret"), id="like a pseudo header"),
        pytest.param((b"", b"s3cret"), id="no name"),
        pytest.param((b" connection", b"s3cret"), id="space in its name"),
        pytest.param((b"x\xff", b"s3cret"), id="name not ASCII"),
        pytest.param((b"x-b", b"1\r\nx-c: s3cret"), id="two lines"),
        pytest.param((b"x-b", b"s3cret\0"), id="NUL"),
    ],
)
def test_a_malformed_one_ends_its_own_request_by_name(
    kit: Any, server: Any, trailer: tuple[bytes, bytes], streamed: bool
) -> None:
    """It is nothing that the server could be blamed for, and the next request does not feel it."""
    scheme, backend = server
    trailers = ((b"x-a", b"1"), trailer)

    async def test() -> None:
        body: bytes | Upload = b"abc"
        if streamed:
            body = Upload(lambda _: None)
            body.put(b"abc")
            body.end(trailers)
        client = Client(ClientSettings(tls_verify=False), report=pytest.fail)
        async with contextlib.aclosing(client):
            for _ in range(2):
                good = kit.request(backend.port, scheme=scheme, http2=True)
                assert (await kit.exchange(client, good)).outcome is Outcome.OK
                bad = kit.request(
                    backend.port,
                    scheme=scheme,
                    headers=(HOST, SIZED),
                    http2=True,
                    trailers=() if streamed else trailers,
                )
                result = await kit.exchange(client, bad, body)
                assert (result.outcome, result.blameless) == (Outcome.PROTOCOL_ERROR, True)
                assert result.error == (
                    "the request cannot be written as HTTP: "
                    "a trailer has a name or a value that is none in HTTP"
                )

    kit.run(test)
    assert len(backend.wait_for_count(2)) == 2
    assert all(seen.trailers == [] for seen in backend.requests)

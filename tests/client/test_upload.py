"""Bodies that are still coming while they are sent."""

import asyncio
from typing import Any

import httpx
import pytest

from mitm_mirror.client.outgoing import UnsendableRequestError, build_request
from mitm_mirror.client.upload import JOINED_BYTES, Upload
from mitm_mirror.outcome import Outcome

HOST = (b"Host", b"httpbin:8080")
CHUNKED = (b"Transfer-Encoding", b"chunked")


def make_upload() -> tuple[Upload, list[int]]:
    taken: list[int] = []
    return Upload(taken.append), taken


@pytest.mark.parametrize(
    ("framing", "wire"),
    [
        pytest.param(CHUNKED, b"3\r\none\r\n4\r\nfour\r\n0\r\n\r\n", id="chunked, the same chunks"),
        pytest.param((b"Content-Length", b"7"), b"onefour", id="sized"),
    ],
)
def test_pieces_are_sent_as_they_come(kit: Any, framing: tuple[bytes, bytes], wire: bytes) -> None:
    async def test() -> None:
        upload, taken = make_upload()
        async with kit.serve() as server:
            task = asyncio.create_task(
                kit.send(kit.request(server.port, method=b"PUT", headers=(HOST, framing)), upload)
            )
            upload.put(b"one")
            await kit.poll_until(lambda: taken == [3])
            assert not task.done()
            upload.put(b"four")
            upload.end()
            result = await task
        assert (result.outcome, result.status, result.error) == (Outcome.OK, 200, "")
        assert taken == [3, 4]
        (request,) = server.requests
        assert request.partition(b"\r\n\r\n")[2] == wire

    kit.run(test)


HALF = bytes(JOINED_BYTES // 2)


@pytest.mark.parametrize(
    ("joined", "pieces", "yielded"),
    [
        pytest.param(True, [b"one", b"four", b"."], [b"onefour."], id="all that wait"),
        pytest.param(True, [HALF, HALF, b"."], [HALF + HALF, b"."], id="up to the limit"),
        pytest.param(True, [b".", HALF * 3, b"!"], [b".", HALF * 3, b"!"], id="one beyond the limit"),
        pytest.param(False, [b"one", b"four"], [b"one", b"four"], id="as they were put"),
    ],
)
def test_pieces_that_wait_together(kit: Any, joined: bool, pieces: list[bytes], yielded: list[bytes]) -> None:
    async def test() -> None:
        upload, taken = make_upload()
        for data in pieces:
            upload.put(data)
        upload.end()
        assert [data async for data in upload.pieces(joined=joined)] == yielded
        assert taken == [len(data) for data in pieces]

    kit.run(test)


@pytest.mark.parametrize(
    ("framing", "http2", "expected"),
    [
        pytest.param(CHUNKED, False, [b"one", b"four"], id="chunked"),
        pytest.param((b"Content-Length", b"7"), False, [b"onefour"], id="sized"),
        pytest.param((b"Content-Length", b"7"), True, [b"one", b"four"], id="sized, in HTTP/2"),
    ],
)
def test_only_a_sized_body_has_its_pieces_joined(
    kit: Any, framing: tuple[bytes, bytes], http2: bool, expected: list[bytes]
) -> None:
    async def test() -> None:
        upload, _ = make_upload()
        for data in (b"one", b"four"):
            upload.put(data)
        upload.end()
        stream = build_request(kit.request(headers=(HOST, framing), http2=http2), upload).stream
        assert isinstance(stream, httpx.AsyncByteStream)
        assert [data async for data in stream] == expected

    kit.run(test)


@pytest.mark.parametrize("pieces", [[b"short"], [b"much", b"too long"]], ids=["short", "long"])
def test_a_body_of_another_length_than_promised(kit: Any, pieces: list[bytes]) -> None:
    async def test() -> None:
        upload, _ = make_upload()
        for data in pieces:
            upload.put(data)
        upload.end()
        async with kit.serve() as server:
            request = kit.request(server.port, method=b"PUT", headers=(HOST, (b"Content-Length", b"7")))
            result = await kit.send(request, upload)
        assert (result.outcome, result.error) == (
            Outcome.PROTOCOL_ERROR,
            "the request cannot be written as HTTP",
        )

    kit.run(test)


@pytest.mark.parametrize(
    "headers",
    [(), ((b"Content-Length", b"1"),) * 2, ((b"Content-Length", b"many"),)],
    ids=["no framing", "two lengths", "no number"],
)
def test_framing_that_an_upload_cannot_have(kit: Any, headers: tuple[tuple[bytes, bytes], ...]) -> None:
    with pytest.raises(UnsendableRequestError, match="in pieces"):
        build_request(kit.request(headers=(HOST, *headers)), Upload(lambda _: None))


def test_the_clock_starts_when_the_body_is_complete(kit: Any) -> None:
    async def test() -> None:
        upload, _ = make_upload()
        async with kit.serve(answer=lambda connection: None) as server:
            request = kit.request(server.port, method=b"PUT", headers=(HOST, CHUNKED))
            task = asyncio.create_task(kit.send(request, upload, timeout_s=0.0))
            upload.put(b"one")
            await kit.poll_until(lambda: bool(server.connections and server.connections[0].buffer))
            assert not task.done()
            upload.end()
            result = await task
        assert result.outcome is Outcome.TIMEOUT

    kit.run(test)


def test_it_may_end_before_its_body_does(kit: Any) -> None:
    """The rest is put when nobody listens any more, and must not hurt."""

    async def test() -> None:
        upload, taken = make_upload()
        async with kit.serve() as server:
            port = server.port
        result = await kit.send(kit.request(port, method=b"PUT", headers=(HOST, CHUNKED)), upload)
        upload.put(b"late")
        upload.end()
        assert result.outcome is Outcome.CONNECT_ERROR
        assert taken == []

    kit.run(test)

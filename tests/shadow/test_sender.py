"""A shadow's result says how it ended, and keeps of its answer what is wanted: without a Want, nothing."""

import asyncio
import contextlib
from typing import Any

import msgspec
import pytest

from mitm_mirror.client.settings import ClientSettings
from mitm_mirror.outcome import Outcome
from mitm_mirror.shadow.answer import AnswerRoom, Want
from mitm_mirror.shadow.message import ShadowResult
from mitm_mirror.shadow.sender import Sender


@pytest.mark.parametrize(
    ("answer", "timeout_s", "expected"),
    [
        pytest.param(
            b"HTTP/1.1 503 No\r\nContent-Length: 3\r\n\r\nabc",
            20.0,
            ShadowResult(7, Outcome.OK, 503, 3, 0.0, ""),
            id="answered",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
            0.5,
            ShadowResult(7, Outcome.TIMEOUT, 200, 2, 0.0, "no complete answer before the deadline"),
            id="half an answer",
        ),
        pytest.param(
            b"SSH-2.0-OpenSSH\r\n\r\n",
            20.0,
            ShadowResult(7, Outcome.PROTOCOL_ERROR, 0, 0, 0.0, "the answer is not HTTP, or ended early"),
            id="no HTTP",
        ),
    ],
)
def test_result(kit: Any, answer: bytes, timeout_s: float, expected: ShadowResult) -> None:
    async def test() -> None:
        async with kit.serve(answer) as mirror:
            # The clock stands still, so the duration is 0.
            sender = Sender(ClientSettings(), clock=lambda: 0.0, report=pytest.fail)
            async with contextlib.aclosing(sender):
                assert await sender.send(7, kit.shadow(mirror.port), b"", timeout_s, None) == expected

    kit.run(test)


HEAD = b"HTTP/1.1 203 So so\r\nX-One: 1\r\nx-one: 2\r\nContent-Length: 6\r\n\r\n"
HEADERS = ((b"X-One", b"1"), (b"x-one", b"2"), (b"Content-Length", b"6"))


@pytest.mark.parametrize(
    ("answer", "timeout_s", "body_bytes", "status", "body", "complete"),
    [
        pytest.param(HEAD + b"abcdef", 20.0, 6, 203, b"abcdef", True, id="whole"),
        pytest.param(HEAD + b"abcdef", 20.0, 5, 203, b"abcde", False, id="more than wanted"),
        pytest.param(HEAD + b"abcdef", 20.0, 0, 203, b"", False, id="only the head"),
        pytest.param(HEAD + b"abcd", 0.5, 6, 203, b"abcd", False, id="half an answer"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n\r\n", 20.0, 6, 0, b"", False, id="no answer"),
    ],
)
def test_an_answer_that_is_wanted_is_kept(
    kit: Any, answer: bytes, timeout_s: float, body_bytes: int, status: int, body: bytes, complete: bool
) -> None:
    async def test() -> None:
        async with kit.serve(answer) as mirror:
            now = iter(range(1000, 2000))
            sender = Sender(ClientSettings(), report=pytest.fail, wall_clock=lambda: float(next(now)))
            async with contextlib.aclosing(sender):
                result = await sender.send(1, kit.shadow(mirror.port), b"", timeout_s, Want(body_bytes))
        kept = result.answer
        assert kept is not None
        assert (kept.status, kept.body, kept.complete) == (status, body, complete)
        if status:
            assert (kept.reason, kept.http_version, kept.headers) == (b"So so", b"HTTP/1.1", HEADERS)
            assert (kept.started_at, kept.head_at, kept.ended_at) == (1000.0, 1001.0, 1002.0)
            assert kept.server == ("127.0.0.1", mirror.port)
        else:
            assert (kept.reason, kept.http_version, kept.headers, kept.server) == (b"", b"", (), None)
            assert (kept.started_at, kept.head_at, kept.ended_at) == (1000.0, 0.0, 1001.0)
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(result), type=ShadowResult) == result

    kit.run(test)


def test_connections_are_used_again_until_they_expire(kit: Any) -> None:
    now = [0.0]

    async def test() -> None:
        async with kit.serve() as mirror:
            sender = Sender(ClientSettings(idle_expiry_s=1.0), clock=lambda: now[0], report=pytest.fail)
            async with contextlib.aclosing(sender):
                for _ in range(2):
                    await sender.send(1, kit.shadow(mirror.port), b"", 20.0, None)
                assert len(mirror.connections) == 1
                now[0] = 1.0
                await sender.close_expired()
                await mirror.until(lambda: mirror.lost_connections == 1)

    kit.run(test)


def test_kept_answers_share_one_room_and_what_is_given_up_is_given_back(kit: Any) -> None:
    async def test() -> None:
        room = AnswerRoom(9)
        async with kit.serve(HEAD + b"abcdef") as mirror, kit.serve(HEAD + b"abcd") as silent:
            sender = Sender(ClientSettings(), report=pytest.fail, room=room)
            async with contextlib.aclosing(sender):
                answers = []
                for _ in range(2):
                    result = await sender.send(1, kit.shadow(mirror.port), b"", 20.0, Want(6))
                    assert (result.outcome, result.response_bytes) == (Outcome.OK, 6)
                    answers.append(result.answer)
                assert [answer.complete for answer in answers if answer] == [True, False]
                assert room.free_bytes == 9 - sum(len(answer.body) for answer in answers if answer)
                room.give_back(9 - room.free_bytes)
                hanging = asyncio.create_task(
                    sender.send(2, kit.shadow(silent.port), b"", 20.0, Want(6)),
                )
                await kit.poll_until(lambda: room.free_bytes == 5)
                hanging.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await hanging
        assert room.free_bytes == 9

    kit.run(test)

"""A shadow's result says how it ended, and nothing of its answer is kept but status and size."""

import contextlib
from typing import Any

import pytest

from mitm_mirror.client.settings import ClientSettings
from mitm_mirror.outcome import Outcome
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
            0.05,
            ShadowResult(7, Outcome.TIMEOUT, 200, 2, 0.0, "no complete answer before the deadline"),
            id="half an answer",
        ),
        pytest.param(
            b"SSH-2.0-OpenSSH\r\n\r\n",
            20.0,
            ShadowResult(7, Outcome.PROTOCOL_ERROR, 0, 0, 0.0, "the answer is not HTTP/1.1, or ended early"),
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
                assert await sender.send(7, kit.shadow(mirror.port), b"", timeout_s) == expected

    kit.run(test)


def test_connections_are_used_again_until_they_expire(kit: Any) -> None:
    now = [0.0]

    async def test() -> None:
        async with kit.serve() as mirror:
            sender = Sender(ClientSettings(idle_expiry_s=1.0), clock=lambda: now[0], report=pytest.fail)
            async with contextlib.aclosing(sender):
                for _ in range(2):
                    await sender.send(1, kit.shadow(mirror.port), b"", 20.0)
                assert len(mirror.connections) == 1
                now[0] = 1.0
                await sender.close_expired()
                await mirror.until(lambda: mirror.lost_connections == 1)

    kit.run(test)

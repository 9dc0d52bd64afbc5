"""Requests that are held, on a clock that the test moves."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from mitm_mirror.proxy.delays import Delays


@dataclass
class Timer:
    after_s: float
    fire: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Clock:
    timers: list[Timer] = field(default_factory=list)

    def __call__(self, after_s: float, fire: Callable[[], None]) -> Timer:
        self.timers.append(Timer(after_s, fire))
        return self.timers[-1]


async def held(delays: Delays, *clients: str) -> list[asyncio.Task[None]]:
    """Holds one request for each, and returns when all are being held."""
    tasks = [asyncio.create_task(delays.hold(client, 2.5)) for client in clients]
    await asyncio.sleep(0)
    assert delays.held == len(clients)
    return tasks


def test_a_request_is_held_until_its_time_is_over() -> None:
    async def run() -> None:
        clock = Clock()
        delays = Delays(clock)
        one, other = await held(delays, "c", "c")

        clock.timers[0].fire()
        await one

        assert not other.done()
        assert [timer.after_s for timer in clock.timers] == [2.5, 2.5]
        assert delays.held == 1
        clock.timers[1].fire()
        await other
        assert delays.held == 0

    asyncio.run(run())


def test_a_client_that_leaves_is_not_waited_for_and_others_are() -> None:
    async def run() -> None:
        clock = Clock()
        delays = Delays(clock)
        gone, gone_too, other = await held(delays, "c", "c", "d")

        delays.release("c")
        delays.release("nobody")
        await asyncio.gather(gone, gone_too)

        assert not other.done()
        assert [timer.cancelled for timer in clock.timers] == [True, True, False]
        other.cancel()
        with pytest.raises(asyncio.CancelledError):
            await other
        assert delays.held == 0

    asyncio.run(run())


def test_time_that_is_over_as_the_client_leaves_is_over_once() -> None:
    async def run() -> None:
        clock = Clock()
        delays = Delays(clock)
        (task,) = await held(delays, "c")

        delays.release("c")
        clock.timers[0].fire()
        await task

        assert delays.held == 0

    asyncio.run(run())


def test_the_loops_own_clock_ends_it_too() -> None:
    delays = Delays()

    asyncio.run(asyncio.wait_for(delays.hold("c", 0.001), 60))

    assert delays.held == 0

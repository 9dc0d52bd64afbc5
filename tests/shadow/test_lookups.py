"""Names are looked up once at a time, so that one that hangs takes one thread."""

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lab.loopback import DEADLINE_S
from mitm_mirror.shadow.lookups import LookupSharingLoop

FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))]


class Resolver:
    """In the place of the system's: `hangs` waits for `release`, `fails` fails, all else is found."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.release = threading.Event()

    def __call__(self, host: str, *_rest: Any, **_more: Any) -> list[Any]:
        self.asked[host] += 1
        if host == "hangs":
            assert self.release.wait(DEADLINE_S)
        if host == "fails":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return FOUND


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    made = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", made)
    return made


def run(test: Callable[[asyncio.AbstractEventLoop], Coroutine[Any, Any, None]]) -> None:
    """With two threads for lookups, and within a deadline."""

    async def bounded() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(2))
        async with asyncio.timeout(DEADLINE_S):
            await test(loop)

    with asyncio.Runner(loop_factory=LookupSharingLoop) as runner:
        runner.run(bounded())


def test_a_name_that_hangs_takes_one_thread_and_leaves_the_others_to_the_rest(resolver: Resolver) -> None:
    async def test(loop: asyncio.AbstractEventLoop) -> None:
        waiting = [asyncio.create_task(loop.getaddrinfo("hangs", 80)) for _ in range(50)]
        for name in ("one", "two"):
            assert await loop.getaddrinfo(name, 80) == FOUND
        assert not any(task.done() for task in waiting)
        waiting.pop().cancel()
        resolver.release.set()
        assert await asyncio.gather(*waiting) == [FOUND] * 49
        assert resolver.asked == {"hangs": 1, "one": 1, "two": 1}

    run(test)


def test_an_answer_is_not_kept(resolver: Resolver) -> None:
    async def test(loop: asyncio.AbstractEventLoop) -> None:
        for port in (80, 80, 81):
            await loop.getaddrinfo("one", port)
        assert resolver.asked == {"one": 3}

    run(test)


def test_a_failure_is_everybodys_who_waits_and_is_asked_again_after(resolver: Resolver) -> None:
    async def test(loop: asyncio.AbstractEventLoop) -> None:
        results = await asyncio.gather(
            *(loop.getaddrinfo("fails", 80) for _ in range(3)), return_exceptions=True
        )
        assert [type(result) for result in results] == [socket.gaierror] * 3
        assert resolver.asked == {"fails": 1}
        with pytest.raises(socket.gaierror):
            await loop.getaddrinfo("fails", 80)
        assert resolver.asked == {"fails": 2}

    run(test)


def test_an_error_that_nobody_waits_for_is_no_noise(
    resolver: Resolver, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(loop: asyncio.AbstractEventLoop) -> None:
        task = asyncio.create_task(loop.getaddrinfo("fails", 80))
        await asyncio.sleep(0)  # it has asked
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        lookups = [task for task in asyncio.all_tasks(loop) if task is not asyncio.current_task()]
        await asyncio.wait(lookups)  # it goes on by itself

    run(test)
    assert resolver.asked == {"fails": 1}
    assert caplog.text == ""

"""An exception of our own in a hook."""

import asyncio
import logging
from collections.abc import Awaitable

import pytest

from mitm_mirror.proxy.bugs import BugCounter, guarded


class Addon:
    def __init__(self) -> None:
        self.bugs = BugCounter()

    @guarded
    def request(self, error: Exception | None) -> None:
        if error:
            raise error

    @guarded
    def requestheaders(self, error: BaseException) -> Awaitable[None]:
        async def wait() -> None:
            raise error

        return wait()

    @guarded
    def feed(self, first: int, second: int, *, error: Exception | None = None) -> None:
        self.fed = (first, second)
        if error:
            raise error


def test_a_hook_that_has_nothing_to_await_returns_nothing() -> None:
    assert Addon().request(None) is None


def test_a_bug_does_not_get_out_of_what_a_hook_awaits() -> None:
    async def run() -> None:
        addon = Addon()

        pending = addon.requestheaders(KeyError("a"))
        assert pending is not None
        await pending

        assert {"KeyError in requestheaders": 1} == addon.bugs.counts

    asyncio.run(run())


def test_being_cancelled_is_no_bug() -> None:
    async def run() -> None:
        addon = Addon()

        pending = addon.requestheaders(asyncio.CancelledError())
        assert pending is not None
        with pytest.raises(asyncio.CancelledError):
            await pending

        assert {} == addon.bugs.counts

    asyncio.run(run())


def test_a_bug_does_not_get_out_of_a_hook_and_is_counted_by_kind() -> None:
    addon = Addon()

    for error in (KeyError("a"), KeyError("b"), TypeError("c"), None):
        addon.request(error)

    assert {"KeyError in request": 2, "TypeError in request": 1} == addon.bugs.counts


def test_a_bug_is_logged_once_a_kind_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    addon = Addon()

    with caplog.at_level(logging.ERROR):
        addon.request(KeyError("a"))
        addon.request(KeyError("b"))

    assert ["KeyError in request"] == [str(record.args[0]) for record in caplog.records if record.args]
    assert caplog.records[0].exc_info


def test_what_takes_more_than_one_thing_is_guarded_as_well() -> None:
    addon = Addon()

    assert addon.feed(1, 2, error=ZeroDivisionError("ours")) is None
    assert addon.fed == (1, 2)
    assert {"ZeroDivisionError in feed": 1} == addon.bugs.counts

"""Last hooks, in mitmproxy's own dispatch of a flow's events."""

import asyncio
from collections.abc import Awaitable

import pytest
from mitmproxy import hooks, http
from mitmproxy.proxy.layers.http import HttpRequestHook
from mitmproxy.test import taddons, tflow

from mitm_mirror.proxy.bugs import BugCounter
from mitm_mirror.proxy.exchange import Exchange
from mitm_mirror.proxy.last import last_hook, run_last


class First:
    """Has its last hook called after all addons, and writes down what came."""

    def __init__(self) -> None:
        self.bugs = BugCounter()
        self.calls: list[str] = []
        self.called = asyncio.Event()
        self.held = asyncio.Event()
        self.waits = False
        self.fails = False

    def request(self, flow: http.HTTPFlow) -> None:
        self.calls.append("first")
        last_hook.set([(self.last, flow, None)])

    update = run_last

    def last(self, flow: http.HTTPFlow, exchange: Exchange | None) -> Awaitable[None] | None:
        self.calls.append("last")
        self.called.set()
        if self.fails and not self.waits:
            raise ZeroDivisionError("ours")
        return self.wait() if self.waits else None

    async def wait(self) -> None:
        await self.held.wait()
        self.calls.append("waited")
        if self.fails:
            raise ZeroDivisionError("ours")


class Later:
    """An addon behind it, which takes its time."""

    def __init__(self, calls: list[str], go_on: asyncio.Event) -> None:
        self.calls = calls
        self.go_on = go_on
        self.came = asyncio.Event()

    async def request(self, flow: http.HTTPFlow) -> None:
        self.came.set()
        await self.go_on.wait()
        self.calls.append("later")


def test_a_last_hook_comes_after_an_addon_that_is_added_later_and_takes_its_time() -> None:
    async def run() -> list[str]:
        first, go_on = First(), asyncio.Event()
        later = Later(first.calls, go_on)
        with taddons.context(first) as tctx:
            tctx.master.addons.add(later)
            flow = tflow.tflow()
            task = asyncio.create_task(tctx.master.addons.handle_lifecycle(HttpRequestHook(flow)))
            await later.came.wait()
            # A person edits the flow meanwhile; so does an addon, in a task of its own.
            tctx.master.addons.trigger(hooks.UpdateHook([flow]))
            await asyncio.create_task(tctx.master.addons.trigger_event(hooks.UpdateHook([flow])))
            go_on.set()
            await task
            await tctx.master.addons.trigger_event(hooks.UpdateHook([flow]))
        return first.calls

    assert asyncio.run(run()) == ["first", "later", "last"]


def test_what_a_last_hook_returns_is_awaited_before_the_flow_goes_on() -> None:
    async def run() -> list[str]:
        first = First()
        first.waits = True
        with taddons.context(first) as tctx:
            task = asyncio.create_task(tctx.master.addons.handle_lifecycle(HttpRequestHook(tflow.tflow())))
            await first.called.wait()
            assert not task.done()
            first.held.set()
            await task
        return first.calls

    assert asyncio.run(run()) == ["first", "last", "waited"]


def test_an_update_of_another_flow_in_the_same_task_leaves_it_alone() -> None:
    async def run() -> list[str]:
        first = First()
        flow = tflow.tflow()
        first.request(flow)
        for flows in ([tflow.tflow()], [flow, tflow.tflow()], []):
            assert first.update(flows) is None
        before = list(first.calls)
        first.update([flow])
        first.update([flow])
        return [*before, "|", *first.calls]

    assert asyncio.run(run()) == ["first", "|", "first", "last"]


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "in what is awaited"])
def test_no_exception_gets_out_of_a_last_hook(waits: bool) -> None:
    async def run() -> First:
        first = First()
        first.waits, first.fails = waits, True
        first.held.set()
        flow = tflow.tflow()
        first.request(flow)
        pending = first.update([flow])
        assert (pending is not None) == waits
        if pending is not None:
            await pending
        return first

    assert asyncio.run(run()).bugs.counts == {"ZeroDivisionError in last": 1}

"""Primaries that are counted: each begins once and ends once, whatever becomes of its flow."""

import asyncio
import logging
from collections.abc import Callable, Coroutine

import pytest
from mitmproxy import http
from mitmproxy.test import tflow

from mitm_mirror.proxy.attempts import Attempts
from mitm_mirror.routing.cluster_state import ClusterState
from mitm_mirror.routing.decision import Endpoint, Target
from mitm_mirror.routing.endpoint_state import LocalFailure
from mitm_mirror.routing.outlier import OutlierPolicy
from mitm_mirror.routing.pool_limits import PoolLimits

LIMITS = PoolLimits(max_connections=1, max_pending_requests=1)
TARGET = Target("h", "", 80, Endpoint("127.0.0.1", 1), LIMITS, is_tracked=True)
EJECTED_FAST = OutlierPolicy(
    consecutive_5xx=1, max_ejection_percent=100, interval_s=1, base_ejection_time_s=1
)


def in_loop(test: Callable[[], Coroutine[None, None, None]]) -> Callable[[], None]:
    return lambda: asyncio.run(test())


def make_flow(client: str) -> http.HTTPFlow:
    flow = tflow.tflow()
    flow.client_conn.id = client
    return flow


def state_of(attempts: Attempts) -> ClusterState:
    (state,) = attempts.states
    return state


def counts(attempts: Attempts) -> tuple[int, int, int]:
    state = state_of(attempts)
    return state.active, state.waiting, state.overflowed


async def waiting(attempts: Attempts, flow: http.HTTPFlow) -> "asyncio.Task[bool]":
    entering = attempts.enter(flow, TARGET)
    assert not isinstance(entering, bool)

    async def wait() -> bool:
        return await entering

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    assert not task.done()
    return task


@in_loop
async def test_one_runs_one_waits_one_is_too_many() -> None:
    attempts = Attempts()
    first, second, third = map(make_flow, "abc")

    assert attempts.enter(first, TARGET) is True
    task = await waiting(attempts, second)
    assert attempts.enter(third, TARGET) is False
    assert counts(attempts) == (1, 1, 1)

    attempts.end(first)
    assert await task is True
    assert counts(attempts) == (1, 0, 1)
    attempts.end(second)
    attempts.end(second)
    attempts.end(third)
    assert counts(attempts) == (0, 0, 1)


@in_loop
async def test_a_client_that_leaves_the_queue_makes_room() -> None:
    attempts = Attempts()
    running, leaving = make_flow("a"), make_flow("b")
    attempts.enter(running, TARGET)
    task = await waiting(attempts, leaving)

    attempts.release("b")
    assert await task is True
    assert counts(attempts) == (1, 0, 0)
    attempts.end(leaving)
    assert counts(attempts) == (1, 0, 0)


@in_loop
async def test_a_client_that_leaves_takes_all_of_its_requests_along() -> None:
    attempts = Attempts()
    flow, other = make_flow("a"), make_flow("b")
    attempts.enter(flow, TARGET)
    task = await waiting(attempts, other)

    attempts.release("a")
    assert await task is True
    attempts.end(flow)
    assert counts(attempts) == (1, 0, 0)


@in_loop
async def test_a_held_request_that_is_cancelled_leaves_nothing() -> None:
    attempts = Attempts()
    running = make_flow("a")
    attempts.enter(running, TARGET)
    task = await waiting(attempts, make_flow("b"))

    task.cancel()
    await asyncio.wait([task])
    assert counts(attempts) == (1, 0, 0)

    task = await waiting(attempts, make_flow("c"))
    attempts.end(running)  # its turn has come, and it is cancelled before it learns of that
    task.cancel()
    await asyncio.wait([task])
    assert counts(attempts) == (0, 0, 0)


@in_loop
async def test_a_flow_that_was_not_counted_has_nothing_to_end() -> None:
    attempts = Attempts()
    flow = make_flow("a")
    attempts.answered(flow, 500)
    attempts.failed(flow, LocalFailure.CONNECT)
    attempts.end(flow)
    attempts.release("a")

    assert list(attempts.states) == []


def test_ejection_and_return_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The return by itself, without any request that would find it."""
    caplog.set_level(logging.INFO)
    target = Target("h", "v1", 80, Endpoint("127.0.0.1", 1), outlier=EJECTED_FAST, is_tracked=True)
    now = 100.0

    async def run() -> None:
        nonlocal now
        attempts = Attempts(lambda: now)
        for failure in (LocalFailure.CONNECT, None):
            flow = make_flow("a")
            assert attempts.enter(flow, target) is True
            if failure is not None:
                attempts.failed(flow, failure)
            attempts.end(flow)
        await asyncio.sleep(0)
        now += 1.5
        attempts._look()
        attempts.stop()

    asyncio.run(run())

    where = "127.0.0.1:1 of outbound|80|v1|h"
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", f"mirror: {where} is ejected for 1.0 s: 1 errors in a row"),
        ("INFO", f"mirror: {where} is let in again after 1.5 s"),
    ]

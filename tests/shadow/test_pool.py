"""Each submitted shadow ends exactly once, within the limits, whatever the workers do."""

import logging
from typing import Any

import pytest

from mitm_mirror.outcome import Outcome
from mitm_mirror.routing.outlier import OutlierPolicy
from mitm_mirror.routing.pool_limits import PoolLimits
from mitm_mirror.shadow.answer import Want
from mitm_mirror.shadow.entry import Deadlines
from mitm_mirror.shadow.message import ShadowResult
from mitm_mirror.shadow.pool import ShadowPool
from mitm_mirror.shadow.settings import PoolSettings
from mitm_mirror.shadow.terms import Terms

ENTRY_BYTES = 1024 + len(b"Host") + len(b"httpbin-shadow:8080") + len(b"/")
"""What `kit.shadow()` counts without a body."""


class FakeBackend:
    """Takes shadows and does nothing with them until the test says so."""

    def __init__(self, owner: Any, pid: int) -> None:
        self.owner = owner
        self.pid = pid
        self.sent: dict[int, tuple[Any, bytes, float]] = {}
        self.wants: dict[int, Want] = {}
        self.killed = self.closed = self.joined = False

    def want(self, number: int, want: Want) -> None:
        self.wants[number] = want

    def abort(self, number: int) -> None:
        del self.wants[number]

    def send(self, number: int, request: Any, body: bytes, timeout_s: float) -> None:
        if request.address == "unencodable":
            raise UnicodeEncodeError("utf-8", "s3cret", 0, 1, "surrogates not allowed")
        self.sent[number] = (request, body, timeout_s)

    def waiting_files(self) -> list[Any]:
        return []

    def kill(self) -> None:
        self.killed = True

    def close(self) -> None:
        self.closed = True

    def join(self, timeout_s: float) -> None:
        self.joined = True

    def answer(self, *numbers: int, outcome: Outcome = Outcome.OK, blameless: bool = False) -> None:
        status = 200 if outcome is Outcome.OK else 0
        self.owner.backend_results(
            [ShadowResult(number, outcome, status, 0, 1.0, "", blameless) for number in numbers]
        )


class Stage:
    """A pool with fake workers and a clock that the test moves."""

    def __init__(self, kit: Any, ready: bool = True, **settings: Any) -> None:
        self.kit = kit
        self.now = 100.0
        self.ready = ready
        self.backends: list[FakeBackend] = []
        self.endings = kit.Endings()
        self.pool: ShadowPool[Any] = ShadowPool(
            PoolSettings(**settings), self.endings, lambda: self.now, self.start_backend, lambda: 0.0
        )
        self.pool.start()
        if ready:
            for backend in self.backends:
                backend.owner.backend_ready()

    def start_backend(self, owner: Any) -> FakeBackend:
        self.backends.append(FakeBackend(owner, 1000 + len(self.backends)))
        return self.backends[-1]

    def submit(
        self,
        *tokens: Any,
        body: bytes = b"",
        timeout_s: float = 15.0,
        destination: str = "v2",
        limits: PoolLimits | None = None,
        outlier: OutlierPolicy | None = None,
        want: Want | None = None,
        **request: Any,
    ) -> None:
        for token in tokens:
            terms = Terms(timeout_s, destination, limits, outlier, want)
            self.pool.submit(self.kit.shadow(**request), body, token, terms)

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.pool._sweep()

    def drain(self) -> None:
        self.pool.drain(0.0)


def test_a_shadow_goes_to_a_worker_and_its_result_ends_it(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit)
        stage.submit("a", body=b"body")
        [(number, (request, body, left_s))] = stage.backends[0].sent.items()
        assert (request, body, left_s) == (kit.shadow(), b"body", 15.0)
        stats = stage.pool.stats()
        assert (stats.waiting, stats.in_flight, stats.held_bytes) == (0, 1, ENTRY_BYTES + 4)
        stage.backends[0].answer(number)
        [ending] = stage.endings.all
        assert (ending.token, ending.outcome, ending.waited_ms, ending.error) == ("a", Outcome.OK, 0.0, "")
        assert ending.result is not None
        assert stage.pool.stats().held_bytes == 0
        stage.drain()

    kit.run(test)


def test_the_excess_waits_in_order_and_what_waited_is_taken_off_its_time(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit, max_inflight=2)
        stage.submit(1, 2, 3, 4)
        backend = stage.backends[0]
        assert list(backend.sent) == [1, 2]
        assert stage.pool.stats().waiting == 2
        stage.now += 5.0
        backend.answer(2)
        assert list(backend.sent) == [1, 2, 3]
        assert backend.sent[3][2] == 10.0
        backend.answer(3)
        backend.answer(1, 4)
        assert stage.endings.outcomes == dict.fromkeys((1, 2, 3, 4), "ok")
        assert [ending.waited_ms for ending in stage.endings.all] == [0.0, 5000.0, 0.0, 5000.0]
        stage.drain()

    kit.run(test)


def test_nothing_is_handed_to_a_worker_that_is_still_starting(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit, ready=False)
        stage.submit("a")
        assert stage.backends[0].sent == {}
        stage.backends[0].owner.backend_ready()
        assert len(stage.backends[0].sent) == 1
        stage.drain()

    kit.run(test)


def test_the_least_loaded_worker_gets_the_next(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit, workers=3)
        one, two, three = stage.backends
        stage.submit(*range(6))
        assert [len(backend.sent) for backend in stage.backends] == [2, 2, 2]
        two.answer(*two.sent)
        stage.submit("next", "after")
        assert list(two.sent) == [2, 5, 7, 8]
        assert stage.pool.stats().pids == (1000, 1001, 1002)
        stage.drain()
        assert all(backend.closed and backend.joined for backend in (one, two, three))

    kit.run(test)


@pytest.mark.parametrize("ready", [pytest.param(True, id="in flight"), pytest.param(False, id="waiting")])
def test_memory_is_bounded_over_all_that_has_not_ended(kit: Any, ready: bool) -> None:
    async def test() -> None:
        limit = 3 * (ENTRY_BYTES + 100)
        stage = Stage(kit, ready=ready, queue_bytes=limit)
        stage.submit(1, 2, 3, body=b"x" * 100)
        assert stage.endings.all == []
        stage.submit(4)
        assert stage.endings.outcomes == {4: "queue_full"}
        if ready:
            stage.backends[0].answer(1)
            stage.submit(5)
            assert 5 not in stage.endings.outcomes
        assert stage.pool.stats().held_bytes <= limit
        stage.drain()

    kit.run(test)


def test_a_deadline_that_passes_in_the_queue(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit, max_inflight=1)
        stage.submit("held", timeout_s=60.0)
        stage.submit("late", timeout_s=2.0)
        stage.submit("later", timeout_s=3.0)
        stage.advance(2.0)
        [ending] = stage.endings.all
        assert (ending.token, ending.outcome, ending.result) == ("late", Outcome.TIMEOUT, None)
        assert (ending.error, ending.waited_ms) == ("waited 2.0 s in the queue", 2000.0)
        stage.now += 2.0
        stage.backends[0].answer(1)  # before the sweep noticed that `later` is late as well
        assert stage.endings.outcomes == {"late": "timeout", "held": "ok", "later": "timeout"}
        assert list(stage.backends[0].sent) == [1]
        stage.drain()

    kit.run(test)


def test_an_unanswered_shadow_ends_here_and_its_silent_worker_is_killed(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit, unresponsive_s=2.0)
        backend = stage.backends[0]
        stage.submit("a", timeout_s=5.0)
        stage.submit("b", timeout_s=50.0)
        stage.advance(6.9)
        assert stage.endings.all == []
        stage.advance(0.2)
        stage.advance(0.0)
        assert stage.endings.outcomes == {"a": "timeout"}
        assert backend.killed
        backend.answer(1)  # late
        assert len(stage.endings.all) == 1
        backend.owner.backend_gone("was ended by SIGKILL", "")
        assert stage.endings.outcomes == {"a": "timeout", "b": "lost"}
        assert stage.pool.stats().held_bytes == stage.pool.stats().in_flight == 0
        stage.drain()

    kit.run(test)


def test_a_busy_worker_that_still_answers_others_is_not_killed(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit, unresponsive_s=2.0)
        stage.submit("a", "b", timeout_s=5.0)
        stage.advance(5.0)
        stage.now += 1.9
        stage.backends[0].answer(2)
        stage.advance(0.2)
        assert stage.endings.outcomes == {"b": "ok", "a": "timeout"}
        assert not stage.backends[0].killed
        stage.drain()

    kit.run(test)


def test_a_death_costs_what_the_worker_held_and_nothing_else(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit, workers=2, max_inflight=2)
        one, two = stage.backends
        stage.submit(*range(1, 7))
        assert (list(one.sent), list(two.sent)) == ([1, 3], [2, 4])
        one.owner.backend_gone("was ended by SIGKILL", "")
        assert stage.endings.outcomes == {1: "lost", 3: "lost"}
        two.answer(2, 4)
        assert list(two.sent) == [2, 4, 5, 6]
        assert stage.pool.stats().workers_up == 1
        stage.drain()

    kit.run(test)


def test_a_request_that_cannot_be_encoded_does_not_reach_the_caller(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit)
        stage.submit("bad", address="unencodable")
        stage.submit("bad too", address="unencodable", want=Want(1))
        stage.submit("good")
        assert stage.backends[0].wants == {}  # it keeps nothing for a request that never comes
        assert stage.endings.outcomes == {"bad": "protocol_error", "bad too": "protocol_error"}
        assert "s3cret" not in stage.endings.all[0].error
        assert stage.pool.stats().in_flight == 1
        stage.drain()

    kit.run(test)


def test_a_listener_that_raises_does_not_stop_the_pool(kit: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        stage = Stage(kit)

        def fail(ending: Any) -> None:
            raise ValueError("bug")

        stage.pool._on_end = fail
        stage.submit(1, 2)
        stage.backends[0].answer(1, 2)
        assert stage.pool.stats().in_flight == 0
        assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 2
        stage.drain()

    kit.run(test)


def test_drain_cancels_what_is_left_and_all_that_comes_after(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit, max_inflight=1)
        stage.submit("in flight", "waiting")
        stage.drain()
        stage.submit("after")
        stage.drain()
        assert stage.endings.outcomes == dict.fromkeys(("in flight", "waiting", "after"), "cancelled")
        assert stage.backends[0].joined
        assert stage.pool.stats().held_bytes == 0

    kit.run(test)


def test_what_is_submitted_before_the_start_waits_for_it(kit: Any) -> None:
    async def test() -> None:
        endings = kit.Endings()
        backends: list[FakeBackend] = []

        def start_backend(owner: Any) -> FakeBackend:
            backends.append(FakeBackend(owner, 1))
            return backends[0]

        pool: ShadowPool[str] = ShadowPool(PoolSettings(), endings, start_backend=start_backend)
        pool.submit(kit.shadow(), b"", "early", Terms(15.0))
        pool.start()
        pool.start()  # a second call changes nothing
        backends[0].owner.backend_ready()
        backends[0].answer(1)
        assert endings.outcomes == {"early": "ok"}
        pool.drain(0.0)
        pool.start()
        assert len(backends) == 1

    kit.run(test)


def test_a_pool_that_never_started_can_be_drained(kit: Any) -> None:
    endings = kit.Endings()
    pool: ShadowPool[str] = ShadowPool(PoolSettings(), endings)
    pool.submit(kit.shadow(), b"", "early", Terms(15.0))
    pool.drain(1.0)

    assert endings.outcomes == {"early": "cancelled"}


def test_ended_numbers_do_not_pile_up() -> None:
    deadlines = Deadlines()
    for number in range(5000):
        deadlines.add(float(number), number)
    deadlines.tidy({4998, 3})

    assert len(deadlines) == 2
    assert list(deadlines.due(5000.0)) == [3, 4998]


def test_a_hung_mirror_leaves_a_healthy_one_its_share_of_slots_and_memory(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit, max_inflight=8, queue_bytes=40 * ENTRY_BYTES)
        backend = stage.backends[0]
        stage.submit("first", destination="healthy")
        backend.answer(1)
        stage.submit(*range(100), destination="hung")
        hung, healthy = len(backend.sent) - 1, "healthy"
        assert hung == 6
        # Three quarters of the memory; the rest is turned away, and names the reason.
        assert set(stage.endings.outcomes) == {"first", *range(30, 100)}
        assert {str(ending.outcome) for ending in stage.endings.all[1:]} == {"queue_full"}
        for number in range(50):
            stage.submit(f"{healthy}{number}", destination=healthy)
            assert max(backend.sent) == 102 + number  # at once
            backend.answer(max(backend.sent))
        shown = {each.name: each for each in stage.pool.stats().destinations}
        assert (shown["hung"].in_flight, shown["hung"].waiting) == (6, 24)
        assert (shown["healthy"].in_flight, shown["healthy"].held_bytes) == (0, 0)
        assert f"hung: 24 shadows waiting, 6 in flight, {30 * ENTRY_BYTES} bytes held" in str(
            stage.pool.stats()
        )
        stage.drain()
        stats = stage.pool.stats()
        assert (stats.waiting, stats.in_flight, stats.held_bytes) == (0, 0, 0)

    kit.run(test)


def test_a_worker_that_dies_takes_its_slots_along_and_a_hung_mirror_does_not_get_the_others(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit, workers=2, max_inflight=4)
        one, two = stage.backends
        stage.submit("first", destination="healthy")
        stage.submit(*range(20), destination="hung")
        assert (len(one.sent), len(two.sent)) == (4, 3)
        one.owner.backend_gone("was ended by SIGKILL", "")
        stage.submit("second", destination="healthy")
        assert len(two.sent) == 3 + 1
        assert stage.pool.stats().in_flight == 4
        stage.drain()

    kit.run(test)


def test_an_endpoint_that_fails_is_left_alone_probed_and_used_again(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit, max_inflight=7)
        backend = stage.backends[0]
        stage.submit(*range(8), port=1)
        backend.answer(1, 2, 3, 4, 5, outcome=Outcome.CONNECT_ERROR)
        # What waited by then is not sent any more; what is on its way ends as it does.
        assert stage.endings.outcomes[7] == "circuit_open"
        stage.submit("refused", port=1)
        stage.submit("sibling", port=2)
        ending = next(ending for ending in stage.endings.all if ending.token == "refused")
        assert ending.outcome is Outcome.CIRCUIT_OPEN
        assert ending.error == (
            "127.0.0.1:1 failed 5 times in a row, the last time with connect_error "
            "and is left alone until it may have recovered"
        )
        assert "sibling" not in stage.endings.outcomes
        backend.answer(6, 7)
        stage.submit("still refused", port=1)
        assert "127.0.0.1:1: open, failed 5 times" in str(stage.pool.stats())
        assert "tried again: in 1.0 s" in str(stage.pool.stats())
        stage.now += 1.0
        stage.submit("probe", "beside the probe", port=1)
        assert "half-open" in str(stage.pool.stats())
        backend.answer(12)
        stage.submit("again", port=1)
        backend.answer(14)
        assert stage.endings.outcomes == {
            **dict.fromkeys(range(5), "connect_error"),
            **dict.fromkeys((5, 6, "probe", "again"), "ok"),
            **dict.fromkeys((7, "refused", "still refused", "beside the probe"), "circuit_open"),
        }
        assert stage.pool.stats().destinations[0].breakers == ()
        stage.drain()

    kit.run(test)


def test_a_probe_that_is_lost_with_its_worker_is_followed_by_another(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit, workers=2)
        one, two = stage.backends
        stage.submit(*range(5))
        one.answer(*one.sent, outcome=Outcome.TIMEOUT)
        two.answer(*two.sent, outcome=Outcome.TLS_ERROR)
        stage.now += 1.0
        stage.submit("lost")
        one.owner.backend_gone("was ended by SIGKILL", "")
        stage.submit("next")
        two.answer(7)
        assert stage.endings.outcomes["lost"] == "lost"
        assert stage.endings.outcomes["next"] == "ok"
        stage.drain()

    kit.run(test)


NEUTRAL: list[Any] = [
    pytest.param(
        {"outcome": Outcome.CONNECT_ERROR, "blameless": True}, 0.0, id="this machine is at its limits"
    ),
    pytest.param({"outcome": Outcome.PROTOCOL_ERROR, "blameless": True}, 0.0, id="it cannot be written"),
    pytest.param({"outcome": Outcome.TIMEOUT}, 8.0, id="late, but it waited for us most of the time"),
]


@pytest.mark.parametrize(("how", "waited_s"), NEUTRAL)
def test_an_end_that_is_not_the_endpoints_fault_opens_nothing(
    kit: Any, how: dict[str, Any], waited_s: float
) -> None:
    async def test() -> None:
        stage = Stage(kit, ready=False)
        stage.submit(*range(9), timeout_s=15.0)
        stage.now += waited_s
        stage.backends[0].owner.backend_ready()
        stage.backends[0].answer(*range(1, 10), **how)
        stage.submit("next")
        assert "next" not in stage.endings.outcomes
        stage.drain()

    kit.run(test)


def test_statuses_count_where_the_rule_says_so(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit)
        backend = stage.backends[0]
        policy = OutlierPolicy(consecutive_5xx=2)
        stage.submit("a", "b", outlier=policy)
        backend.owner.backend_results(
            [ShadowResult(number, Outcome.OK, 503, 0, 1.0, "") for number in (1, 2)]
        )
        stage.submit("c", outlier=policy)
        assert stage.endings.outcomes == {"a": "ok", "b": "ok", "c": "circuit_open"}
        assert "the last time with status 503" in stage.endings.all[-1].error
        stage.drain()

    kit.run(test)


def test_what_passes_the_rules_connection_pool_ends_as_circuit_open(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit)
        limits = PoolLimits(max_connections=2, max_pending_requests=1)
        stage.submit(1, 2, 3, 4, limits=limits)
        stage.submit("elsewhere", destination="v3")
        backend = stage.backends[0]
        assert list(backend.sent) == [1, 2, 5]
        assert stage.endings.outcomes == {4: "circuit_open"}
        assert stage.endings.all[0].error == (
            "overflow of http1MaxPendingRequests: 1 shadows wait for one of 2 maxConnections"
        )
        backend.answer(1)
        assert list(backend.sent) == [1, 2, 5, 3]
        stage.drain()

    kit.run(test)


def test_few_shadows_stay_with_one_worker_whose_connections_are_warm(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit, workers=3)
        for number in range(1, 6):
            stage.submit(number)
            stage.backends[0].answer(number)
        assert [len(backend.sent) for backend in stage.backends] == [5, 0, 0]
        stage.drain()

    kit.run(test)


def test_a_destination_that_is_used_no_more_is_forgotten(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit)
        stage.submit("a", destination="v2")
        stage.backends[0].answer(1)
        stage.submit("b", destination="v3")
        for _ in range(3):
            stage.advance(61.0)
        assert [each.name for each in stage.pool.stats().destinations] == []
        stage.drain()

    kit.run(test)


def test_an_open_breaker_is_not_forgotten_before_its_pause_is_over(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit)
        policy = OutlierPolicy(consecutive_5xx=1, base_ejection_time_s=600.0, max_ejection_time_s=600.0)
        stage.submit("fails", outlier=policy)
        stage.backends[0].answer(1, outcome=Outcome.CONNECT_ERROR)
        for _ in range(9):
            stage.advance(61.0)
        stage.submit("early", outlier=policy)
        stage.advance(51.0)
        stage.submit("probe", outlier=policy)
        assert stage.endings.outcomes == {"fails": "connect_error", "early": "circuit_open"}
        stage.drain()

    kit.run(test)

"""How primaries' endpoints are chosen, limited, ejected and let in again. Time and chance are given."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from mitm_mirror.routing.cluster_state import Attempt, Entry, HealthChange, Waiting
from mitm_mirror.routing.cluster_states import ClusterStates
from mitm_mirror.routing.decision import Endpoint, Target
from mitm_mirror.routing.endpoint_state import LocalFailure
from mitm_mirror.routing.hash_policy import HashKey
from mitm_mirror.routing.hash_ring import HashRing
from mitm_mirror.routing.load_balancer import LoadBalancer
from mitm_mirror.routing.outlier import OutlierPolicy
from mitm_mirror.routing.pool_limits import PoolLimits
from mitm_mirror.routing.port_targets import PortTargets, Sticky
from mitm_mirror.routing.weights import Weighted


class Scene:
    """States with a clock that stands still."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.changes: list[HealthChange] = []
        self.states = ClusterStates(lambda: self.now, self.changes.append)
        self.turns: list[Entry] = []

    def choose(self, found: PortTargets, *draws: float, key: bytes | None = None) -> str:
        """The first letter of the endpoint's name; empty where there is none."""
        numbers = iter(draws)
        target = self.states.choose(found, key, lambda: next(numbers))
        assert not list(numbers), "not all was drawn"
        return "" if target is None else target.endpoint.address

    def enter(self, found: PortTargets, name: str = "a") -> Attempt:
        entry = self.try_to_enter(found, name)
        assert isinstance(entry, Attempt)
        return entry

    def try_to_enter(self, found: PortTargets, name: str = "a") -> Entry | Waiting:
        self.states.choose(found, None, lambda: 0.0)
        target = next(target for target in found.targets.items if target.endpoint.address == name)
        return self.states.enter(target, self.turns.append)

    def answer(self, found: PortTargets, name: str, *statuses: int) -> None:
        for status in statuses:
            attempt = self.enter(found, name)
            attempt.answered(status)
            attempt.end()

    def ejected(self, found: PortTargets) -> str:
        self.states.advance()
        return "".join(e.target.endpoint.address for state in self.states for e in state.ejected)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def cluster(
    names: str = "ab", weights: Sequence[int] = (), *, sticky: bool = False, **settings: Any
) -> PortTargets:
    limits, outlier = settings.get("limits"), settings.get("outlier")
    targets = [Target("h", "", 80, Endpoint(name, 1), limits, outlier, True) for name in names]
    given = list(weights) or [1] * len(names)
    ring = HashRing(targets, given, [name.encode() for name in names], 64)
    policy = Sticky(lambda _view, _draw: HashKey(None), ring) if sticky else None
    return PortTargets("outbound|80||h", Weighted(targets, given), policy, **settings)


def outlier(**settings: Any) -> OutlierPolicy:
    return OutlierPolicy(
        **{"max_ejection_percent": 100, "interval_s": 1.0, "base_ejection_time_s": 10.0, **settings}
    )


# --- balancers


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        pytest.param((1, 1, 1), "abcabcabc", id="equal weights"),
        pytest.param((5, 5, 5), "abcabcabc", id="equal weights above 1"),
        pytest.param((2, 1, 1), "abcaabca", id="one of more weight"),
        pytest.param((1, 2, 1), "bacbbacb", id="spread evenly"),
    ],
)
def test_round_robin(scene: Scene, weights: tuple[int, ...], expected: str) -> None:
    found = cluster("abc", weights, balancer=LoadBalancer.ROUND_ROBIN)

    assert "".join(scene.choose(found) for _ in expected) == expected


def test_round_robin_gives_each_its_weight(scene: Scene) -> None:
    found = cluster("abc", (7, 2, 1), balancer=LoadBalancer.ROUND_ROBIN)

    assert Counter(scene.choose(found) for _ in range(1000)) == {"a": 700, "b": 200, "c": 100}


@pytest.mark.parametrize(
    ("draws", "expected"),
    [
        pytest.param((0.0, 0.9), "c", id="the second has fewer"),
        pytest.param((0.9, 0.0), "c", id="the first has fewer"),
        pytest.param((0.4, 0.9), "b", id="the first of equals"),
        pytest.param((0.0, 0.0), "a", id="the same twice"),
    ],
)
def test_least_request_takes_the_better_of_two(
    scene: Scene, draws: tuple[float, float], expected: str
) -> None:
    found = cluster("abc", balancer=LoadBalancer.LEAST_REQUEST)
    scene.states.choose(found, None, lambda: 0.0)
    scene.enter(found, "a")

    assert scene.choose(found, *draws) == expected


def test_least_request_divides_weights_by_requests(scene: Scene) -> None:
    found = cluster("ab", (3, 1), balancer=LoadBalancer.LEAST_REQUEST)
    idle = Counter(scene.choose(found) for _ in range(400))
    for _ in range(2):
        scene.enter(found, "a")
    busy = Counter(scene.choose(found) for _ in range(400))

    assert idle == {"a": 300, "b": 100}
    # 3 / (2 + 1) is 1; the turn that was planned before, and the two above, are within the bound
    assert busy["a"] == pytest.approx(200, abs=2)


def test_random_leaves_weights_out(scene: Scene) -> None:
    found = cluster("ab", (99, 1), balancer=LoadBalancer.RANDOM)

    assert [scene.choose(found, draw) for draw in (0.0, 0.49, 0.5, 0.99)] == ["a", "a", "b", "b"]


def test_without_a_key_consistent_hash_goes_by_weight(scene: Scene) -> None:
    found = cluster("ab", (3, 1), sticky=True, balancer=LoadBalancer.BY_WEIGHT)

    assert [scene.choose(found, draw) for draw in (0.0, 0.74, 0.75)] == ["a", "a", "b"]


def test_one_endpoint_needs_no_draw(scene: Scene) -> None:
    assert scene.choose(cluster("a", balancer=LoadBalancer.RANDOM, outlier=outlier())) == "a"


# --- limits


def test_requests_above_the_limit_are_turned_away(scene: Scene) -> None:
    found = cluster("ab", limits=PoolLimits(max_requests=2))
    first, _ = scene.enter(found, "a"), scene.enter(found, "b")

    assert scene.try_to_enter(found, "a") is None
    first.end()
    assert isinstance(scene.try_to_enter(found, "a"), Attempt)
    (state,) = scene.states
    assert (state.active, state.overflowed) == (2, 1)


def test_an_attempt_that_ends_twice_counts_once(scene: Scene) -> None:
    found = cluster("a", limits=PoolLimits(max_requests=1))
    first = scene.enter(found)
    first.end()
    scene.enter(found)
    first.end()

    assert scene.try_to_enter(found) is None


def test_requests_wait_for_a_connection_in_turn(scene: Scene) -> None:
    found = cluster("a", limits=PoolLimits(max_connections=1, max_pending_requests=2))
    running = scene.enter(found)
    first, second = scene.try_to_enter(found), scene.try_to_enter(found)

    assert isinstance(first, Waiting)
    assert isinstance(second, Waiting)
    assert scene.try_to_enter(found) is None
    running.end()
    (entry,) = scene.turns
    assert entry is not None
    entry.end()
    assert len(scene.turns) == 2
    (state,) = scene.states
    assert (state.active, state.waiting, state.overflowed) == (1, 0, 1)


def test_who_leaves_the_queue_has_no_turn(scene: Scene) -> None:
    found = cluster("a", limits=PoolLimits(max_connections=1))
    running = scene.enter(found)
    first, second = scene.try_to_enter(found), scene.try_to_enter(found)
    assert isinstance(first, Waiting)
    assert isinstance(second, Waiting)

    first.leave()
    running.end()
    assert len(scene.turns) == 1
    second.leave()  # which has had its turn
    (state,) = scene.states
    assert (state.active, state.waiting) == (1, 0)


def test_an_endpoint_without_a_connection_gets_one_always(scene: Scene) -> None:
    found = cluster("ab", limits=PoolLimits(max_connections=1, max_pending_requests=1))
    scene.enter(found, "a")
    second = scene.enter(found, "b")
    waiting = scene.try_to_enter(found, "b")

    assert isinstance(waiting, Waiting)
    second.end()
    assert [entry is not None for entry in scene.turns] == [True]


def test_an_endpoint_that_its_request_named_has_connections_of_its_own(scene: Scene) -> None:
    """As with Envoy's ORIGINAL_DST: the rules list none, but a second request finds the first one there."""
    found = cluster("a", limits=PoolLimits(max_connections=1), outlier=outlier(consecutive_5xx=1))
    named = {name: replace(found.targets.items[0], endpoint=Endpoint(name, 1)) for name in "xyz"}

    scene.choose(found)
    first = scene.states.enter(named["x"], scene.turns.append)
    assert isinstance(first, Attempt)
    assert isinstance(scene.states.enter(named["x"], scene.turns.append), Waiting)
    assert isinstance(scene.states.enter(named["y"], scene.turns.append), Attempt)
    first.answered(500)

    assert not scene.ejected(found)
    assert scene.changes == []


def test_who_waited_may_still_be_too_many(scene: Scene) -> None:
    found = cluster("ab", limits=PoolLimits(max_connections=2, max_requests=2))
    running = [scene.enter(found, "a"), scene.enter(found, "b")]
    assert isinstance(scene.try_to_enter(found, "a"), Waiting)
    scene.states.adopt({found.cluster: cluster("ab", limits=PoolLimits(max_connections=2, max_requests=1))})

    running[0].end()

    assert scene.turns == [None]


# --- ejection


@pytest.mark.parametrize(
    ("settings", "statuses", "expected"),
    [
        pytest.param({}, (500,) * 4, "", id="4 of 5 errors"),
        pytest.param({}, (500,) * 5, "a", id="5 errors"),
        pytest.param({}, (500, 502, 503, 504, 599), "a", id="any 5xx"),
        pytest.param({}, (500, 500, 500, 500, 404, 500), "", id="an answer between"),
        pytest.param({"consecutive_5xx": 0}, (500,) * 20, "", id="turned off"),
        pytest.param({"consecutive_gateway_errors": 2}, (502, 503), "a", id="gateway errors"),
        pytest.param({"consecutive_gateway_errors": 2}, (502, 500, 503), "", id="500 between"),
        pytest.param(
            {"error_codes": frozenset({429}), "consecutive_5xx": 2}, (429, 429), "a", id="429 named"
        ),
        pytest.param(
            {"error_codes": frozenset({429}), "consecutive_5xx": 2}, (500, 500), "", id="500 not named"
        ),
        pytest.param(
            {"error_codes": frozenset({429, 503}), "consecutive_5xx": 9, "consecutive_gateway_errors": 2},
            (429, 429, 503, 503),
            "a",
            id="a named gateway error",
        ),
        pytest.param(
            {"error_codes": frozenset({429}), "consecutive_5xx": 9, "consecutive_gateway_errors": 2},
            (429, 429),
            "",
            id="429 is no gateway error",
        ),
    ],
)
def test_errors_in_a_row_eject(
    scene: Scene, settings: dict[str, Any], statuses: tuple[int, ...], expected: str
) -> None:
    found = cluster("ab", outlier=outlier(**settings))
    scene.answer(found, "a", *statuses)

    assert scene.ejected(found) == expected


CONNECT, RESET, TIMEOUT = LocalFailure.CONNECT, LocalFailure.RESET, LocalFailure.TIMEOUT


@pytest.mark.parametrize(
    ("settings", "failures", "expected"),
    [
        pytest.param({"consecutive_5xx": 2}, (CONNECT, RESET), "a", id="count as 503"),
        pytest.param({"consecutive_5xx": 2}, (TIMEOUT, 500), "a", id="beside answers"),
        pytest.param({"consecutive_gateway_errors": 2}, (CONNECT, TIMEOUT), "a", id="are gateway errors"),
        pytest.param(
            {"split_local_origin_errors": True, "consecutive_5xx": 1, "consecutive_local_origin_failures": 2},
            (CONNECT,),
            "",
            id="split: not as 503",
        ),
        pytest.param(
            {"split_local_origin_errors": True, "consecutive_local_origin_failures": 2},
            (CONNECT, CONNECT),
            "a",
            id="split: by themselves",
        ),
        pytest.param(
            {"split_local_origin_errors": True, "consecutive_local_origin_failures": 2},
            (CONNECT, 200, CONNECT),
            "",
            id="split: a connection between",
        ),
        pytest.param(
            {"split_local_origin_errors": True, "consecutive_local_origin_failures": 2},
            (RESET, RESET, RESET),
            "",
            id="split: a reset had a connection",
        ),
    ],
)
def test_failures_without_an_answer(
    scene: Scene, settings: dict[str, Any], failures: tuple[LocalFailure | int, ...], expected: str
) -> None:
    found = cluster("ab", outlier=outlier(**settings))
    for failure in failures:
        attempt = scene.enter(found, "a")
        if isinstance(failure, LocalFailure):
            attempt.failed(failure)
        else:
            attempt.answered(failure)
        attempt.end()

    assert scene.ejected(found) == expected


@pytest.mark.parametrize(
    ("percent", "endpoints", "expected"),
    [
        pytest.param(10, "ab", "", id="a tenth of 2 is none"),
        pytest.param(10, "abcdefghij", "a", id="a tenth of 10"),
        pytest.param(49, "ab", "", id="just below one of two"),
        pytest.param(50, "ab", "a", id="one of two"),
        pytest.param(99, "abc", "ab", id="two of three"),
        pytest.param(100, "ab", "ab", id="all"),
    ],
)
def test_no_more_are_ejected_than_allowed(scene: Scene, percent: int, endpoints: str, expected: str) -> None:
    """As Envoy 1.40 was seen to do it, which by default ejects none of two."""
    found = cluster(endpoints, outlier=outlier(max_ejection_percent=percent))
    for name in endpoints[:3]:
        scene.answer(found, name, *(500,) * 5)

    assert scene.ejected(found) == expected


@pytest.mark.parametrize("balancer", list(LoadBalancer))
def test_no_balancer_chooses_what_is_ejected(scene: Scene, balancer: LoadBalancer) -> None:
    found = cluster(
        "abc", (1, 2, 3), balancer=balancer, sticky=balancer is LoadBalancer.BY_WEIGHT, outlier=outlier()
    )
    scene.answer(found, "b", *(500,) * 5)
    draw = random.Random(1).random

    def names(keys: Callable[[int], bytes | None]) -> set[str]:
        chosen = (scene.states.choose(found, keys(i), draw) for i in range(200))
        return {target.endpoint.address for target in chosen if target is not None}

    assert names(lambda _: None) == {"a", "c"}
    if found.sticky is not None:
        assert names(lambda i: b"%d" % i) == {"a", "c"}


def test_only_the_keys_of_an_ejected_endpoint_move(scene: Scene) -> None:
    found = cluster("abc", sticky=True, balancer=LoadBalancer.BY_WEIGHT, outlier=outlier())
    keys = [b"%d" % i for i in range(200)]
    before = {key: scene.choose(found, key=key) for key in keys}
    scene.answer(found, "b", *(500,) * 5)
    after = {key: scene.choose(found, key=key) for key in keys}

    assert {before[key] for key in keys if before[key] != after[key]} == {"b"}


@pytest.mark.parametrize(
    ("min_health", "ejected", "expected"),
    [
        pytest.param(0, "ab", "", id="none left, and no panic by default"),
        pytest.param(0, "a", "b", id="one left"),
        pytest.param(50, "a", "b", id="half is enough"),
        pytest.param(51, "a", "ab", id="half is too little: all are used"),
        pytest.param(1, "ab", "ab", id="none left: all are used"),
    ],
)
def test_panic(scene: Scene, min_health: int, ejected: str, expected: str) -> None:
    found = cluster("ab", balancer=LoadBalancer.ROUND_ROBIN, outlier=outlier(min_health_percent=min_health))
    for name in ejected:
        scene.answer(found, name, *(500,) * 5)

    assert set(expected) == {name for name in (scene.choose(found) for _ in range(4)) if name}


def test_no_panic_while_five_of_seven_are_left(scene: Scene) -> None:
    """Envoy's overprovisioning: 1.4 times the share of those left counts as everything."""
    found = cluster("abcdefg", balancer=LoadBalancer.ROUND_ROBIN, outlier=outlier(min_health_percent=90))
    for name in "ab":
        scene.answer(found, name, *(500,) * 5)
    assert {scene.choose(found) for _ in range(14)} == set("cdefg")
    scene.answer(found, "c", *(500,) * 5)
    assert {scene.choose(found) for _ in range(14)} == set("abcdefg")


def test_ejections_grow_longer_and_end_at_a_look(scene: Scene) -> None:
    found = cluster("ab", outlier=outlier(interval_s=4.0))
    lasted = []
    for _ in range(3):
        scene.answer(found, "a", *(500,) * 5)
        start = scene.now
        while scene.ejected(found):
            scene.now += 1
        lasted.append(scene.now - start)

    # 10, 20 and 30 s, and then the next of the looks each 4 s, which are counted from the beginning
    assert lasted == [12, 20, 32]
    assert [change.ejected_for for change in scene.changes] == ["5 errors in a row", ""] * 3
    assert [change.seconds for change in scene.changes] == [12, 12, 20, 20, 32, 32]


def test_ejections_grow_no_longer_than_five_minutes(scene: Scene) -> None:
    found = cluster("ab", outlier=outlier(base_ejection_time_s=140.0))
    for _ in range(5):
        scene.answer(found, "a", *(500,) * 5)
        scene.now += scene.changes[-1].seconds
        assert not scene.ejected(found)

    assert [change.seconds for change in scene.changes if change.ejected_for] == [140, 280, 300, 300, 300]


def test_quiet_times_shorten_the_next_ejection(scene: Scene) -> None:
    found = cluster("ab", outlier=outlier())
    for pause_s in (10, 20 + 1, 20 + 500, 10):
        scene.answer(found, "a", *(500,) * 5)
        scene.now += pause_s
        scene.choose(found, 0.0, 0.0)

    assert [change.seconds for change in scene.changes if change.ejected_for] == [10, 20, 20, 10]


def test_errors_from_before_do_not_count_after(scene: Scene) -> None:
    found = cluster("ab", outlier=outlier(consecutive_gateway_errors=6))
    scene.answer(found, "a", *(503,) * 5)
    scene.now += 10
    scene.answer(found, "a", 503)

    assert not scene.ejected(found)


def test_the_next_return_is_known(scene: Scene) -> None:
    found = cluster("ab", outlier=outlier())
    assert scene.states.advance() is None
    scene.answer(found, "a", *(500,) * 5)
    scene.now += 4
    assert scene.states.advance() == 6
    scene.now += 6
    assert scene.states.advance() is None
    assert [bool(change.ejected_for) for change in scene.changes] == [True, False]


# --- reloads


def test_a_reload_keeps_the_state_of_what_stays(scene: Scene) -> None:
    before = cluster("abc", balancer=LoadBalancer.ROUND_ROBIN, outlier=outlier())
    assert scene.choose(before) == "a"
    scene.answer(before, "b", *(500,) * 5)
    running = scene.enter(before, "a")
    after = cluster("abd", balancer=LoadBalancer.ROUND_ROBIN, outlier=outlier())

    scene.states.adopt({after.cluster: after})

    assert scene.ejected(after) == "b"
    (state,) = scene.states
    assert [(e.target.endpoint.address, e.active) for e in state.endpoints] == [("a", 1), ("b", 0), ("d", 0)]
    running.end()
    assert [e.active for e in state.endpoints] == [0, 0, 0]


def test_a_reload_of_the_same_goes_on_where_it_was(scene: Scene) -> None:
    for weights in ((1, 1, 1), (2, 1, 1)):
        found = cluster("abc", weights, balancer=LoadBalancer.ROUND_ROBIN)
        reloaded = cluster("abc", weights, balancer=LoadBalancer.ROUND_ROBIN)
        whole = [scene.choose(found) for _ in range(8)]
        scene.states.adopt({})
        halves = [scene.choose(found) for _ in range(3)]
        scene.states.adopt({reloaded.cluster: reloaded})
        halves += [scene.choose(reloaded) for _ in range(5)]
        scene.states.adopt({})

        assert halves == whole


def test_a_cluster_that_leaves_lets_go_who_waits(scene: Scene) -> None:
    found = cluster("a", limits=PoolLimits(max_connections=1, max_requests=1))
    running = scene.enter(found)
    assert isinstance(scene.try_to_enter(found), Waiting)

    scene.states.adopt({})
    (entry,) = scene.turns
    assert entry is not None
    assert list(scene.states) == []
    running.end()
    entry.end()


def test_a_request_that_was_held_while_its_cluster_left(scene: Scene) -> None:
    found = cluster("a", limits=PoolLimits(max_requests=1))
    scene.choose(found)
    scene.states.adopt({})

    attempt = scene.states.enter(found.targets.items[0], scene.turns.append)
    assert isinstance(attempt, Attempt)
    assert scene.states.enter(found.targets.items[0], scene.turns.append) is None
    attempt.end()


def test_rules_without_outlier_detection_end_ejections(scene: Scene) -> None:
    found = cluster("ab", outlier=outlier())
    scene.answer(found, "a", *(500,) * 5)
    scene.states.adopt({found.cluster: cluster("ab")})

    assert scene.choose(found, 0.0, 0.0) == "a"


def test_endpoints_of_one_address_have_turns_of_their_own(scene: Scene) -> None:
    found = cluster("aab", balancer=LoadBalancer.ROUND_ROBIN)

    assert "".join(scene.choose(found) for _ in range(6)) == "aabaab"

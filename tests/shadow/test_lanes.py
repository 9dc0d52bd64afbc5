"""Whose turn it is among destinations, and that nobody waits for another one's mirror."""

from typing import Any

import pytest

from mitm_mirror.routing.pool_limits import PoolLimits
from mitm_mirror.shadow.entry import Entry
from mitm_mirror.shadow.lanes import Lane, Lanes


class Stage:
    """Lanes whose shadows are named `a1`, `a2`, `b1`... after their lane."""

    def __init__(self, kit: Any, slots: int) -> None:
        self.kit = kit
        self.lanes: Lanes[str] = Lanes(1_000_000)
        self.lanes.set_slots(slots)
        self.number = 0

    def lane(self, name: str) -> Lane[str]:
        return self.lanes.get(name)

    def wait(self, *tokens: str) -> None:
        for token in tokens:
            self.number += 1
            lane = self.lane(token[0])
            entry = Entry(self.number, self.kit.shadow(), b"", token, lane, submitted_at=0.0, deadline=9.0)
            self.lanes.wait(lane, entry)

    def served(self, count: int = 99) -> str:
        """Who gets a slot next."""
        found = []
        while len(found) < count and (entry := self.lanes.next()) is not None:
            found.append(entry.token)
        return " ".join(found)

    def end(self, *names: str) -> None:
        for name in names:
            self.lanes.free_slot(self.lane(name))


def test_turns_go_round_and_each_lane_keeps_its_order(kit: Any) -> None:
    stage = Stage(kit, 100)
    stage.wait("a1", "a2", "a3", "a4", "b1", "c1", "c2")
    assert stage.served() == "a1 b1 c1 a2 c2 a3 a4"


def test_a_lane_that_holds_its_share_is_passed_by(kit: Any) -> None:
    stage = Stage(kit, 8)
    for name in "ab":
        stage.lane(name)
    stage.wait(*(f"a{number}" for number in range(1, 10)))
    assert stage.served() == "a1 a2 a3 a4 a5 a6"
    stage.wait("b1", "b2", "b3", "b4")
    assert stage.served() == "b1 b2"
    stage.end("b")
    assert stage.served() == "b3"
    stage.end("a")  # of the common half: the next in turn has it, and a is the first that was refused
    assert stage.served() == "a7"
    stage.end("a")
    assert stage.served() == "b4"
    stage.end("b", "b", "b")
    assert stage.served() == "a8"


def test_a_parked_lane_gets_its_own_part_as_soon_as_it_holds_less(kit: Any) -> None:
    stage = Stage(kit, 8)
    for name in "ab":
        stage.lane(name)
    stage.wait("b1", "b2", *(f"a{number}" for number in range(1, 9)))
    stage.served()
    stage.wait("b3", "b4")
    assert stage.served() == ""
    stage.end("b")
    assert stage.served() == "b3"


def test_who_has_just_come_does_not_overtake(kit: Any) -> None:
    stage = Stage(kit, 2)
    lane, other = stage.lane("a"), stage.lane("b")
    assert stage.lanes.take_slot(lane)
    assert not stage.lanes.take_slot(lane)  # the other one's part
    stage.wait("a1")
    assert not stage.lanes.take_slot(other)  # a1 has not been asked yet
    assert stage.served() == ""
    assert stage.lanes.take_slot(other)
    assert not stage.lanes.take_slot(other)


def test_a_shadow_that_ended_while_it_waited_leaves_its_turn_to_the_next(kit: Any) -> None:
    stage = Stage(kit, 4)
    stage.wait("a1", "b1", "b2")
    del stage.lane("a").waiting[1]
    assert stage.served() == "b1 b2"


@pytest.mark.parametrize(
    ("limits", "sent", "waiting", "overflow"),
    [
        pytest.param(None, 9, 9, "", id="no limits"),
        pytest.param(PoolLimits(max_requests=3), 2, 0, "", id="below http2MaxRequests"),
        pytest.param(
            PoolLimits(max_requests=3), 2, 1, "http2MaxRequests: 3 shadows have not ended yet", id="at it"
        ),
        pytest.param(PoolLimits(max_connections=2), 2, 99, "", id="maxConnections alone: the excess waits"),
        pytest.param(
            PoolLimits(max_connections=2, max_pending_requests=1),
            2,
            0,
            "",
            id="one more may wait for a connection",
        ),
        pytest.param(
            PoolLimits(max_connections=2, max_pending_requests=1),
            2,
            1,
            "http1MaxPendingRequests: 1 shadows wait for one of 2 maxConnections",
            id="and no second",
        ),
        pytest.param(
            PoolLimits(max_pending_requests=1),
            9,
            9,
            "",
            id="nothing waits for connections without maxConnections",
        ),
    ],
)
def test_which_limit_of_the_rule_is_passed(
    kit: Any, limits: PoolLimits | None, sent: int, waiting: int, overflow: str
) -> None:
    stage = Stage(kit, 100)
    lane = stage.lane("a")
    for _ in range(sent):
        assert stage.lanes.take_slot(lane)
    stage.wait(*["a"] * waiting)
    lane.limits = limits
    assert lane.overflow() == overflow


def test_a_lane_at_its_own_limit_goes_on_when_one_of_its_shadows_ends(kit: Any) -> None:
    stage = Stage(kit, 100)
    stage.lane("a").limits = PoolLimits(max_connections=2)
    stage.wait("a1", "a2", "a3", "b1")
    assert stage.served() == "a1 b1 a2"
    assert not stage.lanes.take_slot(stage.lane("a"))
    stage.end("b")
    assert stage.served() == ""
    stage.end("a")
    assert stage.served() == "a3"


def test_lanes_that_are_used_no_more_give_their_share_back(kit: Any) -> None:
    stage = Stage(kit, 8)
    stage.lane("b").used_at = 10.0
    lane = stage.lane("a")
    stage.wait(*(f"a{number}" for number in range(1, 9)))
    assert len(stage.served().split()) == 6
    stage.lanes.memory.take(lane.memory, 1)
    stage.lanes.forget_unused(11.0)
    assert [lane.name for lane in stage.lanes] == ["a"]
    assert len(stage.served().split()) == 2

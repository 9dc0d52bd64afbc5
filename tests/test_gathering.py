from collections.abc import Callable

from mitm_mirror.gathering import Gathering


def test_items_are_done_together_in_one_turn_and_in_order() -> None:
    turns: list[Callable[[], None]] = []
    done: list[list[int]] = []
    gathering = Gathering[int](done.append, turns.append)
    for item in (1, 2, 3):
        gathering.add(item)
    before = list(done)
    (turn,) = turns
    turn()
    gathering.add(4)

    assert before == []
    assert done == [[1, 2, 3]]
    assert len(turns) == 2


def test_a_turn_after_a_flush_finds_nothing() -> None:
    turns: list[Callable[[], None]] = []
    done: list[list[int]] = []
    gathering = Gathering[int](done.append, turns.append)
    gathering.add(1)
    gathering.flush()
    turns.pop()()

    assert done == [[1]]


def test_without_a_schedule_each_item_is_done_at_once() -> None:
    done: list[list[int]] = []
    gathering = Gathering[int](done.append)
    gathering.add(1)
    gathering.add(2)

    assert done == [[1], [2]]


def test_what_is_added_while_others_are_done_gets_a_turn_of_its_own() -> None:
    turns: list[Callable[[], None]] = []
    done: list[list[int]] = []

    def do(items: list[int]) -> None:
        done.append(items)
        if items == [1]:
            gathering.add(2)

    gathering = Gathering[int](do, turns.append)
    gathering.add(1)
    turns.pop(0)()
    turns.pop(0)()

    assert done == [[1], [2]]

"""Maglev's table: shares, stability, and what moves."""

from collections import Counter

import pytest

from mitm_mirror.routing.maglev import MaglevTable

KEYS = [b"user-%d" % number for number in range(3000)]


def table(weights: dict[str, int], size: int = 997) -> MaglevTable[str]:
    return MaglevTable(list(weights), list(weights.values()), [name.encode() for name in weights], size)


@pytest.mark.parametrize(
    ("weights", "size", "expected"),
    [
        pytest.param({"a": 1}, 7, {"a": 7}, id="one item"),
        pytest.param({"a": 1, "b": 1}, 7, {"a": 4, "b": 3}, id="the first has what is left over"),
        pytest.param({"a": 2, "b": 1, "c": 1}, 997, {"a": 498, "b": 249, "c": 250}, id="weights"),
        pytest.param({"a": 10**9, "b": 1}, 7, {"a": 6, "b": 1}, id="a tiny weight has an entry"),
    ],
)
def test_every_entry_is_taken_and_by_weight(
    weights: dict[str, int], size: int, expected: dict[str, int]
) -> None:
    found = Counter(table(weights, size)._table)

    assert sum(found.values()) == size
    assert found.keys() == expected.keys()
    assert all(abs(found[item] - count) <= 1 for item, count in expected.items())


def test_it_is_the_same_in_every_process() -> None:
    """A restart must not move users: the places are part of what the code promises."""
    assert [table({"a": 1, "b": 1, "c": 1}).find(key) for key in KEYS[:12]] == list("caccbcbbbaaa")


def test_the_order_of_items_does_not_count() -> None:
    one, other = table({"a": 1, "b": 3}), table({"b": 3, "a": 1})

    assert all(one.find(key) == other.find(key) for key in KEYS)


def test_an_item_that_leaves_moves_few_other_keys() -> None:
    before, after = table({"a": 1, "b": 1, "c": 1}), table({"a": 1, "b": 1})
    moved = [key for key in KEYS if before.find(key) not in ("c", after.find(key))]

    assert len(moved) < len(KEYS) / 5


def test_only_the_keys_of_what_cannot_be_used_move() -> None:
    made = table({"a": 1, "b": 1, "c": 1})
    found = [(made.find(key), made.find(key, lambda item: item != "b")) for key in KEYS]

    assert {one for one, other in found if one != other} == {"b"}
    assert Counter(other for one, other in found if one == "b").keys() == {"a", "c"}
    assert made.find(KEYS[0], lambda _: False) == made.find(KEYS[0])

"""No taker can keep the others from their own part."""

import random

import pytest

from mitm_mirror.shadow.shares import Holding, Shares


def take_all(shares: Shares, holding: Holding) -> int:
    while shares.take(holding, 1):
        pass
    return holding.amount


@pytest.mark.parametrize(
    ("total", "takers", "own", "greedy"),
    [
        pytest.param(1024, 1, 512, 1024, id="alone it may hold everything"),
        pytest.param(1024, 2, 256, 768, id="two"),
        pytest.param(1024, 4, 128, 640, id="four"),
        pytest.param(2, 2, 1, 1, id="one each, and no common half"),
        pytest.param(3, 2, 1, 2, id="one each, and one in common"),
        pytest.param(1, 2, 0, 1, id="fewer than takers: first come, first served"),
        pytest.param(0, 2, 0, 0, id="nothing to share"),
    ],
)
def test_what_one_can_hold_while_the_others_have_nothing(
    total: int, takers: int, own: int, greedy: int
) -> None:
    shares = Shares(total)
    first, *others = [shares.join() for _ in range(takers)]

    assert shares.own == own
    assert take_all(shares, first) == greedy
    assert [take_all(shares, other) for other in others] == [own] * len(others)


def test_who_comes_late_gets_his_part_as_it_comes_back() -> None:
    shares = Shares(8)
    first = shares.join()
    take_all(shares, first)
    late = shares.join()

    assert not shares.take(late, 1)
    shares.give_back(first, 3)
    assert take_all(shares, first) == 6
    assert take_all(shares, late) == 2


def test_shares_grow_when_one_leaves_and_shrink_with_the_total() -> None:
    shares = Shares(8)
    first, second = shares.join(), shares.join()
    assert take_all(shares, first) == 6
    shares.leave(second)
    assert take_all(shares, first) == 8
    shares.resize(4)
    assert shares.common_left < 0
    shares.give_back(first, 4)
    assert not shares.take(first, 1)
    shares.give_back(first, 1)
    assert shares.take(first, 1)


def test_whatever_happens_who_holds_less_than_his_own_part_gets_more() -> None:
    rng = random.Random(7)
    shares = Shares(1000)
    holdings = [shares.join() for _ in range(5)]
    refused = 0
    for _ in range(20_000):
        holding, amount = rng.choice(holdings), rng.randint(1, 90)
        if rng.random() < 0.6:
            below = holding.amount + amount <= shares.own
            taken = shares.take(holding, amount)
            assert taken or not below
            refused += not taken
        else:
            shares.give_back(holding, min(amount, holding.amount))
        assert shares.used == sum(each.amount for each in holdings) <= shares.total
    assert refused > 100
    for holding in holdings:
        shares.give_back(holding, holding.amount)
    assert (shares.used, shares.common_left) == (0, 500)

from collections import Counter

import pytest

from mitm_mirror.routing.weights import Weighted


def never() -> float:
    raise AssertionError("no number was to be drawn")


@pytest.mark.parametrize(
    ("weights", "shares"),
    [
        pytest.param((80, 20), {"a": 80, "b": 20}, id="of a hundred"),
        pytest.param((1, 3), {"a": 25, "b": 75}, id="ratios, whatever their sum"),
        pytest.param((1, 1, 2), {"a": 25, "b": 25, "c": 50}, id="three"),
    ],
)
def test_evenly_spread_draws_give_exact_shares(weights: tuple[int, ...], shares: dict[str, int]) -> None:
    weighted = Weighted("abc"[: len(weights)], weights)
    draws = iter([i / 100 for i in range(100)])

    assert Counter(weighted.choose(lambda: next(draws)) for _ in range(100)) == shares


@pytest.mark.parametrize("total", [1, 3, 5, 7, 100, 1_000_003])
def test_the_largest_draw_still_chooses_the_last(total: int) -> None:
    assert Weighted("ab", (1, total)).choose(lambda: 1 - 2**-53) == "b"


def test_a_single_item_needs_no_draw() -> None:
    assert Weighted("a", (0,)).choose(never) == "a"

"""The mirrored share falls while something is slow and recovers by itself."""

import pytest

from mitm_mirror.shadow.governor import DECREASE, INCREASE, LEAST, Governor, GovernorBounds


def period(governor: Governor, lags: list[float], primaries: list[float]) -> float:
    for lag in lags:
        governor.saw_lag(lag)
    for seconds in primaries:
        governor.saw_primary(seconds)
    governor.end_period()
    return governor.share


BOTH = GovernorBounds(lag_s=0.1, primary_s=0.5)


@pytest.mark.parametrize(
    ("bounds", "lags", "primaries", "reason"),
    [
        pytest.param(BOTH, [0.0, 0.01, 0.1], [0.1, 0.5], "", id="at the bounds"),
        pytest.param(BOTH, [], [], "", id="nothing was seen"),
        pytest.param(BOTH, [9.0, 0.0, 0.0], [], "", id="one stray sample"),
        pytest.param(BOTH, [0.0] * 3, [9.0, 0.1], "", id="half of the primaries"),
        pytest.param(BOTH, [0.2, 0.2, 0.0], [], "the proxy's event loop lags", id="lag"),
        pytest.param(BOTH, [0.0] * 3, [0.6, 0.7, 0.1], "primaries are slow", id="primaries"),
        pytest.param(BOTH, [0.2], [0.6], "the proxy's event loop lags and primaries are slow", id="both"),
        pytest.param(GovernorBounds(lag_s=0.1), [0.0], [99.0], "", id="primaries do not matter"),
        pytest.param(GovernorBounds(primary_s=0.1), [99.0], [0.0], "", id="lag does not matter"),
    ],
)
def test_what_is_too_slow(
    bounds: GovernorBounds, lags: list[float], primaries: list[float], reason: str
) -> None:
    governor = Governor(bounds)

    assert period(governor, lags, primaries) == (DECREASE if reason else 1.0)
    assert governor.reason == reason


def test_the_share_falls_fast_to_its_least_and_comes_back_by_itself() -> None:
    governor = Governor(BOTH)
    falling = [period(governor, [0.2] * 3, []) for _ in range(9)]
    assert falling[:3] == [0.5, 0.25, 0.125]
    assert falling[-1] == LEAST
    rising = [period(governor, [0.0] * 3, []) for _ in range(70)]
    assert rising[0] == LEAST + INCREASE
    assert rising == sorted(rising)
    assert rising[-1] == 1.0
    assert sum(share < 1 for share in rising) == pytest.approx((1 - LEAST) / INCREASE, abs=1)


def test_samples_of_one_period_do_not_count_in_the_next() -> None:
    governor = Governor(BOTH)
    period(governor, [0.2] * 9, [])
    assert period(governor, [0.0], []) == DECREASE + INCREASE


def test_exactly_the_share_is_admitted_and_the_rest_is_counted() -> None:
    governor = Governor(BOTH)
    draws = [number / 1000 for number in range(1000)]
    assert all(governor.admits(draw) for draw in draws)
    period(governor, [0.2], [])
    period(governor, [0.2], [])
    assert sum(governor.admits(draw) for draw in draws) == 250
    assert governor.held_back == 750
    assert str(governor) == (
        "governor: 25% is mirrored, the proxy's event loop lags; 750 requests held back so far"
    )

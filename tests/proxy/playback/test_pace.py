"""When requests are due."""

import pytest

from mitm_mirror.proxy.playback.pace import Pace, parse_rate, parse_speed


@pytest.mark.parametrize(
    ("pace", "due"),
    [
        pytest.param(parse_speed("1x"), [0.0, 2.0, 5.0], id="as recorded"),
        pytest.param(parse_speed("2x"), [0.0, 1.0, 2.5], id="twice as fast"),
        pytest.param(parse_speed("0.5"), [0.0, 4.0, 10.0], id="half as fast, without x"),
        pytest.param(parse_speed("max"), [0.0, 0.0, 0.0], id="no waiting"),
        pytest.param(parse_rate("4"), [0.0, 0.25, 0.5], id="four a second"),
        pytest.param(parse_rate(".5"), [0.0, 2.0, 4.0], id="one in two seconds"),
    ],
)
def test_due_times(pace: Pace, due: list[float]) -> None:
    assert due == pace.due_times([1000.0, 1002.0, 1005.0])
    assert [] == pace.due_times([])


@pytest.mark.parametrize("text", ["0", "0x", "x", "-1", "2xx", "fast", "", "1e3", "inf"])
def test_no_speed(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a factor such as 2x or 0\.5x, or max"):
        parse_speed(text)


@pytest.mark.parametrize("text", ["0", "2x", "max", "-1", "", "nan"])
def test_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match="expected requests a second, such as 50"):
        parse_rate(text)

from xml.etree import ElementTree as ET

import pytest

from bench_mirroring import MIRRORS, Ratio, Row, Scenario
from bench_picture import picture

SVG = "{http://www.w3.org/2000/svg}"


def row(contender: str, scenario: Scenario, throughput: float) -> Row:
    ratio = Ratio(throughput, throughput, throughput)
    return Row(contender, scenario, ratio, ratio, ratio, ratio, 100, 100, 1_000_000, 500.0, 1_500.0, 1.0, 1.0)


def test_each_state_of_the_mirror_is_a_bar_as_long_as_its_ratio() -> None:
    ratios = dict(zip(MIRRORS, (1.0, 0.5, 0.25, 0.0), strict=True))
    rows = [row("a <proxy>", Scenario(mirror), ratio) for mirror, ratio in ratios.items()]

    root = ET.fromstring(picture(rows, "a day & a machine"))  # noqa: S314  (our own)

    widths = [float(bar.attrib["width"]) for bar in root.iter(f"{SVG}rect")]
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert widths == [widths[0] * ratio for ratio in ratios.values()]
    assert {"a <proxy>", "a day & a machine", "1.00 healthy", "0.25 silent"} <= set(texts)


def test_only_the_scenarios_of_the_picture_are_drawn() -> None:
    shown = row("ours", Scenario("healthy"), 1.0)
    other = row("ours", Scenario("healthy", connections=1), 0.5)

    root = ET.fromstring(picture([shown, other], ""))  # noqa: S314  (our own)

    assert len(list(root.iter(f"{SVG}rect"))) == 1


@pytest.mark.parametrize(
    ("values", "low", "middle", "high"),
    [
        pytest.param([0.9], 0.9, 0.9, 0.9, id="one pair"),
        pytest.param([5.0, 1.0, 4.0, 2.0, 3.0], 2.0, 3.0, 4.0, id="odd"),
        pytest.param([4.0, 1.0, 2.0, 3.0], 2.0, 2.5, 3.0, id="even"),
    ],
)
def test_a_ratio_is_the_median_between_quartiles(
    values: list[float], low: float, middle: float, high: float
) -> None:
    assert Ratio.of(values) == Ratio(low, middle, high)

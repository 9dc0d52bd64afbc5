"""What the report counts in, each of bounded size: durations, time, pairs, fields."""

from collections import Counter

import pytest

from mitm_mirror.observe.report.fields import FieldTable
from mitm_mirror.observe.report.histogram import Histogram
from mitm_mirror.observe.report.lines import DifferenceField
from mitm_mirror.observe.report.pairing import Pairing, StatusPairs
from mitm_mirror.observe.report.timeline import Timeline


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.99, 1.0])
def test_a_quantile_is_off_by_a_few_percent(share: float) -> None:
    histogram = Histogram()
    for i in range(1, 10_001):
        histogram.add(i / 10)

    assert histogram.quantile(share) == pytest.approx(1000 * share, rel=0.026)


def test_no_quantile_is_above_the_largest_value() -> None:
    histogram = Histogram()
    histogram.add(100.0)

    assert histogram.quantile(0.5) is not None
    assert (histogram.quantile(0.99) or 0) <= 100.0


@pytest.mark.parametrize("duration_ms", [0.0, 1e-9, 1e9])
def test_any_duration_has_a_bucket(duration_ms: float) -> None:
    histogram = Histogram()
    histogram.add(duration_ms)

    assert sum(count for _, count in histogram.buckets()) == 1


def test_nothing_has_no_quantile() -> None:
    assert Histogram().quantile(0.5) is None


def test_histograms_add_up() -> None:
    one, other = Histogram(), Histogram()
    one.add(1.0)
    other.add(9.0)
    one.add_all(other)

    assert (one.count, one.max_ms, [count for _, count in one.buckets()]) == (2, 9.0, [1, 1])


@pytest.mark.parametrize("step", [1, 7, 60, 3600, 86400 * 30])
def test_a_timeline_keeps_counts_and_order_in_few_slots(step: int) -> None:
    timeline = Timeline()
    seconds = [1795361610 + step * (i * 7919 % 1000) for i in range(1000)]
    for second in seconds:
        timeline.at(second).shadows += 1

    slots = timeline.slots()

    assert sum(slot.shadows for _, slot in slots) == 1000
    assert len(slots) <= 120
    assert [time for time, _ in slots] == sorted({time for time, _ in slots})
    assert all(time % timeline.width_s == 0 for time, _ in slots)
    assert slots[0][0] <= min(seconds) < slots[0][0] + timeline.width_s


def test_pairs_are_found_in_either_order_and_for_several_mirrors() -> None:
    pairing = Pairing()
    one: StatusPairs = Counter()
    other: StatusPairs = Counter()
    pairing.add_primary("a", 200)
    pairing.add_shadow("a", 200, one)
    pairing.add_shadow("a", 500, other)
    pairing.add_shadow("b", 404, one)
    pairing.add_shadow("b", 200, other)
    pairing.add_primary("b", 0)
    pairing.close()

    assert one == {(200, 200): 1, (0, 404): 1}
    assert other == {(200, 500): 1, (0, 200): 1}
    assert pairing.unpaired == 0


@pytest.mark.parametrize(("apart", "found"), [(10, True), (30, False)])
@pytest.mark.parametrize("primary_first", [True, False])
def test_legs_that_are_too_far_apart_are_counted(apart: int, found: bool, primary_first: bool) -> None:
    pairing = Pairing(limit=10)
    pairs: StatusPairs = Counter()

    def first() -> None:
        pairing.add_primary("a", 200)

    def second() -> None:
        pairing.add_shadow("a", 201, pairs)

    legs = (first, second) if primary_first else (second, first)
    legs[0]()
    for i in range(apart):
        pairing.add_primary(f"other {i}", 200)
    legs[1]()
    pairing.close()

    assert pairs == ({(200, 201): 1} if found else {})
    assert pairing.unpaired == (0 if found else 1)


def difference(path: str, primary: str = "1", shadow: str = "2", noise: str | None = None) -> DifferenceField:
    return DifferenceField(path, "value", primary, shadow, noise)


def test_fields_are_counted_without_indexes_most_frequent_first_and_noise_last() -> None:
    table = FieldTable()
    for i in range(3):
        table.add("id", difference("json.id", noise=f"why {i}"))
    table.add("id", difference("json.rare"))
    table.add("id", difference("json.items[1].price"))
    table.add("id", difference("json.items[2].price", "3"))

    rows = [(field.path, field.answers, field.noisy_answers, field.noise) for field in table.fields()]

    assert rows == [
        ("json.items[*].price", 2, 0, ""),
        ("json.rare", 1, 0, ""),
        ("json.id", 0, 3, "why 2"),
    ]


def test_a_field_keeps_a_few_examples_that_are_not_alike() -> None:
    table = FieldTable()
    for i, value in enumerate("aabacde"):
        table.add(str(i), difference("json.a", value))

    assert [(id_, item.primary) for id_, item in table.fields()[0].examples] == [
        ("0", "a"),
        ("2", "b"),
        ("4", "c"),
    ]


def test_further_fields_are_counted_as_left_out() -> None:
    table = FieldTable()
    for i in range(205):
        table.add("id", difference(f"json.k{i}"))
    table.add("id", difference("json.k0"))

    assert (len(table.fields()), table.left_out) == (200, 5)

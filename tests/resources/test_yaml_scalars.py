"""Unquoted scalars mean what they mean to kubectl."""

import math
from typing import Any

import pytest

from mitm_mirror.resources.yaml_scalars import resolve_plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None), ("~", None), ("null", None), ("Null", None), ("nUll", "nUll"),
        ("true", True), ("yes", True), ("On", True), ("y", True), ("yEs", "yEs"),
        ("false", False), ("no", False), ("OFF", False), ("N", False),
        ("0", 0), ("5", 5), ("-5", -5), ("+5", 5), ("1_000", 1000),
        ("010", 8), ("0o10", 8), ("0x1F", 31), ("0b101", 5), ("-0x1F", -31), ("08", 8.0),
        ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("1.", 1.0), ("-1.5e-3", -0.0015),
        ("12:30", "12:30"), ("2024-01-01", "2024-01-01"), ("1.2.3", "1.2.3"), ("5s", "5s"), ("-", "-"),
        (".", "."), ("v1", "v1"), ("<<", "<<"), ("9" * 5000, math.inf), (".inf", math.inf),
    ],
    ids=lambda value: repr(value)[:12],
)  # fmt: skip
def test_resolve_plain(text: str, expected: Any) -> None:
    value = resolve_plain(text)

    assert value == expected
    assert type(value) is type(expected)


def test_nan_is_a_number() -> None:
    assert math.isnan(resolve_plain(".nan"))

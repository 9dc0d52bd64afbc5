"""What the addon remembers of a flow: the tap in a streamed body."""

from collections.abc import Iterable

import pytest

from mitm_mirror.proxy.exchange import StreamTap


@pytest.mark.parametrize(
    ("keep_bytes", "expected"),
    [
        pytest.param(6, b"abcdef", id="exactly the limit is kept"),
        pytest.param(5, None, id="one byte more is not"),
        pytest.param(0, None, id="nothing wanted, nothing kept"),
    ],
)
def test_tap_keeps_a_body_up_to_its_limit(keep_bytes: int, expected: bytes | None) -> None:
    tap = StreamTap(True, keep_bytes)

    passed = [bytes(b"".join(tap(chunk))) for chunk in (b"abc", b"def", b"")]

    assert [b"abc", b"def", b""] == passed
    assert expected == tap.take_body()
    assert 6 == tap.size


def test_tap_of_an_empty_body_keeps_an_empty_body() -> None:
    tap = StreamTap(True, 0)

    assert () == tuple(tap(b""))
    assert b"" == tap.take_body()


@pytest.mark.parametrize(
    "inner",
    [
        pytest.param(lambda data: data.upper(), id="a function that gives bytes"),
        pytest.param(lambda data: [data.upper()], id="a function that gives chunks"),
    ],
)
def test_tap_keeps_what_another_addon_made_of_the_body(inner: object) -> None:
    tap = StreamTap(inner, 100)  # type: ignore[arg-type]  # mitmproxy takes either

    passed: list[Iterable[bytes]] = [tap(b"abc"), tap(b"")]

    assert b"ABC" == b"".join(chunk for chunks in passed for chunk in chunks)
    assert b"ABC" == tap.take_body()


def test_a_body_that_was_taken_is_not_kept() -> None:
    """The flow may stay in a UI for ever."""
    tap = StreamTap(True, 100)
    tap(b"abc")

    assert tap.take_body() == b"abc"
    assert tap.chunks == []
    assert tap.size == 3

"""What the addon remembers of a flow: the tap in a streamed body."""

from collections.abc import Iterable

import pytest

from mitm_mirror.proxy.exchange import StreamTap


def test_tap_shows_each_piece_and_counts_it() -> None:
    seen: list[bytes] = []
    tap = StreamTap(True, seen.append)

    passed = [bytes(b"".join(tap(chunk))) for chunk in (b"abc", b"def", b"")]

    assert [b"abc", b"def", b""] == passed
    assert [b"abc", b"def"] == seen
    assert 6 == tap.size


def test_tap_without_anybody_to_tell_counts() -> None:
    tap = StreamTap(True)
    assert [(b"abc",), ()] == [tuple(tap(b"abc")), tuple(tap(b""))]
    assert 3 == tap.size


@pytest.mark.parametrize(
    "inner",
    [
        pytest.param(lambda data: data.upper(), id="a function that gives bytes"),
        pytest.param(lambda data: [data.upper(), b""], id="a function that gives chunks"),
    ],
)
def test_tap_shows_what_another_addon_made_of_the_body(inner: object) -> None:
    seen: list[bytes] = []
    tap = StreamTap(inner, seen.append)  # type: ignore[arg-type]  # mitmproxy takes either

    passed: list[Iterable[bytes]] = [tap(b"abc"), tap(b"")]

    assert b"ABC" == b"".join(chunk for chunks in passed for chunk in chunks)
    assert [b"ABC"] == seen

"""What tells a shadow that came back from an equal request of a client."""

import pytest

from mitm_mirror.client.request import OutgoingRequest
from mitm_mirror.proxy.loops import GRACE_S, MAX_CONNECTIONS, LoopGuard, head_key, shadow_key
from mitm_mirror.routing.request import RequestHead

OWN = ("127.0.0.1", 40000)
HERE = ("127.0.0.1", 8080)
KEY = (b"GET", b"/a", "httpbin")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def guard(clock: Clock) -> LoopGuard:
    return LoopGuard(clock, "1234")


@pytest.mark.parametrize(
    ("client", "servers", "expected"),
    [
        pytest.param(OWN, [HERE], True, id="both ends"),
        pytest.param(OWN, [("10.0.0.1", 80), HERE], True, id="redirected: the destination was here"),
        pytest.param(("::ffff:127.0.0.1", 40000), [("::ffff:127.0.0.1", 8080)], True, id="IPv4 in IPv6"),
        pytest.param(OWN, [("127.0.0.1", 8081)], False, id="the port is used again, to elsewhere"),
        pytest.param(("127.0.0.1", 40001), [HERE], False, id="another client"),
        pytest.param(("10.0.0.9", 40000), [HERE], False, id="another machine"),
    ],
)
def test_connections(
    guard: LoopGuard, client: tuple[str, int], servers: list[tuple[str, int]], expected: bool
) -> None:
    guard.connected([(OWN, HERE)])
    assert guard.is_own_connection(client, *servers) is expected


def test_connections_are_bounded_and_one_that_is_used_stays(guard: LoopGuard) -> None:
    guard.connected([(OWN, HERE), (("127.0.0.1", 40001), HERE)])
    guard.connected([(("10.0.0.1", port), HERE) for port in range(MAX_CONNECTIONS - 2)])
    assert guard.is_own_connection(OWN, HERE)
    guard.connected([(("10.0.0.2", 1), HERE)])

    assert guard.is_own_connection(OWN, HERE)
    assert not guard.is_own_connection(("127.0.0.1", 40001), HERE)


def test_under_way_and_a_moment_longer(guard: LoopGuard, clock: Clock) -> None:
    assert not guard.may_be_back(KEY)
    guard.sent(KEY)
    guard.sent(KEY)
    guard.ended(KEY)
    clock.now += GRACE_S * 2
    assert guard.may_be_back(KEY)
    guard.ended(KEY)
    clock.now += GRACE_S / 2
    assert guard.may_be_back(KEY)
    assert not guard.may_be_back((b"POST", b"/a", "httpbin"))
    clock.now += GRACE_S
    assert not guard.may_be_back(KEY)
    assert (len(guard._ended), len(guard._under_way)) == (0, 0)


def test_the_mark_is_found_among_others(guard: LoopGuard) -> None:
    marked = guard.marked(((b"Host", b"a"), (b"via", b"1.1 other")))

    assert marked == ((b"Host", b"a"), (b"via", b"1.1 other"), (b"Via", b"1.1 mitm-mirror-1234"))
    assert guard.has_mark(marked)
    assert guard.has_mark(((b"VIA", b"1.1 mitm-mirror-1234, 1.0 other"),))
    assert not guard.has_mark(((b"Via", b"1.1 mitm-mirror-5678"), (b"X", b"mitm-mirror-1234")))


def test_a_shadow_and_its_return_have_one_key() -> None:
    shadow = OutgoingRequest("http", "10.0.0.1", 80, "", b"GET", b"/a?b", ())
    # A proxy on the way may leave a default port out, and may spell the host as it likes.
    back = RequestHead("GET", "http", "HTTPBIN", b"/a?b", (), 80, "10.0.0.9")

    assert shadow_key(shadow, "httpbin:80") == head_key(back) == (b"GET", b"/a?b", "httpbin")

"""Random raw requests: both backends receive the same bytes, Host apart."""

import random
import signal

import pytest

from lab.backend import Backend
from lab.client import RawConnection
from lab.mitmdump import StartMitmdump
from lab.rules import HOST, SHADOW_HOST
from lab.wire import Message

REQUESTS = 1_000
PER_CONNECTION = 20
MEGABYTE = 1 << 20

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "FROB", "M-SEARCH", "get", "BREW"]
# What proxies like to tidy up: none of it may be touched.
SEGMENTS = [
    "a", "/", "//", "/.", "/..", "/./", "/../", "%2F", "%2f", "%2e%2e", "%", "%zz", "|", "?", "??", "=", "&&",
    "a=b", "+", ";v=1", "~", "^", "`", "{}", "[]", "<>", '"', "'", "\\", "@", ":", "http://x/", "!$*(),",
]  # fmt: skip
NAMES = [
    "X-Plain",
    "x-lower",
    "X-UPPER",
    "x-MiXeD-cAsE",
    "Accept",
    "accept",
    "Cookie",
    "X_under",
    "X.dot",
    "!odd~",
]
VALUES = [
    "",
    "1",
    "a, b",
    "a;q=0.5",
    "\ttab\tinside",
    '"quoted"',
    "=?utf-8?q?x?=",
    "caf\xe9",
    "\x80\xff",
    "x" * 3_000,
]


def random_target(rng: random.Random) -> str:
    if rng.random() < 0.02:
        return "*"
    return "/" + "".join(rng.choices(SEGMENTS, k=rng.randrange(12)))


def random_body(rng: random.Random) -> bytes:
    size = MEGABYTE if rng.random() < 0.03 else rng.choice([0, 1, 2, 100, 5_000, 70_000])
    return rng.randbytes(size)


def chunked(rng: random.Random, body: bytes) -> bytes:
    parts = []
    position = 0
    while position < len(body):
        size = rng.choice([1, 10, 1_000, 65_536, 1_000_000])
        part = body[position : position + size]
        spelling = rng.choice(["%x", "%X", "00%x"])
        parts.append((spelling % len(part)).encode() + b"\r\n" + part + b"\r\n")
        position += size
    return b"".join([*parts, b"0\r\n\r\n"])


def random_request(rng: random.Random, number: int) -> bytes:
    """A valid HTTP/1.1 request, however odd, that carries its number."""
    method = rng.choice(METHODS)
    lines = [f"{rng.choice(NAMES)}: {rng.choice(VALUES)}" for _ in range(rng.randrange(8))]
    lines.append(f"X-Number: {number}")
    lines.insert(rng.randrange(len(lines)), f"{rng.choice(['Host', 'host', 'HOST'])}: {HOST}")
    body = b""
    framing = rng.choice(["none", "length", "chunked"])
    if framing == "length":
        body = random_body(rng)
        lines.insert(
            rng.randrange(len(lines)), f"{rng.choice(['Content-Length', 'content-length'])}: {len(body)}"
        )
    elif framing == "chunked":
        body = chunked(rng, random_body(rng))
        lines.insert(
            rng.randrange(len(lines)), f"{rng.choice(['Transfer-Encoding', 'transfer-encoding'])}: chunked"
        )
    if body and rng.random() < 0.1:
        lines.append("Expect: 100-continue")
    head = "\r\n".join([f"{method} {random_target(rng)} HTTP/1.1", *lines, "", ""])
    return head.encode("latin-1") + body


def without_host(request: Message) -> tuple[bytes, list[bytes], bytes]:
    """Everything but the Host line, in order: its place is the one difference that is allowed."""
    lines = [line for line in request.head.split(b"\r\n")[1:] if not line.lower().startswith(b"host:")]
    return request.start_line, lines, request.raw_body


@pytest.mark.parametrize(
    ("options", "count"),
    [
        pytest.param({}, REQUESTS, id="buffered"),
        # All but the smallest bodies: mitmproxy has no name for "always".
        pytest.param({"stream_large_bodies": "1"}, REQUESTS // 3, id="streamed"),
    ],
)
def test_both_backends_receive_the_same_bytes(
    v1: Backend, v2: Backend, start: StartMitmdump, options: dict[str, str], count: int
) -> None:
    rng = random.Random(20_261_122)
    mitmdump = start(mode="reverse:http://127.0.0.1:9", **options)
    requests = [random_request(rng, number) for number in range(count)]
    for first in range(0, count, PER_CONNECTION):
        with RawConnection(mitmdump.port) as connection:
            for request in requests[first : first + PER_CONNECTION]:
                answer = connection.exchange(request)
                assert answer.status == 200, (request[:500], answer.raw[:500])
                assert answer.values(b"x-backend") == [b"v1"]
    v2.wait_for_count(count)
    assert mitmdump.stop(signal.SIGINT) == 0

    assert v1.errors == v2.errors == []
    primaries = {request.values(b"x-number")[0]: request for request in v1.requests}
    shadows = {request.values(b"x-number")[0]: request for request in v2.requests}
    assert len(primaries) == len(v1.requests) == count
    assert len(shadows) == len(v2.requests) == count
    for key, primary in primaries.items():
        shadow = shadows[key]
        assert primary.values(b"host") == [HOST.encode()]
        assert shadow.values(b"host") == [SHADOW_HOST.encode()]
        assert without_host(shadow) == without_host(primary)
    assert mitmdump.totals() == {"shadows": count, "ok": count, "pending": 0}

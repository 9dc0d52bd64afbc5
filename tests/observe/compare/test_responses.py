"""What `compare_responses` makes of two answers: status, headers, trailers, codings, bounds."""

import gzip
import zlib
from dataclasses import replace

import brotli
import msgspec
import pytest
import zstandard

from mitm_mirror.ignore_rules import parse_ignore_rules
from mitm_mirror.observe.compare import (
    CompareSettings,
    Comparison,
    Difference,
    Kind,
    NotCompared,
    Response,
    Verdict,
    compare_responses,
)
from mitm_mirror.routing.request import HeaderFields

JSON = (b"Content-Type", b"application/json")


def paths(comparison: Comparison) -> dict[str, tuple[str | None, str | None]]:
    return {found.path: (found.primary, found.shadow) for found in comparison.differences}


def compare_headers(primary: HeaderFields, shadow: HeaderFields) -> dict[str, tuple[str | None, str | None]]:
    return paths(compare_responses(Response(200, primary), Response(200, shadow)))


def test_equal() -> None:
    response = Response(200, (JSON,), b'{"a": 1}', ((b"grpc-status", b"0"),))

    assert compare_responses(response, response) == Comparison(Verdict.EQUAL)


def test_status() -> None:
    assert compare_responses(Response(200), Response(503)) == Comparison(
        Verdict.DIFFERS, "", (Difference("status", Kind.VALUE, "200", "503"),)
    )


@pytest.mark.parametrize(
    ("primary", "shadow", "expected"),
    [
        pytest.param(((b"X-Foo", b"1"),), ((b"x-foo", b"1"),), {}, id="names have no case"),
        pytest.param(((b"a", b"1"), (b"b", b"2")), ((b"b", b"2"), (b"a", b"1")), {}, id="order of names"),
        pytest.param(((b"a", b"1"),), ((b"a", b"2"),), {"header.a": ("1", "2")}, id="value"),
        pytest.param(((b"a", b"1"),), (), {"header.a": ("1", None)}, id="only the primary has it"),
        pytest.param((), ((b"a", b""),), {"header.a": (None, "")}, id="only the shadow has it, empty"),
        pytest.param(
            ((b"vary", b"a"), (b"vary", b"b")), ((b"vary", b"a, b"),), {}, id="lines of a name are a list"
        ),
        pytest.param(
            ((b"vary", b"a"), (b"vary", b"b")),
            ((b"vary", b"b"), (b"vary", b"a")),
            {"header.vary": ("a, b", "b, a")},
            id="the order of that list counts",
        ),
        pytest.param(
            ((b"Date", b"x"), (b"Server", b"x"), (b"Connection", b"close"), (b"Content-Length", b"1")),
            ((b"Date", b"y"), (b"Transfer-Encoding", b"chunked")),
            {},
            id="what always differs",
        ),
        pytest.param(
            ((b"Set-Cookie", b"a=1; Path=/"), (b"Set-Cookie", b"b=2")),
            ((b"Set-Cookie", b"b=2"), (b"Set-Cookie", b"a=1; path=/")),
            {},
            id="cookies by name",
        ),
        pytest.param(
            ((b"Set-Cookie", b"a=secret1; Path=/; Secure"),),
            ((b"Set-Cookie", b"a=secret22; Path=/x"),),
            {
                "header.set-cookie.a": ("(7 characters, not shown)", "(8 characters, not shown)"),
                "header.set-cookie.a;path": ("/", "/x"),
                "header.set-cookie.a;secure": ("", None),
            },
            id="a cookie's value is not shown, its attributes are",
        ),
        pytest.param(
            ((b"x", b"\xff"),),
            ((b"x", b"\xfe"),),
            {"header.x": ("\\xff", "\\xfe")},
            id="bytes that are no UTF-8",
        ),
    ],
)
def test_headers(
    primary: HeaderFields, shadow: HeaderFields, expected: dict[str, tuple[str | None, str | None]]
) -> None:
    assert compare_headers(primary, shadow) == expected


def test_ignored_headers_are_a_setting() -> None:
    settings = CompareSettings(ignored_headers=frozenset({"x"}))

    comparison = compare_responses(
        Response(200, ((b"X", b"1"), (b"Date", b"1"))), Response(200, ((b"Date", b"2"),)), settings
    )

    assert list(paths(comparison)) == ["header.date"]


def test_trailers() -> None:
    primary = Response(200, trailers=((b"grpc-status", b"0"),))
    shadow = Response(200, trailers=((b"grpc-status", b"5"),))

    assert paths(compare_responses(primary, shadow)) == {"trailer.grpc-status": ("0", "5")}


@pytest.mark.parametrize(
    ("primary", "shadow", "equal"),
    [
        pytest.param("http://httpbin:8080/x", "http://httpbin-shadow:8080/x", True, id="Host with port"),
        pytest.param("//127.0.0.1:8001/", "//127.0.0.1:8002/", True, id="endpoint"),
        pytest.param(
            "http%3A%2F%2Fhttpbin%3A8080", "http%3A%2F%2Fhttpbin-shadow%3A8080", True, id="a URL in a query"
        ),
        pytest.param("host=httpbin%3A8080", "host=httpbin-shadow%3A8080", True, id="port, percent-encoded"),
        pytest.param("HTTPBIN:8080", "httpbin-shadow:8080", True, id="names have no case"),
        pytest.param("httpbin", "httpbin-shadow", True, id="without a port"),
        pytest.param(
            "httpbin at httpbin:8080", "httpbin at httpbin-shadow:8080", True, id="equal words stay"
        ),
        pytest.param("httpbin:80801", "httpbin-shadow:80802", False, id="a longer port"),
        pytest.param("my-httpbin", "my-httpbin-shadow", False, id="a longer name"),
        pytest.param("httpbin.example", "httpbin-shadow.example", False, id="a name below it"),
        pytest.param("Ask httpbin.", "Ask httpbin-shadow.", True, id="end of a sentence"),
        pytest.param("http://httpbin:8080/a", "http://httpbin-shadow:8080/b", False, id="another path"),
    ],
)
@pytest.mark.parametrize("place", ["header", "json", "text", "form"])
def test_own_names_of_the_servers_are_equal(place: str, primary: str, shadow: str, equal: bool) -> None:
    responses = []
    for text, authorities in (
        (primary, ("httpbin:8080", "127.0.0.1:8001")),
        (shadow, ("httpbin-shadow:8080", "127.0.0.1:8002")),
    ):
        raw = text.encode()
        headers: HeaderFields
        headers, body = {
            "header": (((b"location", raw),), b""),
            "json": ((JSON,), b'{"url": "%s", "x": %d}' % (raw, 1)),
            "text": (((b"content-type", b"text/html"),), b"<a>\n" + raw + b"\n"),
            "form": (((b"content-type", b"application/x-www-form-urlencoded"),), b"a=1&url=" + raw),
        }[place]
        responses.append(Response(200, headers, body, authorities=authorities))

    assert (compare_responses(*responses).verdict is Verdict.EQUAL) is equal


def encoded(coding: str, body: bytes) -> bytes:
    bare = zlib.compressobj(wbits=-15)
    return {
        "gzip": gzip.compress(body),
        "x-gzip": gzip.compress(body[:3]) + gzip.compress(body[3:]),
        "deflate": zlib.compress(body),
        "Deflate": bare.compress(body) + bare.flush(),
        "br": brotli.compress(body),
        "zstd": zstandard.compress(body),
        "gzip, br": brotli.compress(gzip.compress(body)),
        "identity": body,
    }[coding]


CODINGS = ["gzip", "x-gzip", "deflate", "Deflate", "br", "zstd", "gzip, br", "identity"]


@pytest.mark.parametrize("coding", CODINGS)
def test_a_coded_body_is_decoded_before_it_is_compared(coding: str) -> None:
    ignored = CompareSettings(ignored_headers=frozenset({"content-encoding"}))
    body = b'{"a": 1, "text": "' + b"x" * 5000 + b'"}'
    plain = Response(200, (JSON,), body)
    headers = (JSON, (b"Content-Encoding", coding.encode()))

    same = compare_responses(plain, Response(200, headers, encoded(coding, body)), ignored)
    other = compare_responses(
        plain, Response(200, headers, encoded(coding, body.replace(b"1", b"2", 1))), ignored
    )

    assert same == Comparison(Verdict.EQUAL)
    assert paths(other) == {"json.a": ("1", "2")}


def test_the_coding_itself_is_a_difference() -> None:
    plain = Response(200, (JSON,), b"{}")
    coded = Response(200, (JSON, (b"content-encoding", b"gzip")), gzip.compress(b"{}"))

    assert paths(compare_responses(plain, coded)) == {"header.content-encoding": (None, "gzip")}


@pytest.mark.parametrize("coding", ["gzip", "deflate", "Deflate", "br", "zstd"])
def test_a_bomb_is_not_unfolded(coding: str) -> None:
    settings = CompareSettings(body_limit_bytes=100_000)
    bomb = encoded(coding, b"\0" * 100_001)
    headers = ((b"content-encoding", coding.encode()),)

    comparison = compare_responses(
        Response(200, headers, bomb), Response(200, headers, bomb + b" "), settings
    )

    assert comparison == Comparison(Verdict.NOT_COMPARED, NotCompared.BODY_TOO_LARGE)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "made-up"])
def test_a_broken_coding_is_a_difference(coding: str) -> None:
    good = Response(200, (JSON,), b"{}")
    headers = (JSON, (b"content-encoding", coding.encode()))

    found = paths(compare_responses(good, Response(200, headers, b"\x1f\x8b{}")))

    assert found["body.coding"][0] == "decoded"
    assert coding in str(found["body.coding"][1])


def test_a_body_that_ends_too_early_is_broken() -> None:
    headers = (JSON, (b"content-encoding", b"gzip"))
    whole = gzip.compress(b'{"a": 1}')

    found = paths(compare_responses(Response(200, headers, whole), Response(200, headers, whole[:-9])))

    assert found["body.coding"] == ("decoded", "not gzip: it ends too early")


def test_an_answer_to_head_has_a_coding_and_no_body() -> None:
    one = Response(200, ((b"content-encoding", b"gzip"), (b"etag", b"1")))
    other = replace(one, headers=((b"content-encoding", b"gzip"), (b"etag", b"2")))

    assert list(paths(compare_responses(one, other))) == ["header.etag"]


@pytest.mark.parametrize(
    ("primary", "shadow", "verdict", "reason"),
    [
        pytest.param(Response(0), Response(200), Verdict.NOT_COMPARED, "no_primary", id="no primary"),
        pytest.param(Response(200), Response(0), Verdict.NOT_COMPARED, "no_shadow", id="no shadow"),
        pytest.param(
            Response(200, body=b"a", complete=False),
            Response(200, body=b"a"),
            Verdict.NOT_COMPARED,
            "body_incomplete",
            id="half a body",
        ),
        pytest.param(
            Response(200, complete=False),
            Response(404),
            Verdict.DIFFERS,
            "body_incomplete",
            id="half a body, other status",
        ),
        pytest.param(
            Response(200, body=b"a" * 1001),
            Response(200, body=b"b" * 1001),
            Verdict.NOT_COMPARED,
            "body_too_large",
            id="large",
        ),
        pytest.param(
            Response(200, body=b"a" * 1001),
            Response(200, body=b"a" * 1001),
            Verdict.EQUAL,
            "",
            id="large, and the same bytes",
        ),
    ],
)
def test_what_is_not_compared_says_why(
    primary: Response, shadow: Response, verdict: Verdict, reason: str
) -> None:
    comparison = compare_responses(primary, shadow, CompareSettings(body_limit_bytes=1000))

    assert (comparison.verdict, comparison.reason) == (verdict, reason)


def test_differences_are_bounded_in_number_and_size() -> None:
    primary = Response(200, (JSON,), msgspec.json.encode({f"k{i}": "x" * 9999 for i in range(100)}))
    shadow = Response(200, (JSON,), msgspec.json.encode({f"k{i}": "y" * 9999 for i in range(100)}))

    comparison = compare_responses(primary, shadow, CompareSettings(max_differences=3, value_limit=10))

    assert comparison.truncated
    assert paths(comparison) == {f"json.k{i}": ('"xxxxxxxx…', '"yyyyyyyy…') for i in range(3)}


def test_differences_that_only_differ_in_an_index_are_one_with_a_count() -> None:
    primary = Response(200, (JSON,), msgspec.json.encode([{"id": i} for i in range(100)]))
    shadow = Response(200, (JSON,), msgspec.json.encode([{"id": -1 - i} for i in range(100)]))

    comparison = compare_responses(primary, shadow)

    assert comparison.differences == (Difference("json[0].id", Kind.VALUE, "0", "-1", count=100),)
    assert not comparison.truncated


def test_ignored_differences_take_no_place() -> None:
    primary = Response(200, (JSON,), b'{"a": 1, "b": 1, "c": 1}')
    shadow = Response(200, (JSON,), b'{"a": 2, "b": 2, "c": 2}')
    settings = CompareSettings(ignore=parse_ignore_rules("json:$.a, json:$.b"), max_differences=1)

    comparison = compare_responses(primary, shadow, settings)

    assert (list(paths(comparison)), comparison.truncated) == (["json.c"], False)


def test_a_comparison_goes_through_msgspec_and_back() -> None:
    comparison = compare_responses(Response(200, (JSON,), b"[1]"), Response(500, (JSON,), b"[2]"))

    assert msgspec.msgpack.decode(msgspec.msgpack.encode(comparison), type=Comparison) == comparison
    assert msgspec.json.decode(msgspec.json.encode(comparison), type=Comparison) == comparison


def test_a_rule_for_one_element_leaves_the_others() -> None:
    primary = Response(200, (JSON,), b"[1, 1, 1, 1]")
    shadow = Response(200, (JSON,), b"[2, 2, 2, 2]")
    settings = CompareSettings(ignore=parse_ignore_rules("json:$[0], json:$[2]"))

    comparison = compare_responses(primary, shadow, settings)

    assert comparison.differences == (Difference("json[1]", Kind.VALUE, "1", "2", count=2),)

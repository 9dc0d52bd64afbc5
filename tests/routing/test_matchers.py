from typing import Any

import pytest

from mitm_mirror.resources.virtual_service import HTTPMatchRequest
from mitm_mirror.routing.describe import describe_match
from mitm_mirror.routing.matchers import MatchError, compile_match
from mitm_mirror.routing.request import HeaderFields, RequestHead
from mitm_mirror.routing.view import RequestView


def matches(
    spec: dict[str, object],
    target: bytes = b"/",
    headers: HeaderFields = (),
    method: str = "GET",
    authority: str = "httpbin:8080",
) -> bool:
    head = RequestHead(method, "http", authority, target, headers, 8080, "192.0.2.1")
    match = compile_match(HTTPMatchRequest.model_validate(spec))
    return all(condition(RequestView(head)) for condition in match.conditions)


@pytest.mark.parametrize(
    ("uri", "target", "expected"),
    [
        pytest.param({"exact": "/a"}, b"/a", True, id="exact"),
        pytest.param({"exact": "/a"}, b"/a?q=1", True, id="the query is not part of it"),
        pytest.param({"exact": "/a"}, b"/a/", False, id="exact is exact"),
        pytest.param({"exact": "/a"}, b"/A", False, id="case counts"),
        pytest.param({"exact": "/a b"}, b"/a%20b", False, id="nothing is decoded"),
        pytest.param({"prefix": "/a"}, b"/abc", True, id="a prefix is textual"),
        pytest.param({"prefix": "/a"}, b"/b/a", False, id="a prefix is at the start"),
        pytest.param({"prefix": "/"}, b"//x", True, id="the root prefix"),
        pytest.param({"regex": "/v[12]/.*"}, b"/v2/x?y", True, id="regex"),
        pytest.param({"regex": "/v[12]"}, b"/v2/x", False, id="a regex matches the whole path"),
        pytest.param({"regex": ".*"}, b"/x", True, id="any regex"),
    ],
)
def test_uri(uri: dict[str, str], target: bytes, expected: bool) -> None:
    assert matches({"uri": uri}, target) is expected


@pytest.mark.parametrize(
    ("uri", "target", "expected"),
    [
        pytest.param({"exact": "/Ab"}, b"/aB", True, id="exact"),
        pytest.param({"prefix": "/Ab"}, b"/aBc", True, id="prefix"),
        pytest.param({"regex": "/ab"}, b"/AB", False, id="a regex is not affected"),
    ],
)
def test_ignore_uri_case(uri: dict[str, str], target: bytes, expected: bool) -> None:
    assert matches({"uri": uri, "ignoreUriCase": True}, target) is expected


TWO_LINES: HeaderFields = ((b"X-User", b"jason"), (b"x-user", b"Mary"), (b"x-empty", b""))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({"headers": {"x-user": {"exact": "Mary"}}}, True, id="any line may match"),
        pytest.param({"headers": {"X-USER": {"exact": "jason"}}}, True, id="names without case"),
        pytest.param({"headers": {"x-user": {"exact": "mary"}}}, False, id="values with case"),
        pytest.param({"headers": {"x-user": {"prefix": "ja"}}}, True, id="prefix"),
        pytest.param({"headers": {"x-user": {"regex": "ja.*"}}}, True, id="regex"),
        pytest.param({"headers": {"x-empty": {}}}, True, id="an empty match asks for presence"),
        pytest.param({"headers": {"x-none": {}}}, False, id="absent is not present"),
        pytest.param({"headers": {"x-none": {"regex": "*"}}}, False, id="the regex * asks for presence too"),
        pytest.param({"headers": {"x-none": {"exact": ""}}}, False, id="absent is not empty"),
        pytest.param({"headers": {":method": {"exact": "GET"}}}, True, id="pseudo header"),
        pytest.param({"headers": {":path": {"exact": "/"}}}, True, id="the path as a pseudo header"),
        pytest.param({"headers": {"host": {"exact": "httpbin:8080"}}}, True, id="Host is the authority"),
        pytest.param(
            {"headers": {"x-user": {"exact": "Mary"}, "x-empty": {"exact": "x"}}}, False, id="all must match"
        ),
        pytest.param({"withoutHeaders": {"x-none": {}}}, True, id="without: absent"),
        pytest.param({"withoutHeaders": {"x-user": {}}}, False, id="without: present"),
        pytest.param(
            {"withoutHeaders": {"x-user": {"exact": "Mary"}}}, False, id="without: one line is enough"
        ),
        pytest.param({"withoutHeaders": {"x-user": {"exact": "eve"}}}, True, id="without: another value"),
        pytest.param(
            {"withoutHeaders": {"x-none": {"exact": ""}}}, False, id="without: absent counts as empty"
        ),
        pytest.param(
            {"withoutHeaders": {"@request.auth.claims.group": {"exact": "a"}}},
            True,
            id="without: nobody has claims",
        ),
        pytest.param({"method": {"exact": "GET"}}, True, id="method"),
        pytest.param({"method": {"exact": "get"}}, False, id="methods have case"),
        pytest.param({"scheme": {"exact": "http"}}, True, id="scheme"),
        pytest.param({"authority": {"exact": "httpbin:8080"}}, True, id="the authority as sent"),
        pytest.param({"authority": {"exact": "httpbin"}}, False, id="port included"),
        pytest.param({}, True, id="nothing asked"),
    ],
)
def test_headers(spec: dict[str, object], expected: bool) -> None:
    assert matches(spec, headers=TWO_LINES) is expected


@pytest.mark.parametrize(
    ("spec", "target", "expected"),
    [
        pytest.param({"a": {"exact": "1"}}, b"/?a=1", True, id="value"),
        pytest.param({"a": {"exact": "1"}}, b"/?b=2&a=1", True, id="further back"),
        pytest.param({"a": {"exact": "2"}}, b"/?a=1&a=2", False, id="the first of a name counts"),
        pytest.param({"a": {"exact": " "}}, b"/?a=%20", False, id="values are not decoded"),
        pytest.param({"a": {"exact": "%20"}}, b"/?a=%20", True, id="but compared as sent"),
        pytest.param({"a": {}}, b"/?a", True, id="presence"),
        pytest.param({"a": {}}, b"/a", False, id="no query"),
        pytest.param({"a": {"exact": ""}}, b"/?a", True, id="no value is an empty one"),
        pytest.param({"A": {}}, b"/?a", False, id="names have case"),
        pytest.param({"a": {"regex": "[0-9]+"}}, b"/?a=1=2", False, id="a second = is part of the value"),
    ],
)
def test_query_parameters(spec: dict[str, object], target: bytes, expected: bool) -> None:
    assert matches({"queryParams": spec}, target) is expected


@pytest.mark.parametrize(
    ("uri", "length"),
    [
        pytest.param(None, 1, id="no uri counts as the prefix /"),
        pytest.param({"prefix": "/é"}, 3, id="bytes, not characters"),
        pytest.param({"exact": "/a"}, None, id="exact: the whole path"),
        pytest.param({"regex": ".*"}, None, id="regex: the whole path"),
    ],
)
def test_what_a_prefix_rewrite_replaces(uri: dict[str, str] | None, length: int | None) -> None:
    assert compile_match(HTTPMatchRequest.model_validate({"uri": uri})).prefix_length == length


@pytest.mark.parametrize(
    ("spec", "catch_all"),
    [
        pytest.param({}, True, id="nothing"),
        pytest.param({"uri": {"prefix": "/"}}, True, id="the root prefix"),
        pytest.param({"uri": {"prefix": "/"}, "port": 80}, False, id="one port"),
        pytest.param({"queryParams": {"a": {}}}, False, id="a condition"),
    ],
)
def test_catch_all(spec: dict[str, object], catch_all: bool) -> None:
    assert compile_match(HTTPMatchRequest.model_validate(spec)).is_catch_all is catch_all


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        pytest.param({"uri": {"regex": "("}}, ("uri", "regex"), id="uri"),
        pytest.param({"uri": {"regex": "*"}}, ("uri", "regex"), id="* is no presence for uri"),
        pytest.param({"headers": {"a": {"regex": "("}}}, ("headers", "a", "regex"), id="header"),
        pytest.param(
            {"queryParams": {"a": {"regex": "("}}}, ("queryParams", "a", "regex"), id="query parameter"
        ),
    ],
)
def test_bad_regexes_say_where(spec: dict[str, object], path: tuple[str, ...]) -> None:
    with pytest.raises(MatchError) as raised:
        compile_match(HTTPMatchRequest.model_validate(spec))

    assert raised.value.path == path


HOSTILE = b"a" * 8_000


@pytest.mark.parametrize(
    ("spec", "request_parts"),
    [
        ({"uri": {"regex": "/(a+)+"}}, {"target": b"/" + HOSTILE + b"!"}),
        ({"authority": {"regex": "(a+)+"}}, {"authority": HOSTILE.decode() + "!"}),
        ({"method": {"regex": "(A+)+"}}, {"method": "A" * 8_000 + "!"}),
        ({"headers": {"x": {"regex": "(a+)+"}}}, {"headers": ((b"x", HOSTILE + b"!"),)}),
        ({"withoutHeaders": {"x": {"regex": "(a*)*!"}}}, {"headers": ((b"x", HOSTILE + b"!"),)}),
        ({"queryParams": {"x": {"regex": "(a+)+"}}}, {"target": b"/?x=" + HOSTILE + b"!"}),
    ],
    ids=lambda value: next(iter(value)),
)
def test_no_regex_backtracks(spec: dict[str, object], request_parts: dict[str, Any]) -> None:
    """Wherever a rule may have one: with a backtracking engine this test does not end."""
    assert not matches(spec, **request_parts)


def test_a_match_in_one_line() -> None:
    spec = {
        "port": 80,
        "uri": {"prefix": "/a"},
        "ignoreUriCase": True,
        "headers": {"end-user": {"exact": "jason"}},
        "withoutHeaders": {"x": {}},
        "queryParams": {"q": {"regex": "a+"}},
    }

    assert describe_match(HTTPMatchRequest.model_validate(spec)) == (
        "port 80, uri prefix /a, ignoring the case of uri, header end-user exact jason, "
        "without header x present, query parameter q regex a+"
    )
    assert describe_match(HTTPMatchRequest()) == "any request"

import pytest

from mitm_mirror.resources.virtual_service import HTTPMatchRequest
from mitm_mirror.routing.matchers import UnmetMatch, compile_match
from mitm_mirror.routing.mismatch import describe_conditions, explain_mismatch
from mitm_mirror.routing.request import HeaderFields
from mitm_mirror.routing.view import RequestView

HEADERS: HeaderFields = (
    (b"X-User", b"jason"),
    (b"x-user", b"Mary"),
    (b"x-esc", b"\x1b[2J\xff"),
    (b"x-0", b""),
)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({"uri": {"prefix": "/api"}}, 'uri prefix "/api" does not match "/get"', id="prefix"),
        pytest.param({"uri": {"exact": "/"}}, 'uri exact "/" does not match "/get"', id="exact"),
        pytest.param({"uri": {"regex": "/g"}}, 'uri regex "/g" does not match "/get"', id="regex"),
        pytest.param(
            {"uri": {"exact": "/GOT"}, "ignoreUriCase": True},
            'uri exact "/GOT" (in any case) does not match "/get"',
            id="ignoreUriCase",
        ),
        pytest.param(
            {"uri": {"regex": "/GET"}, "ignoreUriCase": True},
            'uri regex "/GET" does not match "/get"',
            id="ignoreUriCase is not for a regex",
        ),
        pytest.param(
            {"method": {"exact": "POST"}},
            'method: expected exact "POST", the request has "GET"',
            id="method",
        ),
        pytest.param(
            {"authority": {"prefix": "a"}},
            'authority: expected prefix "a", the request has "httpbin:8080"',
            id="authority",
        ),
        pytest.param(
            {"scheme": {"exact": "https"}},
            'scheme: expected exact "https", the request has "http"',
            id="scheme",
        ),
        pytest.param({"port": 81}, "port: expected 81, the request is for 8080", id="port"),
        pytest.param(
            {"headers": {"x-none": {"exact": "tester"}}},
            'header x-none: expected exact "tester", the request has none',
            id="header is missing",
        ),
        pytest.param(
            {"headers": {"x-none": {}}},
            "header x-none: expected any value, the request has none",
            id="header is not present",
        ),
        pytest.param(
            {"headers": {"X-USER": {"prefix": "z"}}},
            'header X-USER: expected prefix "z", the request has "jason" and "Mary"',
            id="several lines",
        ),
        pytest.param(
            {"headers": {"x-esc": {"exact": "a"}}},
            r'header x-esc: expected exact "a", the request has "\x1b[2J\xff"',
            id="what would steer a terminal is escaped",
        ),
        pytest.param(
            {"uri": {"exact": "/" + 99 * "x"}},
            f'uri exact "/{79 * "x"}..." (100 characters) does not match "/get"',
            id="what is long is cut off",
        ),
        pytest.param(
            {"withoutHeaders": {"x-user": {}}},
            'without header x-user: expected no such header, the request has "jason" and "Mary"',
            id="without: presence",
        ),
        pytest.param(
            {"withoutHeaders": {"x-user": {"exact": "Mary"}}},
            'without header x-user: expected nothing that is exact "Mary", '
            'the request has "jason" and "Mary"',
            id="without: value",
        ),
        pytest.param(
            {"withoutHeaders": {"x-none": {"regex": ".*"}}},
            'without header x-none: expected nothing that is regex ".*", the request has none, '
            'which counts as ""',
            id="without: missing counts as empty",
        ),
        pytest.param(
            {"queryParams": {"q": {"exact": "1"}}},
            'query parameter q: expected exact "1", the request has "2"',
            id="query parameter",
        ),
        pytest.param(
            {"queryParams": {"z": {"exact": "1"}}},
            'query parameter z: expected exact "1", the request has none',
            id="query parameter is missing",
        ),
        pytest.param(
            {"uri": {"prefix": "/get"}, "method": {"exact": "PUT"}, "headers": {"x-none": {}}},
            'method: expected exact "PUT", the request has "GET"',
            id="the first that fails",
        ),
        pytest.param({"uri": {"prefix": "/get"}, "headers": {"x-0": {"exact": ""}}}, "", id="all hold"),
    ],
)
def test_why_a_match_is_not_met(head, spec: dict[str, object], expected: str) -> None:
    match = compile_match(HTTPMatchRequest.model_validate(spec))
    request = head("/get?q=2&q=1", headers=HEADERS)

    assert explain_mismatch(match, RequestView(request)) == expected


def test_why_a_match_is_never_met(head) -> None:
    unmet = UnmetMatch("sourceLabels", "it is for a=b, this proxy's labels: none")

    assert explain_mismatch(unmet, RequestView(head())) == (
        "sourceLabels: never met, it is for a=b, this proxy's labels: none"
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({}, "any request", id="nothing"),
        pytest.param({"uri": {"prefix": "/"}}, "any request", id="a prefix that all paths have"),
        pytest.param(
            {
                "port": 80,
                "uri": {"prefix": "/a"},
                "headers": {"x": {}},
                "queryParams": {"q": {"regex": "1+"}},
            },
            'port 80, uri prefix "/a", header x any value, query parameter q regex "1+"',
            id="several",
        ),
    ],
)
def test_what_a_match_asks(spec: dict[str, object], expected: str) -> None:
    assert describe_conditions(compile_match(HTTPMatchRequest.model_validate(spec))) == expected

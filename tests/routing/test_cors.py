"""Cross-origin requests. What is expected was seen of Envoy 1.40."""

import pytest

from mitm_mirror.routing.decision import Answer, Forward, HeaderOperations
from mitm_mirror.routing.headers import apply_operations

V1 = "route: [{destination: {host: httpbin, subset: v1}}]"
FULL = (
    "allowOrigins: [{exact: 'http://a'}, {prefix: 'http://p'}, {regex: 'http://r[0-9]'}], "
    "allowMethods: [GET, POST], allowHeaders: [x-a, x-b], exposeHeaders: [x-e], maxAge: 60s, "
    "allowCredentials: true"
)
STAR = "allowOrigins: [{exact: '*'}], allowMethods: ['*'], allowHeaders: ['*']"
PREFLIGHT = {"access-control-request-method": "PUT", "access-control-request-headers": "x-q"}


def with_policy(http, policy: str, more: str = "name: x") -> str:
    return http(
        f"  - {V1}\n    {more}\n    corsPolicy: {{{policy}}}\n    mirror: {{host: httpbin, subset: v2}}"
    )


def fields(**headers: str) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items())


@pytest.mark.parametrize(
    ("policy", "origin", "allowed"),
    [
        pytest.param(FULL, "http://a", True, id="exact"),
        pytest.param(FULL, "http://A", False, id="case counts"),
        pytest.param(FULL, "http://p.example", True, id="prefix"),
        pytest.param(FULL, "http://r1", True, id="regex"),
        pytest.param(FULL, "http://r12", False, id="the regex is for all of it"),
        pytest.param(STAR, "anything", True, id="star"),
        pytest.param("allowOrigins: [{regex: '.*'}]", "anything", True, id="regex for everything"),
        pytest.param(
            "allowOrigins: [{prefix: '*'}]", "anything", True, id="a prefix that begins * is a star"
        ),
        pytest.param("allowOrigin: ['http://old']", "http://old", True, id="deprecated"),
        pytest.param("allowOrigin: ['*']", "anything", True, id="deprecated star"),
        pytest.param(
            f"{FULL}, allowOrigin: ['http://old']", "http://old", False, id="deprecated and ignored"
        ),
        pytest.param("allowMethods: [GET]", "http://a", False, id="no origin is allowed"),
    ],
)
def test_which_origins_are_allowed(rules, http, head, draws, policy: str, origin: str, allowed: bool) -> None:
    decision = rules(with_policy(http, policy)).decide(head(headers=fields(Origin=origin)), draws())

    assert isinstance(decision, Forward)
    assert bool(decision.response_headers) is allowed
    assert len(decision.mirrors) == 1


def test_an_answer_is_stamped_over_what_destination_and_rule_say(rules, http, head, draws) -> None:
    more = "headers: {response: {set: {access-control-allow-origin: rule, x-rule: '1'}}}"
    table = rules(with_policy(http, FULL, more))
    answer = fields(Access_Control_Allow_Origin="up", access_control_expose_headers="up", x_up="1")

    decision = table.decide(head(headers=fields(origin="http://a")), draws())

    assert isinstance(decision, Forward)
    for operations in decision.response_headers:
        answer = apply_operations(answer, operations)
    assert sorted(answer) == [
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-allow-origin", b"http://a"),
        (b"access-control-expose-headers", b"x-e"),
        (b"x-rule", b"1"),
        (b"x-up", b"1"),
    ]


def test_a_policy_that_says_little_stamps_little(rules, http, head, draws) -> None:
    table = rules(with_policy(http, "allowOrigins: [{exact: '*'}], allowCredentials: false"))

    decision = table.decide(head(headers=fields(origin="http://a")), draws())

    assert isinstance(decision, Forward)
    assert decision.response_headers == (
        HeaderOperations(set=((b"access-control-allow-origin", b"http://a"),)),
    )


@pytest.mark.parametrize(
    ("policy", "headers", "expected"),
    [
        pytest.param(
            FULL,
            {"origin": "http://a", **PREFLIGHT},
            {
                "origin": "http://a", "credentials": "true", "methods": "GET,POST", "headers": "x-a,x-b",
                "max-age": "60", "expose-headers": "x-e",
            },
            id="everything",
        ),
        pytest.param(
            STAR,
            {"origin": "http://z", **PREFLIGHT},
            {"origin": "http://z", "methods": "PUT", "headers": "x-q"},
            id="stars give back what was asked for",
        ),
        pytest.param(
            STAR,
            {"origin": "http://z", "access-control-request-method": "PUT"},
            {"origin": "http://z", "methods": "PUT", "headers": ""},
            id="no headers were asked for",
        ),
        pytest.param(
            "allowOrigins: [{exact: '*'}]",
            {"origin": "http://z", **PREFLIGHT},
            {"origin": "http://z"},
            id="nothing but the origin",
        ),
        pytest.param(
            f"{FULL}, unmatchedPreflights: IGNORE",
            {"origin": "http://z", **PREFLIGHT},
            {"credentials": "true", "methods": "GET,POST", "headers": "x-a,x-b", "max-age": "60"},
            id="unmatched and not forwarded",
        ),
    ],
)  # fmt: skip
def test_a_preflight_is_answered(rules, http, head, draws, policy: str, headers, expected) -> None:
    table = rules(with_policy(http, policy, "headers: {response: {set: {x-rule: '1'}}}"))

    decision = table.decide(head(method="OPTIONS", headers=fields(**headers)), draws())

    assert isinstance(decision, Answer)
    assert (decision.status, decision.body, decision.reason) == (200, b"", "cors_preflight")
    full = {"max-age": "access-control-max-age", "expose-headers": "access-control-expose-headers"}
    assert dict(decision.headers) == {
        full.get(name, f"access-control-allow-{name}").encode(): value.encode()
        for name, value in expected.items()
    }


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        pytest.param("GET", {"origin": "http://a", **PREFLIGHT}, id="another method"),
        pytest.param("options", {"origin": "http://a", **PREFLIGHT}, id="methods have case"),
        pytest.param("OPTIONS", {"origin": "http://a"}, id="asks for no method"),
        pytest.param("OPTIONS", {"origin": "http://a", "access-control-request-method": ""}, id="asks empty"),
        pytest.param("OPTIONS", PREFLIGHT, id="no origin"),
        pytest.param("OPTIONS", {"origin": "", **PREFLIGHT}, id="empty origin"),
        pytest.param("OPTIONS", {"origin": "http://z", **PREFLIGHT}, id="origin that is not allowed"),
    ],
)
@pytest.mark.parametrize("unmatched", ["UNSPECIFIED", "FORWARD"])
def test_everything_else_is_forwarded(rules, http, head, draws, method: str, headers, unmatched: str) -> None:
    table = rules(with_policy(http, f"{FULL}, unmatchedPreflights: {unmatched}"))

    assert isinstance(table.decide(head(method=method, headers=fields(**headers)), draws()), Forward)


def test_several_lines_count_as_one(rules, http, head, draws) -> None:
    lines = (*fields(origin="http://p"), *fields(origin="http://b"))

    decision = rules(with_policy(http, FULL)).decide(head(headers=lines), draws())

    assert isinstance(decision, Forward)
    assert decision.response_headers[0].set[0] == (b"access-control-allow-origin", b"http://p,http://b")


def test_the_fault_comes_first(rules, http, head, draws) -> None:
    """An aborted preflight is no preflight, and an aborted request gets no CORS header."""
    table = rules(with_policy(http, FULL, "fault: {abort: {httpStatus: 500, percentage: {value: 100}}}"))

    decision = table.decide(head(method="OPTIONS", headers=fields(origin="http://a", **PREFLIGHT)), draws())

    assert isinstance(decision, Answer)
    assert (decision.reason, decision.headers) == ("fault_abort", ((b"content-type", b"text/plain"),))


def test_a_preflight_is_delayed_like_any_other_request(rules, http, head, draws) -> None:
    table = rules(with_policy(http, FULL, "fault: {delay: {fixedDelay: 2s, percentage: {value: 100}}}"))

    decision = table.decide(head(method="OPTIONS", headers=fields(origin="http://a", **PREFLIGHT)), draws())

    assert isinstance(decision, Answer)
    assert (decision.reason, decision.delay_s) == ("cors_preflight", 2.0)


def test_a_missing_endpoint_is_stamped_and_a_preflight_needs_none(rules, http, head, draws) -> None:
    nobody = "route: [{destination: {host: nobody}}]"
    table = rules(http(f"  - {nobody}\n    corsPolicy: {{{FULL}}}"))
    origin = fields(origin="http://a")

    simple = table.decide(head(headers=origin), draws())
    preflight = table.decide(head(method="OPTIONS", headers=origin + fields(**PREFLIGHT)), draws())

    assert isinstance(simple, Answer)
    assert isinstance(preflight, Answer)
    assert (simple.reason, preflight.reason) == ("no_endpoint", "cors_preflight")
    assert (b"access-control-allow-origin", b"http://a") in simple.headers


@pytest.mark.parametrize(
    "action", ["redirect: {uri: /x}", "directResponse: {status: 200}"], ids=lambda text: text.split(":")[0]
)
def test_answers_without_a_destination_get_no_cors_headers(rules, http, head, draws, action: str) -> None:
    table = rules(http(f"  - {action}\n    corsPolicy: {{{FULL}}}"))

    decision = table.decide(head(method="OPTIONS", headers=fields(origin="http://a", **PREFLIGHT)), draws())

    assert isinstance(decision, Answer)
    assert not any(name.startswith(b"access-control") for name, _ in decision.headers)

"""Faults: who is held, who is aborted, and with what. What is expected was seen of Envoy 1.40."""

from collections import Counter
from itertools import product

import pytest

from mitm_mirror.routing.decision import Answer, Forward

V1 = "route: [{destination: {host: httpbin, subset: v1}}]"
ALWAYS = "percentage: {value: 100}"
TEXT = (b"content-type", b"text/plain")
GRPC = ((b"content-type", b"application/grpc"),)


def faulty(http, fault: str, more: str = "name: x") -> str:
    return http(f"  - {V1}\n    fault: {{{fault}}}\n    {more}\n    mirror: {{host: httpbin, subset: v2}}")


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("abort: {httpStatus: 500}", id="abort without percentage"),
        pytest.param("abort: {httpStatus: 500, percentage: {}}", id="abort of an empty percentage"),
        pytest.param("abort: {httpStatus: 500, percentage: {value: 0}}", id="abort of 0"),
        pytest.param(f"abort: {{{ALWAYS}}}", id="abort without status"),
        pytest.param("delay: {fixedDelay: 5s}", id="delay without percentage"),
        pytest.param("delay: {fixedDelay: 5s, percentage: {}, percent: 100}", id="percentage before percent"),
        pytest.param("delay: {fixedDelay: 5s, percent: 0}", id="delay of 0"),
        pytest.param(f"delay: {{{ALWAYS}}}", id="delay without fixedDelay"),
    ],
)
def test_a_fault_that_can_never_happen_draws_nothing(rules, http, head, draws, fault: str) -> None:
    decision = rules(faulty(http, fault)).decide(head(), draws())

    assert isinstance(decision, Forward)
    assert decision.delay_s == 0


@pytest.mark.parametrize(
    ("percentage", "drawn", "hit"),
    [
        pytest.param("percentage: {value: 50}", (0.4999999,), True, id="below half"),
        pytest.param("percentage: {value: 50}", (0.5,), False, id="half"),
        pytest.param("percentage: {value: 0.0001}", (0.0000009,), True, id="the first of a million"),
        pytest.param("percentage: {value: 0.0001}", (0.000001,), False, id="the second of a million"),
        pytest.param("percent: 30", (0.299999,), True, id="deprecated, below"),
        pytest.param("percent: 30", (0.3,), False, id="deprecated, above"),
        pytest.param("percent: 130", (), True, id="above 100 is always"),
        pytest.param("percent: -1", (), True, id="below 0 is always, as Istio passes it on unsigned"),
    ],
)
def test_a_share_of_the_requests_is_held(rules, http, head, draws, percentage, drawn, hit) -> None:
    numbers = draws(*drawn)

    decision = rules(faulty(http, f"delay: {{fixedDelay: 1500ms, {percentage}}}")).decide(head(), numbers)

    assert isinstance(decision, Forward)
    assert decision.delay_s == (1.5 if hit else 0)
    assert len(decision.mirrors) == 1
    assert numbers.left() == []


def test_delay_and_abort_are_drawn_independently_in_that_order(rules, http, head, draws) -> None:
    half = "percentage: {value: 50}"
    table = rules(faulty(http, f"delay: {{fixedDelay: 2s, {half}}}, abort: {{httpStatus: 418, {half}}}"))

    seen = Counter(
        (type(decision).__name__, decision.delay_s)
        for delay, abort in product((0.1, 0.9), repeat=2)
        for decision in [table.decide(head(), draws(delay, abort))]
    )

    assert seen == {("Answer", 2.0): 1, ("Answer", 0.0): 1, ("Forward", 2.0): 1, ("Forward", 0.0): 1}


def test_draws_come_in_the_documented_order(rules, http, head, draws) -> None:
    """Destination, delay, abort, endpoint (of the two without a subset), mirror, mirror's endpoint."""
    table = rules(
        http("""
  - route:
    - destination: {host: httpbin, subset: v1}
    - destination: {host: httpbin}
      weight: 1
    - destination: {host: httpbin, subset: v2}
      weight: 1
    fault:
      delay: {fixedDelay: 1s, percentage: {value: 50}}
      abort: {httpStatus: 500, percentage: {value: 50}}
    mirror: {host: other.example.com}
    mirrorPercentage: {value: 50}
""")
    )
    numbers = draws(0.1, 0.4, 0.9, 0.9, 0.4, 0.1)

    decision = table.decide(head(port=80), numbers)

    assert isinstance(decision, Forward)
    assert (decision.delay_s, decision.target.endpoint.address) == (1.0, "10.0.0.2")
    assert decision.mirrors[0].target is not None
    assert decision.mirrors[0].target.endpoint.address == "10.0.0.1"
    assert numbers.left() == []


@pytest.mark.parametrize(
    ("abort", "content_type", "status", "headers", "body"),
    [
        pytest.param("httpStatus: 555", "", 555, (TEXT,), b"fault filter abort", id="http"),
        pytest.param("grpcStatus: NOT_FOUND", "", 200, (TEXT,), b"fault filter abort", id="grpc to http"),
        pytest.param(
            "grpcStatus: NOT_FOUND",
            "application/grpc",
            200,
            (*GRPC, (b"grpc-status", b"5"), (b"grpc-message", b"fault filter abort")),
            b"",
            id="grpc",
        ),
        pytest.param(
            "httpStatus: 503",
            "application/grpc+proto",
            200,
            (*GRPC, (b"grpc-status", b"14"), (b"grpc-message", b"fault filter abort")),
            b"",
            id="http to grpc",
        ),
        pytest.param(
            "httpStatus: 503", "application/grpc-web", 503, (TEXT,), b"fault filter abort", id="grpc-web"
        ),
    ],
)
def test_an_aborted_request_is_answered_in_the_clients_protocol(
    rules, http, head, draws, abort: str, content_type: str, status: int, headers: object, body: bytes
) -> None:
    sent = ((b"Content-Type", content_type.encode()),) if content_type else ()

    decision = rules(faulty(http, f"abort: {{{abort}, {ALWAYS}}}")).decide(head(headers=sent), draws())

    assert isinstance(decision, Answer)
    assert (decision.status, decision.headers, decision.body) == (status, headers, body)
    assert decision.reason == "fault_abort"
    assert decision.destination == "outbound|80|v1|httpbin.default.svc.cluster.local"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, 13),
        (401, 16),
        (403, 7),
        (404, 12),
        (429, 14),
        (500, 2),
        (502, 14),
        (503, 14),
        (504, 14),
        (204, 2),
    ],
)
def test_http_statuses_in_grpc(rules, http, head, draws, status: int, code: int) -> None:
    table = rules(faulty(http, f"abort: {{httpStatus: {status}, {ALWAYS}}}"))

    decision = table.decide(head(headers=((b"content-type", b"application/grpc"),)), draws())

    assert isinstance(decision, Answer)
    assert (b"grpc-status", str(code).encode()) in decision.headers


def test_a_head_of_grpc_gets_no_message(rules, http, head, draws) -> None:
    table = rules(faulty(http, f"abort: {{httpStatus: 503, {ALWAYS}}}"))

    decision = table.decide(head(method="HEAD", headers=GRPC), draws())

    assert isinstance(decision, Answer)
    assert decision.headers == (*GRPC, (b"grpc-status", b"14"))


def test_no_route_in_grpc(rules, http, head, draws) -> None:
    table = rules(http(f"  - match: [{{uri: {{exact: /a}}}}]\n    {V1}"))

    decision = table.decide(head(headers=GRPC), draws())

    assert isinstance(decision, Answer)
    assert (decision.status, decision.headers, decision.body, decision.reason) == (
        200,
        (*GRPC, (b"grpc-status", b"12")),
        b"",
        "no_route",
    )


@pytest.mark.parametrize(
    ("action", "headers"),
    [
        pytest.param(
            "redirect: {uri: /x}",
            ((b"location", b"http://httpbin:8080/x"), (b"x-rule", b"1"), *GRPC, (b"grpc-status", b"2")),
            id="redirect",
        ),
        pytest.param(
            'directResponse: {status: 404, body: {string: "d~ d%\\n}"}}',
            (
                (b"x-rule", b"1"), *GRPC, (b"grpc-status", b"12"), (b"grpc-message", b"d%7E d%25%0A}"),
            ),
            id="direct response",
        ),
    ],
)  # fmt: skip
def test_answers_of_a_rule_in_grpc(rules, http, head, draws, action: str, headers: object) -> None:
    table = rules(http(f"  - {action}\n    headers: {{response: {{set: {{x-rule: '1'}}}}}}"))

    decision = table.decide(head(headers=GRPC), draws())

    assert isinstance(decision, Answer)
    assert (decision.status, decision.headers, decision.body) == (200, headers, b"")


def test_response_operations_apply_to_an_abort_and_to_a_missing_endpoint(rules, http, head, draws) -> None:
    operations = "headers: {response: {set: {x-%s: '1', content-type: %s}}}"
    table = rules(
        http(f"""
  - match: [{{uri: {{exact: /abort}}}}]
    {operations % ("route", "a/b")}
    route: [{{destination: {{host: httpbin, subset: v1}}, {operations % ("destination", "c/d")}}}]
    fault: {{abort: {{httpStatus: 500, {ALWAYS}}}}}
  - {operations % ("route", "a/b")}
    route: [{{destination: {{host: nobody}}}}]
""")
    )

    aborted, missing = (table.decide(head(path), draws()) for path in ("/abort", "/"))

    assert isinstance(aborted, Answer)
    assert isinstance(missing, Answer)
    assert dict(aborted.headers) == {b"x-route": b"1", b"x-destination": b"1", b"content-type": b"c/d"}
    assert dict(missing.headers) == {b"x-route": b"1", b"content-type": b"a/b"}


def test_people_can_read_what_a_fault_does(rules, http) -> None:
    fault = (
        f"delay: {{fixedDelay: 1500ms, percentage: {{value: 0.5}}}}, abort: {{grpcStatus: ABORTED, {ALWAYS}}}"
    )

    text = rules(faulty(http, fault)).describe()

    assert "delay 0.5% by 1.5 s" in text
    assert "abort 100% with 200, gRPC status 10" in text

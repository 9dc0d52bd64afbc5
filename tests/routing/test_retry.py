"""Which attempts are repeated, when, and where: as Istio translates the rule and Envoy 1.40 acts on it."""

import itertools
from typing import Any

import pytest

from mitm_mirror.resources.virtual_service import HTTPRetry
from mitm_mirror.routing.retry import (
    DEFAULT_RETRY_ON,
    AttemptEnd,
    AttemptResult,
    RetryPolicy,
    choose_another,
    compile_retry,
)

DEFAULT_CONDITIONS = frozenset(DEFAULT_RETRY_ON.split(","))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param(None, RetryPolicy(2, DEFAULT_CONDITIONS), id="absent is Istio's default"),
        pytest.param({}, None, id="attempts left out means 0"),
        pytest.param({"attempts": 0}, None, id="0 turns retries off"),
        pytest.param({"attempts": 3}, RetryPolicy(3, DEFAULT_CONDITIONS), id="default conditions"),
        pytest.param(
            {"attempts": 1, "retryOn": " 5xx , 418,reset ,,999"},
            RetryPolicy(1, frozenset({"5xx", "reset", "999"}), frozenset({418})),
            id="conditions and codes; no HTTP status is a condition that never holds",
        ),
        pytest.param(
            {"attempts": 1, "retryOn": "503", "perTryTimeout": "2s", "backoff": "100ms"},
            RetryPolicy(1, frozenset(), frozenset({503}), 2.0, 0.1),
            id="only a code, perTryTimeout, backoff",
        ),
        pytest.param(
            {"attempts": 1, "retryOn": "5xx", "perTryTimeout": "0s", "retryRemoteLocalities": True},
            RetryPolicy(1, frozenset({"5xx"})),
            id="perTryTimeout 0s is no limit; there are no localities",
        ),
        pytest.param(
            {"attempts": 1, "retryOn": "5xx", "retryIgnorePreviousHosts": False},
            RetryPolicy(1, frozenset({"5xx"}), ignore_previous_hosts=False),
            id="previous endpoints allowed",
        ),
        pytest.param(
            {"attempts": 1, "retryOn": "5xx", "retryIgnorePreviousHosts": True},
            RetryPolicy(1, frozenset({"5xx"}), ignore_previous_hosts=True),
            id="previous endpoints not allowed",
        ),
    ],
)
def test_compile(spec: dict[str, Any] | None, expected: RetryPolicy | None) -> None:
    parsed = None if spec is None else HTTPRetry.model_validate(spec)

    assert compile_retry(parsed) == expected


def answered(status: int, *headers: tuple[bytes, bytes]) -> AttemptResult:
    return AttemptResult(AttemptEnd.ANSWERED, status, headers)


def grpc(status: int) -> AttemptResult:
    return answered(200, (b"Grpc-Status", b"%d" % status))


RESULTS = {
    "200": answered(200),
    "404": answered(404),
    "409": answered(409),
    "418": answered(418),
    "500": answered(500),
    "502": answered(502),
    "503": answered(503),
    "504": answered(504),
    "599": answered(599),
    "ratelimited": answered(503, (b"X-Envoy-Ratelimited", b"true")),
    "grpc 0": grpc(0),
    "grpc 1": grpc(1),
    "grpc 4": grpc(4),
    "grpc 8": grpc(8),
    "grpc 13": grpc(13),
    "grpc 14": grpc(14),
    "no connection": AttemptResult(AttemptEnd.CONNECT_FAILURE),
    "reset": AttemptResult(AttemptEnd.RESET),
    "no HTTP": AttemptResult(AttemptEnd.NOT_HTTP),
    "per-try timeout": AttemptResult(AttemptEnd.TIMEOUT),
}

NO_ANSWER = {"no connection", "reset", "no HTTP", "per-try timeout"}


@pytest.mark.parametrize(
    ("retry_on", "retried"),
    [
        pytest.param("5xx", {"500", "502", "503", "504", "599", *NO_ANSWER}, id="5xx"),
        pytest.param("gateway-error", {"502", "503", "504", *NO_ANSWER}, id="gateway-error"),
        pytest.param("reset", NO_ANSWER, id="reset"),
        pytest.param("reset-before-request", {"no connection"}, id="reset-before-request"),
        pytest.param("connect-failure", {"no connection"}, id="connect-failure"),
        pytest.param("retriable-4xx", {"409"}, id="retriable-4xx"),
        pytest.param("refused-stream", set(), id="refused-stream: there is none in HTTP/1.1"),
        pytest.param("retriable-status-codes", set(), id="retriable-status-codes without a code"),
        pytest.param("retriable-status-codes,418", {"418"}, id="retriable-status-codes with a code"),
        pytest.param("503,418", {"418", "503"}, id="bare codes"),
        pytest.param("retriable-headers", set(), id="retriable-headers: Istio has no field for them"),
        pytest.param("envoy-ratelimited", {"ratelimited"}, id="envoy-ratelimited"),
        pytest.param("cancelled", {"grpc 1"}, id="cancelled"),
        pytest.param("deadline-exceeded", {"grpc 4"}, id="deadline-exceeded"),
        pytest.param("resource-exhausted", {"grpc 8"}, id="resource-exhausted"),
        pytest.param("internal", {"grpc 13"}, id="internal"),
        pytest.param("unavailable", {"grpc 14"}, id="unavailable"),
        pytest.param(DEFAULT_RETRY_ON, {"no connection", "grpc 1", "grpc 14"}, id="Istio's default"),
        pytest.param("reset,409,unavailable", {*NO_ANSWER, "409", "grpc 14"}, id="several"),
    ],
)
def test_conditions(retry_on: str, retried: set[str]) -> None:
    policy = compile_retry(HTTPRetry.model_validate({"attempts": 1, "retryOn": retry_on}))

    assert policy is not None
    assert {name for name, result in RESULTS.items() if policy.wants_retry(result)} == retried


@pytest.mark.parametrize(
    ("base_s", "expected_ms"),
    [
        pytest.param(0.025, [25, 50, 100, 200, 250, 250, 250], id="Envoy's default"),
        pytest.param(1.0, [1000, 2000, 4000, 8000, 10000, 10000, 10000], id="given"),
    ],
)
def test_the_longest_pause_doubles_up_to_ten_times_the_base(base_s: float, expected_ms: list[int]) -> None:
    policy = RetryPolicy(9, frozenset(), backoff_s=base_s)

    assert [round(policy.pause_s(retry, lambda: 1.0) * 1000) for retry in range(1, 8)] == expected_ms
    assert policy.pause_s(1, lambda: 0.0) == 0.0
    assert policy.pause_s(10**6, lambda: 0.5) == 5 * base_s


@pytest.mark.parametrize(
    ("drawn", "tried", "expected"),
    [
        pytest.param("a", "", "a", id="nothing tried"),
        pytest.param("aab", "a", "b", id="drawn again until it is another"),
        pytest.param("aaaaaab", "a", "a", id="after five more draws it stays"),
        pytest.param("aaaaab", "a", "b", id="the fifth may be it"),
    ],
)
def test_choose_another(drawn: str, tried: str, expected: str) -> None:
    assert choose_another(iter(drawn).__next__, tried) == expected


def test_choose_another_where_there_is_none_any_more() -> None:
    assert choose_another(itertools.repeat(None).__next__, ("a",)) is None

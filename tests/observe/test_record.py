import json

import pytest
from msgspec.structs import replace

from mitm_mirror.observe.compare import Comparison, Difference, Kind, NotCompared, Verdict
from mitm_mirror.observe.formats import FORMATS
from mitm_mirror.observe.record import (
    AccessRecord,
    PickedHeaders,
    PrimaryOutcome,
    format_address,
    pick_headers,
)
from mitm_mirror.outcome import Outcome
from mitm_mirror.routing.request import HeaderFields

COMPARISON = ("comparison", "not_compared", "compared_status", "differences", "differences_truncated")
SECRETS = (b"Bearer s3cr3t-token", b"session=s3cr3t-cookie", b"s3cr3t-set-cookie=1", b"s3cr3t-key")


def shadow(**fields: object) -> AccessRecord:
    record = AccessRecord(
        copy="shadow",
        id="5f0c",
        start_time=1795361610.1239,
        client="192.0.2.7",
        method="GET",
        target=b"/headers",
        http_version="HTTP/1.1",
        authority="httpbin-shadow:8080",
        outcome=Outcome.OK,
    )
    return replace(record, **fields)  # type: ignore[arg-type]  # each test names real fields


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param((), PickedHeaders(), id="none"),
        pytest.param(
            (
                (b"REFERER", b"http://a/"),
                (b"User-Agent", b"curl/8.0"),
                (b"x-Request-ID", b"42"),
                (b"X-Forwarded-For", b"192.0.2.1"),
            ),
            PickedHeaders("http://a/", "curl/8.0", "42", "192.0.2.1"),
            id="names without case",
        ),
        pytest.param(
            ((b"x-forwarded-for", b"a"), (b"x-forwarded-for", b"b")),
            PickedHeaders(forwarded_for="a,b"),
            id="lines of one name are joined",
        ),
        pytest.param(
            (
                (b"Authorization", SECRETS[0]),
                (b"Cookie", SECRETS[1]),
                (b"Set-Cookie", SECRETS[2]),
                (b"Proxy-Authorization", SECRETS[0]),
                (b"X-Api-Key", SECRETS[3]),
                (b"User-Agent ", SECRETS[3]),
            ),
            PickedHeaders(),
            id="nothing else",
        ),
    ],
)
def test_only_allowed_headers_are_picked(fields: HeaderFields, expected: PickedHeaders) -> None:
    assert expected == pick_headers(fields)


@pytest.mark.parametrize("name", FORMATS)
def test_no_format_shows_a_secret(name: str) -> None:
    record = shadow(
        authority="admin:s3cr3t@httpbin:8080",
        target=b"http://admin:s3cr3t@httpbin:8080/p",
        original_target=b"http://admin:s3cr3t@httpbin:8080/o",
        headers=pick_headers(
            (
                (b"Authorization", SECRETS[0]),
                (b"Cookie", SECRETS[1]),
                (b"Set-Cookie", SECRETS[2]),
                (b"Referer", b"https://admin:s3cr3t@elsewhere/"),
                (b"User-Agent", b"curl"),
            )
        ),
    )

    line = FORMATS[name](record)

    assert "s3cr3t" not in line
    assert "admin" not in line
    assert "httpbin:8080" in line
    assert "curl" in line


def test_dropping_userinfo_keeps_the_rest_byte_by_byte() -> None:
    record = shadow(
        target=b"http://u:p@h/\xff%2F?a=b@c", headers=PickedHeaders("http://u:p@h/", "ua", "id", "xff")
    )

    assert record.target == b"http://h/\xff%2F?a=b@c"
    assert record.headers == PickedHeaders("http://h/", "ua", "id", "xff")


def test_a_record_cannot_be_changed_past_its_redaction() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        shadow().authority = "u:p@h"  # type: ignore[misc]  # the point of the test


@pytest.mark.parametrize(
    ("destination", "parts"),
    [
        pytest.param(
            "outbound|8080|v2|httpbin.default.svc.cluster.local",
            (8080, "v2", "httpbin.default.svc.cluster.local"),
            id="subset",
        ),
        pytest.param("outbound|80||example.org", (80, "", "example.org"), id="no subset"),
        pytest.param("", (0, "", ""), id="none"),
        pytest.param("PassthroughCluster", (0, "", "PassthroughCluster"), id="no cluster's name"),
    ],
)
def test_a_destination_falls_into_its_parts(destination: str, parts: tuple[int, str, str]) -> None:
    assert parts == shadow(destination=destination).destination_parts


@pytest.mark.parametrize(
    ("address", "port", "expected"),
    [
        pytest.param("127.0.0.1", 80, "127.0.0.1:80", id="IPv4"),
        pytest.param("::1", 80, "[::1]:80", id="IPv6"),
        pytest.param("db.example", 5432, "db.example:5432", id="name"),
        pytest.param("::1", 0, "[::1]", id="no port"),
        pytest.param("", 80, "", id="no address"),
    ],
)
def test_addresses_are_printed_with_their_port(address: str, port: int, expected: str) -> None:
    assert expected == format_address(address, port)


def test_every_answer_of_the_rules_is_an_outcome_of_the_primary() -> None:
    for reason in ("redirect", "direct_response", "no_route", "no_endpoint"):
        assert reason == PrimaryOutcome(reason).value


def test_to_dict_holds_every_field_under_its_name() -> None:
    record = shadow(
        start_time=1795361610.1239,
        client_port=50000,
        target=b"/new?\xff",
        original_target=b"/old",
        status=503,
        request_bytes=0,
        response_bytes=12,
        duration_ms=3.21987,
        first_byte_ms=2.0,
        waited_ms=0.0,
        destination="outbound|8080|v2|httpbin.default.svc.cluster.local",
        endpoint="127.0.0.1:8002",
        proxy_address="127.0.0.1:8080",
        server_name="httpbin",
        virtual_service="default/httpbin",
        route="http[0]",
        rules_generation=3,
        error="why",
        headers=PickedHeaders("r", "u", "i", "f"),
    )

    assert record.to_dict() == {
        "start_time": "2026-11-22T15:33:30.123Z",
        "copy": "shadow",
        "id": "5f0c",
        "outcome": "ok",
        "status": 503,
        "method": "GET",
        "target": "/new?\\xff",
        "original_target": "/old",
        "http_version": "HTTP/1.1",
        "authority": "httpbin-shadow:8080",
        "request_bytes": 0,
        "response_bytes": 12,
        "duration_ms": 3.22,
        "first_byte_ms": 2.0,
        "waited_ms": 0.0,
        "delay_ms": None,
        "attempts": None,
        "retries_exhausted": None,
        "destination": "outbound|8080|v2|httpbin.default.svc.cluster.local",
        "destination_host": "httpbin.default.svc.cluster.local",
        "destination_subset": "v2",
        "destination_port": 8080,
        "endpoint": "127.0.0.1:8002",
        "virtual_service": "default/httpbin",
        "route": "http[0]",
        "rules_generation": 3,
        "client": "192.0.2.7",
        "client_port": 50000,
        "proxy_address": "127.0.0.1:8080",
        "server_name": "httpbin",
        "referer": "r",
        "user_agent": "u",
        "request_id": "i",
        "forwarded_for": "f",
        "error": "why",
        "comparison": None,
        "not_compared": None,
        "compared_status": None,
        "differences": None,
        "differences_truncated": None,
    }


def test_a_comparison_is_spelled_out() -> None:
    record = shadow(
        compared_status=200,
        comparison=Comparison(
            Verdict.DIFFERS,
            NotCompared.BODY_INCOMPLETE,
            (
                Difference("status", Kind.VALUE, "200", "503"),
                Difference("json.a[0]", Kind.ONLY_SHADOW, None, '"x"', count=3, noise="why"),
            ),
            truncated=True,
        ),
    )

    told = {name: value for name, value in record.to_dict().items() if name in COMPARISON}

    assert json.loads(FORMATS["json"](record)) == record.to_dict()
    assert told == {
        "comparison": "differs",
        "not_compared": "body_incomplete",
        "compared_status": 200,
        "differences": [
            {"path": "status", "kind": "value", "primary": "200", "shadow": "503", "count": 1, "noise": None},
            {
                "path": "json.a[0]",
                "kind": "only_shadow",
                "primary": None,
                "shadow": '"x"',
                "count": 3,
                "noise": "why",
            },
        ],
        "differences_truncated": True,
    }


def test_an_equal_answer_has_no_differences() -> None:
    told = shadow(comparison=Comparison(Verdict.EQUAL)).to_dict()

    assert [told[name] for name in COMPARISON] == ["equal", None, None, [], False]


def test_absent_values_are_none_and_both_copies_have_the_same_names() -> None:
    bare = shadow().to_dict()
    primary = shadow(copy="primary", outcome=PrimaryOutcome.NO_ROUTE).to_dict()

    given = {"start_time", "copy", "id", "outcome", "method", "target", "http_version", "authority", "client"}
    assert given == {name for name, value in bare.items() if value is not None}
    assert list(bare) == list(primary)
    assert json.loads(json.dumps(bare)) == bare

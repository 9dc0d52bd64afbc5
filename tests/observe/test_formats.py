"""Whole lines, and what a hostile client can make of them: one record is one line, and reads back."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from mitm_mirror.observe.formats import FORMATS, format_common, format_envoy, format_json
from mitm_mirror.observe.record import AccessRecord, PickedHeaders, PrimaryOutcome
from mitm_mirror.outcome import Outcome
from mitm_mirror.text import decode

DOCUMENT = (Path(__file__).parents[2] / "docs" / "access-log.md").read_text(encoding="utf-8")
DOCUMENTED_NAMES = set(re.findall(r"`([^`\n]+)`", DOCUMENT))

V1 = "outbound|8080|v1|httpbin.default.svc.cluster.local"
V2 = "outbound|8080|v2|httpbin.default.svc.cluster.local"

PRIMARY = AccessRecord(
    copy="primary",
    id="5f0c",
    start_time=1795361610.1239,
    client="127.0.0.1",
    client_port=50000,
    method="GET",
    target=b"/headers",
    http_version="HTTP/1.1",
    authority="httpbin:8080",
    status=200,
    request_bytes=0,
    response_bytes=123,
    duration_ms=4.26,
    first_byte_ms=3.9,
    destination=V1,
    endpoint="127.0.0.1:8001",
    proxy_address="127.0.0.1:8080",
    virtual_service="default/httpbin",
    route="http[0]",
    rules_generation=1,
    outcome=PrimaryOutcome.OK,
    headers=PickedHeaders(user_agent="curl/8.0"),
)
SHADOW = replace(
    PRIMARY,
    copy="shadow",
    authority="httpbin-shadow:8080",
    duration_ms=3.21,
    first_byte_ms=None,
    waited_ms=0.05,
    destination=V2,
    endpoint="127.0.0.1:8002",
    outcome=Outcome.OK,
)
REFUSED = replace(
    SHADOW, status=0, response_bytes=None, outcome=Outcome.CONNECT_ERROR, error='connect failed: "refused"'
)
BARE = AccessRecord(
    copy="shadow",
    id="5f0c",
    start_time=0.0,
    client="",
    method="",
    target=b"",
    http_version="",
    authority="",
    outcome=Outcome.PAUSED,
)

NCSA_COMBINED = re.compile(
    r'(?P<host>\S+) (?P<ident>\S+) (?P<user>\S+) \[(?P<time>[^\]]+)\] "(?P<request>(?:[^"\\]|\\.)*)"'
    r' (?P<status>\d{3}|-) (?P<size>\d+|-) "(?P<referer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)"'
    r"(?: (?P<rest>.*))?"
)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        pytest.param(
            PRIMARY,
            '127.0.0.1 - - [22/Nov/2026:15:33:30 +0000] "GET /headers HTTP/1.1" 200 123 "-" "curl/8.0"'
            f" copy=primary id=5f0c host=httpbin:8080 destination={V1} endpoint=127.0.0.1:8001 outcome=ok"
            " request_bytes=0 response_bytes=123 duration_ms=4.3",
            id="primary",
        ),
        pytest.param(
            SHADOW,
            '127.0.0.1 - - [22/Nov/2026:15:33:30 +0000] "GET /headers HTTP/1.1" 200 123 "-" "curl/8.0"'
            f" copy=shadow id=5f0c host=httpbin-shadow:8080 destination={V2} endpoint=127.0.0.1:8002"
            " outcome=ok request_bytes=0 response_bytes=123 duration_ms=3.2",
            id="shadow",
        ),
        pytest.param(
            REFUSED,
            '127.0.0.1 - - [22/Nov/2026:15:33:30 +0000] "GET /headers HTTP/1.1" - - "-" "curl/8.0"'
            f" copy=shadow id=5f0c host=httpbin-shadow:8080 destination={V2} endpoint=127.0.0.1:8002"
            " outcome=connect_error request_bytes=0 response_bytes=- duration_ms=3.2"
            ' error="connect failed: \\"refused\\""',
            id="error",
        ),
        pytest.param(
            BARE,
            '- - - [01/Jan/1970:00:00:00 +0000] "- - -" - - "-" "-"'
            " copy=shadow id=5f0c host=- destination=- endpoint=- outcome=paused"
            " request_bytes=- response_bytes=- duration_ms=-",
            id="absent values",
        ),
        pytest.param(
            replace(PRIMARY, headers=PickedHeaders("http://ref/?a b", 'a "q" \\')),
            '127.0.0.1 - - [22/Nov/2026:15:33:30 +0000] "GET /headers HTTP/1.1" 200 123'
            ' "http://ref/?a b" "a \\"q\\" \\\\"'
            f" copy=primary id=5f0c host=httpbin:8080 destination={V1} endpoint=127.0.0.1:8001 outcome=ok"
            " request_bytes=0 response_bytes=123 duration_ms=4.3",
            id="quotes",
        ),
    ],
)
def test_common_is_ncsa_combined_and_fields(record: AccessRecord, expected: str) -> None:
    line = format_common(record)

    assert expected == line
    assert NCSA_COMBINED.fullmatch(line)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        pytest.param(
            PRIMARY,
            '[2026-11-22T15:33:30.123Z] "GET /headers HTTP/1.1" 200 - via_upstream - "-" 0 123 4 3 "-"'
            f' "curl/8.0" "-" "httpbin:8080" "127.0.0.1:8001" {V1} - 127.0.0.1:8080 127.0.0.1:50000 - http[0]'
            " copy=primary id=5f0c outcome=ok",
            id="primary",
        ),
        pytest.param(
            SHADOW,
            '[2026-11-22T15:33:30.123Z] "GET /headers HTTP/1.1" 200 - via_upstream - "-" 0 123 3 - "-"'
            f' "curl/8.0" "-" "httpbin-shadow:8080" "127.0.0.1:8002" {V2} - 127.0.0.1:8080 127.0.0.1:50000 -'
            " http[0] copy=shadow id=5f0c outcome=ok",
            id="shadow",
        ),
        pytest.param(
            REFUSED,
            '[2026-11-22T15:33:30.123Z] "GET /headers HTTP/1.1" 0 UF '
            "upstream_reset_before_response_started{remote_connection_failure|connect_failed:_\\x22refused\\x22}"
            ' - "connect_failed:_\\x22refused\\x22" 0 - 3 - "-" "curl/8.0" "-" "httpbin-shadow:8080"'
            f' "127.0.0.1:8002" {V2} - 127.0.0.1:8080 127.0.0.1:50000 - http[0]'
            ' copy=shadow id=5f0c outcome=connect_error error="connect failed: \\"refused\\""',
            id="error",
        ),
        pytest.param(
            BARE,
            '[1970-01-01T00:00:00.000Z] "- - -" 0 - - - "-" - - - - "-" "-" "-" "-" "-" - - - - - -'
            " copy=shadow id=5f0c outcome=paused",
            id="absent values",
        ),
        pytest.param(
            replace(
                PRIMARY,
                target=b"/new",
                original_target=b"/old",
                http_version="HTTP/2.0",
                server_name="httpbin",
                client="::1",
                headers=PickedHeaders("http://ref/", "curl/8.0", "42", "192.0.2.1,192.0.2.2"),
            ),
            '[2026-11-22T15:33:30.123Z] "GET /old HTTP/2" 200 - via_upstream - "-" 0 123 4 3'
            ' "192.0.2.1,192.0.2.2" "curl/8.0" "42" "httpbin:8080" "127.0.0.1:8001"'
            f" {V1} - 127.0.0.1:8080 [::1]:50000 httpbin http[0] copy=primary id=5f0c outcome=ok",
            id="all that Envoy has a place for",
        ),
    ],
)
def test_envoy_is_istios_default_line_and_fields(record: AccessRecord, expected: str) -> None:
    assert expected == format_envoy(record)


@pytest.mark.parametrize(
    ("record", "flags", "details"),
    [
        # what Envoy 1.40 logged for the same thing on a primary
        pytest.param(replace(PRIMARY, outcome=PrimaryOutcome.NO_ROUTE), "NR", "route_not_found", id="404"),
        pytest.param(
            replace(PRIMARY, outcome=PrimaryOutcome.NO_ENDPOINT), "UH", "no_healthy_upstream", id="503"
        ),
        pytest.param(
            replace(PRIMARY, outcome=PrimaryOutcome.FAULT_ABORT), "FI", "fault_filter_abort", id="abort"
        ),
        pytest.param(
            replace(PRIMARY, outcome=PrimaryOutcome.CORS_PREFLIGHT), "-", "cors_response", id="preflight"
        ),
        pytest.param(
            replace(PRIMARY, outcome=PrimaryOutcome.REDIRECT), "-", "direct_response", id="redirect"
        ),
        pytest.param(
            replace(PRIMARY, outcome=PrimaryOutcome.DIRECT_RESPONSE),
            "-",
            "direct_response",
            id="direct response",
        ),
        pytest.param(
            replace(PRIMARY, outcome=PrimaryOutcome.CLIENT_GONE),
            "DC",
            "downstream_remote_disconnect",
            id="client",
        ),
        pytest.param(
            replace(PRIMARY, outcome=PrimaryOutcome.ERROR, first_byte_ms=None),
            "UC",
            "upstream_reset_before_response_started{connection_termination}",
            id="primary hung up before its answer",
        ),
        pytest.param(
            replace(PRIMARY, outcome=PrimaryOutcome.ERROR),
            "UC",
            "upstream_reset_after_response_started{connection_termination}",
            id="primary hung up within its answer",
        ),
        pytest.param(
            replace(PRIMARY, outcome=PrimaryOutcome.CONNECT_ERROR, first_byte_ms=None, status=502),
            "UF",
            "upstream_reset_before_response_started{remote_connection_failure}",
            id="primary refused, without a reason",
        ),
        pytest.param(replace(SHADOW, outcome=Outcome.TIMEOUT), "UT", "response_timeout", id="timeout"),
        pytest.param(
            replace(SHADOW, outcome=Outcome.TLS_ERROR, status=0, error="certificate has expired"),
            "UF",
            "upstream_reset_before_response_started{remote_connection_failure|certificate_has_expired}",
            id="TLS",
        ),
        pytest.param(
            replace(SHADOW, outcome=Outcome.PROTOCOL_ERROR, status=0),
            "UPE",
            "upstream_reset_before_response_started{protocol_error}",
            id="no HTTP",
        ),
        pytest.param(
            replace(SHADOW, outcome=Outcome.PROTOCOL_ERROR),
            "UPE",
            "upstream_reset_after_response_started{protocol_error}",
            id="mirror broke off within its answer",
        ),
        pytest.param(
            replace(SHADOW, outcome=Outcome.QUEUE_FULL, status=0),
            "UO",
            "upstream_reset_before_response_started{overflow}",
            id="overflow",
        ),
        pytest.param(replace(SHADOW, outcome=Outcome.LOST, status=0), "-", "-", id="Envoy has no word"),
    ],
)
def test_envoy_words(record: AccessRecord, flags: str, details: str) -> None:
    assert [flags, details] == format_envoy(record).split('" ', 1)[1].split(" ")[1:3]


def test_json_is_the_records_dict() -> None:
    line = format_json(SHADOW)

    assert line.startswith(
        '{"start_time":"2026-11-22T15:33:30.123Z","copy":"shadow","id":"5f0c","outcome":"ok",'
    )
    assert json.loads(line) == SHADOW.to_dict()


DELAYED: dict[str, Any] = {"delay_ms": 1500.0}
EXHAUSTED: dict[str, Any] = {"retries_exhausted": True}


@pytest.mark.parametrize(
    ("outcome", "changes", "flags"),
    [
        pytest.param(PrimaryOutcome.OK, DELAYED, "DI", id="a delay alone"),
        pytest.param(PrimaryOutcome.FAULT_ABORT, DELAYED, "DI,FI", id="a delay, then an abort"),
        pytest.param(PrimaryOutcome.CLIENT_GONE, DELAYED, "DI,DC", id="a delay, then the client left"),
        pytest.param(PrimaryOutcome.NO_ENDPOINT, DELAYED, "UH,DI", id="a delay, and no endpoint"),
        pytest.param(PrimaryOutcome.OK, EXHAUSTED, "URX", id="retries used up"),
        pytest.param(PrimaryOutcome.CONNECT_ERROR, EXHAUSTED, "URX,UF", id="retries used up, no connection"),
        pytest.param(PrimaryOutcome.CONNECT_ERROR, {"retries_exhausted": False}, "UF", id="retries left"),
        pytest.param(PrimaryOutcome.TIMEOUT, DELAYED | EXHAUSTED, "URX,UT,DI", id="all of it"),
    ],
)
def test_flags_are_in_envoys_order(outcome: PrimaryOutcome, changes: dict[str, Any], flags: str) -> None:
    line = format_envoy(replace(PRIMARY, outcome=outcome, **changes))

    assert f" 200 {flags} " in line


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("outcome", [*Outcome, *PrimaryOutcome], ids=repr)
def test_every_format_has_a_line_for_every_outcome(name: str, outcome: Outcome | PrimaryOutcome) -> None:
    line = FORMATS[name](replace(SHADOW, outcome=outcome))

    assert outcome.value in line


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("record", [PRIMARY, SHADOW], ids=["primary", "shadow"])
def test_the_documents_samples_are_what_is_printed(name: str, record: AccessRecord) -> None:
    assert FORMATS[name](record) in DOCUMENT.splitlines()


def test_every_name_and_outcome_is_documented() -> None:
    names = {*SHADOW.to_dict(), *re.findall(r" (\w+)=", format_common(REFUSED)), *Outcome, *PrimaryOutcome}

    assert names <= DOCUMENTED_NAMES


def test_every_field_of_a_record_is_in_json() -> None:
    names = {*AccessRecord.__struct_fields__, *PickedHeaders.__struct_fields__} - {"headers"}

    assert names <= set(SHADOW.to_dict())


NASTY = [
    pytest.param(b'" 200 5 "-" "-"\n127.0.0.1 - - [x] "GET /forged HTTP/1.1', id="forged line"),
    pytest.param(b"a\r\nb\x00c\x0bd\x0ce\x1cf\x85g", id="every line end of str.splitlines"),
    pytest.param("\u2028\u2029\u202e\x9b2J é".encode(), id="Unicode that acts on a terminal"),
    pytest.param(b"\x1b]0;title\x07\x7f", id="terminal escape"),
    pytest.param(b"\xff\xfe\xed\xa0\x80", id="no UTF-8"),
    pytest.param(b"ends in a backslash\\", id="backslash"),
    pytest.param(b"x outcome=lost id=forged", id="forged fields"),
    pytest.param(b"%s %(h)s {0} ${x}", id="format strings"),
    pytest.param(bytes(range(256)), id="all bytes"),
]


def hostile(raw: bytes) -> AccessRecord:
    text = decode(raw)
    return replace(
        SHADOW,
        client=text,
        method=text,
        target=b"/" + raw,
        original_target=b"/" + raw,
        http_version=text,
        authority=text,
        destination=text,
        endpoint=text,
        proxy_address=text,
        server_name=text,
        virtual_service=text,
        route=text,
        error=text,
        headers=PickedHeaders(text, text, text, text),
    )


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("raw", NASTY)
def test_one_record_is_one_line_of_printable_ascii(name: str, raw: bytes) -> None:
    line = FORMATS[name](hostile(raw))

    assert re.fullmatch("[ -~]+", line)


@pytest.mark.parametrize("raw", NASTY)
def test_a_reader_of_ncsa_finds_each_value_where_it_belongs(raw: bytes) -> None:
    match = NCSA_COMBINED.fullmatch(format_common(hostile(raw)))

    assert match
    assert len(match["request"].split(" ")) == 3
    assert match["status"] == "200"
    assert unescape(match["agent"]) == hostile(raw).headers.user_agent.encode("utf-8", "surrogateescape")
    fields = dict(field.split("=", 1) for field in match["rest"].split(' error="')[0].split(" "))
    assert fields["outcome"] == "ok"
    assert fields["id"] == "5f0c"
    assert len(fields) == 9


@pytest.mark.parametrize("raw", NASTY)
def test_json_reads_back(raw: bytes) -> None:
    assert json.loads(format_json(hostile(raw))) == hostile(raw).to_dict()


def unescape(text: str) -> bytes:
    escape = re.compile(rb'\\(?:x([0-9a-f]{2})|(["\\]))')
    return escape.sub(lambda match: bytes([int(match[1], 16)]) if match[1] else match[2], text.encode())

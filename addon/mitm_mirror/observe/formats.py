"""The three access-log formats: one record to one line, without its newline. Pure.

Each line is printable ASCII whatever a client sent: the text formats escape, JSON has `\\u` escapes.
That leaves nothing that a terminal or a line reader could take for a control character.
"""

import json
import time
from collections.abc import Callable, Mapping
from functools import lru_cache

from mitm_mirror.observe.escape import line_parts, quoted, token
from mitm_mirror.observe.record import AccessRecord, PrimaryOutcome, format_address, format_start_time
from mitm_mirror.outcome import Outcome
from mitm_mirror.text import decode

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_NO_ENVOY_WORD = ("-", "-")
_ENVOY_WORDS: Mapping[str, tuple[str, str]] = {
    # (response flags, response code details) as Envoy 1.40 was seen to log them for its primaries. It
    # logs no shadow, so a shadow's end is told as if it were a primary's. Keyed by value: `ok` and
    # the like mean the same for both copies.
    Outcome.OK: ("-", "via_upstream"),
    Outcome.TIMEOUT: ("UT", "response_timeout"),
    Outcome.CONNECT_ERROR: ("UF", "upstream_reset_before_response_started{remote_connection_failure}"),
    Outcome.TLS_ERROR: ("UF", "upstream_reset_before_response_started{remote_connection_failure}"),
    Outcome.PROTOCOL_ERROR: ("UPE", "upstream_reset_before_response_started{protocol_error}"),
    Outcome.LOST: _NO_ENVOY_WORD,
    Outcome.CANCELLED: _NO_ENVOY_WORD,
    Outcome.NOT_SAMPLED: _NO_ENVOY_WORD,
    # Envoy tells an unknown cluster (NC) from an empty one (UH); routing does not.
    Outcome.NO_ENDPOINT: ("UH", "no_healthy_upstream"),
    Outcome.METHOD_GUARDED: _NO_ENVOY_WORD,
    Outcome.BODY_TOO_LARGE: ("-", "request_payload_too_large"),
    Outcome.QUEUE_FULL: ("UO", "upstream_reset_before_response_started{overflow}"),
    # Envoy takes an ejected host for an unhealthy one.
    Outcome.CIRCUIT_OPEN: ("UH", "no_healthy_upstream"),
    Outcome.PAUSED: _NO_ENVOY_WORD,
    Outcome.LOOP: _NO_ENVOY_WORD,
    PrimaryOutcome.REDIRECT: ("-", "direct_response"),
    PrimaryOutcome.DIRECT_RESPONSE: ("-", "direct_response"),
    PrimaryOutcome.NO_ROUTE: ("NR", "route_not_found"),
    PrimaryOutcome.ADDON_ANSWER: ("-", "direct_response"),
    PrimaryOutcome.FAULT_ABORT: ("FI", "fault_filter_abort"),
    PrimaryOutcome.CORS_PREFLIGHT: ("-", "cors_response"),
    PrimaryOutcome.OVERFLOW: ("UO", "upstream_reset_before_response_started{overflow}"),
    PrimaryOutcome.ERROR: ("UC", "upstream_reset_before_response_started{connection_termination}"),
    PrimaryOutcome.CLIENT_GONE: ("DC", "downstream_remote_disconnect"),
}

_repeated = lru_cache(maxsize=256)(token)
"""For words of the rules' and the protocol's own, never of a client's choosing: those could be any size."""

_encode_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def format_common(record: AccessRecord) -> str:
    """NCSA combined, as gunicorn prints it by default, and then `name=value` fields.

    The time is that of the request's start (gunicorn's is of its end), in UTC. The remote user is
    always `-`: gunicorn takes it from Authorization, which is not read here.
    """
    headers = record.headers
    (client, method, target, flow_id, authority), (referer, user_agent) = line_parts(
        (record.client, record.method, decode(record.target), record.id, record.authority),
        (headers.referer, headers.user_agent),
    )
    request_bytes, duration_ms = record.request_bytes, record.duration_ms
    response_bytes = "-" if record.response_bytes is None else record.response_bytes
    return (
        f"{client} - - {_ncsa_time(int(record.start_time))}"
        f' "{method} {target} {_repeated(record.http_version)}"'
        f" {record.status or '-'} {response_bytes}"
        f' "{referer or "-"}" "{user_agent or "-"}"'
        f" copy={record.copy} id={flow_id} host={authority}"
        f" destination={_repeated(record.destination)} endpoint={_repeated(record.endpoint)}"
        f" outcome={record.outcome}"
        f" request_bytes={'-' if request_bytes is None else request_bytes} response_bytes={response_bytes}"
        f" duration_ms={'-' if duration_ms is None else f'{duration_ms:.1f}'}"
        f"{_error_field(record) if record.error else ''}"
    )


def format_envoy(record: AccessRecord) -> str:
    """Istio's default line, and then `copy=... id=... outcome=...`.

    Source: istio pilot/pkg/model/telemetry_logging.go, EnvoyTextLogFormat. Always `-`:
    CONNECTION_TERMINATION_DETAILS and UPSTREAM_LOCAL_ADDRESS, which nobody tells us.
    """
    flags, details = _ENVOY_WORDS[record.outcome]
    failure = "-"
    if flags == "UF":
        # Envoy gives the reason twice, and never with a space
        failure = token(record.error.replace(" ", "_"))
        details = f"{details[:-1]}|{failure}}}" if record.error else details
    elif record.first_byte_ms is not None or (record.copy == "shadow" and record.status):
        details = details.replace("_before_", "_after_")
    flags = response_flags(
        record.outcome, delayed=record.delay_ms is not None, exhausted=bool(record.retries_exhausted)
    )
    headers = record.headers
    return (
        f"[{format_start_time(record.start_time)}]"
        f' "{token(record.method)} {token(decode(record.original_target or record.target))}'
        f' {token(_envoy_protocol(record.http_version))}"'
        f" {record.status} {flags} {details} -"
        f' "{failure}" {_number(record.request_bytes)} {_number(record.response_bytes)}'
        f" {_whole(record.duration_ms)} {_whole(record.first_byte_ms)}"
        f' "{quoted(headers.forwarded_for)}" "{quoted(headers.user_agent)}" "{quoted(headers.request_id)}"'
        f' "{quoted(record.authority)}" "{quoted(record.endpoint)}"'
        f" {token(record.destination)} - {token(record.proxy_address)}"
        f" {token(format_address(record.client, record.client_port))}"
        f" {token(record.server_name)} {token(record.route)}"
        f" copy={record.copy} id={token(record.id)} outcome={record.outcome}"
        f"{_error_field(record) if record.error else ''}"
    )


def response_flags(outcome: Outcome | PrimaryOutcome, *, delayed: bool, exhausted: bool) -> str:
    """Envoy's response flags, `-` for none: `delayed` where a fault held the request, `exhausted` where its
    retries were used up.

    DI (DelayInjected) has its place: Envoy writes them in the order of its enum.
    """
    flags, _ = _ENVOY_WORDS[outcome]
    found = [] if flags == "-" else [flags]
    if delayed:
        found.insert(0 if flags in ("FI", "DC") else 1, "DI")
    if exhausted:
        found.insert(0, "URX")
    return ",".join(found) or "-"


def format_json(record: AccessRecord) -> str:
    """`AccessRecord.to_dict` as one JSON object in ASCII."""
    return _encode_json(record.to_dict())


FORMATS: Mapping[str, Callable[[AccessRecord], str]] = {
    "common": format_common,
    "envoy": format_envoy,
    "json": format_json,
}
"""By the value of the option `mirror_access_log_format`."""


@lru_cache(maxsize=4)
def _ncsa_time(seconds: int) -> str:
    # not strftime: its %b follows the locale
    moment = time.gmtime(seconds)
    clock = f"{moment.tm_hour:02}:{moment.tm_min:02}:{moment.tm_sec:02}"
    return f"[{moment.tm_mday:02}/{_MONTHS[moment.tm_mon - 1]}/{moment.tm_year:04}:{clock} +0000]"


def _envoy_protocol(http_version: str) -> str:
    return http_version.removesuffix(".0") if http_version in ("HTTP/2.0", "HTTP/3.0") else http_version


def _error_field(record: AccessRecord) -> str:
    return f' error="{quoted(record.error)}"'


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


def _whole(value: float | None) -> str:
    return "-" if value is None else str(int(value))

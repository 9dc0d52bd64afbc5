"""What the access log says about one copy of a request. Values only; nothing here writes.

What must not reach a log cannot: a record has no place for headers but the four that `pick_headers`
lets through, and it drops `user:password@` from whatever it is given. Query strings are logged, as
access logs do: a secret in a query string is in the log.
"""

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal

import msgspec

from mitm_mirror.observe.compare import Comparison, Difference
from mitm_mirror.observe.escape import drop_userinfo, readable
from mitm_mirror.outcome import Outcome
from mitm_mirror.routing.authority import bracketed
from mitm_mirror.routing.request import HeaderFields
from mitm_mirror.text import decode, encode

JsonValue = str | int | float | bool | None | list["JsonValue"] | dict[str, "JsonValue"]

_CLUSTER = re.compile(r"outbound\|(\d+)\|([^|]*)\|(.*)", re.DOTALL)


class PrimaryOutcome(StrEnum):
    """How a primary ended. The seven after `OK`, and `TIMEOUT`, are `Answer.reason`, too."""

    OK = "ok"
    """Its destination answered, whatever the status."""
    REDIRECT = "redirect"
    DIRECT_RESPONSE = "direct_response"
    NO_ROUTE = "no_route"
    """The host has rules, but no route matched: 404."""
    NO_ENDPOINT = "no_endpoint"
    """The destination is unknown or has no endpoint: 503."""
    FAULT_ABORT = "fault_abort"
    """The route's `fault` answered it."""
    CORS_PREFLIGHT = "cors_preflight"
    """The route's `corsPolicy` answered it."""
    OVERFLOW = "overflow"
    """A limit of the destination's `connectionPool` turned it away: 503."""
    ADDON_ANSWER = "addon_answer"
    """Another addon of mitmproxy answered; the destination was not asked and no mirror either."""
    CONNECT_ERROR = "connect_error"
    """No connection to the destination, TLS included."""
    ERROR = "error"
    """The connection stood, but no whole answer came over it."""
    TIMEOUT = "timeout"
    """No answer within the route's `timeout`, or `perTryTimeout`: 504."""
    CLIENT_GONE = "client_gone"
    """The client hung up before it had its answer."""


class PickedHeaders(msgspec.Struct, frozen=True, gc=False):
    """The request headers that a log may show; empty where the request has none. Lines of one name
    are joined by a comma, as WSGI servers and Envoy do."""

    referer: str = ""
    user_agent: str = ""
    request_id: str = ""
    forwarded_for: str = ""


_ALLOWED_HEADERS = {
    b"referer": "referer",
    b"user-agent": "user_agent",
    b"x-request-id": "request_id",
    b"x-forwarded-for": "forwarded_for",
}
_ALLOWED_LENGTHS = frozenset(map(len, _ALLOWED_HEADERS))


def pick_headers(fields: HeaderFields) -> PickedHeaders:
    """The allowed headers of a request. An allow-list: a header that nobody thought of stays out."""
    picked: dict[str, str] = {}
    for name, value in fields:
        # By length first: most names are of none of these, and that costs less than to look one up.
        if len(name) in _ALLOWED_LENGTHS and (attribute := _ALLOWED_HEADERS.get(name.lower())):
            text = decode(value)
            picked[attribute] = f"{picked[attribute]},{text}" if attribute in picked else text
    return PickedHeaders(**picked)


def format_address(address: str, port: int) -> str:
    """`127.0.0.1:8080` or `[::1]:8080`; empty without an address, bare without a port (0)."""
    host = bracketed(address)
    return f"{host}:{port}" if address and port else host


class AccessRecord(msgspec.Struct, frozen=True, gc=False):
    """One copy, primary or shadow. Both have the same fields.

    A Struct, as two are made a request, and by position: to look up so many names costs ten times as much.

    Text may hold lone surrogates for bytes that are no UTF-8 (`text.decode`); the formats show them.
    Absent: an empty text, and None for a number; 0 for `status` and the ports.
    """

    copy: Literal["primary", "shadow"]
    id: str
    """mitmproxy's flow id of the primary: the same on both legs."""
    start_time: float
    """UNIX seconds: when the proxy had the request's head (primary), when the shadow was handed over."""
    client: str
    """The client's IP address; on both legs."""
    method: str
    target: bytes
    """The raw target that this copy sent, or that the client sent where nothing was sent."""
    http_version: str
    """As mitmproxy spells it: `HTTP/1.1`, `HTTP/2.0`. What this copy was sent with, where it is known."""
    authority: str
    """The Host that this copy sent: with the suffix on the shadow."""
    outcome: Outcome | PrimaryOutcome
    client_port: int = 0
    original_target: bytes = b""
    """What the client sent, where a rule rewrote it; else empty."""
    status: int = 0
    """0 where nobody answered."""
    request_bytes: int | None = None
    """Body bytes; None where they are not known."""
    response_bytes: int | None = None
    """Body bytes over the wire, before decoding; None where they are not known."""
    duration_ms: float | None = None
    first_byte_ms: float | None = None
    """From sending the request to the head of the answer."""
    waited_ms: float | None = None
    """How long the shadow waited to be sent; not part of `duration_ms`. None on the primary."""
    delay_ms: float | None = None
    """How long a fault was to hold the primary; part of its `duration_ms`. None without, and on a shadow,
    which is sent after it."""
    attempts: int | None = None
    """How often a primary was sent whose route has a `timeout` or `retries`; None for all others."""
    retries_exhausted: bool | None = None
    """Whether the last of them was to be retried once more than `retries` allow; None as for `attempts`."""
    destination: str = ""
    """The cluster's name as Istio gives it: `outbound|8080|v1|httpbin.default.svc.cluster.local`."""
    endpoint: str = ""
    """Where it was sent, see `format_address`."""
    proxy_address: str = ""
    """The proxy's own address and port that the client connected to."""
    server_name: str = ""
    """The SNI that the client asked for."""
    virtual_service: str = ""
    """`namespace/name`."""
    route: str = ""
    rules_generation: int = 0
    """Which load of the rules decided, from 1; 0 for none."""
    error: str = ""
    comparison: Comparison | None = None
    """What its answer differs in from the primary's; None on the primary, and where nobody compared."""
    compared_status: int = 0
    """The primary's status that it was compared with; 0 where it was not."""
    headers: PickedHeaders = PickedHeaders()

    def __post_init__(self) -> None:
        # Here, and not in each caller or format: no way to build a record goes round it.
        if "@" in self.authority:
            msgspec.structs.force_setattr(self, "authority", drop_userinfo(self.authority))
        if b"@" in self.target:
            msgspec.structs.force_setattr(self, "target", encode(drop_userinfo(decode(self.target))))
        if b"@" in self.original_target:
            text = drop_userinfo(decode(self.original_target))
            msgspec.structs.force_setattr(self, "original_target", encode(text))
        if "@" in self.headers.referer:
            headers = PickedHeaders(
                drop_userinfo(self.headers.referer),
                self.headers.user_agent,
                self.headers.request_id,
                self.headers.forwarded_for,
            )
            msgspec.structs.force_setattr(self, "headers", headers)

    @property
    def destination_parts(self) -> tuple[int, str, str]:
        """`cluster_parts` of `destination`."""
        return cluster_parts(self.destination)

    def to_dict(self) -> dict[str, JsonValue]:
        """Every field under its stable name, always all of them, in one order; None where absent.

        `start_time` is RFC 3339 in UTC with milliseconds. All text is valid Unicode.
        """
        port, subset, host = self.destination_parts
        return {
            "start_time": format_start_time(self.start_time),
            "copy": self.copy,
            "id": self.id,
            "outcome": self.outcome.value,
            "status": self.status or None,
            "method": _text(self.method),
            "target": _text(decode(self.target)),
            "original_target": _text(decode(self.original_target)),
            "http_version": _text(self.http_version),
            "authority": _text(self.authority),
            "request_bytes": self.request_bytes,
            "response_bytes": self.response_bytes,
            "duration_ms": _milliseconds(self.duration_ms),
            "first_byte_ms": _milliseconds(self.first_byte_ms),
            "waited_ms": _milliseconds(self.waited_ms),
            "delay_ms": _milliseconds(self.delay_ms),
            "attempts": self.attempts,
            "retries_exhausted": self.retries_exhausted,
            "destination": _text(self.destination),
            "destination_host": _text(host),
            "destination_subset": _text(subset),
            "destination_port": port or None,
            "endpoint": _text(self.endpoint),
            "virtual_service": _text(self.virtual_service),
            "route": _text(self.route),
            "rules_generation": self.rules_generation or None,
            "client": _text(self.client),
            "client_port": self.client_port or None,
            "proxy_address": _text(self.proxy_address),
            "server_name": _text(self.server_name),
            "referer": _text(self.headers.referer),
            "user_agent": _text(self.headers.user_agent),
            "request_id": _text(self.headers.request_id),
            "forwarded_for": _text(self.headers.forwarded_for),
            "error": _text(self.error),
            **self._comparison(),
        }

    def _comparison(self) -> dict[str, JsonValue]:
        comparison = self.comparison
        return {
            "comparison": comparison.verdict.value if comparison else None,
            "not_compared": (comparison.reason or None) if comparison else None,
            "compared_status": self.compared_status or None,
            "differences": [_difference(item) for item in comparison.differences] if comparison else None,
            "differences_truncated": comparison.truncated if comparison else None,
        }


def cluster_parts(destination: str) -> tuple[int, str, str]:
    """(port, subset, host) of a cluster's name; `(0, "", destination)` where it is none."""
    match = _CLUSTER.fullmatch(destination)
    return (int(match[1]), match[2], match[3]) if match else (0, "", destination)


def format_start_time(seconds: float) -> str:
    """`2026-11-22T15:33:30.123Z`, as Envoy's START_TIME."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _difference(difference: Difference) -> JsonValue:
    return {
        "path": difference.path,
        "kind": difference.kind.value,
        "primary": difference.primary,
        "shadow": difference.shadow,
        "count": difference.count,
        "noise": difference.noise or None,
    }


def _text(value: str) -> str | None:
    return readable(value) or None


def _milliseconds(value: float | None) -> float | None:
    return None if value is None else round(value, 3)

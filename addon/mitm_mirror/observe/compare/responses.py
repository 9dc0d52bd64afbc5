"""Compares the primary's answer with the shadow's. Pure."""

from dataclasses import dataclass

from mitm_mirror.ignore_rules import NO_RULES, IgnoreRules
from mitm_mirror.observe.compare.body import compare_bodies
from mitm_mirror.observe.compare.coding import BodyTooLargeError, BrokenCodingError, decode_body
from mitm_mirror.observe.compare.comparison import (
    Comparison,
    Findings,
    Kind,
    NotCompared,
    conclude,
    not_compared,
)
from mitm_mirror.observe.compare.headers import IGNORED_HEADERS, compare_headers
from mitm_mirror.observe.compare.hosts import Hosts
from mitm_mirror.routing.request import HeaderFields
from mitm_mirror.text import decode


@dataclass(frozen=True, slots=True)
class Response:
    """One answer as it came over the wire: the body still has its content coding, but no chunks."""

    status: int
    """0 where nobody answered."""
    headers: HeaderFields = ()
    body: bytes = b""
    trailers: HeaderFields = ()
    complete: bool = True
    """Whether `body` is the whole body."""
    authorities: tuple[str, ...] = ()
    """The names under which the server was asked: the Host that was sent and the endpoint, such as
    (`httpbin:8080`, `127.0.0.1:8001`). Where answers differ in these alone, they are equal."""


@dataclass(frozen=True, slots=True)
class CompareSettings:
    """What a comparison leaves out, and its bounds."""

    ignored_headers: frozenset[str] = IGNORED_HEADERS
    """Lower case."""
    ignore: IgnoreRules = NO_RULES
    max_differences: int = 32
    value_limit: int = 200
    """Characters kept of each value."""
    body_limit_bytes: int = 1024 * 1024
    """Decoded bodies above it are equal where their bytes are, and else not compared: 1 MiB of JSON takes
    some tenths of a second to be taken apart, a second at worst, and the worker does nothing else then."""


_DEFAULTS = CompareSettings()


def compare_responses(
    primary: Response, shadow: Response, settings: CompareSettings = _DEFAULTS
) -> Comparison:
    """What differs between the two answers. Never raises because of what they contain."""
    if not primary.status:
        return not_compared(NotCompared.NO_PRIMARY)
    if not shadow.status:
        return not_compared(NotCompared.NO_SHADOW)
    found = Findings(settings.max_differences, settings.value_limit, settings.ignore)
    hosts = Hosts((*primary.authorities, *shadow.authorities))
    if primary.status != shadow.status:
        found.add("status", Kind.VALUE, str(primary.status), str(shadow.status))
    compare_headers(primary.headers, shadow.headers, found, hosts=hosts, ignored=settings.ignored_headers)
    compare_headers(
        primary.trailers, shadow.trailers, found, hosts=hosts, ignored=frozenset(), source="trailer"
    )
    doubt = _compare_body(primary, shadow, settings, found, hosts)
    return conclude(found.differences, truncated=found.truncated, doubt=doubt)


def _compare_body(
    primary: Response, shadow: Response, settings: CompareSettings, found: Findings, hosts: Hosts
) -> NotCompared | None:
    """Notes what differs; or says why the bodies could not be compared."""
    if not (primary.complete and shadow.complete):
        return NotCompared.BODY_INCOMPLETE
    codings = content_codings(primary.headers), content_codings(shadow.headers)
    if primary.body == shadow.body and codings[0] == codings[1]:
        return None
    decoded, errors = [], []
    for response, coding in zip((primary, shadow), codings, strict=True):
        try:
            decoded.append(decode_body(response.body, coding, settings.body_limit_bytes))
            errors.append("")
        except BodyTooLargeError:
            return NotCompared.BODY_TOO_LARGE
        except BrokenCodingError as error:
            decoded.append(response.body)
            errors.append(str(error))
    types = _content_type(primary.headers), _content_type(shadow.headers)
    if any(errors):
        if errors[0] != errors[1]:
            found.add("body.coding", Kind.TYPE, errors[0] or "decoded", errors[1] or "decoded")
        # what was not decoded is bytes, whatever its type says
        types = ("application/x-coded", "application/x-coded")
    compare_bodies(decoded[0], decoded[1], types, found, hosts)
    return None


def content_codings(headers: HeaderFields) -> list[str]:
    """What Content-Encoding says, in lower case and in the order in which the codings were applied."""
    values = ",".join(decode(value) for name, value in headers if name.lower() == b"content-encoding")
    return [coding for coding in (part.strip().lower() for part in values.split(",")) if coding]


def _content_type(headers: HeaderFields) -> str:
    return next((decode(value) for name, value in headers if name.lower() == b"content-type"), "")

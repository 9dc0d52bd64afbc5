"""Compares the header fields, or trailers, of two answers. Pure."""

from collections.abc import Iterable
from typing import Literal

from mitm_mirror.ignore_rules import key_step
from mitm_mirror.observe.compare.comparison import Findings
from mitm_mirror.observe.compare.hosts import Hosts
from mitm_mirror.observe.escape import readable
from mitm_mirror.routing.request import HeaderFields
from mitm_mirror.text import decode

IGNORED_HEADERS = frozenset(
    {
        # of the connection, not of the answer (RFC 9110, 7.6.1)
        "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
        "alt-svc",
        # of the moment and the machine
        "age", "date", "server", "server-timing", "via", "x-runtime", "x-response-time",
        "x-envoy-upstream-service-time",
        # follows from the body, which is compared itself, decoded
        "content-length",
    }
)  # fmt: skip
"""What always differs, or says nothing about the answer. Lower case."""
SECRET_HEADERS = frozenset(
    {"authorization", "proxy-authorization", "cookie", "set-cookie", "authentication-info", "x-api-key"}
)
"""Headers of which only the size is told: differences are logged, and credentials must not be."""


def compare_headers(
    primary: HeaderFields,
    shadow: HeaderFields,
    found: Findings,
    *,
    hosts: Hosts,
    ignored: frozenset[str] = IGNORED_HEADERS,
    source: Literal["header", "trailer"] = "header",
) -> None:
    """Notes the fields that differ. Names have no case, the order of names does not count, and several
    lines of one name are one list (RFC 9110, 5.3), but Set-Cookie, which is taken apart by cookie."""
    if primary == shadow:
        return
    before, after = _by_name(primary, ignored), _by_name(shadow, ignored)
    for name in dict.fromkeys((*before, *after)):
        ours, theirs = before.get(name), after.get(name)
        if ours == theirs:
            continue
        path = f"{source}.{readable(name)}"
        if name == "set-cookie":
            _compare_cookies(path, ours or [], theirs or [], found, hosts)
        else:
            _compare_value(path, _joined(ours), _joined(theirs), found, hosts, secret=name in SECRET_HEADERS)


def _by_name(fields: HeaderFields, ignored: frozenset[str]) -> dict[str, list[str]]:
    lines: dict[str, list[str]] = {}
    for raw_name, value in fields:
        name = decode(raw_name).lower()
        if name not in ignored:
            lines.setdefault(name, []).append(decode(value).strip(" \t"))
    return lines


def _joined(lines: list[str] | None) -> str | None:
    return None if lines is None else ", ".join(lines)


def _compare_value(
    path: str, primary: str | None, shadow: str | None, found: Findings, hosts: Hosts, *, secret: bool
) -> None:
    if primary == shadow or (primary is not None and shadow is not None and hosts.same(primary, shadow)):
        return
    show = _masked if secret else _shown
    found.add_values(path, show(primary), show(shadow))


def _shown(text: str | None) -> str | None:
    return None if text is None else readable(text)


def _masked(text: str | None) -> str | None:
    return None if text is None else f"({len(text)} characters, not shown)"


def _compare_cookies(
    path: str, primary: Iterable[str], shadow: Iterable[str], found: Findings, hosts: Hosts
) -> None:
    before, after = _cookies(primary), _cookies(shadow)
    for key in dict.fromkeys((*before, *after)):
        name, attribute = key
        place = f"{path}{key_step(readable(name))}" + (f";{readable(attribute)}" if attribute else "")
        _compare_value(place, before.get(key), after.get(key), found, hosts, secret=not attribute)


def _cookies(lines: Iterable[str]) -> dict[tuple[str, str], str]:
    """(name of the cookie, lower-case attribute or nothing) -> value."""
    parts = {}
    for line in lines:
        pair, *attributes = line.split(";")
        name, _, value = pair.partition("=")
        parts[(name.strip(), "")] = value.strip()
        for attribute in attributes:
            key, _, setting = attribute.partition("=")
            if key.strip():
                parts[(name.strip(), key.strip().lower())] = setting.strip()
    return parts

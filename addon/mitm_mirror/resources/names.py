"""Checks of names, numbers and patterns that several kinds share: a message, or None if it is fine.

Source: istio pkg/config/validation (agent/validation.go, validation.go) and pkg/config/labels.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

import re2  # type: ignore[import-untyped]

from mitm_mirror.resources.annotations import TOKEN
from mitm_mirror.resources.finding import Finding, error, show
from mitm_mirror.resources.resource import FieldPath

_LABEL = re.compile(r"[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?", re.ASCII)
_WILDCARD_LABEL = re.compile(r"\*|(?:\*-?)?[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?", re.ASCII)
_LABEL_KEY_NAME = re.compile(r"(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]", re.ASCII)
_LABEL_CHARS = 63
_NAME_CHARS = 255
_PREFIX_CHARS = 253
# Envoy limits the size of the compiled program; Istio, which cannot compute it, the text's length.
_REGEX_CHARS = 1024
# `1.001s` is 1000.9999999999999 milliseconds; a nanosecond (a millionth of one) is no rounding error.
_MILLISECOND_ROUNDING = 1e-7
_RE2_OPTIONS = re2.Options()
_RE2_OPTIONS.log_errors = False

_PSEUDO_HEADERS = frozenset({":method", ":scheme", ":authority", ":path", ":status"})


def dns_label(name: str) -> str | None:
    """For names of subsets and ports."""
    if len(name) > _LABEL_CHARS or not _LABEL.fullmatch(name):
        return f"{show(name)}, expected letters, digits and '-' between them, at most {_LABEL_CHARS}"
    return None


@lru_cache(maxsize=4096)
def host_name(name: str, *, wildcard: bool) -> str | None:
    """For DNS names; with `wildcard`, `*` may stand for or begin the leftmost label."""
    if not name:
        return "empty, expected a host name"
    if len(name) > _NAME_CHARS:
        return f"a host name of {len(name)} characters, expected at most {_NAME_CHARS}"
    labels = name.split(".")
    if labels[-1] == "" and len(labels) > 1:
        labels.pop()  # `istio.io.` is unambiguous
    for index, label in enumerate(labels):
        pattern = _WILDCARD_LABEL if wildcard and index == 0 else _LABEL
        if len(label) <= _LABEL_CHARS and pattern.fullmatch(label):
            continue
        if "*" in name and wildcard:
            return f"{show(name)}, expected * in the leftmost label only, as in *.example.com"
        if "*" in name:
            return f"{show(name)}, expected a host name without a wildcard"
        if ":" in name:
            return f"{show(name)}, expected a host name without port or scheme"
        return f"{show(name)}, not a host name: {show(label)} may hold letters, digits and '-' between them"
    if labels[-1].isdigit() and (len(labels) > 1 or not wildcard):
        return f"{show(name)}, not a host name: it ends in a number"
    return None


def is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def ip_subnet(text: str) -> str | None:
    """For IP addresses and CIDR blocks, whose host bits need not be 0."""
    address, slash, bits = text.partition("/")
    if is_ip(address) and (not slash or (bits.isdigit() and int(bits) <= (128 if ":" in address else 32))):
        return None
    return f"{show(text)}, expected an IP address or a CIDR block such as 10.0.0.0/8"


def port_number(number: int) -> str | None:
    return None if 1 <= number <= 65535 else f"{number}, expected 1 to 65535"


def whole_milliseconds(seconds: float) -> str | None:
    """For durations, which Istio takes from 1 ms on and to the millisecond (ValidateDuration)."""
    milliseconds = seconds * 1000
    if round(milliseconds) < 1 or abs(milliseconds - round(milliseconds)) > _MILLISECOND_ROUNDING:
        return f"{seconds:g} s, expected whole milliseconds, 1ms or more"
    return None


@lru_cache(maxsize=4096)
def regex(pattern: str) -> str | None:
    """For patterns, which are RE2's, as in Envoy."""
    if not pattern:
        return "empty, expected a regular expression"
    if len(pattern) > _REGEX_CHARS:
        return f"a regular expression of {len(pattern)} characters, expected at most {_REGEX_CHARS}"
    try:
        re2.compile(pattern, options=_RE2_OPTIONS)
    except re2.error as e:
        reason = e.args[0].decode(errors="replace") if isinstance(e.args[0], bytes) else str(e.args[0])
        return f"{show(pattern)}, not a regular expression of RE2: {reason}"
    return None


def matched_header(name: str) -> str | None:
    """For header names in a match, where HTTP/2's pseudo-headers may stand, too."""
    if name in _PSEUDO_HEADERS or TOKEN.fullmatch(name):
        return None
    return f"{show(name)} is not a header name"


def changed_header(name: str, *, authority: bool) -> str | None:
    """For header names in an operation. Host is open to `set` and `add` on requests only."""
    if name.lower() in ("host", ":authority"):
        return None if authority else f"{name} cannot be changed here"
    if name.startswith(":"):
        return f"{show(name)}: pseudo-headers cannot be changed"
    return None if TOKEN.fullmatch(name) else f"{show(name)} is not a header name"


def header_value(value: str) -> str | None:
    if any((ord(c) < 0x20 and c != "\t") or ord(c) == 0x7F for c in value):
        return f"{show(value)}, a header value cannot hold control characters"
    return None


def at(path: FieldPath, message: str | None) -> Iterator[Finding]:
    """The error at `path`, if there is one."""
    if message is not None:
        yield error(path, message)


def check_labels(labels: Mapping[str, str], path: FieldPath) -> Iterator[Finding]:
    """Errors of Kubernetes labels.

    Stricter than Istio, which has no limit for a value's length; no pod could have the longer ones.
    """
    for key, value in labels.items():
        prefix, slash, name = key.rpartition("/")
        if (
            (slash and (len(prefix) > _PREFIX_CHARS or not all(map(_LABEL.fullmatch, prefix.split(".")))))
            or len(name) > _LABEL_CHARS
            or not _LABEL_KEY_NAME.fullmatch(name)
        ):
            yield error((*path, key), f"{show(key)} is not a label name")
        if value and (len(value) > _LABEL_CHARS or not _LABEL_KEY_NAME.fullmatch(value)):
            allowed = f"letters, digits and '-', '_', '.' between them, at most {_LABEL_CHARS}"
            yield error((*path, key), f"{show(value)}, expected {allowed}")

"""The `mitm-mirror/*` annotations of a VirtualService: what Istio has no field for.

A cluster ignores them, so a file that carries them can still be applied to one.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from mitm_mirror.ignore_rules import NO_RULES, IgnoreRules, parse_ignore_rules
from mitm_mirror.resources.scalars import parse_duration

PREFIX = "mitm-mirror/"
# RFC 9110, 5.6.2: the alphabet of header names and methods (and RFC 6265's of cookie names).
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)

SampleBy = tuple[Literal["client"], Literal[""]] | tuple[Literal["header", "cookie"], str]

_HOST = re.compile(
    r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?)(?::[0-9]{1,5})?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class MirrorAnnotations:
    """What the annotations of one VirtualService ask for all its mirrors."""

    host: str = "suffix"
    """`suffix` (put `mirror_host_suffix` into Host), `keep`, or the Host to send, port included."""
    methods: frozenset[str] | None = None
    """Methods, as written, that are copied; None means all."""
    set_headers: tuple[tuple[str, str], ...] = ()
    remove_headers: frozenset[bytes] = frozenset()
    """Lower case."""
    sample_by: SampleBy | None = None
    """What decides who is sampled; None means by chance, request by request."""
    timeout_s: float | None = None
    ignore: IgnoreRules = NO_RULES
    """What a comparison of the mirrors' answers leaves out."""


def parse_annotations(annotations: Mapping[str, str]) -> tuple[MirrorAnnotations, list[tuple[str, str]]]:
    """What the annotations say, and (annotation key, message) for each that is wrong and was left out.

    Keys outside `mitm-mirror/` belong to others and are passed over.
    """
    found = MirrorAnnotations()
    errors: list[tuple[str, str]] = []
    for key, text in annotations.items():
        if not key.startswith(PREFIX):
            continue
        if key not in _PARSERS:
            close = difflib.get_close_matches(key.removeprefix(PREFIX), _NAMES, n=1)
            hint = (
                f"did you mean {PREFIX}{close[0]}?"
                if close
                else f"expected one of {', '.join(sorted(_PARSERS))}"
            )
            errors.append((key, f"unknown annotation; {hint}"))
            continue
        field, parse = _PARSERS[key]
        try:
            found = replace(found, **{field: parse(text)})
        except ValueError as e:
            errors.append((key, f"{text!r}, {e}"))
    return found, errors


def _host(text: str) -> str:
    text = text.strip()
    if not _HOST.fullmatch(text):
        raise ValueError("expected suffix, keep, or a host name with or without a port")
    return text


def _tokens(text: str, what: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if not TOKEN.fullmatch(name):
            raise ValueError(f"expected {what}, separated by commas; {name!r} is none")
    return names


def _methods(text: str) -> frozenset[str]:
    return frozenset(_tokens(text, "methods"))


def _remove_headers(text: str) -> frozenset[bytes]:
    return frozenset(name.lower().encode() for name in _tokens(text, "header names"))


def _set_headers(text: str) -> tuple[tuple[str, str], ...]:
    headers = []
    for line in filter(None, map(str.strip, text.split("\n"))):
        name, colon, value = line.partition(":")
        if not colon or not TOKEN.fullmatch(name):
            raise ValueError(f"expected lines of the form 'Name: value'; {line!r} is none")
        if any((ord(c) < 0x20 and c != "\t") or ord(c) == 0x7F for c in value):
            raise ValueError(f"the value of {name} has a control character, which no header may carry")
        headers.append((name, value.strip(" \t")))
    return tuple(headers)


def _sample_by(text: str) -> SampleBy:
    source, colon, name = text.strip().partition(":")
    if source == "client" and not colon:
        return ("client", "")
    if TOKEN.fullmatch(name):
        if source == "header":
            return ("header", name)
        if source == "cookie":
            return ("cookie", name)
    raise ValueError("expected client, header:NAME or cookie:NAME")


def _ignore(text: str) -> IgnoreRules:
    text.encode()  # a lone surrogate, which YAML can escape, could not be told to a worker
    return parse_ignore_rules(text)


def _timeout(text: str) -> float:
    seconds = parse_duration(text.strip())
    if seconds <= 0:
        raise ValueError("expected a duration above 0s")
    return seconds


_PARSERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    PREFIX + "host": ("host", _host),
    PREFIX + "methods": ("methods", _methods),
    PREFIX + "set-headers": ("set_headers", _set_headers),
    PREFIX + "remove-headers": ("remove_headers", _remove_headers),
    PREFIX + "sample-by": ("sample_by", _sample_by),
    PREFIX + "timeout": ("timeout_s", _timeout),
    PREFIX + "ignore": ("ignore", _ignore),
}
_NAMES = tuple(key.removeprefix(PREFIX) for key in _PARSERS)

"""Compares two decoded bodies by what they are: JSON, form, text or bytes. Pure."""

import codecs
import hashlib
from email.message import Message
from enum import Enum, auto
from functools import lru_cache
from typing import Any

from mitm_mirror.observe.compare.comparison import Findings, Kind
from mitm_mirror.observe.compare.hosts import Hosts
from mitm_mirror.observe.compare.json_body import compare_json, parse_json
from mitm_mirror.observe.compare.text_body import compare_forms, compare_lines


class _Format(Enum):
    JSON = auto()
    NDJSON = auto()
    FORM = auto()
    TEXT = auto()
    BINARY = auto()
    UNKNOWN = auto()
    """No Content-Type, or one that says nothing."""


_FORMATS = {
    "application/json": _Format.JSON,
    "text/json": _Format.JSON,
    "application/x-ndjson": _Format.NDJSON,
    "application/ndjson": _Format.NDJSON,
    "application/jsonl": _Format.NDJSON,
    "application/x-jsonlines": _Format.NDJSON,
    "application/x-www-form-urlencoded": _Format.FORM,
    "application/xml": _Format.TEXT,
    "application/javascript": _Format.TEXT,
    "application/yaml": _Format.TEXT,
    "application/x-yaml": _Format.TEXT,
    "application/graphql": _Format.TEXT,
    "": _Format.UNKNOWN,
    "application/octet-stream": _Format.UNKNOWN,
}


_ESCAPES = frozenset({"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined"})
"""Python's codecs that are no charset; some take time by the square of the length."""


def compare_bodies(
    primary: bytes, shadow: bytes, content_types: tuple[str, str], found: Findings, hosts: Hosts
) -> None:
    """Notes what differs. `content_types` are the primary's and the shadow's header values, or empty.

    Two different types are compared as text where both are text; that the types differ is told by the
    header. A body that is not what its type says is compared as the next simpler thing.
    """
    if primary == shadow:
        return
    (ours, our_charset), (theirs, their_charset) = map(_format, content_types)
    texts = None
    if _Format.BINARY not in (ours, theirs):
        texts = (_text(primary, our_charset), _text(shadow, their_charset))
    if texts is None or texts[0] is None or texts[1] is None:
        _compare_bytes(primary, shadow, found)
        return
    one, other = texts[0], texts[1]
    same = ours if ours is theirs else _Format.TEXT
    if same is _Format.FORM:
        try:
            compare_forms(one, other, found, hosts)
        except ValueError:
            compare_lines(one, other, found, hosts)
    elif same is _Format.TEXT or not _compare_as_json(one, other, same, found, hosts):
        compare_lines(one, other, found, hosts)


@lru_cache(maxsize=64)
def _format(content_type: str) -> tuple[_Format, str]:
    message = Message()
    message["Content-Type"] = content_type.replace("\n", " ").replace("\r", " ")
    # Message's default is text/plain, which would hide that there is no type
    media_type = message.get_content_type() if "/" in content_type else ""
    charset = message.get_param("charset")
    known = _FORMATS.get(media_type)
    if known is None:
        if media_type.endswith("+json"):
            known = _Format.JSON
        elif media_type.startswith("text/") or media_type.endswith("+xml"):
            known = _Format.TEXT
        else:
            known = _Format.BINARY
    return known, charset if isinstance(charset, str) else ""


def _text(body: bytes, charset: str) -> str | None:
    """None where the body is no text in that charset, which is UTF-8 where none is said."""
    try:
        name = codecs.lookup(charset or "utf-8").name
        if name in _ESCAPES:
            return None
        text = body.decode("utf-8-sig" if name == "utf-8" else name)
    except (LookupError, ValueError):  # UnicodeDecodeError is one; so is a charset with a NUL in its name
        return None
    return None if "\0" in text else text


def _compare_as_json(primary: str, shadow: str, kind: _Format, found: Findings, hosts: Hosts) -> bool:
    """False where neither is JSON, so that nothing was compared."""
    if kind is _Format.UNKNOWN and not (primary.lstrip()[:1] in "[{" and shadow.lstrip()[:1] in "[{"):
        return False
    (ours, our_error), (theirs, their_error) = _parse(primary, kind), _parse(shadow, kind)
    if our_error and their_error:
        return False
    if our_error or their_error:
        if kind is _Format.UNKNOWN:
            return False
        found.add("body.format", Kind.TYPE, our_error or "JSON", their_error or "JSON")
    else:
        compare_json(ours, theirs, "ndjson" if kind is _Format.NDJSON else "json", found, hosts)
    return True


def _parse(text: str, kind: _Format) -> tuple[Any, str]:
    """(document, nothing) or (None, why it is no JSON)."""
    try:
        if kind is _Format.NDJSON:
            return [parse_json(line) for line in text.split("\n") if line.strip()], ""
        return parse_json(text), ""
    except ValueError as error:
        return None, f"not JSON: {error}"


def _compare_bytes(primary: bytes, shadow: bytes, found: Findings) -> None:
    if len(primary) != len(shadow):
        found.add_values("body.length", str(len(primary)), str(len(shadow)))
    found.add_values("body.sha256", hashlib.sha256(primary).hexdigest(), hashlib.sha256(shadow).hexdigest())

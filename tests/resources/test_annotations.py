"""The `mitm-mirror/*` annotations."""

from typing import Any

import pytest

from mitm_mirror.ignore_rules import IgnoreRules
from mitm_mirror.resources.annotations import MirrorAnnotations, parse_annotations


def test_none_is_the_default() -> None:
    assert parse_annotations({"kubectl.kubernetes.io/last-applied": "{}"}) == (MirrorAnnotations(), [])


@pytest.mark.parametrize(
    ("key", "text", "field", "expected"),
    [
        ("host", "suffix", "host", "suffix"),
        ("host", "keep", "host", "keep"),
        ("host", "shadow.example:8080", "host", "shadow.example:8080"),
        ("host", "[::1]:80", "host", "[::1]:80"),
        ("methods", "GET, HEAD", "methods", frozenset({"GET", "HEAD"})),
        ("methods", "get", "methods", frozenset({"get"})),
        ("set-headers", "X-Shadow: 1\n\n a: b:c \n", "set_headers", (("X-Shadow", "1"), ("a", "b:c"))),
        ("set-headers", "x:", "set_headers", (("x", ""),)),
        (
            "remove-headers",
            "Authorization, cookie",
            "remove_headers",
            frozenset({b"authorization", b"cookie"}),
        ),
        ("sample-by", "client", "sample_by", ("client", "")),
        ("sample-by", "header:X-User", "sample_by", ("header", "X-User")),
        ("sample-by", "cookie:session", "sample_by", ("cookie", "session")),
        ("timeout", "1.5s", "timeout_s", 1.5),
        ("ignore", "json:$.id, header:x-a", "ignore", IgnoreRules(("json:$.id", "header:x-a"))),
    ],
)
def test_parsed(key: str, text: str, field: str, expected: Any) -> None:
    annotations, errors = parse_annotations({f"mitm-mirror/{key}": text})

    assert errors == []
    assert getattr(annotations, field) == expected


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("host", "", "expected suffix, keep, or a host name"),
        ("host", "a b", "expected suffix, keep, or a host name"),
        ("host", "http://a", "expected suffix, keep, or a host name"),
        ("methods", "", "expected methods, separated by commas"),
        ("methods", "GET HEAD", "'GET HEAD' is none"),
        ("set-headers", "no colon", "expected lines of the form 'Name: value'"),
        ("set-headers", "a b: c", "expected lines of the form 'Name: value'"),
        ("set-headers", "a: b\rc: d", "control character"),
        ("remove-headers", "a,,b", "'' is none"),
        ("sample-by", "clients", "expected client, header:NAME or cookie:NAME"),
        ("sample-by", "client:x", "expected client, header:NAME or cookie:NAME"),
        ("sample-by", "header:", "expected client, header:NAME or cookie:NAME"),
        ("timeout", "5", "expected a duration such as 5s"),
        ("timeout", "0s", "expected a duration above 0s"),
        ("ignore", "", "expected json:PATH"),
        ("ignore", "json:id", "expected a JSON path that begins with $"),
        ("ignore", "header:\ud800", "surrogates not allowed"),
        ("timout", "5s", "unknown annotation; did you mean mitm-mirror/timeout?"),
        ("0000", "5s", "unknown annotation; expected one of mitm-mirror/host, "),
    ],
)
def test_refused_and_left_out(key: str, text: str, expected: str) -> None:
    annotations, ((found, message),) = parse_annotations({f"mitm-mirror/{key}": text})

    assert annotations == MirrorAnnotations()
    assert found == f"mitm-mirror/{key}"
    assert expected in message

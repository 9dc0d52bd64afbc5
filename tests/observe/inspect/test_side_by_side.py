"""A pair laid out for 80 columns."""

import gzip
import json
import unicodedata
import zlib
from hashlib import sha256

import pytest

from mitm_mirror.observe.compare import Comparison, Difference, Kind, Response, Verdict, compare_responses
from mitm_mirror.observe.inspect import Leg, plain_text, side_by_side

BYTES = b"\xff\xfe"
V1 = "outbound|8080|v1|httpbin.default.svc.cluster.local"
V2 = "outbound|8080|v2|httpbin.default.svc.cluster.local"
JSON = (b"Content-Type", b"application/json")


def leg(name: str, body: bytes, *headers: tuple[bytes, bytes], complete: bool = True) -> Leg:
    shadow = name == "shadow"
    response = Response(200, headers, body, complete=complete)
    authority = "httpbin-shadow:8080" if shadow else "httpbin:8080"
    return Leg(name, V2 if shadow else V1, authority, "127.0.0.1:8001", "200 OK", 12.34, response)


def lay_out(ours: Leg, theirs: Leg) -> str:
    assert ours.response is not None
    assert theirs.response is not None
    return plain_text(side_by_side(ours, theirs, compare_responses(ours.response, theirs.response)))


def columns(text: str) -> int:
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)


def test_differing_fields_come_first_then_both_answers_beside_each_other() -> None:
    text = lay_out(
        leg("primary", json.dumps({"a": [1, 2], "version": "v1"}).encode(), JSON),
        leg("shadow", json.dumps({"a": [1, 2], "version": "v2"}).encode(), JSON),
    )
    assert (
        text
        == """\
 PRIMARY                               │ SHADOW
 outbound|8080|v1|httpbin.default.svc.c│ outbound|8080|v2|httpbin.default.svc.c
 luster.local                          │ luster.local
 httpbin:8080                          │ httpbin-shadow:8080
 127.0.0.1:8001                        │ 127.0.0.1:8001
 200 OK                                │ 200 OK
 12.3 ms                               │ 12.3 ms
── 1 place differs ────────────────────────────────────────────────────────────
  json.version
 "v1"                                  ≠ "v2"
── The whole answers, ≠ where a line differs ──────────────────────────────────
 200 OK                                │ 200 OK
 Content-Type: application/json        │ Content-Type: application/json
                                       │
 {                                     │ {
   "a": [                              │   "a": [
     1,                                │     1,
     2                                 │     2
   ],                                  │   ],
   "version": "v1"                     ≠   "version": "v2"
 }                                     │ }
"""
    )


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        pytest.param("x" * 500, "y" * 77, id="long lines"),
        pytest.param("日本語" * 60, "日本" * 50, id="wide characters"),
        pytest.param("e\u0301" * 100, "é" * 90, id="combining characters"),
        pytest.param("\t\ta" * 30, "a", id="tabs"),
        pytest.param("\udcff\udcfe" * 40, "a", id="what is no UTF-8"),
    ],
)
def test_no_line_is_wider_than_80_columns(ours: str, theirs: str) -> None:
    bodies = [text.encode("utf-8", "surrogateescape") for text in (ours, theirs)]
    comparison = Comparison(Verdict.DIFFERS, "", (Difference("x" * 200, Kind.VALUE, ours, theirs, 3),))
    lines = side_by_side(leg("primary", bodies[0]), leg("shadow", bodies[1]), comparison)

    assert max(columns("".join(text for _, text in line)) for line in lines) <= 80


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        pytest.param(b'{"a":1}', (), ["{", '  "a": 1', "}"], id="JSON is laid out"),
        pytest.param(b'{"a":', (), ['{"a":'], id="broken JSON stays as it is"),
        pytest.param(b"[" * 100_000, (), ["[" * 100_000], id="JSON too deep stays as it is"),
        pytest.param(gzip.compress(b"hello"), ((b"content-encoding", b"gzip"),), ["hello"], id="gzip"),
        pytest.param(
            zlib.compress(b"nonsense")[:8],
            ((b"content-encoding", b"deflate"),),
            ["(8 bytes that cannot be decoded: not deflate: it ends too early)"],
            id="half a body",
        ),
        pytest.param(BYTES, (), [f"(2 bytes, sha256 {sha256(BYTES).hexdigest()})"], id="bytes"),
        pytest.param(
            b"x" * (256 * 1024 + 1),
            (),
            ["(more than 262144 bytes, which is too much to be shown here)"],
            id="large",
        ),
    ],
)
def test_a_body_is_shown_as_what_it_is(
    body: bytes, headers: tuple[tuple[bytes, bytes], ...], expected: list[str]
) -> None:
    lines = leg("primary", body, *headers).answer_lines()
    assert lines[lines.index("") + 1 :] == expected


def test_a_body_that_was_cut_says_so() -> None:
    assert leg("shadow", b"begin", complete=False).answer_lines()[-1] == (
        "(the first 5 bytes, the rest was not kept)"
    )


@pytest.mark.parametrize(
    ("comparison", "expected"),
    [
        pytest.param(Comparison(Verdict.EQUAL), "The answers are equal", id="equal"),
        pytest.param(
            Comparison(Verdict.NOT_COMPARED, "body_too_large"),
            "Not compared: body_too_large",
            id="not compared",
        ),
        pytest.param(
            Comparison(
                Verdict.EQUAL, "", (Difference("json.id", Kind.ONLY_PRIMARY, "1", None, noise="why"),)
            ),
            "── The answers are equal, apart from noise ────────────────────────────────────\n"
            "── Noise: differs between two copies of one version, too ──────────────────────\n"
            "  json.id\n"
            " 1                                     ≠ (absent)\n"
            "    why",
            id="noise",
        ),
        pytest.param(
            Comparison(
                Verdict.DIFFERS, "body_incomplete", (Difference("status", Kind.VALUE, "1", "2"),), True
            ),
            "── 1 place differs ────────────────────────────────────────────────────────────\n"
            "  status\n 1                                     ≠ 2\n"
            "── There are more differences than were kept ──────────────────────────────────\n"
            "── The bodies were not compared: body_incomplete ──────────────────────────────\n",
            id="cut off",
        ),
    ],
)
def test_verdicts_are_told_in_words(comparison: Comparison, expected: str) -> None:
    assert expected in plain_text(side_by_side(leg("primary", b""), leg("shadow", b""), comparison))


def test_a_shadow_without_an_answer_says_why() -> None:
    failed = Leg("shadow", V2, "httpbin-shadow:8080", "127.0.0.1:8002", "timeout: no answer", 15000.0, None)
    text = plain_text(side_by_side(leg("primary", b"ok"), failed, None))
    assert "200 OK                                │ timeout: no answer" in text
    assert "200 OK                                ≠ timeout: no answer" in text


def test_very_long_answers_are_cut_and_say_so() -> None:
    text = lay_out(leg("primary", b"a\n" * 6000), leg("shadow", b"b\n" * 6000))
    assert text.endswith("(1002 further lines)\n")

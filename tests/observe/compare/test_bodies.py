"""What bodies of each type differ in."""

import json
from typing import Any

import pytest

from mitm_mirror.observe.compare import Kind, Response, Verdict, compare_responses

VALUE, TYPE, ONLY_PRIMARY, ONLY_SHADOW = Kind.VALUE, Kind.TYPE, Kind.ONLY_PRIMARY, Kind.ONLY_SHADOW
NO_JSON = "not JSON: Expecting value: line 1 column 1 (char 0)"
Row = tuple[str, Kind, str | None, str | None]


def found(primary: bytes, shadow: bytes, content_type: str = "application/json") -> list[Row]:
    headers = ((b"content-type", content_type.encode()),) if content_type else ()
    comparison = compare_responses(Response(200, headers, primary), Response(200, headers, shadow))
    assert comparison.verdict is (Verdict.DIFFERS if comparison.differences else Verdict.EQUAL)
    return [(item.path, item.kind, item.primary, item.shadow) for item in comparison.differences]


@pytest.mark.parametrize(
    ("primary", "shadow", "expected"),
    [
        pytest.param('{"a":1,"b":2}', '{ "b": 2, "a": 1 }', [], id="order and space"),
        pytest.param('{"a":"\\u00e9"}', '{"a":"é"}', [], id="escapes"),
        pytest.param("1", "1.0", [], id="1 is 1.0"),
        pytest.param("1e2", "100", [], id="1e2 is 100"),
        pytest.param(
            "9007199254740993",
            "9007199254740992",
            [("json", VALUE, "9007199254740993", "9007199254740992")],
            id="large integers are exact",
        ),
        pytest.param("true", "1", [("json", TYPE, "true", "1")], id="true is not 1"),
        pytest.param("[0]", "[false]", [("json[0]", TYPE, "0", "false")], id="0 is not false"),
        pytest.param("null", '""', [("json", TYPE, "null", '""')], id="null is not empty"),
        pytest.param('"1"', "1", [("json", TYPE, '"1"', "1")], id="text is no number"),
        pytest.param('{"a":null}', "{}", [("json.a", ONLY_PRIMARY, "null", None)], id="null is not absent"),
        pytest.param(
            "{}", '{"a":[1,2]}', [("json.a", ONLY_SHADOW, None, "[2 elements]")], id="a member more"
        ),
        pytest.param(
            '{"a":{"b":1}}', '{"a":[]}', [("json.a", TYPE, "{1 member}", "[]")], id="object and array"
        ),
        pytest.param(
            '{"a.b":{"":1}}', '{"a.b":{"":2}}', [('json["a.b"][""]', VALUE, "1", "2")], id="odd keys"
        ),
        pytest.param(
            "[1,2,3]", "[1,9,2,3]", [("json[1]", ONLY_SHADOW, None, "9")], id="inserted in the middle"
        ),
        pytest.param("[1,2,3]", "[2,3]", [("json[0]", ONLY_PRIMARY, "1", None)], id="removed at the front"),
        pytest.param("[1,2]", "[1,2,3]", [("json[2]", ONLY_SHADOW, None, "3")], id="appended"),
        pytest.param("[1,1,1]", "[1,1]", [("json[2]", ONLY_PRIMARY, "1", None)], id="one of equal elements"),
        pytest.param("[1,2,3]", "[1,3,2]", [("json[1]", VALUE, "2", "3")], id="swapped: by index"),
        pytest.param(
            '{"items":[{"id":1,"p":[1]},{"id":2,"p":[5]}]}',
            '{"items":[{"id":0,"p":[]},{"id":1,"p":[1]},{"id":2,"p":[5]}]}',
            [("json.items[0]", ONLY_SHADOW, None, "{2 members}")],
            id="an object inserted",
        ),
        pytest.param('{"a":1,"a":2}', '{"a":1,"a":3}', [("json.a[1]", VALUE, "2", "3")], id="repeated key"),
        pytest.param(
            '{"a":1,"a":2}',
            '{"a":[1,2]}',
            [("json.a", TYPE, "[2 elements]", "[2 elements]")],
            id="repeated key and array",
        ),
        pytest.param(
            '{"a":1,"a":2,"a":3}',
            '{"a":3}',
            [("json.a", TYPE, "[3 elements]", "3")],
            id="repeated on one side",
        ),
        pytest.param("[NaN, 1]", "[NaN, 2]", [("json[1]", VALUE, "1", "2")], id="NaN equals NaN"),
        pytest.param("[NaN]", '["NaN"]', [("json[0]", TYPE, "NaN", '"NaN"')], id="NaN is no text"),
        pytest.param(
            "[-Infinity]", "[Infinity]", [("json[0]", VALUE, "-Infinity", "Infinity")], id="infinities"
        ),
        pytest.param(
            '["\\ud800"]',
            '["\\ud801"]',
            [("json[0]", VALUE, '"\\xed\\xa0\\x80"', '"\\xed\\xa0\\x81"')],
            id="lone surrogates",
        ),
        pytest.param("{}", "<p>", [("body.format", TYPE, "JSON", NO_JSON)], id="one is no JSON"),
        pytest.param("a", "b", [("text.line 1", VALUE, "a", "b")], id="neither is JSON"),
        pytest.param("", "{}", [("body.format", TYPE, NO_JSON, "JSON")], id="one is empty"),
        pytest.param("\ufeff{}", "{}", [], id="byte order mark"),
    ],
)
def test_json(primary: str, shadow: str, expected: list[Row]) -> None:
    assert found(primary.encode(), shadow.encode()) == expected


@pytest.mark.parametrize(
    "content_type", ["application/problem+json", "text/json; charset=utf-8", "", "application/octet-stream"]
)
def test_json_under_other_types(content_type: str) -> None:
    assert found(b'{"a":1}', b'{"a":2}', content_type) == [("json.a", VALUE, "1", "2")]


def test_ndjson() -> None:
    assert found(b'{"a":1}\n{"a":2}\n', b'{"a":1}\n\n{"a":3}', "application/x-ndjson") == [
        ("ndjson[1].a", VALUE, "2", "3")
    ]


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_depth_is_bounded_by_memory_and_not_by_the_stack(opening: str) -> None:
    """Deeper than Python recurses: what cannot be read as JSON is compared as text."""
    closing = "]" if opening == "[" else "}"
    for depth in (300, 100_000):
        one, other = ((opening * depth + value + closing * depth).encode() for value in ("1", "2"))

        rows = found(one, other)

        assert len(rows) == 1
        assert rows[0][0].startswith("json" if depth == 300 else "text.line 1")


def test_arrays_of_different_length_within_each_other_take_no_exponential_time() -> None:
    one: Any = 1
    other: Any = 2
    for _ in range(200):
        one, other = [one, 0, 0], [other, 0]

    assert found(json.dumps(one).encode(), json.dumps(other).encode())


@pytest.mark.parametrize(
    ("primary", "shadow", "expected"),
    [
        pytest.param("a=1&b=2", "b=2&a=1", [], id="order of names"),
        pytest.param("a=1", "a=%31", [], id="encoding"),
        pytest.param("a=1&a=2", "a=2&a=1", [("form.a", VALUE, "1, 2", "2, 1")], id="order of values"),
        pytest.param(
            "a=", "b=", [("form.a", ONLY_PRIMARY, "", None), ("form.b", ONLY_SHADOW, None, "")], id="names"
        ),
        pytest.param(
            "a=1&" * 1001,
            "b",
            [("text.line 1", VALUE, ("a=1&" * 1001)[:199] + "…", "b")],
            id="too many fields",
        ),
    ],
)
def test_form(primary: str, shadow: str, expected: list[Row]) -> None:
    assert found(primary.encode(), shadow.encode(), "application/x-www-form-urlencoded") == expected


@pytest.mark.parametrize(
    ("primary", "shadow", "expected"),
    [
        pytest.param("a\nb\nc", "a\nX\nc", [("text.line 2", VALUE, "b", "X")], id="a line changed"),
        pytest.param("a\nc", "a\nb\nc", [("text.line 2", ONLY_SHADOW, None, "b")], id="a line more"),
        pytest.param(
            "a\nb\nc\nd\ne",
            "A\nb\nc\nc2\nd\nE",
            [
                ("text.line 1", VALUE, "a", "A"),
                ("text.line 4", ONLY_SHADOW, None, "c2"),
                ("text.line 5", VALUE, "e", "E"),
            ],
            id="lines are matched up",
        ),
        pytest.param("a\r\nb", "a\nb", [("text.line 1", VALUE, "'a\\r\\n'", "'a\\n'")], id="line ends"),
        pytest.param("a\n", "a", [("text.line 1", VALUE, "'a\\n'", "'a'")], id="end of the last line"),
    ],
)
def test_text(primary: str, shadow: str, expected: list[Row]) -> None:
    assert found(primary.encode(), shadow.encode(), "text/html; charset=utf-8") == expected


@pytest.mark.parametrize(
    ("content_type", "primary", "shadow", "expected"),
    [
        pytest.param(
            "text/plain; charset=iso-8859-1",
            b"\xe9",
            b"\xe8",
            [("text.line 1", VALUE, "é", "è")],
            id="charset",
        ),
        pytest.param("application/xml", b"<a/>", b"<b/>", [("text.line 1", VALUE, "<a/>", "<b/>")], id="XML"),
        pytest.param("image/svg+xml", b"<a/>", b"<b/>", [("text.line 1", VALUE, "<a/>", "<b/>")], id="+xml"),
        pytest.param("no type at all", b"a", b"b", [("text.line 1", VALUE, "a", "b")], id="nonsense type"),
    ],
)
def test_text_by_its_type(content_type: str, primary: bytes, shadow: bytes, expected: list[Row]) -> None:
    assert found(primary, shadow, content_type) == expected


@pytest.mark.parametrize(
    ("content_type", "primary", "shadow"),
    [
        pytest.param("image/png", b"a", b"b", id="binary type"),
        pytest.param("text/plain", b"\xff\xfe", b"b", id="not its charset"),
        pytest.param("text/plain; charset=made-up", b"a", b"b", id="unknown charset"),
        pytest.param("text/plain; charset=punycode", b"a", b"b", id="a codec that is no charset"),
        pytest.param("text/plain; charset=hex", b"61", b"62", id="a codec of bytes"),
        pytest.param("", b"a\0", b"b", id="a NUL"),
    ],
)
def test_binary(content_type: str, primary: bytes, shadow: bytes) -> None:
    rows = found(primary, shadow, content_type)

    assert [row[0] for row in rows] == ["body.length", "body.sha256"][len(primary) == len(shadow) :]
    assert len(str(rows[-1][2])) == 64

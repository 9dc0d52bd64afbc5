"""Which differences an ignore rule covers, and what a wrong one is told."""

import pytest

from mitm_mirror.ignore_rules import NO_RULES, key_step, parse_ignore_rules


@pytest.mark.parametrize(
    ("rules", "path", "expected"),
    [
        pytest.param("json:$.a", "json.a", True, id="a member"),
        pytest.param("json:$.a", "json.a.b[3]", True, id="what is below it"),
        pytest.param("json:$.a", "json.ab", False, id="a longer name"),
        pytest.param("json:$.a.b", "json.a", False, id="what is above it"),
        pytest.param("json:$.items[*].id", "json.items[17].id", True, id="any element"),
        pytest.param("json:$.items[*].id", "json.items.x.id", False, id="an element is no member"),
        pytest.param("json:$.items[1].id", "json.items[1].id", True, id="one element"),
        pytest.param("json:$.items[1].id", "json.items[11].id", False, id="another element"),
        pytest.param("json:$.*.id", "json.x.id", True, id="any member"),
        pytest.param("json:$.*.id", "json[2].id", True, id="any child is an element too"),
        pytest.param("json:$.*.id", 'json["a.b"].id', True, id="any member with an odd name"),
        pytest.param("json:$..id", "json.id", True, id="deep: at the top"),
        pytest.param("json:$..id", 'json.a[3]["x y"].id.z', True, id="deep: far below"),
        pytest.param("json:$..id", "json.a.idx", False, id="deep: a longer name"),
        pytest.param("json:$..*", "json.a", True, id="deep: everything"),
        pytest.param("""json:$["a, b"]['c.d']""", 'json["a, b"]["c.d"]', True, id="quoted names"),
        pytest.param('json:$["a"]', "json.a", True, id="quoted although plain"),
        pytest.param("json:$", "json[3]", True, id="the whole document"),
        pytest.param("json:$.a", "ndjson[4].a", True, id="each document of ndjson"),
        pytest.param("json:$.a", "form.a", False, id="json is not form"),
        pytest.param("header:X-Request-Id", "header.x-request-id", True, id="header without case"),
        pytest.param("header:x-request-id", "header.x-request-id-2", False, id="a longer header"),
        pytest.param("header:set-cookie", "header.set-cookie.session;path", True, id="all cookies"),
        pytest.param("trailer:grpc-message", "trailer.grpc-message", True, id="trailer"),
        pytest.param("form:a", "form.a", True, id="form"),
        pytest.param("status", "status", True, id="status"),
        pytest.param("json:$.a,\n header:etag ,", "header.etag", True, id="several, also by line"),
        pytest.param("header:etag", "status", False, id="something else"),
    ],
)
def test_a_rule_covers_a_path(rules: str, path: str, expected: bool) -> None:
    assert parse_ignore_rules(rules).ignores(path) is expected


def test_without_rules_nothing_is_ignored() -> None:
    assert not NO_RULES.ignores("status")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", "expected json:PATH", id="empty"),
        pytest.param(" , ", "expected json:PATH", id="only separators"),
        pytest.param("items.id", "'items.id': expected json:PATH", id="no source"),
        pytest.param("status:500", "'status:500': expected json:PATH", id="status has no value"),
        pytest.param("header:", "'header:': expected json:PATH", id="no header name"),
        pytest.param("header:a b", "'header:a b': expected json:PATH", id="space in a header name"),
        pytest.param("json:items", r"begins with \$, such as json:\$.items", id="no root"),
        pytest.param("json:$.a[?(@.b)]", r"cannot read '\[\?\(@.b\)\]'", id="filters are not supported"),
        pytest.param("json:$.", "cannot read '.'", id="a dot too many"),
        pytest.param("json:$a", "cannot read 'a'", id="a dot too few"),
        pytest.param("header:a, json:$[", r"'json:\$\[': cannot read", id="the second is wrong"),
    ],
)
def test_a_wrong_rule_is_told_what_is_expected(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        parse_ignore_rules(text)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("price", ".price"),
        ("x-y_1", ".x-y_1"),
        ("", '[""]'),
        ("a.b", '["a.b"]'),
        ("1", '["1"]'),
        ('"', r'["\""]'),
    ],
)
def test_a_key_that_is_no_word_is_quoted(key: str, expected: str) -> None:
    assert key_step(key) == expected

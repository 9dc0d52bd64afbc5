"""Plain values and positions from YAML, and every way in which a text can be no good."""
# ruff: noqa: E501 - a table reads best with one case a line and whole messages

from typing import Any

import pytest
import yaml

from mitm_mirror.resources import yaml_documents
from mitm_mirror.resources.yaml_documents import (
    MAX_ALIASED_NODES,
    MAX_DEPTH,
    MAX_SYNTAX_ERRORS,
    read_documents,
)


@pytest.fixture(params=["libyaml", "python"])
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a test with the C parser and with its fallback."""
    if request.param == "libyaml" and not yaml.__with_libyaml__:
        pytest.skip("PyYAML was built without libyaml")
    name = "CSafeLoader" if request.param == "libyaml" else "SafeLoader"
    monkeypatch.setattr(yaml_documents, "_Loader", getattr(yaml, name))


def values(text: str) -> list[Any]:
    documents, issues = read_documents(text, "f")

    assert issues == []

    return [document.value for document in documents]


def is_libyaml() -> bool:
    return yaml_documents._Loader is not yaml.SafeLoader


def issues_of(text: str) -> list[str]:
    return [str(issue) for issue in read_documents(text, "f")[1]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", [], id="empty"),
        pytest.param("# only a comment\n", [], id="comment"),
        pytest.param("---\n", [None], id="document start alone"),
        pytest.param(
            "a: 1\n---\nb: [x, 'y', \"z\"]\n", [{"a": 1}, {"b": ["x", "y", "z"]}], id="two documents"
        ),
        pytest.param("a: {b: {c: d}}", [{"a": {"b": {"c": "d"}}}], id="flow"),
        pytest.param("a: |\n  x\n  y\nb: >\n  x\n  y\n", [{"a": "x\ny\n", "b": "x y\n"}], id="block scalars"),
        pytest.param("a: &x {b: 1}\nc: *x\n", [{"a": {"b": 1}, "c": {"b": 1}}], id="alias"),
        pytest.param("a: &x v\n*x : 1\n", [{"a": "v", "v": 1}], id="alias as key"),
        pytest.param(
            "a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}\n",
            [{"a": {"b": 1, "c": 2}, "d": {"c": 3, "b": 1}}],
            id="merge gives way to what is written",
        ),
        pytest.param(
            "a: &x {k: 1}\nb: &y {k: 2, l: 2}\nc: {<<: [*x, *y]}\n",
            [{"a": {"k": 1}, "b": {"k": 2, "l": 2}, "c": {"k": 1, "l": 2}}],
            id="of merged mappings the first wins",
        ),
        pytest.param("'<<': 1", [{"<<": 1}], id="quoted merge key is a key"),
        pytest.param(
            'a: !!str 5\nb: !!int "5"\nc: "yes"', [{"a": "5", "b": 5, "c": "yes"}], id="tags and quotes"
        ),
    ],
)
def test_values(loader: None, text: str, expected: list[Any]) -> None:
    assert values(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a: 1\nb: 2\na: 3\n", "f:3:1: duplicate key 'a', first given in line 1", id="duplicate key"),
        pytest.param("a:\n- b: 1\n  b: {}", "f:3:3: duplicate key 'b', first given in line 2", id="nested duplicate"),
        pytest.param("x: 1\n---\na: 1\na: 2", "f:4:1: duplicate key 'a', first given in line 3", id="2nd document"),
        pytest.param("1: x", 'f:1:1: a key must be a string, but 1 is none; write it in quotes: "1"', id="number key"),
        pytest.param(
            "a:\n  on: x", 'f:2:3: a key must be a string, but on is none; write it in quotes: "on"', id="boolean key"
        ),
        pytest.param("? [a]\n: b", "f:1:3: a key must be a string, not a list or mapping", id="list as key"),
        pytest.param("a: &x 5\n*x : 1", 'f:2:1: a key must be a string, but *x is none; write it in quotes: "*x"',
                     id="alias of a number as key"),
        pytest.param("a:\n\tb: 1", "f:2:1: invalid YAML: a tab; YAML is indented by spaces", id="tab"),
        pytest.param(
            "a: b\n c: \x01", "f:2:5: invalid YAML: the control character U+0001 is not allowed", id="control character"
        ),
        pytest.param("a: *x", "f:1:4: the alias *x has no anchor before it", id="unknown alias"),
        pytest.param("a: &x [*x]", "f:1:8: the alias *x is inside its own anchor", id="recursive alias"),
        pytest.param("a: !foo x", "f:1:4: the tag !foo is not supported", id="unknown tag"),
        pytest.param("a: !foo {}", "f:1:4: the tag !foo is not supported", id="unknown tag of a mapping"),
        pytest.param("a: !!int x", "f:1:4: 'x' is not of the type !!int", id="wrong tag"),
        pytest.param("a: {<<: 5}", "f:1:5: << must be given a mapping or a list of mappings", id="merge of a number"),
        pytest.param("[" * (MAX_DEPTH + 1), f"f:1:{MAX_DEPTH + 1}: nested more than {MAX_DEPTH} levels deep", id="deep lists"),
        pytest.param("{a: " * 100_000, f"f:1:401: nested more than {MAX_DEPTH} levels deep", id="deep mappings"),
    ],
)  # fmt: skip
def test_bad_text(loader: None, text: str, expected: str) -> None:
    assert issues_of(text) == [expected]


def test_lists_far_too_deep(loader: None) -> None:
    found = issues_of("[" * 100_000)

    # Newer libyamls give up at their own limit, before they tell us of the first list.
    columns = {MAX_DEPTH + 1, 1001} if is_libyaml() else {MAX_DEPTH + 1}
    assert found in [[f"f:1:{column}: nested more than {MAX_DEPTH} levels deep"] for column in columns]


def test_key_that_is_missing(loader: None) -> None:
    (issue,) = issues_of("a: {? : x}")

    assert issue.endswith("a key is missing here")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        pytest.param("a: [b\n", "f:2:1: ", id="open list"),
        pytest.param("a: 'b\n", "f:2:1: ", id="open quote"),
        pytest.param("a: b: c\n", "f:1:5: ", id="colon in a value"),
        pytest.param("a: 1\n b: 2\n", "f:2:3: ", id="indentation"),
        pytest.param("a: @x\n", "f:1:4: ", id="reserved character"),
    ],
)
def test_syntax_errors_have_their_place(loader: None, text: str, place: str) -> None:
    (issue,) = issues_of(text)

    assert issue.startswith(place + "invalid YAML: ")


def test_documents_beside_a_broken_one_are_read(loader: None) -> None:
    documents, issues = read_documents("a: 1\n---\nb: [\n---\nc: 3\n---\n]\n---\nd: 4\n", "f")

    assert [document.value for document in documents] == [{"a": 1}, {"c": 3}, {"d": 4}]
    assert [issue.line for issue in issues] == [4, 7]
    assert documents[2].positions.locate(("d",)) == (9, 1)


def test_a_text_that_is_no_yaml_is_given_up() -> None:
    issues = issues_of("---\n]\n" * 100_000)

    assert len(issues) == MAX_SYNTAX_ERRORS + 1
    assert issues[-1].endswith("too many errors, the rest was not read")


def test_alias_bomb_is_refused_where_it_passes_the_limit(loader: None) -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]

    (issue,) = issues_of("\n".join(lines))

    assert issue.startswith("f:5:")
    assert issue.endswith(f"the aliases of this file come to more than {MAX_ALIASED_NODES} values")


def test_aliases_are_counted_over_all_documents_of_a_text() -> None:
    document = "a: &a [" + "x, " * 100 + "]\nb: [" + "*a, " * 100 + "]\n---\n"

    assert values(document * 5)
    assert len(issues_of(document * 20)) > 1


def test_sane_use_of_one_anchor_in_many_places() -> None:
    text = "a: &a {b: [1, 2, 3]}\n" + "".join(f"c{n}: *a\n" for n in range(1000))

    assert values(text)[0]["c999"] == {"b": [1, 2, 3]}


TEXT = """\
# a comment
spec:
  hosts: [a, b]
  http:
  - name: one
    "odd key": 1
  - match: &m
    - uri: {prefix: /x}
  - match: *m
    <<: {name: merged}
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param((), (2, 1), id="root"),
        pytest.param(("spec",), (2, 1), id="key"),
        pytest.param(("spec", "hosts"), (3, 3), id="key of a list"),
        pytest.param(("spec", "hosts", 1), (3, 14), id="item of a flow list"),
        pytest.param(("spec", "http", 0), (5, 5), id="item of a block list"),
        pytest.param(("spec", "http", 0, "odd key"), (6, 5), id="quoted key"),
        pytest.param(("spec", "http", 1, "match", 0, "uri", "prefix"), (8, 13), id="deep"),
        pytest.param(("spec", "http", 2, "match"), (9, 5), id="an alias has its own place"),
        pytest.param(("spec", "http", 2, "match", 0, "uri"), (8, 7), id="what is in it the anchor's"),
        pytest.param(("spec", "http", 2, "name"), (10, 10), id="merged key"),
        pytest.param(("spec", "http", 0, "mirror", "host"), (5, 5), id="absent: the item around it"),
        pytest.param(("spec", "http", 7), (4, 3), id="absent item: the list"),
        pytest.param(("spec", 0), (2, 1), id="index of a mapping"),
    ],
)
def test_positions(loader: None, path: tuple[str | int, ...], expected: tuple[int, int]) -> None:
    ((document,), issues) = read_documents(TEXT, "f")

    assert issues == []
    assert document.positions.locate(path) == expected


def test_document_of_too_many_values_is_refused_and_the_others_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(yaml_documents, "MAX_NODES", 100)

    documents, issues = read_documents("a: 1\n---\nb: [" + "x, " * 100 + "]\n---\nc: 3\n", "f")

    assert [document.value for document in documents] == [{"a": 1}, {"c": 3}]
    assert [issue.message for issue in issues] == ["a document of more than 100 keys and values; split it"]

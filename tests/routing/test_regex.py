import pytest

from mitm_mirror.routing.regex import compile_regex, full_match, literal_prefix, replace_all


@pytest.mark.parametrize(
    ("pattern", "value", "matches"),
    [
        pytest.param("/v[12]", b"/v1", True, id="whole value"),
        pytest.param("/v[12]", b"/v1/x", False, id="a prefix is not enough"),
        pytest.param("v1", b"/v1", False, id="a suffix is not enough"),
        pytest.param("a|ab", b"ab", True, id="alternatives are all tried"),
        pytest.param("(?i)abc", b"ABC", True, id="flags of RE2"),
        pytest.param(".*", b"\xff", False, id="a dot is a character of UTF-8, as in Envoy"),
    ],
)
def test_regexes_match_the_whole_value(pattern: str, value: bytes, matches: bool) -> None:
    assert full_match(pattern)(value) is matches


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [
        pytest.param("/items/[0-9]+", b"/items/", id="up to a class"),
        pytest.param("^/a/.*$", b"/a/", id="behind the begin of text"),
        pytest.param("/abc", b"/abc", id="all of it"),
        pytest.param("/abc*", b"/ab", id="before what may be absent"),
        pytest.param("/abc?d", b"/ab", id="before what is optional"),
        pytest.param("/abc{0,3}", b"/ab", id="before what is counted"),
        pytest.param("/abc+", b"/ab", id="before what repeats"),
        pytest.param(r"/a\.b", b"/a", id="up to an escape"),
        pytest.param("(?i)/abc", b"", id="not with flags before it"),
        pytest.param("/a|/b", b"", id="not of alternatives"),
        pytest.param("é", b"", id="not beyond ASCII"),
        pytest.param("", b"", id="of nothing"),
    ],
)
def test_literal_prefix(pattern: str, prefix: bytes) -> None:
    assert literal_prefix(pattern) == prefix


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ("/a|/b", b"/b"), ("(?i)/abc", b"/ABC"), ("/abc*", b"/ab"), ("/abc?d", b"/abd"), ("/ab{0}c", b"/ac"),
        ("^/a", b"/a"), (r"\Q/a.b\E", b"/a.b"), ("a(?i)b", b"aB"), ("/a(b|c)", b"/ac"),
    ],
)  # fmt: skip
def test_no_match_is_lost_to_the_literal_prefix(pattern: str, value: bytes) -> None:
    assert full_match(pattern)(value)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        pytest.param("(", "is no RE2 regular expression: missing", id="syntax"),
        pytest.param("(?=a)", "is no RE2 regular expression", id="look-ahead is not RE2"),
        pytest.param("((a{100}){100}){100}", "invalid repetition size", id="beyond RE2's repetition limit"),
        pytest.param("a{1000}" * 40, "is too large", id="beyond Istio's program size"),
    ],
)
def test_bad_regexes_are_refused_with_a_reason(pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compile_regex(pattern)


@pytest.mark.parametrize(
    ("pattern", "ending", "matches"),
    [
        pytest.param("(a*)*b", b"", False, id="star of a star"),
        pytest.param("(a+)+", b"!", False, id="plus of a plus"),
        pytest.param("(a|aa)+", b"!", False, id="overlapping alternatives"),
        pytest.param("(a|a?)+b", b"", False, id="alternatives with an empty one"),
        pytest.param("(.*a){12}", b"!", False, id="a dozen greedy dots"),
        pytest.param("(.*a){12}", b"a", True, id="a dozen greedy dots that match"),
        pytest.param("((a{0,30}){0,30})*!", b"!", True, id="counted repetitions that match"),
    ],
)
def test_a_regex_meant_to_explode_takes_linear_time(pattern: str, ending: bytes, matches: bool) -> None:
    """With a backtracking engine this test does not end."""
    assert full_match(pattern)(b"a" * 50_000 + ending) is matches


def test_a_rewrite_meant_to_explode_takes_linear_time() -> None:
    path = b"a" * 8_000

    assert replace_all("(a+)+$", r"\\0")(path + b"!") == path + b"!"
    assert replace_all("^(a|aa)+$", "x")(path) == b"x"


@pytest.mark.parametrize(
    ("pattern", "substitution", "value", "result"),
    [
        pytest.param("a", "x", b"banana", b"bxnxnx", id="every match"),
        pytest.param("/(v[12])/([^/]*)", r"/\2/\1", b"/v1/x/y", b"/x/v1/y", id="groups"),
        pytest.param("b+", r"[\0]", b"abba", b"a[bb]a", id="group 0 is the match"),
        pytest.param("b", r"\\", b"abc", b"a\\c", id="an escaped backslash"),
        pytest.param("(x)|y", r"<\1>", b"y", b"<>", id="a group that took no part is empty"),
        pytest.param("a*", "-", b"baac", b"-b-c-", id="no empty match right behind a match"),
        pytest.param("x", "y", b"abc", b"abc", id="no match"),
        pytest.param("x*", "-", b"", b"-", id="empty value"),
    ],
)
def test_every_match_is_replaced(pattern: str, substitution: str, value: bytes, result: bytes) -> None:
    assert replace_all(pattern, substitution)(value) == result


@pytest.mark.parametrize(
    ("substitution", "message"),
    [
        pytest.param(r"\2", "refers to group 2, but the expression has 1", id="unknown group"),
        pytest.param(r"\n", "backslash without a digit", id="no such escape"),
        pytest.param("x\\", "backslash without a digit", id="a backslash at the end"),
    ],
)
def test_bad_substitutions_are_refused(substitution: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace_all("(a)", substitution)

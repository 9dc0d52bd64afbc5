import pytest

from mitm_mirror.observe.escape import drop_userinfo, line_parts, quoted, readable, token
from mitm_mirror.text import decode


@pytest.mark.parametrize(
    ("text", "in_quotes", "as_token", "in_json"),
    [
        pytest.param("", "-", "-", "", id="absent"),
        pytest.param("plain/1.0", "plain/1.0", "plain/1.0", "plain/1.0", id="plain"),
        pytest.param("a b", "a b", "a\\x20b", "a b", id="space"),
        pytest.param('a"b', 'a\\"b', "a\\x22b", 'a"b', id="quote"),
        pytest.param("a\\", "a\\\\", "a\\x5c", "a\\", id="backslash at the end cannot eat the quote"),
        pytest.param("a\r\nb", "a\\x0d\\x0ab", "a\\x0d\\x0ab", "a\r\nb", id="line break"),
        pytest.param(
            "\x1b[2J\x7f\x00", "\\x1b[2J\\x7f\\x00", "\\x1b[2J\\x7f\\x00", "\x1b[2J\x7f\x00", id="terminal"
        ),
        pytest.param("é", "\\xc3\\xa9", "\\xc3\\xa9", "é", id="UTF-8"),
        pytest.param(
            "\u2028\x85",
            "\\xe2\\x80\\xa8\\xc2\\x85",
            "\\xe2\\x80\\xa8\\xc2\\x85",
            "\u2028\x85",
            id="other line ends",
        ),
        pytest.param(decode(b"\xff\xc3"), "\\xff\\xc3", "\\xff\\xc3", "\\xff\\xc3", id="no UTF-8"),
        pytest.param(
            "\ud800", "\\xed\\xa0\\x80", "\\xed\\xa0\\x80", "\\xed\\xa0\\x80", id="surrogate that is no byte"
        ),
    ],
)
def test_text_is_shown_safely(text: str, in_quotes: str, as_token: str, in_json: str) -> None:
    assert in_quotes == quoted(text)
    assert as_token == token(text)
    words, texts = line_parts((text, "plain"), (text, "plain text"))
    assert ([as_token, "plain"], [in_quotes, "plain text"]) == (list(words), list(texts))
    assert in_json == readable(text)


@pytest.mark.parametrize(
    ("words", "texts", "expected"),
    [
        pytest.param(("a", "b"), ("c d", ""), (["a", "b"], ["c d", ""]), id="nothing to escape"),
        pytest.param(("a", ""), ("c",), (["a", "-"], ["c"]), id="an empty word"),
        pytest.param(("a b",), ("c d",), (["a\\x20b"], ["c d"]), id="a space in a word"),
        pytest.param(("a",), ("\n",), (["a"], ["\\x0a"]), id="in a text alone"),
    ],
)
def test_parts_of_a_line_are_escaped_each_for_itself(
    words: tuple[str, ...], texts: tuple[str, ...], expected: tuple[list[str], list[str]]
) -> None:
    shown_words, shown_texts = line_parts(words, texts)

    assert expected == (list(shown_words), list(shown_texts))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("httpbin:8080", "httpbin:8080", id="authority without"),
        pytest.param("user:pass@httpbin:8080", "httpbin:8080", id="authority with"),
        pytest.param("a@b:p@httpbin", "httpbin", id="an at sign in the user"),
        pytest.param("user:pass@[::1]:80", "[::1]:80", id="IPv6"),
        pytest.param(
            "http://user:pass@h/p?q=a@b", "http://h/p?q=a@b", id="URL: only the part before the host"
        ),
        pytest.param("http://h/p@q", "http://h/p@q", id="at sign in a URL's path"),
        pytest.param(
            "/users/me@example.org?x=@", "/users/me@example.org?x=@", id="at sign in an origin-form target"
        ),
        pytest.param("//user@host/", "//user@host/", id="a path that starts with two slashes is a path"),
        pytest.param(
            "/?next=http://user:pass@h/", "/?next=http://user:pass@h/", id="query strings are logged"
        ),
        pytest.param("*", "*", id="asterisk form"),
    ],
)
def test_userinfo_is_dropped(text: str, expected: str) -> None:
    assert expected == drop_userinfo(text)

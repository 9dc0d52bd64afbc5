r"""Text of unknown origin made safe for one line of a log. Pure.

A client chooses its target, Host and User-Agent, so each of them may hold quotes, line breaks,
terminal escapes or bytes that are no UTF-8. The text formats follow Apache's rule (`\"`, `\\`, and
`\xhh` for every byte outside printable ASCII), which readers of NCSA logs undo. gunicorn escapes the
quote alone, so that a value which ends in a backslash swallows the closing quote.
"""

import re
from collections.abc import Sequence

_UNSAFE_IN_QUOTES = re.compile(r"[^ !#-\[\]-~]")
_UNSAFE_IN_TOKEN = re.compile(r"[^!#-\[\]-~]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_USERINFO = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)?[^/?#]*@")


def quoted(text: str) -> str:
    """`text` as it may stand between double quotes; `-` where it is empty."""
    if _is_safe_in_quotes(text):
        return text or "-"
    return _UNSAFE_IN_QUOTES.sub(_escape_in_quotes, text)


def token(text: str) -> str:
    """`text` as one word without spaces or quotes; `-` where it is empty."""
    if " " not in text and _is_safe_in_quotes(text):
        return text or "-"
    return _UNSAFE_IN_TOKEN.sub(_escape_as_bytes, text)


def line_parts(words: tuple[str, ...], texts: tuple[str, ...]) -> tuple[Sequence[str], Sequence[str]]:
    """`token` of each word, and `quoted` of each text, but that an empty text may stay empty.

    One look at all of them costs less than one at each.
    """
    joined = "".join(words)
    if "" not in words and " " not in joined and _is_safe_in_quotes(joined + "".join(texts)):
        return words, texts
    return [token(word) for word in words], [quoted(text) for text in texts]


def readable(text: str) -> str:
    r"""`text` as valid Unicode, for JSON: bytes that are no UTF-8 become a visible `\xhh`."""
    return text if text.isascii() else _SURROGATE.sub(_escape_as_bytes, text)


def drop_userinfo(text: str) -> str:
    """An authority, or a target or URL, without the `user:password@` before its host."""
    return _USERINFO.sub(r"\1", text) if "@" in text else text


def _is_safe_in_quotes(text: str) -> bool:
    """Whether nothing is to be escaped, as in nearly all texts.

    Where it is short this costs half of a look with a regular expression.
    """
    return text.isascii() and text.isprintable() and '"' not in text and "\\" not in text


def _escape_in_quotes(match: re.Match[str]) -> str:
    character = match[0]
    return "\\" + character if character in '"\\' else _escape_as_bytes(match)


def _escape_as_bytes(match: re.Match[str]) -> str:
    character = match[0]
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    # surrogatepass: any other lone surrogate is a bug elsewhere, and no reason to lose the line
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))

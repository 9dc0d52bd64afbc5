"""What a request or a rule contains, made safe to show to people in one line."""

from mitm_mirror.text import encode

_SHOWN_CHARACTERS = 80


def printable(value: bytes | str) -> str:
    r"""The text on one line: control characters, which could steer a terminal, and bytes that are no UTF-8
    are written as `\x1b`."""
    raw = encode(value) if isinstance(value, str) else value
    text = raw.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quoted(value: bytes | str) -> str:
    """The text in double quotes; where it is long, its beginning and how long it is."""
    text = printable(value)
    if len(text) <= _SHOWN_CHARACTERS:
        return f'"{text}"'
    return f'"{text[:_SHOWN_CHARACTERS]}..." ({len(text)} characters)'

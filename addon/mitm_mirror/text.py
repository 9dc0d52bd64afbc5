"""Between the bytes of a message and text. What is no UTF-8 becomes lone surrogates and back (PEP 383)."""


def decode(raw: bytes) -> str:
    """Text that still knows its bytes."""
    return raw.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """The bytes that `decode` made the text of; UTF-8 where it comes from a rule."""
    return text.encode("utf-8", "surrogateescape")

"""Between the bytes of a message and text. What is no UTF-8 becomes lone surrogates and back (PEP 383)."""

from collections.abc import Callable
from operator import methodcaller

# A request asks for these some ten times: `methodcaller` is called without a frame of Python's own.
decode: Callable[[bytes], str] = methodcaller("decode", "utf-8", "surrogateescape")
"""Text that still knows its bytes."""

encode: Callable[[str], bytes] = methodcaller("encode", "utf-8", "surrogateescape")
"""The bytes that `decode` made the text of; UTF-8 where it comes from a rule."""

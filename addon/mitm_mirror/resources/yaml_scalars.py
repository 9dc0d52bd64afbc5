"""What a plain (unquoted) YAML scalar means: as kubectl reads it, which is YAML 1.1, nearly.

Source: sigs.k8s.io/yaml, goyaml.v2/resolve.go. `yes`, `on` and `y` are booleans and `010` is 8, but
`12:30` is no base-60 number and `2024-01-01` stays a string. PyYAML's own resolver differs in all four.
"""

import re
from typing import Any

_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}
_INTEGER = re.compile(r"([-+]?)(?:0[bB]([01]+)|0[xX]([0-9a-fA-F]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))", re.ASCII)
_BASES = {2: 2, 3: 16, 4: 8, 5: 10}
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_NUMBER_START = frozenset("0123456789+-.")
# Past 64 bits the value is wrong for every field anyway, and converting long digit strings is quadratic.
_INTEGER_CHARS = 80


def resolve_plain(text: str) -> Any:
    """The bool, number, None or string that an unquoted scalar stands for."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_START:
        return text
    digits = text.replace("_", "")
    integer = _INTEGER.fullmatch(digits)
    if integer and integer.lastindex is not None and len(digits) <= _INTEGER_CHARS:
        number = int(integer[integer.lastindex], _BASES[integer.lastindex])
        return -number if integer[1] == "-" else number
    if _FLOAT.fullmatch(digits):
        return float(digits)
    return text

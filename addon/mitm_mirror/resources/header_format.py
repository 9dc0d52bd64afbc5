"""Whether Envoy can take a header value that a rule sets: its %-commands have to be whole.

Source: istio pkg/config/validation/header_value_validator.go, a port of Envoy's header formatter.
"""

from enum import Enum, auto


class _At(Enum):
    LITERAL = auto()
    NAME = auto()  # within %NAME
    ARGUMENTS = auto()  # after %NAME(
    TEXT = auto()  # within an argument
    COMMA = auto()  # after a quoted argument
    QUOTE = auto()  # before a quoted argument
    CLOSE = auto()  # after [...]
    END = auto()  # after %NAME(...)


_NEXT: dict[_At, dict[str, _At]] = {
    _At.NAME: {"%": _At.LITERAL, "(": _At.ARGUMENTS},
    _At.ARGUMENTS: {"[": _At.QUOTE, " ": _At.ARGUMENTS},
    _At.TEXT: {")": _At.END, '"': _At.COMMA},
    _At.COMMA: {",": _At.QUOTE, "]": _At.CLOSE, " ": _At.COMMA},
    _At.QUOTE: {'"': _At.TEXT, " ": _At.QUOTE},
    _At.CLOSE: {")": _At.END, " ": _At.CLOSE},
    _At.END: {"%": _At.LITERAL, " ": _At.END},
}
# What any other character leads to; where a state is not listed, it is an error.
_OTHERWISE = {_At.NAME: _At.NAME, _At.ARGUMENTS: _At.TEXT, _At.TEXT: _At.TEXT}


def has_whole_commands(value: str) -> bool:
    """Whether every `%` is doubled, or begins or ends a command such as `%HOSTNAME%` or `%REQ(x)%`."""
    if "%" not in value:
        return True
    state = _At.LITERAL
    characters = iter(value)
    for character in characters:
        if state is _At.LITERAL:
            if character == "%":
                following = next(characters, "")
                if following == "(":
                    state = _At.ARGUMENTS
                elif following != "%":
                    state = _At.NAME
            continue
        if state is _At.TEXT and character == "\\":
            if not next(characters, ""):
                return False
            continue
        after = _NEXT[state].get(character) or _OTHERWISE.get(state)
        if after is None:
            return False
        state = after
    return state is _At.LITERAL

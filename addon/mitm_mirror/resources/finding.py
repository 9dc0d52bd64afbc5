"""What a check says about one field, before it is known where the field stands."""

from typing import Any, NamedTuple

from mitm_mirror.resources.issue import Severity
from mitm_mirror.resources.resource import FieldPath

_SHOWN_CHARS = 60


class Finding(NamedTuple):
    """`path` counts from the resource's root: ("spec", "hosts", 0)."""

    severity: Severity
    path: FieldPath
    message: str


def error(path: FieldPath, message: str) -> Finding:
    return Finding(Severity.ERROR, path, message)


def warning(path: FieldPath, message: str) -> Finding:
    return Finding(Severity.WARNING, path, message)


def show(value: Any) -> str:
    """A found value for a message: as YAML would spell it, and short."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case str() if len(value) > _SHOWN_CHARS:
            return f"{value[:_SHOWN_CHARS]!r}..."
        case int() if value.bit_length() > 4 * _SHOWN_CHARS:
            return "a number past all bounds"
        case float() if value.is_integer() and abs(value) < 1e15:
            return str(int(value))
        case _:
            return repr(value)

"""One thing to say about a rule file. Values only; nothing here reads files."""

from dataclasses import dataclass
from enum import IntEnum


class Severity(IntEnum):
    """How much an issue matters. An error refuses the whole rule set; a notice is no complaint."""

    NOTICE = 0
    WARNING = 1
    ERROR = 2


@dataclass(frozen=True, slots=True)
class Issue:
    """What is wrong (or worth knowing), and where.

    `line` and `column` count from 1; both are 0 where the whole file is meant.
    `path` is the field path below the document, such as `spec.http[0].mirror.host`, prefixed by
    the kind and name where they are known: `VirtualService default/httpbin: spec.http[0]`.
    """

    severity: Severity
    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        path = f"{self.path}: " if self.path else ""
        word = "" if self.severity is Severity.ERROR else f"{self.severity.name.lower()}: "
        return f"{self.file}:{self.line}:{self.column}: {path}{word}{self.message}"

"""`docs/istio.md` says of every field what is true: its tables against the models and the warnings."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest

from mitm_mirror.resources.base import Message, json_name
from mitm_mirror.resources.destination_rule import DestinationRule
from mitm_mirror.resources.not_acted_on import ROWS
from mitm_mirror.resources.service_entry import ServiceEntry
from mitm_mirror.resources.virtual_service import VirtualService
from mitm_mirror.resources.workload_entry import WorkloadEntry

PAGE = Path(__file__).parents[2] / "docs" / "istio.md"
KINDS = (VirtualService, DestinationRule, ServiceEntry, WorkloadEntry)

ACTED_ON = {"done"}
WARNED = {"in part", "warned", "not applicable"}

# They only name things, or speak of the mesh alone: a warning would tell nobody anything.
SILENT = {
    ("VirtualService", "HTTPMatchRequest", "name"),
    ("VirtualService", "HTTPMatchRequest", "statPrefix"),
    ("ServiceEntry", "ServiceEntry", "location"),
}


class Field(NamedTuple):
    kind: str
    message: str
    field: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}.{self.field}"


def documented() -> Iterator[tuple[Field, str]]:
    """Every (field, state) of the page; a row may name several fields."""
    kind = message = ""
    for line in PAGE.read_text("utf-8").splitlines():
        if line.startswith("## "):
            kind, message = line[3:], ""
        elif line.startswith("### "):
            message = line[4:]
        elif message and (row := re.fullmatch(r"\| (`.+`) \| ([a-z ]+) \|.*\|", line)):
            for name in re.findall(r"`(\w+)`", row[1]):
                yield Field(kind, message, name), row[2]


def fields() -> dict[Field, bool]:
    """Every field of the models, and whether it is warned of wherever it stands.

    A message that several kinds share belongs to the first that uses it, but a kind's own message to the
    kind, also where another has it inside.
    """
    found: dict[tuple[type[Message], str], list[bool]] = {}
    owners: dict[type[Message], str] = {kind: kind.__name__ for kind in KINDS}
    for kind in KINDS:
        paths = {row.path for row in ROWS[kind.__name__]}
        for model, name, warned in _walk(kind, "", paths, covered=False):
            owners.setdefault(model, kind.__name__)
            found.setdefault((model, name), []).append(warned)
    return {
        Field(owners[model], model.__name__, name): all(warned) for (model, name), warned in found.items()
    }


def _walk(
    model: type[Message], below: str, rows: set[str], *, covered: bool
) -> Iterator[tuple[type[Message], str, bool]]:
    for attribute, info in model.model_fields.items():
        name = json_name(attribute)
        path = f"{below}{name}"
        # Of a map or list of plain values a row names the items.
        warned = covered or path in rows or f"{path}.*" in rows
        yield model, name, warned
        item = f"{path}.*" if _is_collection(info.annotation) else path
        for inner in _messages(info.annotation):
            yield from _walk(inner, f"{item}.", rows, covered=warned)


def _is_collection(annotation: Any) -> bool:
    return getattr(annotation, "__origin__", None) in (tuple, dict)


def _messages(annotation: Any) -> Iterator[type[Message]]:
    if isinstance(annotation, type) and issubclass(annotation, Message):
        yield annotation
    for argument in get_args(annotation):
        yield from _messages(argument)


def test_every_field_has_one_row_and_no_other_has_one() -> None:
    rows = Counter(field for field, _ in documented())

    assert {str(field) for field in fields()} - {str(field) for field in rows} == set(), "not in the page"
    assert {str(field) for field in rows} - {str(field) for field in fields()} == set(), "not in the models"
    assert [str(field) for field, count in rows.items() if count > 1] == []


def test_rows_of_the_page_were_understood() -> None:
    """A row in a shape of its own would be passed over, and its fields be missing with no hint why."""
    tables = PAGE.read_text("utf-8").partition("## VirtualService")[2]
    rows = [line for line in tables.splitlines() if line.startswith("| `")]

    assert [line for line in rows if not re.fullmatch(r"\| `\w+`(, `\w+`)* \| [a-z ]+ \|.*\|", line)] == []


@pytest.mark.parametrize(("field", "state"), [pytest.param(f, s, id=str(f)) for f, s in documented()])
def test_state(field: Field, state: str) -> None:
    warned = fields().get(field)

    if field in SILENT:
        assert not warned, "it warns now: take it out of SILENT"
        assert state == "not applicable"
    elif warned:
        assert state in WARNED, f"not_acted_on.ROWS names it: expected one of {', '.join(sorted(WARNED))}"
    else:
        assert state in ACTED_ON, "not_acted_on.ROWS does not name it (any more): expected done"

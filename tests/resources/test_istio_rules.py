"""Every rule of Istio's validation and of the CRDs (`istio_rules.yaml`): what breaks it, and what passes."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from mitm_mirror.resources.issue import Issue, Severity
from mitm_mirror.resources.load import load_text
from mitm_mirror.routing.compile import compile_table

ROUTE = {"route": [{"destination": {"host": "a"}}]}
API = "networking.istio.io/v1"
NEIGHBOUR = {"apiVersion": API, "kind": "DestinationRule", "metadata": {"name": "b"}, "spec": {"host": "b"}}
PART = re.compile(r'\.?(\w+)|\[(\d+)\]|\["([^"]*)"\]')


class Case(NamedTuple):
    bad: dict[str, Any]
    good: dict[str, Any]
    severity: Severity
    path: str
    message: str


def expand(value: Any) -> Any:
    """`REPEAT 9` is nine letters, a list `[REPEAT 1 x 9]` nine items: nobody wants to read them in full."""
    if isinstance(value, dict):
        return {expand(key): expand(item) for key, item in value.items()}
    if isinstance(value, list):
        if value and isinstance(value[0], str) and (many := re.fullmatch(r"REPEAT 1 x (\d+)", value[0])):
            return [f"a{i}" for i in range(int(many[1]))]
        return [expand(item) for item in value]
    if isinstance(value, str):
        return re.sub(r"REPEAT (\d+)", lambda found: "a" * int(found[1]), value)
    return value


def document(place: str, text: str) -> dict[str, Any]:
    value = expand(yaml.safe_load(text))
    if place == "document":
        return {"apiVersion": API, **value}
    kind = place
    if place == "policy":
        kind, value = "DestinationRule", {"host": "a", "trafficPolicy": value}
    elif place in ("route", "http"):
        route = {**ROUTE, **value} if place == "route" else value
        kind, value = "VirtualService", {"hosts": ["a"], "http": [route]}
    return {"apiVersion": API, "kind": kind, "metadata": {"name": "a"}, "spec": value}


ROOTS = {"document": "", "policy": "spec.trafficPolicy", "route": "spec.http[0]", "http": "spec.http[0]"}


def cases() -> Iterator[Any]:
    table = yaml.safe_load(Path(__file__).with_name("istio_rules.yaml").read_text(encoding="utf-8"))
    for function, rows in table.items():
        for number, row in enumerate(rows):
            severity = Severity.ERROR if "error" in row else Severity.WARNING
            path, _, message = row["error" if "error" in row else "warning"].partition(": ")
            path = path.removesuffix(":")
            root = ROOTS.get(row["at"], "spec")
            dot = "." if root and path and not path.startswith("[") else ""
            case = Case(
                document(row["at"], row["bad"]),
                document(row["at"], row["good"]),
                severity,
                root + dot + path,
                message,
            )
            yield pytest.param(case, id=f"{function} {number} {path}")


CASES = list(cases())


def issues_of(text: str) -> list[Issue]:
    loaded = load_text(text, "rules.yaml")
    return [*loaded.issues, *(() if loaded.errors else compile_table(loaded.resources)[1])]


def place_of(text: str, path: list[str | int]) -> tuple[int, int]:
    """Where PyYAML finds the field, or the nearest around it: the key, or the item of a list."""
    node = yaml.compose(text)
    mark = node.start_mark
    for part in path:
        if isinstance(node, yaml.MappingNode):
            found = next((pair for pair in node.value if pair[0].value == part), None)
            if found is None:
                break
            mark, node = found[0].start_mark, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            mark = node.start_mark
        else:
            break
    return mark.line + 1, mark.column + 1


def parts_of(path: str) -> list[str | int]:
    return [int(index) if index else name or key for name, index, key in PART.findall(path)]


LIST = {"apiVersion": "v1", "kind": "List"}
LAYOUTS: dict[str, tuple[Any, bool, list[str | int]]] = {
    "block": (lambda value: value, False, []),
    "flow": (lambda value: value, True, []),
    "list": (lambda value: {**LIST, "items": [NEIGHBOUR, value]}, False, ["items", 1]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", CASES)
def test_what_breaks_a_rule_is_named_at_its_place(case: Case, layout: str) -> None:
    wrap, flow, root = LAYOUTS[layout]
    text = yaml.safe_dump(wrap(case.bad), default_flow_style=flow, sort_keys=False, width=120)
    line, column = place_of(text, root + parts_of(case.path))
    expected = (f"{case.bad['kind']} default/a: {case.path}", case.message, line, column)

    issues = issues_of(text)
    found = [(i.path, i.message, i.line, i.column) for i in issues if i.severity is case.severity]

    assert expected in found
    assert len([issue for issue in issues if issue.severity is Severity.ERROR]) == (
        case.severity is Severity.ERROR
    )


@pytest.mark.parametrize("case", CASES)
def test_its_neighbour_passes(case: Case) -> None:
    issues = issues_of(yaml.safe_dump(case.good, sort_keys=False))

    assert [str(issue) for issue in issues if issue.severity is Severity.ERROR] == []
    assert (case.path, case.message) not in {
        (issue.path.partition(": ")[2], issue.message) for issue in issues
    }

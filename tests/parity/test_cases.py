"""The hand-written cases: Envoy and the addon do the same with the same raw request."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.parity import Seen, parse_request

_TABLE = yaml.safe_load(Path(__file__).with_name("cases.yaml").read_text(encoding="utf-8"))["cases"]


@dataclass(frozen=True)
class Case:
    """One request of the table."""

    name: str
    host: str
    text: str
    addon: str
    envoy: str
    because: str
    """Why they differ; empty where they must not."""


def _outcome(text: str) -> str:
    return " + ".join(sorted(text.split(" + "))) if text[:1] == "v" else text


def _case(name: str, host: str, row: Any) -> Case:
    differs = row if isinstance(row, dict) else {"request": row}
    text, arrow, expected = differs["request"].replace("{host}", host).rpartition(" -> ")
    assert arrow, row
    expected = _outcome(expected)
    envoy = _outcome(differs.get("envoy", expected))
    return Case(name, host, text, expected, envoy, differs.get("because", ""))


def _cases() -> list[Case]:
    found = []
    for number, item in enumerate(_TABLE):
        rows = [*item["requests"], *item.get("differs", ())]
        found += [_case(item["name"], f"case{number}.test", row) for row in rows]
    return found


CASES = _cases()
AGREED = [case for case in CASES if not case.because]
DIFFERENT = [case for case in CASES if case.because]


@pytest.fixture(scope="module")
def observed(make_scene: Any, virtual_service: Any) -> dict[Case, dict[str, Seen]]:
    """What came of every case. All are sent before the first is compared: shadows take their time."""
    documents = []
    for number, item in enumerate(_TABLE):
        spec = {"hosts": item.get("hosts", [f"case{number}.test"]), "http": item["http"]}
        documents.append(virtual_service(f"case{number}", spec, item.get("annotations")))
        documents += [
            virtual_service(name, {"http": http}) for name, http in item.get("delegates", {}).items()
        ]
    scene = make_scene(documents)
    port = str(scene.backends["v3"].port)
    requests = [parse_request(case.text.replace("{v3}", port), case.host) for case in CASES]
    return dict(zip(CASES, scene.observe(requests), strict=True))


@pytest.mark.parametrize("case", AGREED, ids=lambda case: f"{case.name}: {case.text}")
def test_both_do_the_same(case: Case, observed: dict[Case, dict[str, Seen]]) -> None:
    seen = observed[case]
    request = parse_request(case.text, case.host)

    assert (seen["addon"].outcome, seen["envoy"].outcome) == (case.addon, case.envoy)
    assert seen["addon"].comparable(request) == seen["envoy"].comparable(request)


@pytest.mark.parametrize("case", DIFFERENT, ids=lambda case: f"{case.name}: {case.text}")
def test_known_difference_is_as_described(case: Case, observed: dict[Case, dict[str, Seen]]) -> None:
    seen = observed[case]
    request = parse_request(case.text, case.host)

    assert (seen["addon"].outcome, seen["envoy"].outcome) == (case.addon, case.envoy)
    assert seen["addon"].comparable(request) != seen["envoy"].comparable(request)

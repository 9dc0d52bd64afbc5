"""From paths to compiled rules."""

from pathlib import Path

import pytest

from mitm_mirror.rule_set import EMPTY_RULE_SET, counted, default_rules, load_rule_set

ROUTE = """apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a]
  http:
  - route: [{destination: {host: nobody}}]
"""


def test_a_rule_set_has_its_table_its_issues_and_a_summary(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(ROUTE)

    rule_set = load_rule_set([str(tmp_path)])

    assert rule_set.table.virtual_service_count == 1
    assert rule_set.summary == "1 VirtualService from 1 file"
    assert [(issue.line, "nobody" in issue.message) for issue in rule_set.issues] == [(7, True)]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(ROUTE.replace("hosts", "hots"), id="found by loading"),
        pytest.param(
            ROUTE.replace("- route", "- match: [{uri: {regex: '" + "a{1000}" * 40 + "'}}]\n    route"),
            id="found by compiling",
        ),
    ],
)
def test_with_an_error_nothing_is_served(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(ROUTE.replace("name: a", "name: b").replace("[a]", "[b]"))
    (tmp_path / "b.yaml").write_text(text)

    rule_set = load_rule_set([str(tmp_path)])

    assert [issue.file for issue in rule_set.errors] == [str(tmp_path / "b.yaml")]
    assert rule_set.table.virtual_service_count == 0


def test_issues_of_loading_and_compiling_are_in_one_order(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(ROUTE)
    (tmp_path / "b.yaml").write_text(
        ROUTE.replace("name: a", "name: b").replace(
            "  http:", "  tcp: [{route: [{destination: {host: a}}]}]\n  http:"
        )
    )

    places = [(Path(issue.file).name, issue.line) for issue in load_rule_set([str(tmp_path)]).issues]

    assert places == sorted(places)
    assert len(places) > 2


def test_no_rules_are_an_empty_set() -> None:
    assert EMPTY_RULE_SET.table.virtual_service_count == 0
    assert not EMPTY_RULE_SET.errors


@pytest.mark.parametrize(
    ("noun", "count", "expected"),
    [("file", 1, "1 file"), ("file", 0, "0 files"), ("ServiceEntry", 2, "2 ServiceEntries")],
)
def test_counted(noun: str, count: int, expected: str) -> None:
    assert counted(noun, count) == expected


def test_default_rules_are_those_next_to_addon_in_a_checkout() -> None:
    root = Path(__file__).resolve().parents[1]

    assert str(root / "rules") == default_rules()

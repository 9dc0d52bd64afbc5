"""`docs/metrics.md` and the dashboard name what the endpoint shows, and nothing else."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.core import Metric

from mitm_mirror.metrics.families import MetricsPage
from mitm_mirror.metrics.histogram import Histogram
from mitm_mirror.metrics.snapshot import MetricsSnapshot
from mitm_mirror.metrics.traffic import TrafficCounts, TrafficKey
from mitm_mirror.observe.compare import Verdict
from mitm_mirror.observe.ledger import Ledger, MirrorKey
from mitm_mirror.outcome import Outcome
from mitm_mirror.routing.vantage import DEFAULT_VANTAGE
from mitm_mirror.shadow.stats import DestinationStats, PoolStats

DOCS = Path(__file__).parents[2] / "docs"
DASHBOARD: dict[str, Any] = json.loads((DOCS / "grafana-dashboard.json").read_text("utf-8"))

PROMQL = {"sum", "min", "max", "by", "rate", "histogram_quantile", "label_values"}


def families() -> list[Metric]:
    """Every family, each with a sample."""
    traffic, ledger = TrafficCounts(), Ledger()
    traffic.count(TrafficKey("primary", "x", 200, "-", grpc=False), 1.0)
    pair = ledger.open(MirrorKey("a/b", "r", "x"))
    pair.close(Outcome.OK)
    pair.compared(Verdict.EQUAL)
    pool = PoolStats(0, 0, 0, 0, 1, (), (DestinationStats("x", 0, 0, 0, ()),))
    snapshot = MetricsSnapshot(
        vantage=DEFAULT_VANTAGE,
        traffic=traffic.snapshot(),
        ledger=ledger.snapshot(),
        noise_copies={Outcome.OK: 1},
        pool=pool,
        queue_limit_bytes=1,
        rules_generation=1,
        rules_refused=0,
        governor_share=1.0,
        governor_held_back=0,
        loop_lag_s=Histogram((1.0,)).snapshot(),
        paused=False,
        bugs={"x": 1},
    )
    return list(MetricsPage().families(snapshot))


def samples() -> dict[str, set[str]]:
    """The labels of each sample's name."""
    return {sample.name: set(sample.labels) for family in families() for sample in family.samples}


def base_names() -> dict[str, tuple[str, set[str]]]:
    """By name as the page has it: (type, labels without `le`)."""
    found = {}
    for family in families():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = (family.type, {label for sample in family.samples for label in sample.labels} - {"le"})
    return found


def rows(columns: int) -> Iterator[list[str]]:
    for line in (DOCS / "metrics.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) == columns:
            yield cells


def queries() -> Iterator[tuple[str, str]]:
    """(expression, legend) of the dashboard."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield target["expr"], target["legendFormat"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"], ""


def test_the_page_has_every_metric_with_its_type_and_labels() -> None:
    istio = {row[0].strip("`"): row[1] for row in rows(3)}
    ours = {row[0].strip("`"): (row[1], set(re.findall(r"`(\w+)`", row[2]))) for row in rows(4)}
    shown = base_names()

    assert {name: kind for name, (kind, _) in shown.items() if name.startswith("istio_")} == istio
    assert {name: entry for name, entry in shown.items() if not name.startswith("istio_")} == ours


def test_the_page_has_every_label_of_istios_metrics() -> None:
    documented = [label for row in rows(2) for label in re.findall(r"`(\w+)`", row[0])]

    assert sorted(documented) == sorted(base_names()["istio_requests_total"][1])


@pytest.mark.parametrize(("query", "legend"), list(queries()))
def test_a_query_of_the_dashboard_names_what_is_there(query: str, legend: str) -> None:
    shown = samples()
    plain = re.sub(r'"[^"]*"|\[[^]]*\]', "", query)
    words = set(re.findall(r"\b[a-zA-Z_]\w*\b", plain)) - PROMQL
    metrics = {word for word in words if word.startswith(("istio_", "mitm_mirror_"))}

    assert metrics
    assert metrics <= set(shown)
    labels = set.intersection(*(shown[metric] for metric in metrics))
    assert words - metrics <= labels
    grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")}
    assert set(re.findall(r"{{(\w+)}}", legend)) == grouped - {"le"}


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    panels = DASHBOARD["panels"]

    assert DASHBOARD["title"]
    assert DASHBOARD["schemaVersion"] >= 30
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken
        taken |= cells
        assert panel["datasource"]["uid"] == "${datasource}"

"""`--fail-on 'mismatch>0.1%'`: conditions on a report that end the command with status 1. Pure."""

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from mitm_mirror.observe.report.summary import Latency, MirrorReport, Report
from mitm_mirror.outcome import Outcome

_GATE = re.compile(r"\s*([A-Za-z][\w -]*?)\s*(>=|<=|>|<)\s*([0-9]+(?:\.[0-9]+)?)\s*(%?)\s*")
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


def _status_pairs(report: Report, *, differing: bool) -> int:
    return sum(
        pair.count
        for mirror in report.mirrors
        for pair in mirror.status_pairs
        if not differing or pair.primary != pair.shadow
    )


_COUNTS: Mapping[str, tuple[Callable[[Report], int], Callable[[Report], int]]] = {
    # name: (count, what it is a share of)
    "mismatch": (lambda report: report.differing, lambda report: report.compared),
    "status_mismatch": (
        lambda report: _status_pairs(report, differing=True),
        lambda report: _status_pairs(report, differing=False),
    ),
    "not_compared": (
        lambda report: report.not_compared,
        lambda report: report.not_compared + report.compared,
    ),
    "error": (lambda report: report.failed, lambda report: report.shadows),
    "dropped": (lambda report: report.dropped, lambda report: report.shadows),
    "bad_lines": (lambda report: report.bad_lines, lambda report: report.bad_lines + report.lines),
    "shadows": (lambda report: report.shadows, lambda report: report.requests),
    "compared": (lambda report: report.compared, lambda report: report.shadows),
}
_QUANTILES: Mapping[str, Callable[[Latency], float | None]] = {
    "p50": lambda latency: latency.p50_ms,
    "p90": lambda latency: latency.p90_ms,
    "p99": lambda latency: latency.p99_ms,
}
_LATENCIES = tuple(f"{name}_{what}" for name in _QUANTILES for what in ("ratio", "ms"))
METRICS = (*_COUNTS, *(outcome.value for outcome in Outcome), *_LATENCIES)
"""Counts are of all mirrors together; latencies are of each mirror for itself."""


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition."""

    text: str
    metric: str
    comparison: str
    limit: float
    """Without its `%`, which says that it is a share in hundredths."""
    percent: bool

    def judge(self, report: Report) -> list[str]:
        """A sentence for each reason to fail; none where the report passes.

        A value that cannot be told is a reason to fail: a comparison that never took place must not
        look like one that went well.
        """
        reasons = []
        for where, value in self._values(report):
            if value is None:
                reasons.append(
                    f"{self.text}: {self.metric} cannot be told{where}, the logs have nothing for it"
                )
            elif _OPERATORS[self.comparison](value, self.limit):
                reasons.append(f"{self.text}: {self.metric} is {_number(value)}{'%' * self.percent}{where}")
        return reasons

    def _values(self, report: Report) -> Iterator[tuple[str, float | None]]:
        if self.metric in _LATENCIES:
            name, _, what = self.metric.partition("_")
            quantile = _QUANTILES[name]
            # a mirror that was never asked has no latency, and is none that fails
            asked = [mirror for mirror in report.mirrors if mirror.latency.count or mirror.failed]
            if not asked:
                yield "", None
            for mirror in asked:
                where = f" for {mirror.virtual_service} {mirror.route} to {mirror.destination}"
                yield where, _latency(mirror, quantile, ratio=what == "ratio")
            return
        count, whole = self._count(report)
        if self.percent:
            yield "", 100 * count / whole if whole else None
        else:
            # what is compared to nothing is no zero
            yield "", count if whole or self.metric in ("shadows", "compared", "bad_lines") else None

    def _count(self, report: Report) -> tuple[int, int]:
        if self.metric in _COUNTS:
            count, whole = _COUNTS[self.metric]
            return count(report), whole(report)
        return report.outcomes.get(self.metric, 0), report.shadows


def parse_gate(text: str) -> Gate:
    """`mismatch>0.1%`, `timeout >= 10`, `p99_ratio>1.5`. Raises ValueError with what is expected."""
    match = _GATE.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r}: expected METRIC, then >, >=, < or <=, then a number with or without %, "
            "such as mismatch>0.1%"
        )
    metric = re.sub(r"[ -]", "_", match[1].lower())
    if metric not in METRICS:
        raise ValueError(f"{text!r}: {match[1]!r} is no metric; expected one of {', '.join(METRICS)}")
    percent = bool(match[4])
    if percent and metric in _LATENCIES:
        raise ValueError(f"{text!r}: {metric} is no share; expected a number without %")
    return Gate(text.strip(), metric, match[2], float(match[3]), percent)


def _latency(
    mirror: MirrorReport, quantile: Callable[[Latency], float | None], *, ratio: bool
) -> float | None:
    shadow, primary = quantile(mirror.latency), quantile(mirror.primary_latency)
    if not ratio:
        return shadow
    return shadow / primary if shadow is not None and primary else None


def _number(value: float) -> str:
    return f"{value:.4g}" if value != int(value) else str(int(value))

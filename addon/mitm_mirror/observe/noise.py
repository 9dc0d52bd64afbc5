"""Tells differences by nature (an id, a clock) from differences between two versions. Pure.

The way that knows: a third copy of some requests goes to the primary's own version, and what differs
there differs without any change of version. The way that guesses, where there is no third copy: by
what the values look like. A guess is only ever reported; it never takes a difference away.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from mitm_mirror.observe.compare import Comparison, NotCompared, Verdict, generalise
from mitm_mirror.observe.compare.comparison import conclude

_RARE = 0.01
"""A field that differs in a smaller share of third copies is no noise: what goes wrong now and then would
hide what a version changed in every answer."""
_ROUTES = 1000
_FIELDS = 500
"""Paths remembered of one route; further ones stay differences."""
_STEP = re.compile(r"[.\[;]")


class _Route:
    __slots__ = ("compared", "differed")

    def __init__(self) -> None:
        self.compared = 0
        self.differed: Counter[str] = Counter()


class NoiseLearner:
    """Learns, by route, which paths differ between two copies of the primary's own version."""

    def __init__(self) -> None:
        self._routes: dict[str, _Route] = {}

    def learn(self, route: str, third: Comparison) -> None:
        """Takes in what differs between the primary's answer and a third copy's.

        A route is whatever groups like answers: `default/httpbin http[0]`. The 1,001st is not learned.
        """
        if third.verdict is Verdict.NOT_COMPARED:
            return
        known = self._routes.get(route)
        if known is None:
            if len(self._routes) >= _ROUTES:
                return
            known = self._routes[route] = _Route()
        known.compared += 1
        for difference in third.differences:
            pattern = generalise(difference.path)
            if pattern in known.differed or len(known.differed) < _FIELDS:
                known.differed[pattern] += 1

    def judge(self, route: str, comparison: Comparison) -> Comparison:
        """The same comparison with noise marked, and the verdict that follows."""
        known = self._routes.get(route)
        if known is None or not comparison.differences:
            return comparison
        doubt = NotCompared(comparison.reason) if comparison.reason else None
        marked = [
            difference if difference.noise else replace(difference, noise=_reason(known, difference.path))
            for difference in comparison.differences
        ]
        return conclude(marked, truncated=comparison.truncated, doubt=doubt)


def _reason(known: _Route, path: str) -> str:
    for pattern in _with_ancestors(generalise(path)):
        count = known.differed[pattern]
        if count and count >= _RARE * known.compared:
            place = "" if pattern == generalise(path) else f"{pattern} "
            return f"{place}differs between two copies of the primary too ({count} of {known.compared})"
    return ""


def _with_ancestors(pattern: str) -> Iterator[str]:
    """`json.a[*].b`, `json.a[*]`, `json.a`, `json`: what is within something noisy is noise too."""
    yield pattern
    for step in reversed(list(_STEP.finditer(pattern))):
        if step.start() and pattern[: step.start()] not in ("header", "trailer", "form", "text", "body"):
            yield pattern[: step.start()]


_UUID = re.compile(r"[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", re.IGNORECASE)
_TIME = re.compile(
    r"""\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d.*)?            # ISO 8601
      | (?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),\ \d\d\ .*      # an HTTP date
      | (?:1[4-9]|2[01])\d{8}(?:\.\d+|\d{3}|\d{6}|\d{9})?   # UNIX time of 2014 to 2039, in s, ms, us or ns
    """,
    re.VERBOSE,
)
_TOKEN = re.compile(
    r"(?=[^\d]*\d)(?:[0-9a-f]{16,}|(?=[^A-Za-z]*[A-Za-z])[\w+/=-]{20,})", re.IGNORECASE | re.ASCII
)
_LOOKS = (("UUIDs", _UUID), ("points in time", _TIME), ("random tokens", _TOKEN))
_OF_THE_MOMENT = frozenset({"header.etag", "header.expires", "header.last-modified", "header.x-request-id"})
_ENOUGH_LOOKS = 3
_ENOUGH_VALUES = 20
_EVIDENCE = 250
"""Answers that are looked at; a log has millions."""


class FieldEvidence:
    """What the values at one path look like in the first 250 differing answers."""

    __slots__ = ("_distinct", "_looks", "_seen", "_values")

    def __init__(self) -> None:
        self._seen = 0
        self._values = 0
        self._looks: Counter[str] = Counter()
        self._distinct: set[str] = set()

    def add(self, primary: str | None, shadow: str | None) -> None:
        """Takes in both values of one differing answer."""
        if self._seen >= _EVIDENCE:
            return
        self._seen += 1
        both = [value.strip('"') for value in (primary, shadow) if value is not None]
        self._values += len(both)
        self._distinct.update(both)
        for name, pattern in _LOOKS:
            if len(both) == 2 and all(pattern.fullmatch(value) for value in both):
                self._looks[name] += 1
                break

    def suspicion(self, path: str, differing: int, compared: int) -> str:
        """Why the path might be noise, given in how many of the compared answers it differs; empty where
        it looks like a difference."""
        if path in _OF_THE_MOMENT:
            return f"{path.partition('.')[2]} often differs between two machines or two moments"
        for name, _ in _LOOKS:
            if self._seen >= _ENOUGH_LOOKS and self._looks[name] == self._seen:
                return f"all values look like {name}"
        if (
            differing >= 0.99 * compared
            and self._values >= _ENOUGH_VALUES
            and len(self._distinct) == self._values
        ):
            return f"it differs in {differing} of {compared} answers, and no value came twice"
        return ""

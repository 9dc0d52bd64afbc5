"""Matches of a VirtualService that no request ever gets to, since an earlier one takes them all.

Source: istio pkg/config/validation/validation.go, analyzeUnreachableHTTPRules. It compares prefixes only,
and warns of some matches that can be reached (an earlier one for one authority, a later one for all); here
a match is covered if each condition of one earlier match follows from its own. What comes after a route
for every request is named when rules are compiled, where delegates are known.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from mitm_mirror.resources.finding import Finding, warning
from mitm_mirror.resources.resource import FieldPath
from mitm_mirror.resources.virtual_service import HTTPMatchRequest, HTTPRoute, StringMatch

_PRESENT = ("present", "")

_Condition = tuple[str, str, str]
"""(what is asked, how, for which text): ("header x-user", "exact", "jane")."""


class _Known(NamedTuple):
    place: tuple[int, int]
    """Of the route and of the match in it."""
    conditions: frozenset[_Condition]


def check_redundant_matches(routes: Sequence[HTTPRoute], path: FieldPath) -> Iterator[Finding]:
    """A warning for each match that is covered, or for its route where all of them are."""
    if sum(len(route.match) for route in routes) < 2:
        return
    read = [[_conditions(match) for match in route.match] for route in routes]
    earlier = _Earlier(Counter(condition for matches in read for match in matches for condition in match))
    for index, (route, matches) in enumerate(zip(routes, read, strict=True)):
        if not matches or not all(matches):
            return  # every request is taken
        covers: list[str | None] = []
        for number, conditions in enumerate(matches):
            covers.append(earlier.find(conditions))
            # What a delegate leaves comes back to the routes below.
            if route.delegate is None:
                earlier.add(_Known((index, number), conditions))
        yield from _warn(covers, (*path, index))


def _warn(covers: Sequence[str | None], path: FieldPath) -> Iterator[Finding]:
    found = [place for place in covers if place is not None]
    if found and len(found) == len(covers):
        places = ", ".join(dict.fromkeys(found))
        yield warning(path, f"never reached: its requests are all taken by {places} above")
        return
    for number, place in enumerate(covers):
        if place is not None:
            yield warning(
                (*path, "match", number), f"never reached: its requests are all taken by {place} above"
            )


class _Earlier:
    """The matches so far, each below the rarest of its conditions: few have to be compared with one."""

    def __init__(self, counts: Mapping[_Condition, int]) -> None:
        self._counts = counts
        self._known: dict[_Condition, list[_Known]] = defaultdict(list)
        self._prefix_lengths: dict[str, set[int]] = defaultdict(set)

    def add(self, match: _Known) -> None:
        rarest = min(match.conditions, key=lambda condition: (self._counts[condition], condition))
        self._known[rarest].append(match)
        for field, how, text in match.conditions:
            if how == "prefix":
                self._prefix_lengths[field].add(len(text))

    def find(self, conditions: frozenset[_Condition]) -> str | None:
        """The place of the first that asks for nothing beyond what follows from `conditions`."""
        if not self._known:
            return None
        implied = self._implied(conditions)
        covers = (
            known.place
            for wider in implied
            for known in self._known.get(wider, ())
            if known.conditions <= implied
        )
        first = min(covers, default=None)
        return None if first is None else f"http[{first[0]}].match[{first[1]}]"

    def _implied(self, conditions: frozenset[_Condition]) -> set[_Condition]:
        """All conditions of earlier matches that hold where these do."""
        implied = set(conditions)
        for field, how, text in conditions:
            if field.startswith("without "):
                continue
            if how != "regex":
                lengths = self._prefix_lengths.get(field, ())
                implied.update((field, "prefix", text[:length]) for length in lengths if length <= len(text))
            if field.startswith(("header ", "query ")):
                implied.add((field, *_PRESENT))
        return implied


def _conditions(match: HTTPMatchRequest) -> frozenset[_Condition]:
    """What a match asks of a request; empty where any request will do."""
    found: set[_Condition] = set()
    if match.uri is not None and _text(match.uri) not in (("prefix", ""), ("prefix", "/")):
        how, text = _text(match.uri)
        folds = match.ignore_uri_case and how != "regex"
        found.add(("uri without case", how, text.lower()) if folds else ("uri", how, text))
        if not folds and how != "regex":
            found.add(("uri without case", how, text.lower()))
    for name, value in (("scheme", match.scheme), ("method", match.method), ("authority", match.authority)):
        if value is not None:
            found.add((name, *_text(value)))
    named = (("header", match.headers), ("query", match.query_params), ("without", match.without_headers))
    for kind, values in named:
        for name, value in values.items():
            found.add((f"{kind} {name if kind == 'query' else name.lower()}", *_text(value)))
    if match.port:
        found.add(("port", "exact", str(match.port)))
    if match.source_namespace:
        found.add(("sourceNamespace", "exact", match.source_namespace))
    if match.gateways:
        found.add(("gateways", "exact", " ".join(sorted(match.gateways))))
    found |= {(f"label {name}", "exact", value) for name, value in match.source_labels.items()}
    return frozenset(found)


def _text(match: StringMatch) -> tuple[str, str]:
    for how, text in (("exact", match.exact), ("prefix", match.prefix), ("regex", match.regex)):
        if text is not None:
            return how, text
    return _PRESENT

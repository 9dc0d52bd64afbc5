"""`match` compiled: every condition is a function from the request to yes or no, and all must say yes.

Source throughout: istio pilot/pkg/networking/core/route/route.go, TranslateRouteMatch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from mitm_mirror.resources.resource import FieldPath
from mitm_mirror.resources.virtual_service import HTTPMatchRequest, StringMatch
from mitm_mirror.routing.regex import full_match
from mitm_mirror.routing.view import RequestView

ValueMatch = Callable[[bytes], bool]
Condition = Callable[[RequestView], bool]
Subject = Literal["uri", "method", "authority", "scheme", "header", "without header", "query parameter"]

# A route without a `uri` match is a match of the prefix "/" (see there).
_ROOT_LENGTH = 1
# Only a JWT filter could provide what such a "header" matches; there is none here.
JWT_CLAIMS = "@request.auth.claims"


@dataclass(frozen=True, slots=True)
class Check:
    """What one condition asks, for people.

    Kept beside the condition, which stays a bare function: an object with `__call__` takes longer to
    call, and every request would pay for it.
    """

    subject: Subject
    name: str
    """Of the header or query parameter, as written; else empty."""
    spec: StringMatch
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class Match:
    """One compiled match of a route."""

    port: int
    """The port that the client must have addressed; 0 means any."""
    conditions: tuple[Condition, ...]
    prefix_length: int | None
    """How much of the path a prefix rewrite replaces; None means all of it."""
    checks: tuple[Check, ...] = ()
    """What each of `conditions` asks, in their order."""

    @property
    def is_catch_all(self) -> bool:
        """Whether no request can pass it by."""
        return not self.port and not self.conditions


CATCH_ALL = Match(0, (), _ROOT_LENGTH)


@dataclass(frozen=True, slots=True)
class UnmetMatch:
    """A match that no request can meet here, see `source_match.find_unmet`."""

    field: str
    """The field that is to blame."""
    reason: str


class MatchError(ValueError):
    """A match that cannot be compiled; `path` leads from the match to the field, in YAML's spelling."""

    def __init__(self, path: FieldPath, message: str) -> None:
        super().__init__(message)
        self.path = path


def compile_match(spec: HTTPMatchRequest) -> Match:
    """The compiled match, cheapest conditions first. MatchError says which field is wrong."""
    found: list[tuple[Check, Condition]] = []
    prefix_length: int | None = _ROOT_LENGTH
    # For `uri` the regex `*` has no special meaning, so it is an error like any bad regex.
    if spec.uri is not None and (spec.uri.regex == "*" or not is_presence(spec.uri)):
        prefix_length = None if spec.uri.prefix is None else len(spec.uri.prefix.encode())
        # Any path begins so. It also lets `*` of OPTIONS through, which Envoy would answer 404.
        if spec.uri.prefix not in ("/", "") and spec.uri.regex != ".*":
            path_matches = compile_string(("uri",), spec.uri, spec.ignore_uri_case)
            check = Check("uri", "", spec.uri, spec.ignore_uri_case)
            found.append((check, _path_condition(path_matches)))
    pseudo_headers: tuple[tuple[Subject, StringMatch | None], ...] = (
        ("method", spec.method),
        ("authority", spec.authority),
        ("scheme", spec.scheme),
    )
    for field, value in pseudo_headers:
        if value is not None:
            condition = _header_condition(f":{field}".encode(), (field,), value)
            found.append((Check(field, "", value), condition))
    for name, value in spec.headers.items():
        condition = _header_condition(name.lower().encode(), ("headers", name), value)
        found.append((Check("header", name, value), condition))
    for name, value in spec.without_headers.items():
        if not name.startswith(JWT_CLAIMS):
            forbidden = _value_match(("withoutHeaders", name), value)
            condition = _without_condition(name.lower().encode(), forbidden, is_presence(value))
            found.append((Check("without header", name, value), condition))
    for name, value in spec.query_params.items():
        condition = _query_condition(name.encode(), _value_match(("queryParams", name), value))
        found.append((Check("query parameter", name, value), condition))
    checks, conditions = tuple(check for check, _ in found), tuple(condition for _, condition in found)
    return Match(spec.port, conditions, prefix_length, checks)


def is_presence(spec: StringMatch) -> bool:
    """Whether it asks for no more than that something is there.

    The regex `*`, which is no RE2, means that too. Source: route.go, canBeConvertedToPresentMatch.
    """
    return spec.regex == "*" or (spec.exact is None and spec.prefix is None and spec.regex is None)


def match_kind(spec: StringMatch) -> tuple[str, str]:
    """(`exact`, `prefix` or `regex`, its value) of a match that `is_presence` is not true of."""
    if spec.exact is not None:
        return "exact", spec.exact
    return ("prefix", spec.prefix) if spec.prefix is not None else ("regex", spec.regex or "")


def _value_match(path: tuple[str, ...], spec: StringMatch) -> ValueMatch:
    return _anything if is_presence(spec) else compile_string(path, spec)


def compile_string(path: tuple[str, ...], spec: StringMatch, ignore_case: bool = False) -> ValueMatch:
    """The match of one value that has to be there; MatchError's path begins with `path`.

    `ignore_case` is about exact and prefix only: Istio documents that a regex is not affected.
    """
    if spec.exact is not None:
        return _exact(spec.exact.encode(), ignore_case)
    if spec.prefix is not None:
        return _prefix(spec.prefix.encode(), ignore_case)
    try:
        return full_match(spec.regex or "")
    except ValueError as e:
        raise MatchError((*path, "regex"), str(e)) from e


def _exact(expected: bytes, ignore_case: bool) -> ValueMatch:
    if ignore_case:
        lower = expected.lower()
        return lambda value: value.lower() == lower
    return lambda value: value == expected


def _prefix(expected: bytes, ignore_case: bool) -> ValueMatch:
    if ignore_case:
        lower = expected.lower()
        return lambda value: value[: len(lower)].lower() == lower
    return lambda value: value.startswith(expected)


def _anything(_value: bytes) -> bool:
    return True


def _path_condition(matches: ValueMatch) -> Condition:
    return lambda view: matches(view.path)


def _header_condition(name: bytes, path: tuple[str, ...], spec: StringMatch) -> Condition:
    """Any line may match. What rules ask most often has a form of its own, which takes half the time."""
    if is_presence(spec):
        return lambda view: bool(view.header(name))
    if spec.exact is not None:
        expected = spec.exact.encode()
        return lambda view: expected in view.header(name)
    matches = compile_string(path, spec)
    return lambda view: any(map(matches, view.header(name)))


def _without_condition(name: bytes, matches: ValueMatch, presence: bool) -> Condition:
    """One forbidden line is enough. A header that is missing counts as an empty one, except for presence."""
    missing = [] if presence else [b""]
    return lambda view: not any(map(matches, view.header(name) or missing))


def _query_condition(name: bytes, matches: ValueMatch) -> Condition:
    def condition(view: RequestView) -> bool:
        value = view.query_parameter(name)
        return value is not None and matches(value)

    return condition

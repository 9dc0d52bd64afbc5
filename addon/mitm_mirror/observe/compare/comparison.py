"""What a comparison says: values, and the bounded collection of differences. Pure."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from mitm_mirror.ignore_rules import IgnoreRules

PATH_LIMIT = 200
"""Characters of a path that are kept; deeper ones end in `…`."""
_INDEX = re.compile(r"\[[0-9]+\]")


class Verdict(StrEnum):
    """What a comparison comes to."""

    EQUAL = "equal"
    DIFFERS = "differs"
    NOT_COMPARED = "not_compared"


class NotCompared(StrEnum):
    """Why two answers were not compared, or not to the end."""

    NO_PRIMARY = "no_primary"
    """The primary has no answer of its destination."""
    NO_SHADOW = "no_shadow"
    """The shadow has no answer."""
    BODY_TOO_LARGE = "body_too_large"
    """Status and headers are equal, the bodies are not the same bytes, and too large to be taken apart."""
    BODY_INCOMPLETE = "body_incomplete"
    """Status and headers are equal, but not all of a body was kept: it is too large, or was streamed."""
    PRIMARY_LATE = "primary_late"
    """The shadow ended, and the primary did not for a long time after."""
    OVERLOADED = "overloaded"
    """Too many answers wait to be compared already, or hold too much memory."""
    WORKER_LOST = "worker_lost"
    """The worker process that was to compare them died."""
    CANCELLED = "cancelled"
    """The proxy shut down before they were compared."""
    FAILED = "failed"
    """Comparing them went wrong: a bug of ours, which the log tells."""


class Kind(StrEnum):
    """In what way the two copies differ at a path."""

    VALUE = "value"
    TYPE = "type"
    """JSON: a string here and a number there, and the like."""
    ONLY_PRIMARY = "only_primary"
    ONLY_SHADOW = "only_shadow"


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where the copies differ, and how many more there are like it."""

    path: str
    """`status`, `header.x-foo`, `json.items[3].price`, `form.a`, `text.line 12`, `body.length`."""
    kind: Kind
    primary: str | None
    """The primary's value, cut to a bounded size: JSON as JSON text, all else as it is. None: it has none."""
    shadow: str | None
    count: int = 1
    """Differences whose path is the same but for array indexes; this is the first of them."""
    noise: str = ""
    """Why this is taken for noise; empty where it is a difference."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The primary's and the shadow's answer, compared."""

    verdict: Verdict
    reason: str = ""
    """A `NotCompared`; where the verdict is DIFFERS, it says why the bodies were not compared too."""
    differences: tuple[Difference, ...] = ()
    """Noise included: an answer that differs in noise only is EQUAL."""
    truncated: bool = False
    """There are more kinds of differences than were kept."""


def not_compared(reason: NotCompared) -> Comparison:
    """The comparison that could not be made."""
    return Comparison(Verdict.NOT_COMPARED, reason)


def conclude(
    differences: Sequence[Difference], *, truncated: bool, doubt: NotCompared | None = None
) -> Comparison:
    """The verdict of `differences`. Without one that is no noise: NOT_COMPARED because of `doubt`, or EQUAL.

    Cut-off differences count as differences: nobody has looked whether they are noise.
    """
    if truncated or any(not difference.noise for difference in differences):
        return Comparison(Verdict.DIFFERS, doubt or "", tuple(differences), truncated)
    if doubt is not None:
        return Comparison(Verdict.NOT_COMPARED, doubt, tuple(differences))
    return Comparison(Verdict.EQUAL, "", tuple(differences))


def generalise(path: str) -> str:
    """`path` with `[*]` for each array index: what noise and counts are kept by."""
    return _INDEX.sub("[*]", path) if "[" in path else path


class Findings:
    """Collects differences: one for each generalised path, at most `limit` of them."""

    __slots__ = ("_by_pattern", "_counts", "_ignore", "_limit", "_value_limit", "truncated")

    def __init__(self, limit: int, value_limit: int, ignore: IgnoreRules) -> None:
        self._by_pattern: dict[str, Difference] = {}
        self._counts: Counter[str] = Counter()
        self._limit = limit
        self._value_limit = value_limit
        self._ignore = ignore
        self.truncated = False

    @property
    def looks_at_each(self) -> bool:
        """Whether differences at one generalised path may fare differently: a rule may name an index."""
        return bool(self._ignore.rules)

    def add(self, path: str, kind: Kind, primary: str | None, shadow: str | None) -> str:
        """Notes a difference, unless it is ignored. Returns its generalised path."""
        pattern = generalise(path)
        if self._ignore.ignores(path):
            return pattern
        if pattern in self._by_pattern:
            self._counts[pattern] += 1
        elif len(self._by_pattern) >= self._limit:
            self.truncated = True
        else:
            self._counts[pattern] = 1
            self._by_pattern[pattern] = Difference(
                _cut(path, PATH_LIMIT), kind, self._value(primary), self._value(shadow)
            )
        return pattern

    def add_again(self, pattern: str) -> None:
        """Notes one more difference at a path that `add` has returned."""
        self._counts[pattern] += 1

    def add_values(self, path: str, primary: str | None, shadow: str | None) -> None:
        """Notes a difference whose kind is told by which side has no value."""
        kind = Kind.ONLY_SHADOW if primary is None else Kind.ONLY_PRIMARY if shadow is None else Kind.VALUE
        self.add(path, kind, primary, shadow)

    @property
    def differences(self) -> tuple[Difference, ...]:
        """In the order in which they were found."""
        return tuple(
            replace(difference, count=self._counts[pattern])
            for pattern, difference in self._by_pattern.items()
        )

    def _value(self, text: str | None) -> str | None:
        return None if text is None else _cut(text, self._value_limit)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"

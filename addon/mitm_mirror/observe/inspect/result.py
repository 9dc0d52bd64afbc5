"""How a pair ended, at a glance: what a marker in a list can tell. Pure."""

from collections.abc import Iterable
from enum import StrEnum

from mitm_mirror.observe.compare import Comparison, Verdict
from mitm_mirror.outcome import Outcome

_AS_TOLD = frozenset({Outcome.NOT_SAMPLED, Outcome.METHOD_GUARDED, Outcome.PAUSED})
"""No shadow was sent, and that is what a rule or a person asked for."""


class PairResult(StrEnum):
    """What became of one primary and its shadow, or of a primary and all of its shadows."""

    EQUAL = "equal"
    """The two answers are equal, noise apart."""
    DIFFERS = "differs"
    FAILED = "failed"
    """The shadow was to be sent, and has no answer."""
    ANSWERED = "answered"
    """The shadow has an answer that was not compared, or not to the end."""
    NOT_SENT = "not_sent"
    """There is no shadow, as it was asked for: not sampled, guarded, paused."""


_WORST_FIRST = (
    PairResult.DIFFERS,
    PairResult.FAILED,
    PairResult.ANSWERED,
    PairResult.EQUAL,
    PairResult.NOT_SENT,
)
_VERDICTS = {
    Verdict.EQUAL: PairResult.EQUAL,
    Verdict.DIFFERS: PairResult.DIFFERS,
    Verdict.NOT_COMPARED: PairResult.ANSWERED,
}


def pair_result(outcome: Outcome, comparison: Comparison | None) -> PairResult:
    """The result of a shadow that ended with `outcome`; without a comparison it was only answered."""
    if outcome in _AS_TOLD:
        return PairResult.NOT_SENT
    if outcome is not Outcome.OK:
        return PairResult.FAILED
    return _VERDICTS[comparison.verdict] if comparison else PairResult.ANSWERED


def worst(results: Iterable[PairResult]) -> PairResult:
    """The one result that a primary with several shadows shows."""
    return min(results, key=_WORST_FIRST.index)


def describe_end(outcome: Outcome, error: str, comparison: Comparison | None) -> str:
    """One line: `differs at json.version and 2 more`, `timeout: no answer within 15 s`."""
    if outcome is not Outcome.OK:
        return f"{outcome}: {error}" if error else outcome.value
    if comparison is None:
        return "answered, not compared"
    differences = [difference for difference in comparison.differences if not difference.noise]
    if comparison.verdict is Verdict.NOT_COMPARED:
        return f"answered, not compared: {comparison.reason}"
    if comparison.verdict is Verdict.EQUAL:
        noise = len(comparison.differences)
        return f"equal, apart from noise at {comparison.differences[0].path}" if noise else "equal"
    if not differences:  # cut off: whether the rest is noise nobody has looked at
        return "differs in more places than were kept"
    more = len(differences) - 1
    rest = f" and {'at least ' if comparison.truncated else ''}{more} more" if more else ""
    return f"differs at {differences[0].path}{rest}"

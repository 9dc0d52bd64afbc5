"""The closed accounting: each (matched request, mirror policy) pair ends exactly once. No I/O."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from mitm_mirror.observe.compare import Verdict
from mitm_mirror.outcome import Outcome
from mitm_mirror.routing.decision import AnswerReason


class MirrorKey(msgspec.Struct, frozen=True, order=True):
    """One mirror policy: what the counts are kept by."""

    virtual_service: str
    """`namespace/name`."""
    route: str
    """The route's name, or `http[2]` where it has none."""
    destination: str
    """The mirror's cluster name: `outbound|8080|v2|httpbin.default.svc.cluster.local`."""


@dataclass(frozen=True, slots=True)
class Counts:
    """`opened` is `pending` plus the sum of `ended`, at any time."""

    opened: int
    pending: int
    ended: Mapping[Outcome, int]
    """In the order of `Outcome`, and only what is not 0."""
    compared: Mapping[Verdict, int] = field(default_factory=dict)
    """Of those that ended `ok`, where they are compared; as above."""


@dataclass(frozen=True, slots=True)
class LedgerSnapshot:
    """All counts since the start, at one moment."""

    forwarded: int
    answered: Mapping[str, int]
    """By `Answer.reason`, and only what is not 0."""
    policies: Mapping[MirrorKey, Counts]
    """Sorted by key. A policy stays after a reload took it out of the rules."""

    @property
    def matched(self) -> int:
        """Requests about which a rule had something to say."""
        return self.forwarded + sum(self.answered.values())

    @property
    def totals(self) -> Counts:
        """The sum over all policies."""
        return _add_up(self.policies.values())


class _Tally:
    __slots__ = ("compared", "ended", "opened", "pending")

    def __init__(self) -> None:
        self.opened = 0
        self.pending = 0
        self.ended: Counter[Outcome] = Counter()
        self.compared: Counter[Verdict] = Counter()


class OpenPair:
    """One pair that was opened. It can be closed once; the second time raises.

    A handle, and not `close(policy)` on the ledger: a count by policy would take the second end of
    one pair for the end of another.
    """

    __slots__ = ("_tally", "outcome", "policy")

    def __init__(self, policy: MirrorKey, tally: _Tally) -> None:
        self.policy = policy
        self.outcome: Outcome | None = None
        """None while the pair is pending."""
        self._tally = tally

    def close(self, outcome: Outcome) -> None:
        """Ends the pair. Raises RuntimeError where it has ended already: a bug of ours, no client's fault."""
        if self.outcome is not None:
            raise RuntimeError(f"{self.policy} ended twice: as {self.outcome}, and now as {outcome}")
        self.outcome = outcome
        self._tally.pending -= 1
        self._tally.ended[outcome] += 1

    def compared(self, verdict: Verdict) -> None:
        """Counts what the comparison of a pair that ended `ok` came to. Called once."""
        self._tally.compared[verdict] += 1


class Ledger:
    """Counts matched requests and their mirror pairs. For one event loop: not thread-safe."""

    def __init__(self) -> None:
        self._forwarded = 0
        self._answered: Counter[str] = Counter()
        self._tallies: dict[MirrorKey, _Tally] = {}
        self.before_reading: Callable[[], None] = lambda: None
        """Has opened what is due: called before anything is told."""

    @property
    def pending(self) -> int:
        """Pairs that have not ended."""
        self.before_reading()
        return sum(tally.pending for tally in self._tallies.values())

    def count_forwarded(self) -> None:
        """A matched request goes to a destination."""
        self._forwarded += 1

    def count_answered(self, reason: AnswerReason) -> None:
        """A matched request was answered by the rules themselves."""
        self._answered[reason] += 1

    def open(self, policy: MirrorKey) -> OpenPair:
        """Opens one pair; whoever holds what is returned has to close it."""
        tally = self._tallies.get(policy)
        if tally is None:
            tally = self._tallies[policy] = _Tally()
        tally.opened += 1
        tally.pending += 1
        return OpenPair(policy, tally)

    def snapshot(self) -> LedgerSnapshot:
        """The counts as they stand; later traffic does not change what is returned."""
        self.before_reading()
        return LedgerSnapshot(
            forwarded=self._forwarded,
            answered=dict(sorted(self._answered.items())),
            policies={policy: _add_up([self._tallies[policy]]) for policy in sorted(self._tallies)},
        )


def _add_up(parts: Iterable[Counts | _Tally]) -> Counts:
    opened = pending = 0
    ended: Counter[Outcome] = Counter()
    compared: Counter[Verdict] = Counter()
    for part in parts:
        opened += part.opened
        pending += part.pending
        ended.update(part.ended)
        compared.update(part.compared)
    return Counts(
        opened,
        pending,
        {outcome: ended[outcome] for outcome in Outcome if ended[outcome]},
        {verdict: compared[verdict] for verdict in Verdict if compared[verdict]},
    )


def render_totals(snapshot: LedgerSnapshot) -> str:
    """One line for the exit: `mirror: 10000 shadows: ok 9990, timeout 10; 0 pending`."""
    totals = snapshot.totals
    ended = ", ".join(f"{outcome} {count}" for outcome, count in totals.ended.items())
    shadows = f"{totals.opened} shadow{'' if totals.opened == 1 else 's'}"
    return f"mirror: {shadows}{': ' if ended else ''}{ended}; {totals.pending} pending"


def render_requests(snapshot: LedgerSnapshot) -> str:
    """One line: `matched 100, forwarded 98, answered 2 (no_route 1, redirect 1)`."""
    reasons = ", ".join(f"{reason} {count}" for reason, count in snapshot.answered.items())
    answered = f"answered {sum(snapshot.answered.values())}"
    return f"matched {snapshot.matched}, forwarded {snapshot.forwarded}, {answered}" + (
        f" ({reasons})" if reasons else ""
    )


def render_table(snapshot: LedgerSnapshot) -> str:
    """What `mirror.stats` shows, without a newline at its end.

    One block a policy, the numbers of all blocks in one column: a cluster's name alone takes 50 of a
    terminal's 80 columns, so that counts beside it would be cut off.
    """
    requests = {"matched": snapshot.matched, "forwarded": snapshot.forwarded, **snapshot.answered}
    blocks = ["requests\n" + "\n".join(_row(name, count) for name, count in requests.items())]
    for policy, counts in snapshot.policies.items():
        blocks.append(f"{policy.virtual_service}  {policy.route}\n-> {policy.destination}\n{_rows(counts)}")
    blocks.append("all mirrors\n" + _rows(snapshot.totals))
    return "\n\n".join(blocks)


def _rows(counts: Counts) -> str:
    rows = [_row("shadows", counts.opened)]
    rows += [
        f"{_row(outcome, count)}{count / counts.opened:>9.1%}" for outcome, count in counts.ended.items()
    ]
    rows.append(_row("pending", counts.pending))
    rows += [_row(verdict.replace("_", " "), count) for verdict, count in counts.compared.items()]
    return "\n".join(rows)


def _row(name: str, count: int) -> str:
    return f"   {name:<16}{count:>12}"

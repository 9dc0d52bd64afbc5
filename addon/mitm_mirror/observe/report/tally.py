"""Counts the lines of access logs, by route and destination; of bounded size however many there are."""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from mitm_mirror.observe.compare import NotCompared
from mitm_mirror.observe.report.fields import FieldTable
from mitm_mirror.observe.report.histogram import Histogram
from mitm_mirror.observe.report.lines import Line
from mitm_mirror.observe.report.pairing import Pairing, StatusPairs
from mitm_mirror.observe.report.timeline import Timeline
from mitm_mirror.outcome import Outcome

FAILED = frozenset(
    {
        Outcome.TIMEOUT,
        Outcome.CONNECT_ERROR,
        Outcome.TLS_ERROR,
        Outcome.PROTOCOL_ERROR,
        Outcome.LOST,
        Outcome.CANCELLED,
    }
)
"""Shadows that were taken on and have no answer."""
DROPPED = frozenset(
    {Outcome.NO_ENDPOINT, Outcome.BODY_TOO_LARGE, Outcome.QUEUE_FULL, Outcome.CIRCUIT_OPEN, Outcome.LOOP}
)
"""Shadows that should have been sent, and were not. The rest nobody wanted: not sampled, guarded, paused."""
_REASONS = frozenset(NotCompared)
_GROUPS = 500


class GroupKey(NamedTuple):  # made for each line: a dataclass takes four times as long to be hashed
    """What lines are counted by; the names are those of the log."""

    virtual_service: str
    route: str
    destination: str


OTHERS = GroupKey("", "", "(others)")
"""Holds what comes after the 500th group. The rules make the groups, so that nobody should see it."""


class Group:
    """The lines of one destination of one route: of its primaries, or of its shadows."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.latency = Histogram()
        """Of those that were answered."""

    def add(self, line: Line) -> None:
        self.outcomes[line.outcome] += 1
        if line.status is not None:
            self.statuses[line.status] += 1
        if line.duration_ms is not None and line.outcome == "ok":
            self.latency.add(line.duration_ms)


class MirrorGroup(Group):
    """The shadows of one mirror destination of one route."""

    def __init__(self) -> None:
        super().__init__()
        self.comparisons: Counter[str] = Counter()
        self.not_compared: Counter[str] = Counter()
        self.status_pairs: StatusPairs = Counter()
        self.timeline = Timeline()
        self.fields = FieldTable()

    def add_shadow(self, line: Line) -> None:
        """As `add`, with what only shadows have."""
        self.add(line)
        slot = self.timeline.at(int(line.start_time.timestamp()))
        slot.shadows += 1
        if line.outcome in FAILED:
            slot.failed += 1
        if line.comparison is None:
            return
        self.comparisons[line.comparison] += 1
        if line.comparison == "not_compared":
            self.not_compared[line.not_compared if line.not_compared in _REASONS else "unknown"] += 1
        else:
            slot.compared += 1
            slot.differing += line.comparison == "differs"
        for difference in line.differences or ():
            self.fields.add(line.id, difference)


_Group = TypeVar("_Group", bound=Group)


class Tally:
    """All that a report needs to know."""

    def __init__(self, pairing: Pairing | None = None) -> None:
        self.lines = 0
        self.first_second: float | None = None
        self.last_second: float | None = None
        self.primaries: dict[GroupKey, Group] = {}
        self.mirrors: dict[GroupKey, MirrorGroup] = {}
        self.pairing = pairing or Pairing()

    def add(self, line: Line) -> None:
        """Counts one line."""
        self.lines += 1
        second = line.start_time.timestamp()
        if self.first_second is None or second < self.first_second:
            self.first_second = second
        if self.last_second is None or second > self.last_second:
            self.last_second = second
        key = GroupKey(line.virtual_service or "", line.route or "", line.destination or "")
        if line.copy == "primary":
            _group(self.primaries, key, Group).add(line)
            self.pairing.add_primary(line.id, line.status or 0)
            return
        mirror = _group(self.mirrors, key, MirrorGroup)
        mirror.add_shadow(line)
        if line.status is None:
            return
        if line.compared_status is not None:
            mirror.status_pairs[line.compared_status, line.status] += 1
        else:
            self.pairing.add_shadow(line.id, line.status, mirror.status_pairs)


def _group(groups: dict[GroupKey, _Group], key: GroupKey, make: Callable[[], _Group]) -> _Group:
    group = groups.get(key)
    if group is None:
        if len(groups) >= _GROUPS:
            key = OTHERS
        group = groups.setdefault(key, make())
    return group

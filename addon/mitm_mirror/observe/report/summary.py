"""The values of a report: what the page shows, `--json` prints and `--fail-on` judges. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mitm_mirror.observe.record import format_start_time
from mitm_mirror.observe.report.fields import Field
from mitm_mirror.observe.report.histogram import Histogram
from mitm_mirror.observe.report.tally import DROPPED, FAILED, Group, GroupKey, MirrorGroup, Tally
from mitm_mirror.outcome import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Durations of the answered copies in milliseconds; None where there is none."""

    count: int
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    buckets: tuple[tuple[float, int], ...]
    """(duration in the middle of the bucket, count)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One difference as it was logged."""

    id: str
    path: str
    primary: str | None
    shadow: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldReport:
    """A field that differs."""

    path: str
    answers: int
    """In so many answers, noise left aside."""
    share: float | None
    """Of the compared answers, 0 to 1."""
    kinds: Mapping[str, int]
    noisy_answers: int
    noise: str
    """Why it is noise; empty where it never was."""
    might_be_noise: str
    """Why it might be; a guess. Empty for noise, and where it looks like a difference."""
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSlot:
    """The shadows that started within one slot of `slot_s` seconds."""

    start_time: str
    shadows: int
    failed: int
    compared: int
    differing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusPair:
    """How often the copies had these statuses; None where the primary has none."""

    primary: int | None
    shadow: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PrimaryReport:
    """The primaries of one destination of one route."""

    virtual_service: str
    route: str
    destination: str
    requests: int
    outcomes: Mapping[str, int]
    statuses: Mapping[int, int]
    latency: Latency


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorReport:
    """The shadows of one mirror destination of one route."""

    virtual_service: str
    route: str
    destination: str
    shadows: int
    outcomes: Mapping[str, int]
    """In the order of `Outcome`, and only what is not 0."""
    failed: int
    dropped: int
    statuses: Mapping[int, int]
    status_pairs: tuple[StatusPair, ...]
    """Most frequent first."""
    compared: int
    differing: int
    mismatch: float | None
    """Share of the compared answers that differ, 0 to 1; None where none was compared."""
    not_compared: Mapping[str, int]
    latency: Latency
    primary_latency: Latency
    """Of all primaries of the route, mirrored or not."""
    slot_s: int
    timeline: tuple[TimeSlot, ...]
    fields: tuple[FieldReport, ...]
    """Most frequent first."""
    noise: tuple[FieldReport, ...]
    """Fields that never differed but by noise."""
    fields_left_out: int
    """Differences at further paths than are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All of it."""

    made_at: str
    version: str
    logs: tuple[str, ...]
    lines: int
    bad_lines: int
    first_time: str | None
    last_time: str | None
    requests: int
    shadows: int
    outcomes: Mapping[str, int]
    failed: int
    dropped: int
    compared: int
    differing: int
    mismatch: float | None
    not_compared: int
    unpaired: int
    """Answered shadows whose primary's line was not found near enough."""
    mirrors: tuple[MirrorReport, ...]
    """Those that differ most first."""
    primaries: tuple[PrimaryReport, ...]
    gates: tuple[str, ...] = field(default=())
    """Sentences for the gates that were hit."""


def summarise(
    tally: Tally, *, logs: Iterable[str], bad_lines: int, made_at: datetime, version: str
) -> Report:
    """The report of a tally to which no line will be added."""
    tally.pairing.close()
    by_route: dict[tuple[str, str], Histogram] = {}
    for key, primary in tally.primaries.items():
        by_route.setdefault((key.virtual_service, key.route), Histogram()).add_all(primary.latency)
    mirrors = [
        _mirror(key, group, by_route.get((key.virtual_service, key.route), Histogram()))
        for key, group in sorted(tally.mirrors.items())
    ]
    mirrors.sort(key=lambda mirror: (-(mirror.mismatch or 0), -mirror.failed))
    outcomes: Counter[str] = Counter()
    for mirror in mirrors:
        outcomes.update(mirror.outcomes)
    compared = sum(mirror.compared for mirror in mirrors)
    differing = sum(mirror.differing for mirror in mirrors)
    return Report(
        made_at=format_start_time(made_at.timestamp()),
        version=version,
        logs=tuple(logs),
        lines=tally.lines,
        bad_lines=bad_lines,
        first_time=_time(tally.first_second),
        last_time=_time(tally.last_second),
        requests=sum(primary.outcomes.total() for primary in tally.primaries.values()),
        shadows=sum(mirror.shadows for mirror in mirrors),
        outcomes=_ordered(outcomes),
        failed=sum(mirror.failed for mirror in mirrors),
        dropped=sum(mirror.dropped for mirror in mirrors),
        compared=compared,
        differing=differing,
        mismatch=share(differing, compared),
        not_compared=sum(sum(mirror.not_compared.values()) for mirror in mirrors),
        unpaired=tally.pairing.unpaired,
        mirrors=tuple(mirrors),
        primaries=tuple(_primary(key, group) for key, group in sorted(tally.primaries.items())),
    )


def share(part: int, whole: int) -> float | None:
    """0 to 1; None of nothing."""
    return part / whole if whole else None


def _mirror(key: GroupKey, group: MirrorGroup, primary: Histogram) -> MirrorReport:
    differing = group.comparisons["differs"]
    compared = differing + group.comparisons["equal"]
    fields = [_field(item, compared) for item in group.fields.fields()]
    return MirrorReport(
        virtual_service=key.virtual_service,
        route=key.route,
        destination=key.destination,
        shadows=group.outcomes.total(),
        outcomes=_ordered(group.outcomes),
        failed=sum(group.outcomes[outcome] for outcome in FAILED),
        dropped=sum(group.outcomes[outcome] for outcome in DROPPED),
        statuses=dict(sorted(group.statuses.items())),
        status_pairs=tuple(
            StatusPair(primary=ours or None, shadow=theirs, count=count)
            for (ours, theirs), count in group.status_pairs.most_common()
        ),
        compared=compared,
        differing=differing,
        mismatch=share(differing, compared),
        not_compared=dict(group.not_compared.most_common()),
        latency=_latency(group.latency),
        primary_latency=_latency(primary),
        slot_s=group.timeline.width_s,
        timeline=tuple(
            TimeSlot(
                start_time=format_start_time(second),
                shadows=slot.shadows,
                failed=slot.failed,
                compared=slot.compared,
                differing=slot.differing,
            )
            for second, slot in group.timeline.slots()
        ),
        fields=tuple(item for item in fields if item.answers),
        noise=tuple(item for item in fields if not item.answers),
        fields_left_out=group.fields.left_out,
    )


def _primary(key: GroupKey, group: Group) -> PrimaryReport:
    return PrimaryReport(
        virtual_service=key.virtual_service,
        route=key.route,
        destination=key.destination,
        requests=group.outcomes.total(),
        outcomes=dict(group.outcomes.most_common()),
        statuses=dict(sorted(group.statuses.items())),
        latency=_latency(group.latency),
    )


def _field(found: Field, compared: int) -> FieldReport:
    return FieldReport(
        path=found.path,
        answers=found.answers,
        share=share(found.answers, compared),
        kinds=dict(found.kinds.most_common()),
        noisy_answers=found.noisy_answers,
        noise=found.noise,
        might_be_noise="" if found.noise else found.evidence.suspicion(found.path, found.answers, compared),
        examples=tuple(
            Example(id=id_, path=item.path, primary=item.primary, shadow=item.shadow)
            for id_, item in found.examples
        ),
    )


def _latency(histogram: Histogram) -> Latency:
    return Latency(
        count=histogram.count,
        p50_ms=histogram.quantile(0.5),
        p90_ms=histogram.quantile(0.9),
        p99_ms=histogram.quantile(0.99),
        max_ms=histogram.max_ms if histogram.count else None,
        buckets=tuple(histogram.buckets()),
    )


def _ordered(outcomes: Mapping[str, int]) -> dict[str, int]:
    return {outcome.value: outcomes[outcome] for outcome in Outcome if outcomes.get(outcome)}


def _time(second: float | None) -> str | None:
    return None if second is None else datetime.fromtimestamp(second, UTC).isoformat(" ", "seconds")[:19]

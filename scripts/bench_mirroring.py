"""What mirroring costs the client, beside the same proxy without it. Part of `scripts/bench`.

Each way of mirroring has its own mirror, so that what arrives is counted for it alone. The proxies of one
family take turns within seconds, in an order that chance gives, and what is compared are pairs of one round:
other programs on the machine disturb both halves of a pair alike.
"""

import itertools
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from lab.backend import RefusingPort
from lab.contenders import LAYERS_OF_COST, OURS, find_contenders
from lab.hammer import hammer
from lab.measured import Contender, Ports, Proxy
from lab.origin import Origin
from lab.rules import HOST

MIRRORS = ("healthy", "slow", "silent", "refusing")
CONNECTIONS = (1, 16, 64)
BODIES = (0, 10_000, 1_000_000)

LEAST_INSTANCES = 3
TURNS_PER_INSTANCE = 6
"""How often each proxy is started anew: two processes of the same program differ by some per cent, as chance
lays out their memory, and no number of turns of the same two makes that less."""
TURN_S = 0.3
"""What one turn takes, about: its requests are counted out by the proxy without a mirror."""
TURN_LIMIT_S = 4.0
"""A turn ends then, where answers wait for a mirror."""
LEAST_REQUESTS = 30
SETTLE_S = 2.0
"""How long at most is waited for what a turn left behind, such as shadows that are still to be sent."""
DELIVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """One state of the world."""

    mirror: str
    connections: int = 16
    body_bytes: int = 0

    @property
    def request(self) -> bytes:
        head = f"Host: {HOST}\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n"
        if not self.body_bytes:
            return f"GET /get HTTP/1.1\r\n{head}\r\n".encode()
        head += f"Content-Length: {self.body_bytes}\r\n"
        return f"POST /post HTTP/1.1\r\n{head}\r\n".encode() + b"x" * self.body_bytes

    def __str__(self) -> str:
        return f"{self.mirror} mirror, {self.connections} connections, bodies of {self.body_bytes:,} bytes"


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of pairs, and the quartiles around it."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Ratio":
        ordered = sorted(values)
        quarter = len(ordered) // 4
        return cls(ordered[quarter], median(ordered), ordered[-1 - quarter])

    def __str__(self) -> str:
        return f"{self.middle:5.2f} ({self.low:.2f}-{self.high:.2f})"


@dataclass(frozen=True, slots=True)
class Row:
    """One contender in one scenario, as ratios to the same proxy without a mirror."""

    contender: str
    scenario: Scenario
    throughput: Ratio
    cpu: Ratio
    p50: Ratio
    p99: Ratio
    sent: int
    delivered: int | None
    """Shadows that came whole to the mirror; None where none can."""
    peak_bytes: int
    plain_rate: float
    """Requests a second without a mirror: the machine's measure, not the contender's."""
    plain_cpu_us: float
    throughput_in_all: float
    """Of all turns together, beside the median of pairs: nearer to the truth where pairs scatter, but one
    slow second of the machine moves it."""
    cpu_in_all: float

    @property
    def delivered_text(self) -> str:
        return "-" if self.delivered is None else f"{self.delivered / self.sent:.1%}"


@dataclass(slots=True)
class _Side:
    """One running proxy and what it sends its shadows to."""

    proxy: Proxy
    mirror: Origin | None
    sent: int = 0
    delivered_before: int = 0
    """By what its start needed."""


@dataclass(frozen=True, slots=True)
class _Turn:
    rate: float
    cpu_us: float
    p50_ms: float
    p99_ms: float


@dataclass(slots=True)
class _Collected:
    """What was measured of one contender in one scenario, over all its instances."""

    name: str
    pairs: list[tuple[_Turn, _Turn]]
    """(without a mirror, with one), of one round each."""
    has_mirror: bool
    sent: int = 0
    delivered: int = 0
    peak_bytes: int = 0

    def row(self, scenario: Scenario) -> Row:
        return Row(
            self.name,
            scenario,
            Ratio.of([ours.rate / plain.rate for plain, ours in self.pairs]),
            Ratio.of([ours.cpu_us / plain.cpu_us for plain, ours in self.pairs]),
            Ratio.of([ours.p50_ms / plain.p50_ms for plain, ours in self.pairs]),
            Ratio.of([ours.p99_ms / plain.p99_ms for plain, ours in self.pairs]),
            self.sent,
            self.delivered if self.has_mirror else None,
            self.peak_bytes,
            median(plain.rate for plain, _ in self.pairs),
            median(plain.cpu_us for plain, _ in self.pairs),
            sum(1 / plain.rate for plain, _ in self.pairs) / sum(1 / ours.rate for _, ours in self.pairs),
            sum(ours.cpu_us for _, ours in self.pairs) / sum(plain.cpu_us for plain, _ in self.pairs),
        )


def scenarios(*, full: bool) -> Iterator[Scenario]:
    """All of them, or those that differ in one thing from the healthy mirror at 16 connections."""
    if full:
        for mirror, connections, size in itertools.product(MIRRORS, CONNECTIONS, BODIES):
            yield Scenario(mirror, connections, size)
        return
    for mirror in MIRRORS:
        yield Scenario(mirror)
    yield Scenario("healthy", connections=1)
    yield Scenario("healthy", connections=64)
    yield Scenario("healthy", body_bytes=10_000)
    yield Scenario("healthy", body_bytes=1_000_000)


def bench_mirroring(*, full: bool, turns: int) -> list[Row]:
    """Measures all contenders, and prints each row as it comes."""
    rows: list[Row] = []
    contenders = find_contenders()
    families = list(dict.fromkeys(contender.family for contender in contenders))
    for scenario in scenarios(full=full):
        print(f"\nMirroring: {scenario}, {turns} pairs of turns")
        _print_columns()
        for family in families:
            group = [contender for contender in contenders if contender.family == family]
            if not full and scenario != Scenario(scenario.mirror):
                group = [contender for contender in group if contender is OURS]
            if group:
                rows += measure(scenario, group, turns)
    return rows


def bench_goal(*, turns: int) -> list[Row]:
    """Measures the addon with its log alone in each state of the mirror: many pairs in little time."""
    rows: list[Row] = []
    for mirror in MIRRORS:
        scenario = Scenario(mirror)
        print(f"\nGoal: {scenario}, {turns} pairs of turns")
        _print_columns()
        rows += measure(scenario, [OURS], turns)
    return rows


def bench_layers(*, turns: int) -> None:
    """Measures plain mitmdump with one thing more a row, up to all that mirroring is, and prints the rows."""
    scenario = Scenario("healthy")
    print(f"\nLayers: {scenario}, {turns} pairs of turns")
    _print_columns()
    measure(scenario, LAYERS_OF_COST, turns)


def _print_columns() -> None:
    columns = "".join(f"{name:>19}" for name in ("throughput", "CPU/request", "p50", "p99"))
    print(f"  {'':27}{columns}{'delivered':>11}{'memory':>10}{'in all turns':>18}")


def measure(scenario: Scenario, group: Sequence[Contender], turns: int) -> list[Row]:
    """Measures contenders of one family, and prints a row for each."""
    collected = [
        _Collected(contender.name, [], has_mirror=contender.sends and scenario.mirror != "refusing")
        for contender in group
    ]
    instances = max(LEAST_INSTANCES, turns // TURNS_PER_INSTANCE)
    for _ in range(instances):
        _measure_instances(scenario, group, max(1, turns // instances), collected)
    rows = [each.row(scenario) for each in collected]
    for row in rows:
        print(
            f"  {row.contender:27}{row.throughput!s:>19}{row.cpu!s:>19}{row.p50!s:>19}{row.p99!s:>19}"
            f"{row.delivered_text:>11}{row.peak_bytes / 1e6:>7.0f} MB"
            f"{row.throughput_in_all:>11.2f}, {row.cpu_in_all:.2f}",
            flush=True,
        )
    print(
        f"  (without a mirror {rows[0].plain_rate:.0f} requests/s, {rows[0].plain_cpu_us:.0f} us of CPU each)"
    )
    return rows


def _measure_instances(
    scenario: Scenario, group: Sequence[Contender], turns: int, collected: Sequence["_Collected"]
) -> None:
    """Starts each proxy once, and adds `turns` pairs of turns to what is collected."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mitm-mirror-bench-")))
        primary = stack.enter_context(Origin("primary"))
        nowhere = stack.enter_context(RefusingPort()).port
        plain = group[0].start(stack, _new(folder / "plain"), Ports(primary.port, nowhere), False)
        sides = [_Side(plain, None)]
        for number, contender in enumerate(group):
            mirror = None
            if scenario.mirror != "refusing":
                mirror = stack.enter_context(Origin(f"mirror of {contender.name}", scenario.mirror))
            ports = Ports(primary.port, mirror.port if mirror else nowhere)
            proxy = contender.start(stack, _new(folder / str(number)), ports, True)
            sides.append(_Side(proxy, mirror, delivered_before=mirror.count if mirror else 0))
        count = _count_for(scenario, plain)
        for side in sides:
            _take_turn(scenario, side, count)  # warms up
        order = list(range(len(sides)))
        for _ in range(turns):
            random.shuffle(
                order
            )  # in a fixed one, each would meet the caches as the same other one left them
            taken = {index: _take_turn(scenario, sides[index], count) for index in order}
            for index, each in enumerate(collected, start=1):
                each.pairs.append((taken[0], taken[index]))
        for side, each in zip(sides[1:], collected, strict=True):
            each.sent += side.sent
            each.peak_bytes = max(each.peak_bytes, side.proxy.peak_bytes)
            if side.mirror is not None:
                expected = side.sent + side.delivered_before
                each.delivered += side.mirror.count_awaited(expected, DELIVERY_S) - side.delivered_before


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _count_for(scenario: Scenario, plain: Proxy) -> int:
    """Requests that take the proxy without a mirror about one turn."""
    rate = hammer(
        plain.port, scenario.request, connections=scenario.connections, total=LEAST_REQUESTS * 2
    ).rate
    return max(LEAST_REQUESTS, int(rate * TURN_S))


def _take_turn(scenario: Scenario, side: _Side, count: int) -> _Turn:
    before_s = side.proxy.cpu_s
    blow = hammer(
        side.proxy.port,
        scenario.request,
        connections=scenario.connections,
        total=count,
        limit_s=TURN_LIMIT_S,
    )
    side.sent += blow.begun
    _settle(side.proxy)  # what its shadows cost later belongs to it as well
    cpu_us = (side.proxy.cpu_s - before_s) / blow.count * 1e6
    return _Turn(blow.rate, cpu_us, blow.percentile_ms(50), blow.percentile_ms(99))


def _settle(proxy: Proxy) -> None:
    """Waits until the proxy and its children do next to nothing, so that the next turn has the machine."""
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        before_s = proxy.all_cpu_s
        time.sleep(0.05)
        if proxy.all_cpu_s - before_s < 0.005:
            return

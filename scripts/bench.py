"""Measures what rules cost to load and to ask, and what mirroring costs the client.

Absolute numbers belong to the machine and the moment. What can be compared are the ratios: both
sides of each are measured in turns, in one run. Run it through `scripts/bench`.
"""

import argparse
import gc
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bench_instructions import count_instructions, has_valgrind
from bench_mirroring import bench_goal, bench_layers, bench_mirroring
from bench_picture import picture
from bench_shares import bench_shares
from bench_upload import MEMORY_LIMIT_BYTES, bench_upload
from lab.contenders import OURS
from lab.rules import make_task_rules
from mitm_mirror.routing.decision import Forward
from mitm_mirror.routing.request import RequestHead
from mitm_mirror.routing.table import RouteTable
from mitm_mirror.rule_set import load_rule_set

LOAD_LIMIT_S = 10.0
DECIDE_LIMIT = 2.0
"""Ten thousand services may cost a request at most twice what ten cost; their loading, ten seconds."""

DOCUMENT = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: service-{number}
spec:
  hosts:
  - service-{number}.example
  http:
  - match:
    - uri:
        prefix: /api/v2/
      headers:
        x-user:
          exact: tester
    route:
    - destination:
        host: httpbin
        subset: v2
  - match:
    - uri:
        regex: /items/[0-9]+
    route:
    - destination:
        host: httpbin
        subset: v1
    mirror:
      host: httpbin
      subset: v2
  - route:
    - destination:
        host: httpbin
        subset: v1
      weight: 80
    - destination:
        host: httpbin
        subset: v2
      weight: 20
---
"""

# Every kind of match. The first routes each miss the request by one kind alone, so that it is asked
# every question; the last one asks all at once, and is met.
MATCHES = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: every-match-kind
spec:
  hosts:
  - matched.example
  http:
  - {match: [{uri: {exact: /elsewhere}}], route: &v1 [{destination: {host: httpbin, subset: v1}}]}
  - {match: [{uri: {prefix: /elsewhere/}}], route: *v1}
  - {match: [{uri: {regex: '/elsewhere/([0-9]+)/.*'}}], route: *v1}
  - {match: [{uri: {prefix: /ELSEWHERE/}, ignoreUriCase: true}], route: *v1}
  - {match: [{scheme: {exact: https}}], route: *v1}
  - {match: [{method: {exact: DELETE}}], route: *v1}
  - {match: [{authority: {prefix: elsewhere}}], route: *v1}
  - {match: [{headers: {x-user: {exact: nobody}}}], route: *v1}
  - {match: [{headers: {user-agent: {prefix: Mozilla/}}}], route: *v1}
  - {match: [{headers: {cookie: {regex: '^(.*?;)?(user=nobody)(;.*)?$'}}}], route: *v1}
  - {match: [{headers: {x-absent: {}}}], route: *v1}
  - {match: [{withoutHeaders: {x-user: {}}}], route: *v1}
  - {match: [{queryParams: {tier: {exact: silver}}}], route: *v1}
  - {match: [{queryParams: {id: {regex: '[a-z]+'}}}], route: *v1}
  - {match: [{port: 9999}], route: *v1}
  - match:
    - uri: {regex: '/items/([0-9]+)/(detail|summary)'}
      scheme: {exact: http}
      method: {regex: GET|HEAD}
      authority: {exact: 'matched.example:8080'}
      headers:
        x-user: {exact: tester}
        user-agent: {prefix: bench/}
        cookie: {regex: '^(.*?;)?(user=jane)(;.*)?$'}
        accept: {}
      withoutHeaders: {x-internal: {}}
      queryParams: {tier: {exact: gold}, id: {regex: '[0-9]+'}}
      port: 8080
    - {uri: {prefix: /ITEMS}, ignoreUriCase: true}
    route: [{destination: {host: httpbin, subset: v2}}]
"""
MATCH_LIMIT_US = 50.0

# Each takes a backtracking engine longer than anybody waits, on the path or on the path with a `!` behind it.
HOSTILE_REGEXES = (
    "/(a+)+$", "/(a|aa)+", "/(a*)*b", "/(a|a?)+b", "/(.*a){12}", "/([a-zA-Z]+)*=", "/((a{0,30}){0,30})*!",
)  # fmt: skip
HOSTILE_PATH = b"/" + b"a" * 8_191
HOSTILE_LIMIT_MS = 10.0


PARTS = ("rules", "matches", "upload", "instructions", "shares", "goal", "layers", "mirroring")


class Limits:
    """Which acceptance criteria did not hold."""

    def __init__(self) -> None:
        self.broken: list[str] = []

    def row(self, what: str, value: str, limit: str = "", *, holds: bool = True) -> None:
        verdict = f"  (limit {limit}: {'kept' if holds else 'NOT KEPT'})" if limit else ""
        print(f"  {what:<58}{value:>12}{verdict}", flush=True)
        if not holds:
            self.broken.append(f"{what}: {value}, limit {limit}")


def rules_folder(folder: Path, count: int) -> Path:
    """Rules with `count` VirtualServices of three routes each, beside the task's own destinations."""
    make_task_rules(folder, 8001, 8002)
    (folder / "services.yaml").write_text("".join(DOCUMENT.format(number=n) for n in range(count)), "utf-8")
    return folder


def load_table(folder: Path) -> tuple[RouteTable, float]:
    """The table of a folder of rules, and the seconds that it took to load and compile."""
    start = time.perf_counter()
    rule_set = load_rule_set([str(folder)])
    elapsed_s = time.perf_counter() - start
    if rule_set.errors:
        raise RuntimeError("\n".join(map(str, rule_set.errors[:5])))
    return rule_set.table, elapsed_s


def request_heads(count: int) -> list[RequestHead]:
    """Requests for every part of a rule set of `count` services, and for every route."""
    rng = random.Random(1)
    return [
        RequestHead(
            method="GET",
            scheme="http",
            authority=f"service-{rng.randrange(count)}.example:8080",
            target=rng.choice([b"/api/v2/x", b"/items/123", b"/items/none?q=1", b"/"]),
            headers=((b"Host", b"service.example"), (b"User-Agent", b"bench"), (b"X-User", b"tester")),
            port=8080,
            client="127.0.0.1",
        )
        for _ in range(1_000)
    ]


def decide_us(table: RouteTable, heads: Sequence[RequestHead], draw: Callable[[], float]) -> float:
    """Microseconds a decision, over all `heads` once."""
    start = time.perf_counter()
    for head in heads:
        table.decide(head, draw)
    return (time.perf_counter() - start) / len(heads) * 1e6


def bench_rules(folder: Path, limits: Limits) -> None:
    print("\nRules: 10,000 VirtualServices with 3 routes each, against 10")
    few, few_s = load_table(rules_folder(folder / "few", 10))
    many, many_s = load_table(rules_folder(folder / "many", 10_000))
    limits.row("load and compile, 10", f"{few_s * 1000:.1f} ms")
    limits.row(
        "load and compile, 10,000", f"{many_s:.2f} s", f"{LOAD_LIMIT_S:g} s", holds=many_s < LOAD_LIMIT_S
    )
    few_heads, many_heads = request_heads(10), request_heads(10_000)
    for table, heads in ((few, few_heads), (many, many_heads)):
        if not all(isinstance(table.decide(head, random.random), Forward) for head in heads):
            raise RuntimeError("a request was not routed, so its decision is not what is to be measured")
    gc.collect()
    turns = [
        (decide_us(few, few_heads, random.random), decide_us(many, many_heads, random.random))
        for _ in range(50)
    ]
    few_us, many_us = median(turn[0] for turn in turns), median(turn[1] for turn in turns)
    limits.row("one decision, 10", f"{few_us:.2f} us")
    limits.row("one decision, 10,000", f"{many_us:.2f} us")
    ratio = median(many / few for few, many in turns)
    limits.row("ratio, median of 50 turns", f"{ratio:.2f}", f"{DECIDE_LIMIT:g}", holds=ratio <= DECIDE_LIMIT)


def one_host_folder(folder: Path, rules: str) -> Path:
    """Rules for one host, beside the task's own destinations."""
    rules_folder(folder, 0)
    (folder / "services.yaml").write_text(rules, "utf-8")
    return folder


def median_decision_us(table: RouteTable, head: RequestHead, *, count: int) -> float:
    """Microseconds of the median decision about one request."""
    durations = []
    for _ in range(count):
        start = time.perf_counter()
        table.decide(head, random.random)
        durations.append(time.perf_counter() - start)
    return median(durations) * 1e6


def bench_matches(folder: Path, limits: Limits) -> float:
    """Microseconds of one decision that asks every kind of match."""
    print("\nMatches: one request against every match kind, and hostile regular expressions")
    table, _ = load_table(one_host_folder(folder / "matches", MATCHES))
    head = RequestHead(
        method="GET",
        scheme="http",
        authority="matched.example:8080",
        target=b"/items/123/detail?id=42&tier=gold",
        headers=(
            (b"Host", b"matched.example:8080"), (b"User-Agent", b"bench/1.0"), (b"Accept", b"*/*"),
            (b"X-User", b"tester"), (b"Cookie", b"a=b;user=jane;c=d"),
        ),
        port=8080,
        client="127.0.0.1",
    )  # fmt: skip
    decision = table.decide(head, random.random)
    if not isinstance(decision, Forward) or decision.target.subset != "v2":
        raise RuntimeError(f"the request did not reach the last route: {decision}")
    decided_us = median_decision_us(table, head, count=20_000)
    limits.row(
        "one decision past every match kind, median",
        f"{decided_us:.1f} us",
        f"{MATCH_LIMIT_US:g} us",
        holds=decided_us < MATCH_LIMIT_US,
    )
    for regex in HOSTILE_REGEXES:
        slowest_ms = max(hostile_ms(folder, regex))
        limits.row(
            f"{regex} on a path of 8 KB, median",
            f"{slowest_ms:.3f} ms",
            f"{HOSTILE_LIMIT_MS:g} ms",
            holds=slowest_ms < HOSTILE_LIMIT_MS,
        )
    return decided_us


def hostile_ms(folder: Path, regex: str) -> list[float]:
    """Milliseconds of the median decision about the hostile path, and about one that ends otherwise."""
    document = DOCUMENT.format(number=0).replace("/items/[0-9]+", f"'{regex}'")
    with tempfile.TemporaryDirectory(dir=folder) as name:
        table, _ = load_table(one_host_folder(Path(name) / "rules", document))
    return [
        median_decision_us(table, replace(request_heads(1)[0], target=path), count=50) / 1000
        for path in (HOSTILE_PATH, HOSTILE_PATH + b"!")
    ]


def bench_limits(limits: Limits, turns: int) -> None:
    """Measures mirroring with the access log against what it may cost."""
    rows = bench_goal(turns=turns)
    print()
    for row in rows:
        ratio = row.throughput.middle
        what = f"{row.scenario.mirror} mirror, with the access log"
        limits.row(f"{what}: throughput", f"{ratio:.2f}", "0.95", holds=ratio >= 0.95)
        limits.row(f"{what}: CPU a request", f"{row.cpu.middle:.2f}", "1.10", holds=row.cpu.middle <= 1.10)
        limits.row(f"{what}: p99", f"{row.p99.middle:.2f}", "1.10", holds=row.p99.middle <= 1.10)
        if row.scenario.mirror == "healthy":
            complete = row.delivered == row.sent
            limits.row(f"{what}: delivered", row.delivered_text, "all", holds=complete)


def bench_cost(arguments: argparse.Namespace) -> float:
    """Measures mirroring, and draws it. Returns the CPU of a request without a mirror, in microseconds."""
    rows = bench_mirroring(full=arguments.full, turns=arguments.turns)
    if arguments.picture:
        caption = (
            f"{datetime.now(UTC).date()}, {os.cpu_count()} cores, 16 connections, requests without a body"
        )
        arguments.picture.write_text(picture(rows, caption), "utf-8")
    ours = next(row for row in rows if row.contender == OURS.name)
    return ours.plain_cpu_us


def bench_memory(limits: Limits) -> None:
    print("\nUpload: one that is streamed and mirrored")
    for name, before, peak in bench_upload():
        grown = f"{before / 1e6:.0f} -> {peak / 1e6:.0f} MB"
        limit = f"+{MEMORY_LIMIT_BYTES / 1e6:.0f} MB"
        limits.row(f"{name}: memory before, peak", grown, limit, holds=peak - before <= MEMORY_LIMIT_BYTES)


def bench_count(limits: Limits) -> None:
    print("\nInstructions: what the proxy process executes for a request, the system's own aside")
    if not has_valgrind():
        print("  SKIPPED: they are counted with Valgrind, which is not here")
        return
    plain, ours = (count_instructions(mirrored=mirrored) for mirrored in (False, True))
    limits.row("plain mitmdump, in millions", f"{plain[0] / 1e6:.2f}-{plain[1] / 1e6:.2f}")
    limits.row("100 % mirrored, with the access log", f"{ours[0] / 1e6:.2f}-{ours[1] / 1e6:.2f}")
    low, high = (mirrored / alone for mirrored, alone in zip(ours, plain, strict=True))
    limits.row("ratio", f"{low:.2f}-{high:.2f}", "1.10", holds=high <= 1.10)


def bench_parts(limits: Limits) -> None:
    print("\nShares: what the parts of the addon take of the proxy's CPU, all mirrored and logged")
    shares = bench_shares()
    rows = {
        **shares.parts_us,
        "all of this addon": sum(shares.parts_us.values()),
        "Python's garbage collector, the proxy's and ours": shares.collector_us,
        "the proxy": shares.cpu_us,
    }
    for what, value_us in rows.items():
        limits.row(what, f"{value_us:.1f} us {value_us / shares.cpu_us:6.1%}")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Measures the addon, as ratios in one run."
    )
    parser.add_argument(
        "--turns", type=int, default=18, help="pairs of turns of each proxy that mirrors (default: 18)"
    )
    parser.add_argument(
        "--full", action="store_true", help="every way of mirroring in every state, which takes an hour"
    )
    parser.add_argument(
        "--picture", type=Path, help="where to draw what mirroring costs, such as docs/bench.svg"
    )
    parser.add_argument("--only", choices=PARTS, help="one part only")
    arguments = parser.parse_args()
    limits = Limits()
    with tempfile.TemporaryDirectory(prefix="mitm-mirror-bench-") as name:
        folder = Path(name)
        parts = {arguments.only} if arguments.only else set(PARTS)
        if "rules" in parts:
            bench_rules(folder, limits)
        decided_us = bench_matches(folder, limits) if "matches" in parts else None
        if "upload" in parts:
            bench_memory(limits)
        if "instructions" in parts:
            bench_count(limits)
        if "shares" in parts:
            bench_parts(limits)
        if "goal" in parts:
            bench_limits(limits, arguments.turns)
        if "layers" in parts:
            bench_layers(turns=arguments.turns)
        if "mirroring" in parts:
            plain_us = bench_cost(arguments)
            if decided_us is not None:
                share = decided_us / plain_us
                limits.row("one decision past every match kind, as a share of that", f"{share:.1%}")
    for broken in limits.broken:
        print(f"\nlimit not kept: {broken}")
    return 1 if limits.broken else 0


if __name__ == "__main__":
    sys.exit(main())

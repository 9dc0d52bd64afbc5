import random
from collections import Counter

import pytest

from mitm_mirror.observe.compare import Verdict
from mitm_mirror.observe.ledger import (
    Counts,
    Ledger,
    LedgerSnapshot,
    MirrorKey,
    OpenPair,
    render_requests,
    render_table,
    render_totals,
)
from mitm_mirror.outcome import Outcome

V2 = MirrorKey("default/httpbin", "http[0]", "outbound|8080|v2|httpbin.default.svc.cluster.local")
V3 = MirrorKey("default/httpbin", "http[0]", "outbound|8080|v3|httpbin.default.svc.cluster.local")
OTHER = MirrorKey("shop/cart", "canary", "outbound|80||cart.shop.svc.cluster.local")


def fill(ledger: Ledger, policy: MirrorKey, pending: int = 0, **ended: int) -> None:
    for name, count in ended.items():
        for _ in range(count):
            ledger.open(policy).close(Outcome(name))
    for _ in range(pending):
        ledger.open(policy)


def assert_adds_up(snapshot: LedgerSnapshot) -> None:
    for counts in (*snapshot.policies.values(), snapshot.totals):
        assert counts.opened == sum(counts.ended.values()) + counts.pending
    assert snapshot.totals.opened == sum(counts.opened for counts in snapshot.policies.values())
    assert snapshot.totals.pending == sum(counts.pending for counts in snapshot.policies.values())


def test_a_new_ledger_is_empty() -> None:
    snapshot = Ledger().snapshot()

    assert snapshot == LedgerSnapshot(forwarded=0, answered={}, policies={})
    assert snapshot.matched == 0
    assert snapshot.totals == Counts(0, 0, {})


def test_a_pair_is_pending_until_it_ends() -> None:
    ledger = Ledger()
    pair = ledger.open(V2)
    before = ledger.snapshot()

    pair.close(Outcome.TIMEOUT)

    assert before.policies == {V2: Counts(opened=1, pending=1, ended={})}
    assert ledger.snapshot().policies == {V2: Counts(opened=1, pending=0, ended={Outcome.TIMEOUT: 1})}
    assert pair.outcome is Outcome.TIMEOUT


def test_ending_a_pair_twice_raises_and_counts_once() -> None:
    ledger = Ledger()
    ledger.open(V2)  # its being pending must not hide the double end of the other
    pair = ledger.open(V2)
    pair.close(Outcome.OK)

    with pytest.raises(RuntimeError, match=r"httpbin.*ended twice: as ok, and now as lost"):
        pair.close(Outcome.LOST)

    assert ledger.snapshot().policies[V2] == Counts(opened=2, pending=1, ended={Outcome.OK: 1})


@pytest.mark.parametrize("seed", range(5))
def test_any_interleaving_adds_up_at_every_moment(seed: int) -> None:
    draw = random.Random(seed)
    ledger = Ledger()
    pairs: list[OpenPair] = []
    expected: Counter[tuple[MirrorKey, Outcome]] = Counter()
    opened: Counter[MirrorKey] = Counter()
    for _ in range(2000):
        if pairs and draw.random() < 0.5:
            pair = pairs.pop(draw.randrange(len(pairs)))
            outcome = draw.choice(list(Outcome))
            expected[pair.policy, outcome] += 1
            pair.close(outcome)
        else:
            policy = draw.choice((V2, V3, OTHER))
            opened[policy] += 1
            pairs.append(ledger.open(policy))
        assert_adds_up(ledger.snapshot())

    snapshot = ledger.snapshot()
    assert opened == {policy: counts.opened for policy, counts in snapshot.policies.items()}
    assert expected == {
        (policy, outcome): count
        for policy, counts in snapshot.policies.items()
        for outcome, count in counts.ended.items()
    }
    assert snapshot.totals.pending == len(pairs) > 0


def test_a_request_with_two_mirrors_opens_two_pairs_and_matches_once() -> None:
    ledger = Ledger()
    ledger.count_forwarded()
    ledger.open(V2).close(Outcome.OK)
    ledger.open(V3).close(Outcome.NOT_SAMPLED)

    snapshot = ledger.snapshot()

    assert snapshot.matched == 1
    assert snapshot.totals == Counts(2, 0, {Outcome.OK: 1, Outcome.NOT_SAMPLED: 1})


def test_every_matched_request_is_forwarded_or_answered() -> None:
    ledger = Ledger()
    for _ in range(98):
        ledger.count_forwarded()
    ledger.count_answered("redirect")
    ledger.count_answered("no_route")

    snapshot = ledger.snapshot()

    assert snapshot.matched == 100
    assert render_requests(snapshot) == "matched 100, forwarded 98, answered 2 (no_route 1, redirect 1)"


def test_a_snapshot_does_not_change() -> None:
    ledger = Ledger()
    fill(ledger, V2, ok=1)
    ledger.count_answered("redirect")
    snapshot = ledger.snapshot()

    fill(ledger, V2, ok=1, timeout=1)
    fill(ledger, OTHER, pending=1)
    ledger.count_answered("redirect")

    assert snapshot == LedgerSnapshot(0, {"redirect": 1}, {V2: Counts(1, 0, {Outcome.OK: 1})})


def test_outcomes_come_in_the_order_of_the_enum_and_policies_sorted() -> None:
    ledger = Ledger()
    fill(ledger, OTHER, loop=1, timeout=1, ok=1)
    fill(ledger, V2, ok=1)

    snapshot = ledger.snapshot()

    assert list(snapshot.policies) == [V2, OTHER]
    assert list(snapshot.policies[OTHER].ended) == [Outcome.OK, Outcome.TIMEOUT, Outcome.LOOP]


@pytest.mark.parametrize(
    ("pending", "ended", "expected"),
    [
        pytest.param(0, {}, "mirror: 0 shadows; 0 pending", id="nothing"),
        pytest.param(0, {"ok": 1}, "mirror: 1 shadow: ok 1; 0 pending", id="one"),
        pytest.param(2, {}, "mirror: 2 shadows; 2 pending", id="only pending"),
        pytest.param(
            0, {"timeout": 10, "ok": 9990}, "mirror: 10000 shadows: ok 9990, timeout 10; 0 pending", id="many"
        ),
    ],
)
def test_totals_are_one_line(pending: int, ended: dict[str, int], expected: str) -> None:
    ledger = Ledger()
    fill(ledger, V2, pending, **ended)

    assert expected == render_totals(ledger.snapshot())


def test_the_table_of_no_traffic() -> None:
    expected = """\
requests
   matched                    0
   forwarded                  0

all mirrors
   shadows                    0
   pending                    0"""

    assert expected == render_table(Ledger().snapshot())


def test_the_table_shows_each_policy_and_the_sum() -> None:
    ledger = Ledger()
    for _ in range(1200):
        ledger.count_forwarded()
    ledger.count_answered("no_endpoint")
    fill(ledger, V2, ok=1190, connect_error=9, pending=1)
    fill(ledger, OTHER, body_too_large=2)

    expected = """\
requests
   matched                 1201
   forwarded               1200
   no_endpoint                1

default/httpbin  http[0]
-> outbound|8080|v2|httpbin.default.svc.cluster.local
   shadows                 1200
   ok                      1190    99.2%
   connect_error              9     0.8%
   pending                    1

shop/cart  canary
-> outbound|80||cart.shop.svc.cluster.local
   shadows                    2
   body_too_large             2   100.0%
   pending                    0

all mirrors
   shadows                 1202
   ok                      1190    99.0%
   connect_error              9     0.7%
   body_too_large             2     0.2%
   pending                    1"""
    assert expected == render_table(ledger.snapshot())


def test_what_comparisons_came_to_is_counted_beside_the_outcomes() -> None:
    ledger = Ledger()
    for verdict in (Verdict.NOT_COMPARED, Verdict.EQUAL, Verdict.EQUAL):
        pair = ledger.open(V2)
        pair.close(Outcome.OK)
        pair.compared(verdict)
    fill(ledger, OTHER, ok=1)

    snapshot = ledger.snapshot()

    assert snapshot.policies[V2].compared == {Verdict.EQUAL: 2, Verdict.NOT_COMPARED: 1}
    assert snapshot.policies[OTHER].compared == {}
    assert snapshot.totals == Counts(4, 0, {Outcome.OK: 4}, {Verdict.EQUAL: 2, Verdict.NOT_COMPARED: 1})
    assert """\
   pending                    0
   equal                      2
   not compared               1""" in render_table(snapshot)


def test_the_table_fits_80_columns_with_every_outcome() -> None:
    ledger = Ledger()
    fill(ledger, V2, **dict.fromkeys(Outcome, 1))
    for reason in ("redirect", "direct_response", "no_route", "no_endpoint"):
        ledger.count_answered(reason)

    assert max(map(len, render_table(ledger.snapshot()).splitlines())) <= 80

"""Two versions that differ in one field, both with a random id and a clock: what is named, with and without
a third copy."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from uuid import UUID

from mitm_mirror.observe.compare import Comparison, Response, compare_responses
from mitm_mirror.observe.formats import format_json
from mitm_mirror.observe.noise import NoiseLearner
from mitm_mirror.observe.record import AccessRecord
from mitm_mirror.observe.report.lines import parse_line
from mitm_mirror.observe.report.summary import MirrorReport, summarise
from mitm_mirror.observe.report.tally import Tally
from mitm_mirror.outcome import Outcome

ROUTE = "default/shop http[0]"


def answer(random: Random, number: int, *, version: int) -> Response:
    body = {
        "id": str(UUID(int=random.getrandbits(128), version=4)),
        "at": f"2026-11-22T15:{number // 60:02}:{random.uniform(0, 60):09.6f}Z",
        "items": [{"sku": f"sku-{i}", "trace": f"{random.getrandbits(64):016x}"} for i in range(3)],
        "currency": "EUR" if version == 1 else "eur",
    }
    return Response(200, ((b"content-type", b"application/json"),), json.dumps(body).encode())


def record(number: int, comparison: Comparison) -> AccessRecord:
    return AccessRecord(
        copy="shadow",
        id=str(number),
        start_time=1795361610.0 + number,
        client="192.0.2.7",
        method="GET",
        target=b"/cart",
        http_version="HTTP/1.1",
        authority="shop-shadow",
        status=200,
        outcome=Outcome.OK,
        compared_status=200,
        comparison=comparison,
    )


def over_a_thousand_requests(judge: Callable[[Response, int, Comparison], Comparison]) -> MirrorReport:
    random = Random(1)
    tally = Tally()
    for number in range(1000):
        primary = answer(random, number, version=1)
        comparison = judge(primary, number, compare_responses(primary, answer(random, number, version=2)))
        tally.add(parse_line(format_json(record(number, comparison)).encode()))
    made_at = datetime(2026, 11, 22, tzinfo=UTC)
    return summarise(tally, logs=[], bad_lines=0, made_at=made_at, version="0").mirrors[0]


def test_with_a_third_copy_one_field_is_named_and_no_other() -> None:
    learner, random = NoiseLearner(), Random(2)

    def judge(primary: Response, number: int, comparison: Comparison) -> Comparison:
        learner.learn(ROUTE, compare_responses(primary, answer(random, number, version=1)))
        return learner.judge(ROUTE, comparison)

    mirror = over_a_thousand_requests(judge)

    assert [(field.path, field.answers) for field in mirror.fields] == [("json.currency", 1000)]
    assert {field.path for field in mirror.noise} == {"json.id", "json.at", "json.items[*].trace"}
    assert all(field.noise for field in mirror.noise)


def test_without_one_it_is_said_which_fields_might_be_noise_and_why() -> None:
    mirror = over_a_thousand_requests(lambda _primary, _number, comparison: comparison)

    assert {field.path: field.might_be_noise for field in mirror.fields} == {
        "json.currency": "",
        "json.id": "all values look like UUIDs",
        "json.at": "all values look like points in time",
        "json.items[*].trace": "all values look like random tokens",
    }

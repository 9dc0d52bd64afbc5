from collections import Counter

import pytest

from mitm_mirror.outcome import Outcome
from mitm_mirror.resources.virtual_service import HTTPRoute, Percent
from mitm_mirror.routing.decision import Forward, HeaderOperations, MirrorCopy
from mitm_mirror.routing.mirror import percentage_millionths, route_millionths

MIRROR = """
  - route: [{destination: {host: httpbin, subset: v1}}]
    mirror: {host: httpbin, subset: v2}
"""


def copies(decision: object) -> tuple[MirrorCopy, ...]:
    assert isinstance(decision, Forward)
    return decision.mirrors


@pytest.mark.parametrize(
    ("spec", "millionths"),
    [
        pytest.param({}, 1_000_000, id="absent is all"),
        pytest.param({"mirrorPercentage": {}}, 0, id="empty is none"),
        pytest.param({"mirrorPercentage": {"value": 0}}, 0, id="explicit zero is none"),
        pytest.param({"mirrorPercentage": {"value": 100}}, 1_000_000, id="all"),
        pytest.param({"mirrorPercentage": {"value": 0.57}}, 5_699, id="cut off, as in Istio"),
        pytest.param({"mirrorPercentage": {"value": 0.00009}}, 0, id="below one in a million"),
        pytest.param({"mirrorPercent": 25}, 250_000, id="the deprecated field"),
        pytest.param({"mirrorPercent": 0}, 0, id="the deprecated field, zero"),
        pytest.param(
            {"mirrorPercent": 25, "mirrorPercentage": {"value": 1}}, 10_000, id="the new field wins"
        ),
    ],
)
def test_shares_in_parts_per_million(spec: dict[str, object], millionths: int) -> None:
    assert route_millionths(HTTPRoute.model_validate(spec)) == millionths


@pytest.mark.parametrize(
    ("percentage", "millionths"), [(None, 1_000_000), (Percent(), 0), (Percent(value=2), 20_000)]
)
def test_shares_of_policies(percentage: Percent | None, millionths: int) -> None:
    assert percentage_millionths(percentage) == millionths


def test_one_number_serves_all_mirrors_of_a_request(rules, http, head, draws) -> None:
    """25 % and 60 % come out nested: nobody is in the smaller share alone."""
    table = rules(
        http("""
  - route: [{destination: {host: httpbin, subset: v1}}]
    mirrors:
    - {destination: {host: httpbin, subset: v2}, percentage: {value: 25}}
    - {destination: {host: other.example.com, subset: ""}, percentage: {value: 60}}
""")
    )
    counts = Counter(
        tuple(copy.outcome for copy in copies(table.decide(head(), draws(i / 100, 0.0)))) for i in range(100)
    )

    skipped = Outcome.NOT_SAMPLED
    assert counts == {(None, None): 25, (skipped, None): 35, (skipped, skipped): 40}


@pytest.mark.parametrize("share", ["{}", "{value: 0}", "{value: 0.00001}"])
def test_a_mirror_that_can_never_fire_is_left_out(rules, http, head, draws, share: str) -> None:
    table = rules(http(f"{MIRROR}    mirrorPercentage: {share}"))

    assert copies(table.decide(head(), draws())) == ()


def test_a_skipped_copy_still_says_whose_it_is(rules, http, head, draws) -> None:
    table = rules(http(f"{MIRROR}    mirrorPercentage: {{value: 50}}"))

    (copy,) = copies(table.decide(head(), draws(0.5)))

    assert (copy.outcome, copy.target) == (Outcome.NOT_SAMPLED, None)
    assert copy.destination == "outbound|80|v2|httpbin.default.svc.cluster.local"


@pytest.mark.parametrize(
    ("method", "numbers", "outcome"),
    [
        pytest.param("GET", (0.0,), None, id="a method that is listed"),
        pytest.param("POST", (), Outcome.METHOD_GUARDED, id="one that is not is settled without a draw"),
        pytest.param("get", (), Outcome.METHOD_GUARDED, id="methods have case"),
    ],
)
def test_guarded_methods(rules, http, head, draws, method: str, numbers: tuple[float, ...], outcome) -> None:
    table = rules(http(f"{MIRROR}    mirrorPercentage: {{value: 50}}", '{mitm-mirror/methods: "GET, HEAD"}'))

    (copy,) = copies(table.decide(head(method=method), draws(*numbers)))

    assert copy.outcome is outcome


@pytest.mark.parametrize(
    ("share", "numbers", "outcome"),
    [
        pytest.param("{value: 100}", (), Outcome.NO_ENDPOINT, id="an unknown mirror"),
        pytest.param("{value: 50}", (0.7,), Outcome.NOT_SAMPLED, id="not sampled comes before"),
    ],
)
def test_a_mirror_without_an_endpoint(rules, http, head, draws, share, numbers, outcome) -> None:
    table = rules(
        http(f"""
  - route: [{{destination: {{host: httpbin, subset: v1}}}}]
    mirror: {{host: nobody}}
    mirrorPercentage: {share}
""")
    )

    (copy,) = copies(table.decide(head(), draws(*numbers)))

    assert (copy.outcome, copy.target) == (outcome, None)
    assert copy.destination == "outbound|8080||nobody.default.svc.cluster.local"


@pytest.mark.parametrize(
    ("host", "authority", "sni"),
    [
        pytest.param("suffix", "httpbin-shadow:8080", "httpbin", id="suffix before the port"),
        pytest.param("keep", "httpbin:8080", "httpbin", id="as the primary's"),
        pytest.param("uat.example.com:81", "uat.example.com:81", "uat.example.com", id="a literal host"),
    ],
)
def test_the_shadows_host(rules, http, head, draws, host: str, authority: str, sni: str) -> None:
    table = rules(http(MIRROR, f"{{mitm-mirror/host: '{host}'}}"))

    (copy,) = copies(table.decide(head(), draws()))

    assert (copy.authority, copy.sni) == (authority, sni)


def test_copies_that_are_always_the_same_are_made_once_a_host_and_no_client_can_fill_memory(
    rules, http, head, draws
) -> None:
    """Also where the path or the way of sending is decided each time."""
    table = rules(http(f"{MIRROR}    rewrite: {{uri: /a}}"))
    first = copies(table.decide(head(), draws()))
    other = copies(table.decide(head(authority="httpbin.default"), draws()))

    assert copies(table.decide(head("/other"), draws())) is first
    assert [copy.authority for copy in (*first, *other)] == ["httpbin-shadow:8080", "httpbin.default-shadow"]

    for port in range(1, 1000):
        (copy,) = copies(table.decide(head(authority=f"httpbin:{port}"), draws()))
        assert copy.authority == f"httpbin-shadow:{port}"
    assert copies(table.decide(head(), draws())) == first
    assert copies(table.decide(head(), draws())) is not first


def test_annotations_about_headers_and_time(rules, http, head, draws) -> None:
    headers = "mitm-mirror/set-headers: 'X-Shadow: yes', mitm-mirror/remove-headers: Cookie"
    annotations = f"{{{headers}, mitm-mirror/timeout: 2s}}"

    (copy,) = copies(rules(http(MIRROR, annotations)).decide(head(), draws()))

    assert copy.headers == HeaderOperations(remove=frozenset([b"cookie"]), set=((b"X-Shadow", b"yes"),))
    assert copy.timeout_s == 2.0


HALF = f"{MIRROR}    mirrorPercentage: {{value: 50}}"


@pytest.mark.parametrize(
    ("sample_by", "user"),
    [
        pytest.param("client", lambda name: {"client": name}, id="client"),
        pytest.param("header:X-User", lambda name: {"headers": ((b"x-user", name.encode()),)}, id="header"),
        pytest.param(
            "cookie:user",
            lambda name: {"headers": ((b"Cookie", b"a=b; user=" + name.encode() + b"; c=d"),)},
            id="cookie",
        ),
    ],
)
def test_the_same_user_is_always_in_or_out(rules, http, head, draws, sample_by: str, user) -> None:
    """Nothing is drawn. The counts are fixed by the hash, so they are the same in every process."""
    table = rules(http(HALF, f"{{mitm-mirror/sample-by: '{sample_by}'}}"))
    names = [f"user-{i}" for i in range(1000)]

    sampled = [[copies(table.decide(head(**user(n)), draws()))[0].outcome for n in names] for _ in range(2)]

    assert sampled[0] == sampled[1]
    assert Counter(sampled[0]) == {None: 472, Outcome.NOT_SAMPLED: 528}


@pytest.mark.parametrize(
    "sample_by", [pytest.param("header:x-user", id="no header"), pytest.param("cookie:user", id="no cookie")]
)
def test_chance_decides_about_a_request_without_a_user(rules, http, head, draws, sample_by: str) -> None:
    table = rules(http(HALF, f"{{mitm-mirror/sample-by: '{sample_by}'}}"))

    outcomes = [
        copies(table.decide(head(headers=((b"Cookie", b"user"),)), draws(n)))[0].outcome for n in (0.4, 0.6)
    ]

    assert outcomes == [None, Outcome.NOT_SAMPLED]

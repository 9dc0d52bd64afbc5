"""Istio's public samples and task pages: each loads as it is, and routes as its page says.

The rules are worded anew and their services are on loopback; each file names its page.
"""
# ruff: noqa: E501 - a table reads best with one case a line

from collections import Counter
from pathlib import Path

import pytest

from mitm_mirror.resources.issue import Severity
from mitm_mirror.resources.not_acted_on import ROWS
from mitm_mirror.routing.decision import Answer, Decision, Forward
from mitm_mirror.routing.request import HeaderFields, RequestHead
from mitm_mirror.routing.vantage import MESH, parse_vantage
from mitm_mirror.rule_set import RuleSet, load_rule_set

FOLDER = Path(__file__).parent
SAMPLES = sorted(path.name for path in FOLDER.glob("*.yaml"))

# The files of a task that are in force together with its own.
BESIDE = {
    "ingress-bookinfo.yaml": ["bookinfo.yaml"],
    "ingress-helloworld.yaml": ["helloworld.yaml"],
    "ingress-httpbin.yaml": ["httpbin.yaml"],
    "mirroring.yaml": ["httpbin.yaml"],
}
BOOKINFO = ("request", "traffic", "fault", "virtual", "delegates")

# Samples for the proxies of a gateway; all others are for sidecars.
GATEWAYS = {
    "ingress-bookinfo.yaml": "bookinfo-gateway",
    "ingress-helloworld.yaml": "helloworld-gateway",
    "ingress-httpbin.yaml": "httpbin-gateway",
    "istiod.yaml": "istiod-gateway",
    "websockets.yaml": "tornado-gateway",
}

DRAWS = 1_000
"""Decisions are made for this many evenly spaced numbers in the place of chance, so that shares come out exactly."""


def load(sample: str) -> RuleSet:
    beside = BESIDE.get(sample, ["bookinfo.yaml"] if sample.startswith(BOOKINFO) else [])
    paths = [str(FOLDER / name) for name in dict.fromkeys([*beside, sample])]
    return load_rule_set(paths, vantage=parse_vantage([GATEWAYS.get(sample, MESH)], "default", ""))


def request(url: str, headers: HeaderFields = (), method: str = "GET") -> RequestHead:
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    _, _, port = authority.partition(":")
    return RequestHead(
        method=method,
        scheme=scheme,
        authority=authority,
        target=f"{slash}{path}".encode(),
        headers=((b"Host", authority.encode()), *headers),
        port=int(port) if port else {"http": 80, "https": 443}[scheme],
        client="127.0.0.1",
    )


def shown(decision: Decision) -> str:
    """What becomes of a request, as the table words it."""
    if isinstance(decision, Answer):
        return f"{decision.status}" + (f" after {decision.delay_s:g} s" if decision.delay_s else "")
    if not isinstance(decision, Forward):
        return "passes through"
    target = decision.target
    host = target.host.partition(".default.")[0]
    tls = f", TLS for {decision.sni}" if target.endpoint.scheme == "https" else ""
    text = f"{host} {target.subset}".strip() + f" at {target.endpoint.host_port}{tls}"
    if decision.delay_s:
        text += f" after {decision.delay_s:g} s"
    for mirror in decision.mirrors:
        assert mirror.target is not None
        text += (
            f", copy as {mirror.authority} to {mirror.target.subset} at {mirror.target.endpoint.host_port}"
        )
    return text


def decisions(sample: str, head: RequestHead) -> dict[str, int]:
    """What becomes of `DRAWS` requests, with its count."""
    table = load(sample).table
    return dict(Counter(shown(table.decide(head, lambda n=n: n / DRAWS)) for n in range(DRAWS)))


@pytest.mark.parametrize("sample", SAMPLES)
def test_loads_with_no_warning_but_of_fields_that_are_not_acted_on(sample: str) -> None:
    rule_set = load(sample)
    expected = {row.message for rows in ROWS.values() for row in rows}

    assert [str(issue) for issue in rule_set.errors] == []
    warnings = [issue for issue in rule_set.issues if issue.severity is Severity.WARNING]
    assert [str(issue) for issue in warnings if issue.message not in expected] == []


JASON = ((b"end-user", b"jason"),)
JANE = ((b"end-user", b"jane"),)
OURS = ((b"cookie", b"a=b;email=jane@some-company-name.com;c=d"),)
THEIRS = ((b"cookie", b"email=jane@elsewhere.example"),)

CASES = [
    ("request-routing-v1.yaml", "http://productpage:9080/productpage", (), "productpage v1 at 127.0.0.1:9001"),
    ("request-routing-v1.yaml", "http://reviews:9080/reviews/0", (), "reviews v1 at 127.0.0.1:9011"),
    ("request-routing-v1.yaml", "http://ratings:9080/ratings/0", (), "ratings v1 at 127.0.0.1:9021"),
    ("request-routing-v1.yaml", "http://details:9080/details/0", (), "details v1 at 127.0.0.1:9031"),
    ("request-routing-by-user.yaml", "http://reviews:9080/reviews/0", JASON, "reviews v2 at 127.0.0.1:9012"),
    ("request-routing-by-user.yaml", "http://reviews:9080/reviews/0", JANE, "reviews v1 at 127.0.0.1:9011"),
    ("request-routing-by-user.yaml", "http://reviews:9080/reviews/0", (), "reviews v1 at 127.0.0.1:9011"),
    ("traffic-shifting-all.yaml", "http://reviews:9080/reviews/0", (), "reviews v3 at 127.0.0.1:9013"),
    ("fault-delay.yaml", "http://ratings:9080/ratings/0", JASON, "ratings v1 at 127.0.0.1:9021 after 7 s"),
    ("fault-delay.yaml", "http://ratings:9080/ratings/0", (), "ratings v1 at 127.0.0.1:9021"),
    ("fault-abort.yaml", "http://ratings:9080/ratings/0", JASON, "500"),
    ("fault-abort.yaml", "http://ratings:9080/ratings/0", (), "ratings v1 at 127.0.0.1:9021"),
    ("fault-details.yaml", "http://details:9080/details/0", (), "555"),
    ("request-timeouts.yaml", "http://reviews:9080/reviews/0", (), "reviews v2 at 127.0.0.1:9012"),
    ("request-timeouts.yaml", "http://ratings:9080/ratings/0", (), "ratings v1 at 127.0.0.1:9021 after 2 s"),
    ("virtual-machine.yaml", "http://ratings:9080/ratings/0", (), "ratings v2-mysql-vm at 127.0.0.1:9022"),
    ("delegates.yaml", "http://bookinfo.com/productpage/v1/a", (), "productpage v1 at 127.0.0.1:9001"),
    ("delegates.yaml", "http://bookinfo.com/productpage", (), "productpage at 127.0.0.1:9001"),
    ("delegates.yaml", "http://bookinfo.com/reviews/0", (), "reviews v3 at 127.0.0.1:9013"),
    ("delegates.yaml", "http://bookinfo.com/", (), "404"),
    ("mirroring.yaml", "http://httpbin:8000/get", (),
     "httpbin v1 at 127.0.0.1:9041, copy as httpbin-shadow:8000 to v2 at 127.0.0.1:9042"),
    ("circuit-breaking.yaml", "http://httpbin:8000/get", (), "httpbin at 127.0.0.1:9041"),
    ("egress-http.yaml", "http://httpbin.org/delay/5", (), "httpbin.org at 127.0.0.1:9051"),
    ("egress-http.yaml", "https://www.google.com/", (), "passes through"),
    ("egress-tls-origination.yaml", "http://edition.cnn.com/politics", (),
     "edition.cnn.com at edition.cnn.com:443, TLS for edition.cnn.com"),
    ("egress-tls-origination.yaml", "https://edition.cnn.com/politics", (),
     "edition.cnn.com at edition.cnn.com:443, TLS for edition.cnn.com"),
    ("egress-googleapis.yaml", "http://www.googleapis.com/books/v1/volumes", (),
     "www.googleapis.com at www.googleapis.com:443, TLS for www.googleapis.com"),
    ("egress-googleapis.yaml", "https://www.googleapis.com/books/v1/volumes", (), "passes through"),
    ("egress-wildcard.yaml", "https://en.wikipedia.org/wiki/Main_Page", (), "passes through"),
    ("egress-wildcard.yaml", "http://deb.debian.org/debian/", (), "passes through"),
    ("helloworld.yaml", "http://helloworld:5000/hello", THEIRS, "helloworld v1 at 127.0.0.1:9061"),
    ("helloworld.yaml", "http://helloworld:5000/hello", (), "helloworld v1 at 127.0.0.1:9061"),
    ("locality.yaml", "http://helloworld.sample:5000/hello", (),
     "helloworld.sample.svc.cluster.local at 127.0.0.1:9061"),
    ("websockets.yaml", "http://tornado.example.com/", (), "tornado at 127.0.0.1:9071"),
    ("websockets.yaml", "http://tornado.example.com/websocket",
     ((b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")), "tornado at 127.0.0.1:9071"),
    ("ingress-bookinfo.yaml", "http://203.0.113.5/productpage?u=normal", (), "productpage at 127.0.0.1:9001"),
    ("ingress-bookinfo.yaml", "http://books.example/static/bootstrap.css", (), "productpage at 127.0.0.1:9001"),
    ("ingress-bookinfo.yaml", "http://books.example/login", (), "productpage at 127.0.0.1:9001"),
    ("ingress-bookinfo.yaml", "http://books.example/api/v1/products/0/reviews", (), "productpage at 127.0.0.1:9001"),
    ("ingress-bookinfo.yaml", "http://books.example/", (), "404"),
    ("ingress-helloworld.yaml", "http://203.0.113.5/hello", (), "helloworld v1 at 127.0.0.1:9061"),
    ("ingress-helloworld.yaml", "http://203.0.113.5/hello/you", (), "404"),
    ("ingress-httpbin.yaml", "http://httpbin.example.com/status/200", (), "httpbin v1 at 127.0.0.1:9041"),
    ("ingress-httpbin.yaml", "http://httpbin.example.com/delay/5", (), "httpbin v1 at 127.0.0.1:9041"),
    ("ingress-httpbin.yaml", "http://httpbin.example.com/headers", (), "404"),
    ("istiod.yaml", "https://istiod.example.com:15012/", (),
     "istiod.istio-system.svc.cluster.local at 127.0.0.1:15012, TLS for istiod.example.com"),
    ("istiod.yaml", "https://istiod.example.com:15017/inject", (),
     "istiod.istio-system.svc.cluster.local at 127.0.0.1:15017, TLS for istiod.example.com"),
    ("istiod.yaml", "https://istiod.example.com/", (), "passes through"),
    ("tcp-echo.yaml", "http://tcp-echo:9000/", (), "passes through"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sample", "url", "headers", "expected"),
    [pytest.param(*case, id=f"{case[0]} {case[1].partition('://')[2]} {n}") for n, case in enumerate(CASES)],
)
def test_every_request_of_a_kind_goes_one_way(
    sample: str, url: str, headers: HeaderFields, expected: str
) -> None:
    assert decisions(sample, request(url, headers)) == {expected: DRAWS}


SHARES = [
    ("traffic-shifting-half.yaml", "http://reviews:9080/reviews/0", (),
     {"reviews v1 at 127.0.0.1:9011": 500, "reviews v3 at 127.0.0.1:9013": 500}),
    ("traffic-shifting-first-share.yaml", "http://reviews:9080/reviews/0", (),
     {"reviews v1 at 127.0.0.1:9011": 800, "reviews v2 at 127.0.0.1:9012": 200}),
    ("helloworld.yaml", "http://helloworld:5000/hello", OURS,
     {"helloworld v1 at 127.0.0.1:9061": 900, "helloworld v2 at 127.0.0.1:9062": 100}),
    ("fault-rare-delay.yaml", "http://ratings:9080/ratings/0", (),
     {"ratings v1 at 127.0.0.1:9021": 999, "ratings v1 at 127.0.0.1:9021 after 5 s": 1}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sample", "url", "headers", "expected"), [pytest.param(*case, id=case[0]) for case in SHARES]
)
def test_shares(sample: str, url: str, headers: HeaderFields, expected: dict[str, int]) -> None:
    assert decisions(sample, request(url, headers)) == expected


@pytest.mark.parametrize("sample", GATEWAYS)
def test_what_is_for_a_gateway_is_not_for_a_sidecar(sample: str) -> None:
    """The default: then nothing of it is routed, and a warning says so."""
    rule_set = load_rule_set([str(FOLDER / sample)])

    assert rule_set.table.virtual_service_count == 0
    assert any(GATEWAYS[sample] in issue.message for issue in rule_set.issues)


def test_every_sample_has_a_request() -> None:
    only_routed_to = {"bookinfo.yaml", "httpbin.yaml"}

    assert {case[0] for case in (*CASES, *SHARES)} == set(SAMPLES) - only_routed_to

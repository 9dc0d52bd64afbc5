"""Generated VirtualServices and requests: whatever the rules say, Envoy and the addon do the same.

What fails is shrunk to a small rule and one request, printed as a case for cases.yaml.
MIRROR_PARITY_BATCHES=100 in the environment compares that many batches of about 60 pairs,
MIRROR_PARITY_SEED=1 others.
"""

import json
import os
from collections import Counter
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from lab.parity import parse_request
from mitm_mirror.export.routes import RouteExporter

BATCHES = int(os.environ.get("MIRROR_PARITY_BATCHES", "20"))
BATCH_SIZE = 20
SEED = os.environ.get("MIRROR_PARITY_SEED")
HOST = "{host}"  # until each VirtualService gets its own

# In each list the plainest comes first: that is where shrinking goes.
SEGMENTS = ["/", "/a", "/A", "/ab", "/a/b", "/a/", "/b.c", "/%2F", "/../a", "//a", "/a|b", "/1", "/22"]
URI_REGEXES = ["/", ".*", "/a.*", "/[ab]+", "(?i)/a/.*", r"/\d+", "/(a|b)(/.*)?", "/.*a.*b"]
VALUES = ["a", "A", "ab", "a b", "1", "22", "a,b", ""]
VALUE_REGEXES = [".*", ".+", "a.*", r"\d+", "(?i)a", "a|b"]
QUERIES = ["", "?", "?a", "?a=", "?a=1", "?a=a&b=1", "?b=22&a=ab", "?A=a", "?a=1&a=a"]
QUERIES += ["?&&b=a", "?a=a%20b", "?a?b=1"]
METHODS = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"]
NAMES = ["x-a", "X-B", "user-agent"]
REWRITES = [("a", "z"), ("^/(.*)$", r"/p/\1"), ("/([^/]*)/?(.*)", r"/\2/\1"), ("/+", "/"), ("b?", "-")]
PORTS = ["", ":80", ":8080", ":9"]
ORIGINS = ["http://a", "http://b.test", "https://b.test:8443", "null"]
STATUSES = [200, 204, 404, 418, 503]
GRPC = ["OK", "UNKNOWN", "NOT_FOUND", "UNAVAILABLE", "UNAUTHENTICATED"]

one = st.sampled_from


def maps(**optional: Any) -> Any:
    """Maps with any of these keys, at first with none."""
    return st.fixed_dictionaries({}, optional=optional)


def some(most: int, **parts: Any) -> Any:
    """Maps with up to `most` of these keys: with all at once, a rule would seldom apply to a request."""
    each = st.one_of(*(st.fixed_dictionaries({name: value}) for name, value in parts.items()))
    return st.lists(each, max_size=most).map(lambda found: {k: v for part in found for k, v in part.items()})


def often(weights: list[int], *strategies: Any) -> Any:
    """One of the strategies; the first, which shrinking prefers, may be the seldom one."""
    places = [place for place, weight in enumerate(weights) for _ in range(weight)]
    return one(places).flatmap(lambda place: strategies[place])


def matches(values: list[str], regexes: list[str]) -> Any:
    return st.one_of(
        st.fixed_dictionaries({"prefix": one([value for value in values if value])}),
        st.fixed_dictionaries({"exact": one([value for value in values if value])}),
        st.fixed_dictionaries({"regex": one(regexes)}),
    )


paths = st.one_of(one(SEGMENTS), st.builds(str.__add__, one(SEGMENTS), one(SEGMENTS)))
uris = st.one_of(
    st.fixed_dictionaries({"prefix": paths}),
    st.fixed_dictionaries({"exact": paths}),
    st.fixed_dictionaries({"regex": one(URI_REGEXES)}),
)
values = st.one_of(st.just({}), matches(VALUES, VALUE_REGEXES))
conditions = some(
    2,
    uri=uris,
    method=matches(METHODS, ["P.*", "GET|HEAD"]),
    headers=st.dictionaries(one(NAMES), values, min_size=1, max_size=1),
    withoutHeaders=st.dictionaries(one(NAMES), values, min_size=1, max_size=1),
    queryParams=st.dictionaries(one("ab"), values, min_size=1, max_size=1),
    ignoreUriCase=st.just(True),
    authority=matches([HOST, f"{HOST}:80"], [".*:80", "case.*"]),
    port=one([80, 8080]),
).map(lambda match: match if match.keys() - {"ignoreUriCase"} else {"uri": {"prefix": "/"}, **match})


def operations(names: list[str]) -> Any:
    return maps(
        set=st.dictionaries(one(names), one(["s", "set value"]), min_size=1, max_size=2),
        add=st.dictionaries(one(["x-a", "X-New"]), one(["+", "added"]), min_size=1, max_size=1),
        remove=st.lists(one([name for name in names if name != "Host"]), min_size=1, max_size=1),
    )


RULE_NAMES = [*NAMES, "x-new", "X-Backend", "Access-Control-Allow-Origin"]
headers = maps(request=operations([*RULE_NAMES, "Host"]), response=operations(RULE_NAMES))
destinations = one(
    [
        *({"host": "svc", "subset": subset} for subset in ("v1", "v2", "v3") * 3),
        *({"host": host} for host in ("twoports", "empty", "nowhere.test")),
    ]
)
weighted = st.fixed_dictionaries({"destination": destinations}, optional={"headers": headers})


@st.composite
def routes_to(draw: Any) -> list[Any]:
    """One destination that takes all: chance is counted elsewhere."""
    taken = draw(weighted)
    others = draw(st.lists(weighted, max_size=1))
    if not others:
        return [{**taken, "weight": draw(one([100, 0, 1]))}]
    again = [{**taken, "weight": 5}] if draw(st.booleans()) else []
    return [{**others[0], "weight": 0}, {**taken, "weight": 2}, *again]


rewrites = st.one_of(
    maps(uri=paths, authority=one(["other.test", "other.test:81"])),
    st.builds(lambda pair: {"uriRegexRewrite": {"match": pair[0], "rewrite": pair[1]}}, one(REWRITES)),
)
percentages = one([{}, {"percentage": {"value": 0}}, {"percentage": {"value": 100}}])
delays = st.builds(lambda share: {"fixedDelay": "1ms", **share}, percentages)
aborts = st.builds(
    lambda kind, share: {**kind, **share},
    st.one_of(
        # Not 204, see `_direct`.
        st.builds(lambda status: {"httpStatus": status}, one([503, 200, 404, 418, 599])),
        st.builds(lambda status: {"grpcStatus": status}, one(GRPC)),
    ),
    percentages,
)
faults = st.one_of(
    st.builds(lambda abort: {"abort": abort}, aborts),
    st.builds(lambda delay: {"delay": delay}, delays),
    st.builds(lambda delay, abort: {"delay": delay, "abort": abort}, delays, aborts),
)
policies = maps(
    allowOrigins=st.lists(
        st.one_of(matches(ORIGINS, [r"https?://b\.test(:\d+)?", ".*"]), st.just({"exact": "*"})), max_size=2
    ),
    allowMethods=st.lists(one(["GET", "POST", "*"]), max_size=2),
    allowHeaders=st.lists(one(["x-a", "*"]), max_size=2),
    exposeHeaders=st.lists(one(["x-a", "*"]), max_size=2),
    maxAge=one(["24h", "1s"]),
    allowCredentials=st.booleans(),
    unmatchedPreflights=one(["UNSPECIFIED", "FORWARD", "IGNORE"]),
)
mirrors = st.one_of(
    st.builds(lambda to: {"mirror": to}, destinations),
    st.builds(
        lambda to, share: {"mirror": to, "mirrorPercentage": {"value": share}}, destinations, one([100, 0])
    ),
    st.builds(
        lambda several: {"mirrors": [{"destination": to} for to in several]},
        st.lists(destinations, min_size=1, max_size=2),
    ),
)


@st.composite
def forwards(draw: Any) -> Any:
    route = {"route": draw(routes_to())}
    route |= draw(some(3, headers=headers, rewrite=rewrites, fault=faults, corsPolicy=policies))
    route |= draw(st.one_of(st.just({}), mirrors))
    if "rewrite" in route and ("Host" in str(route.get("headers")) or not route["rewrite"]):
        # One name for one thing: validation refuses both at one level, and an empty rewrite.
        del route["rewrite"]
    return route


redirects = maps(
    uri=one(["/new", "/new?x=1", "/"]),
    authority=one(["other.test", "other.test:81"]),
    scheme=one(["http", "https"]),
    redirectCode=one([301, 302, 303, 307, 308]),
    port=one([80, 443, 8443]),
).map(lambda to: {**to, "uri": to.get("uri", "/else")})


def _redirect(to: Any, headers: Any) -> Any:
    if ":" in to.get("authority", ""):
        to = {name: value for name, value in to.items() if name != "port"}
    return {"redirect": to, **headers}


def _direct(status: int, body: Any, headers: Any) -> Any:
    # Envoy writes the body of a 204, too, which HTTP forbids; the next answer is then garbled.
    return {"directResponse": {"status": status, **({} if status == 204 else body)}, **headers}


bodies = st.one_of(st.just({}), st.just({"body": {"string": "tea"}}))
actions = often(
    [8, 2, 1],
    forwards(),
    st.builds(_redirect, redirects, maps(headers=headers, corsPolicy=policies)),
    st.builds(_direct, one(STATUSES), bodies, maps(headers=headers, corsPolicy=policies)),
)
routes = st.builds(
    lambda action, condition: {**condition, **action},
    actions,
    often(
        [1, 3],
        st.just({}),
        st.fixed_dictionaries({"match": st.lists(conditions, min_size=1, max_size=2)}),
    ),
)


def _some_for_all_ports(routes: list[Any]) -> list[Any]:
    # With routes for some ports only, others pass through, to a host that is nowhere.
    *others, last = routes
    if "match" not in last:
        return routes
    first, *rest = last["match"]
    free = {name: value for name, value in first.items() if name != "port"}
    return [*others, {**last, "match": [free or {"uri": {"prefix": "/"}}, *rest]}]


services = st.lists(routes, min_size=1, max_size=4).map(_some_for_all_ports)

sent_headers = st.one_of(
    st.builds("{}: {}".format, one(NAMES), one(VALUES)),
    st.builds("Origin: {}".format, one([*ORIGINS, "http://ab", "*"])),
    st.builds("Access-Control-Request-Method: {}".format, one(METHODS)),
    st.just("Access-Control-Request-Headers: x-a,x-b"),
    st.just("Content-Type: application/grpc"),
)


def _request(method: str, path: str, query: str, port: str, lines: list[str]) -> str:
    body = ["Content-Length: 3", "Body: abc"] if method in ("POST", "PUT") else []
    return " | ".join([f"{method} {path}{query}", f"Host: {HOST}{port}", *lines, *body])


def _once(line: str) -> str:
    """Lines of one name are joined by Envoy where it knows the name (docs/envoy.md)."""
    name = line.partition(":")[0].lower()
    return line if name in ("x-a", "x-b") else name


requests = st.builds(
    _request,
    one(METHODS),
    paths,
    one(QUERIES),
    one(PORTS),
    st.lists(sent_headers, max_size=3, unique_by=_once),
)


pairs = st.tuples(services, st.lists(requests, min_size=1, max_size=10))
# Hypothesis draws small and similar examples, one after another; within one example they are various.
# Each place may also shrink to None, which a list of a given length could not.


def batches(size: int) -> Any:
    return st.tuples(*[often([1, 9], st.none(), pairs) for _ in range(size)])


class DifferenceError(AssertionError):
    """The same request, and not the same came of it."""

    def __init__(self, case: Any, seen: Any) -> None:
        text = yaml.safe_dump([case], sort_keys=False, width=1000)
        sides = "\n".join(f"{proxy}: {what}" for proxy, what in seen.items())
        super().__init__(f"Envoy and the addon differ. As a case for cases.yaml:\n\n{text}\n{sides}")
        self.case = case


class Comparison:
    """Compares, and counts what it saw."""

    def __init__(self, scene: Any, virtual_service: Any) -> None:
        self._scene = scene
        self._virtual_service = virtual_service
        self.outcomes: Counter[str] = Counter()

    def run(self, count: int, size: int) -> None:
        """Fails with the smallest rule and request that differ."""

        @settings(
            max_examples=count,
            derandomize=SEED is None,
            database=None,
            deadline=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        )
        @given(batches(size))
        def compare(batch: Any) -> None:
            self._compare([pair for pair in batch if pair is not None])

        (compare if SEED is None else seed(int(SEED))(compare))()

    def _compare(self, batch: list[Any]) -> None:
        documents, asked = [], []
        for number, pair in enumerate(batch):
            host = f"case{number}.test"
            routes, texts = json.loads(json.dumps(pair).replace(HOST, host))
            documents.append(self._virtual_service(f"case{number}", {"hosts": [host], "http": routes}))
            asked += [(host, routes, text) for text in texts]
        if not documents:
            return
        sent = [parse_request(text, host) for host, _, text in asked]
        observed = self._scene.observe(documents, sent)
        for (host, routes, text), request, seen in zip(asked, sent, observed, strict=True):
            self.outcomes[seen["envoy"].outcome.split(" ")[0]] += 1
            comparable = {proxy: each.comparable(request) for proxy, each in seen.items()}
            if comparable["envoy"] != comparable["addon"]:
                row = f"{text} -> {seen['envoy'].outcome}"
                case = {"name": "found by test_generated", "hosts": [host], "http": routes, "requests": [row]}
                raise DifferenceError(case, comparable)


def test_generated_rules_and_requests(live_scene: Any, virtual_service: Any, record_property: Any) -> None:
    comparison = Comparison(live_scene, virtual_service)

    comparison.run(BATCHES, BATCH_SIZE)

    record_property("pairs", comparison.outcomes.total())
    print(f"compared {comparison.outcomes.total()} pairs: {comparison.outcomes}")  # noqa: T201 - for pytest
    # That they agree says nothing where nothing happens.
    assert comparison.outcomes.keys() >= {"v1", "v2", "v3", "404", "503", "301"}


def test_a_difference_shrinks_to_a_small_rule_and_one_request(
    live_scene: Any, virtual_service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_mirrors(*_arguments: Any) -> list[Any]:
        return []

    monkeypatch.setattr(RouteExporter, "_mirror_policies", no_mirrors)
    with pytest.raises(DifferenceError) as raised:
        Comparison(live_scene, virtual_service).run(50, 2)

    (route,) = raised.value.case["http"]
    (request,) = raised.value.case["requests"]
    assert route.keys() - {"mirror", "mirrors"} == {"route"}
    assert request.startswith("GET / | Host: case"), "and no other header line"
    assert request.endswith(" -> v1")

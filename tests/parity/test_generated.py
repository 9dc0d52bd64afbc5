"""Generated VirtualServices and requests: whatever the rules say, Envoy and the addon do the same.

MIRROR_PARITY_PAIRS=2000 in the environment compares that many pairs, MIRROR_PARITY_SEED others.
"""

import os
import random
from typing import Any

import yaml

from lab.parity import parse_request

PAIRS = int(os.environ.get("MIRROR_PARITY_PAIRS", "300"))
SEED = int(os.environ.get("MIRROR_PARITY_SEED", "20261122"))
REQUESTS_PER_SERVICE = 5

SEGMENTS = ["/", "/a", "/A", "/ab", "/a/b", "/a/", "/b.c", "/%2F", "/../a", "//a", "/a|b", "/1", "/22"]
URI_REGEXES = [".*", "/a.*", "/[ab]+", "(?i)/a/.*", r"/\d+", "/(a|b)(/.*)?", "/.*a.*b", "/"]
VALUES = ["", "a", "A", "ab", "a b", "1", "22", "a,b"]
VALUE_REGEXES = [".*", ".+", "a.*", r"\d+", "(?i)a", "a|b"]
QUERIES = [
    "",
    "?",
    "?a",
    "?a=",
    "?a=1",
    "?a=a&b=1",
    "?b=22&a=ab",
    "?A=a",
    "?a=1&a=a",
    "?&&b=a",
    "?a=a%20b",
    "?a?b=1",
]
METHODS = ["GET", "GET", "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"]
NAMES = ["x-a", "X-B", "user-agent"]
REWRITES = [("a", "z"), ("^/(.*)$", r"/p/\1"), ("/([^/]*)/?(.*)", r"/\2/\1"), ("/+", "/"), ("b?", "-")]
PORTS = ["", "", "", ":80", ":8080", ":9"]


class Generator:
    """All from one seed."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)

    def virtual_service(self, host: str) -> Any:
        routes = [self._route() for _ in range(self._rng.randint(1, 5))]
        # With routes for some ports only, others pass through, to a host that is nowhere.
        routes[-1].get("match", [{}])[0].pop("port", None)
        return {"hosts": [host], "http": routes}

    def request(self, host: str) -> str:
        rng = self._rng
        method = rng.choice(METHODS)
        parts = [f"{method} {self._path()}{rng.choice(QUERIES)}", f"Host: {host}{rng.choice(PORTS)}"]
        names = [rng.choice(NAMES) for _ in range(rng.randint(0, 3))]
        if names.count("user-agent") > 1:
            names = ["user-agent"]  # Envoy joins several lines of it
        parts += [f"{name}: {rng.choice(VALUES)}" for name in names]
        if method in ("POST", "PUT"):
            parts += ["Content-Length: 3", "Body: abc"]
        return " | ".join(parts)

    def _often(self, share: float) -> bool:
        return self._rng.random() < share

    def _path(self) -> str:
        return self._rng.choice(SEGMENTS) + (self._rng.choice(SEGMENTS) if self._often(0.4) else "")

    def _route(self) -> Any:
        rng = self._rng
        route: dict[str, Any] = {}
        if self._often(0.85):
            route["match"] = [self._match() for _ in range(rng.randint(1, 2))]
        if self._often(0.4):
            route["headers"] = self._headers()
        kind = rng.random()
        if kind < 0.12:
            return {**route, "redirect": self._redirect()}
        if kind < 0.2:
            status = rng.choice([200, 204, 404, 418, 503])
            # Envoy writes the body of a 204, too, which HTTP forbids; the next answer is then garbled.
            body = (
                {} if status == 204 or self._often(0.4) else {"body": {"string": rng.choice(["tea", "{}"])}}
            )
            return {**route, "directResponse": {"status": status, **body}}
        route["route"] = self._destinations()
        if self._often(0.4):
            route["rewrite"] = self._rewrite()
            if "Host" in str(route.get("headers")):
                # One name for one thing: validation refuses both at one level.
                route["rewrite"].pop("authority", None)
        if self._often(0.3):
            route["mirror"] = self._destination()
            if self._often(0.5):
                route["mirrorPercentage"] = {"value": rng.choice([0, 100])}
        elif self._often(0.2):
            route["mirrors"] = [{"destination": self._destination()} for _ in range(rng.randint(1, 2))]
        return route

    def _match(self) -> Any:
        rng = self._rng
        match: dict[str, Any] = {}
        if self._often(0.6):
            kind = rng.choice(["exact", "prefix", "prefix", "regex"])
            match["uri"] = {kind: rng.choice(URI_REGEXES) if kind == "regex" else self._path()}
            if self._often(0.2):
                match["ignoreUriCase"] = True
        if self._often(0.2):
            match["method"] = self._string(METHODS, ["P.*", "GET|HEAD"])
        for field, share in (("headers", 0.25), ("withoutHeaders", 0.15)):
            if self._often(share):
                match[field] = {rng.choice(NAMES): self._string(VALUES, VALUE_REGEXES, presence=True)}
        if self._often(0.2):
            match["queryParams"] = {rng.choice("ab"): self._string(VALUES, VALUE_REGEXES, presence=True)}
        if self._often(0.1):
            match["port"] = rng.choice([80, 8080])
        return match or {"uri": {"prefix": "/"}}

    def _string(self, values: list[str], regexes: list[str], *, presence: bool = False) -> Any:
        rng = self._rng
        if presence and self._often(0.2):
            return {}
        kind = rng.choice(["exact", "prefix", "regex"])
        return {kind: rng.choice(regexes) if kind == "regex" else rng.choice([v for v in values if v])}

    def _destination(self) -> Any:
        rng = self._rng
        host = rng.choice(["svc"] * 8 + ["twoports", "empty", "nowhere.test"])
        return {"host": host, "subset": rng.choice(["v1", "v2", "v3"])} if host == "svc" else {"host": host}

    def _destinations(self) -> list[Any]:
        """One that takes all: chance is counted elsewhere."""
        found = [self._weighted(self._destination(), self._rng.choice([0, 1, 100]))]
        if self._often(0.3):
            same = found[0]["destination"]
            found = [self._weighted(self._destination(), 0), {**found[0], "weight": 2}]
            if self._often(0.5):
                found.append({**found[1], "destination": same, "weight": 5})
        return found

    def _weighted(self, destination: Any, weight: int) -> Any:
        headers = {"headers": self._headers()} if self._often(0.3) else {}
        return {"destination": destination, "weight": weight, **headers}

    def _headers(self) -> Any:
        sides = {}
        for side in ("request", "response"):
            if self._often(0.6):
                sides[side] = self._operations(side)
        return sides or {"request": self._operations("request")}

    def _operations(self, side: str) -> Any:
        rng = self._rng
        names = [*NAMES, "x-new", "X-Backend"] + (["Host"] if side == "request" else [])
        operations: dict[str, Any] = {}
        if self._often(0.6):
            operations["set"] = {rng.choice(names): rng.choice(["s", "set value"]) for _ in range(2)}
        if self._often(0.4):
            operations["add"] = {rng.choice(["x-a", "X-New"]): rng.choice(["+", "added"])}
        if self._often(0.4) or not operations:
            operations["remove"] = [rng.choice([name for name in names if name != "Host"])]
        return operations

    def _rewrite(self) -> Any:
        rng = self._rng
        if self._often(0.4):
            match, rewrite = rng.choice(REWRITES)
            found: dict[str, Any] = {"uriRegexRewrite": {"match": match, "rewrite": rewrite}}
        else:
            found = {"uri": self._path()}
        if self._often(0.3):
            found["authority"] = rng.choice(["other.test", "other.test:81"])
        return found

    def _redirect(self) -> Any:
        rng = self._rng
        found: dict[str, Any] = {}
        for field, values in (
            ("uri", ["/new", "/new?x=1", "/"]),
            ("authority", ["other.test", "other.test:81"]),
            ("scheme", ["http", "https"]),
            ("redirectCode", [301, 302, 303, 307, 308]),
        ):
            if self._often(0.5):
                found[field] = rng.choice(values)
        if self._often(0.3) and ":" not in found.get("authority", ""):
            found["port"] = rng.choice([80, 443, 8443])
        return {"uri": "/else", **found}


def test_generated_rules_and_requests(make_scene: Any) -> None:
    generator = Generator(SEED)
    services, texts = [], []
    for number in range(PAIRS // REQUESTS_PER_SERVICE):
        host = f"generated{number}.test"
        services.append((f"generated{number}", {}, generator.virtual_service(host)))
        texts += [(number, generator.request(host)) for _ in range(REQUESTS_PER_SERVICE)]
    requests = [parse_request(text, "") for _, text in texts]

    observed = make_scene(services).observe(requests)

    problems = []
    for (number, text), request, seen in zip(texts, requests, observed, strict=True):
        envoy, addon = seen["envoy"].comparable(request), seen["addon"].comparable(request)
        if envoy != addon:
            rules = yaml.safe_dump(services[number][2], sort_keys=False)
            problems.append(f"{text}\n{rules}envoy: {envoy}\naddon: {addon}\n")
    outcomes = {seen["envoy"].outcome.split(" ")[0] for seen in observed}
    assert not problems, f"{len(problems)} of {len(requests)} pairs of seed {SEED}:\n" + "\n".join(
        problems[:5]
    )
    # That they agree says nothing where nothing happens.
    assert outcomes >= {"v1", "v2", "v3", "404", "503", "301"}

"""Weights and percentages, counted: both stay within what chance explains, and nest mirrors alike."""

import math
from typing import Any

import pytest

from lab.parity import PROXIES, Seen, parse_request

REQUESTS = 400
# Five standard deviations of a binomial count. A right share fails once in 1.7 million comparisons; a
# share that is 13 points off (at p = 0.5 and 400 draws) is found.
SIGMAS = 5.0


def _to(subset: str, weight: int = 0) -> Any:
    return {"destination": {"host": "svc", "subset": subset}, "weight": weight}


def _mirror(subset: str, percent: float) -> Any:
    return {"destination": {"host": "svc", "subset": subset}, "percentage": {"value": percent}}


ROUTES: dict[str, Any] = {
    "weights": {"route": [_to("v1", 1), _to("v2", 3)]},
    "ratios": {"route": [_to("v1", 100), _to("v2", 0), _to("v3", 300)]},
    "endpoints": {"route": [{"destination": {"host": "heavy"}}]},
    "percentage": {
        "route": [_to("v1")],
        "mirror": {"host": "svc", "subset": "v2"},
        "mirrorPercentage": {"value": 25},
    },
    "faulty": {
        "fault": {"abort": {"httpStatus": 418, "percentage": {"value": 40}}},
        "route": [_to("v1")],
        "mirror": {"host": "svc", "subset": "v2"},
        "mirrorPercentage": {"value": 50},
    },
    "mirrors": {"route": [_to("v1")], "mirrors": [_mirror("v2", 20), _mirror("v3", 60)]},
}


@pytest.fixture(scope="module")
def counted(make_scene: Any, virtual_service: Any) -> dict[tuple[str, str], list[Seen]]:
    """All that came of a route's requests, by route and proxy."""
    scene = make_scene(
        [
            virtual_service(name, {"hosts": [f"{name}.test"], "http": [route]})
            for name, route in ROUTES.items()
        ]
    )
    names = [name for name in ROUTES for _ in range(REQUESTS)]
    found: dict[tuple[str, str], list[Seen]] = {}
    observed = scene.observe([parse_request("GET /", f"{name}.test") for name in names])
    for name, by_proxy in zip(names, observed, strict=True):
        for proxy, seen in by_proxy.items():
            found.setdefault((name, proxy), []).append(seen)
    return found


@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.parametrize(
    ("name", "backend", "share"),
    [
        ("weights", "v1", 0.25),
        ("ratios", "v3", 0.75),
        ("ratios", "v2", 0.0),
        ("endpoints", "v1", 0.75),
        ("percentage", "v1", 1.0),
        ("percentage", "v2", 0.25),
        ("faulty", "v1", 0.6),
        ("faulty", "v2", 0.3),
        ("mirrors", "v2", 0.2),
        ("mirrors", "v3", 0.6),
    ],
)
def test_share(
    counted: dict[tuple[str, str], list[Seen]], name: str, backend: str, share: float, proxy: str
) -> None:
    count = sum(backend in dict(seen.received) for seen in counted[name, proxy])

    assert abs(count - share * REQUESTS) <= SIGMAS * math.sqrt(REQUESTS * share * (1 - share))


@pytest.mark.parametrize("proxy", PROXIES)
def test_one_number_decides_for_all_mirrors(counted: dict[tuple[str, str], list[Seen]], proxy: str) -> None:
    outcomes = {seen.outcome for seen in counted["mirrors", proxy]}

    assert outcomes == {"v1", "v1 + v3", "v1 + v2 + v3"}


@pytest.mark.parametrize("proxy", PROXIES)
def test_an_aborted_request_is_not_mirrored(counted: dict[tuple[str, str], list[Seen]], proxy: str) -> None:
    outcomes = {seen.outcome for seen in counted["faulty", proxy]}

    assert outcomes == {"418", "v1", "v1 + v2"}

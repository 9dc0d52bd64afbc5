"""`timeout` and `retries`: Envoy and the addon send the same attempts, one shadow, and answer alike."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from lab.backend import Backend, response
from lab.parity import PROXIES, Scene, parse_request
from lab.wire import Message


class Flaky:
    """Answers the first attempt of each request badly, and the others well."""

    def __init__(self, bad: bytes) -> None:
        self._bad = bad
        self._attempts: Counter[bytes] = Counter()

    def __call__(self, request: Message) -> bytes:
        (key,) = request.values(b"x-parity")
        self._attempts[key] += 1
        return self._bad if self._attempts[key] == 1 else response(b"well")


GRPC = b"Content-Type: application/grpc"
ANSWERS = {
    "silent": lambda _request: None,
    "failing": lambda request: response(
        b"" if request.method == b"HEAD" else b"no", "500 Internal Server Error"
    ),
    "conflict": lambda _request: response(b"again", "409 Conflict"),
    "gone": lambda _request: b"",
    "unavailable": lambda _request: response(b"", "200 OK", GRPC, b"grpc-status: 14"),
    "flaky": Flaky(response(b"badly", "503 Service Unavailable")),
    "shaky": Flaky(b""),
}

# Of each route: the service, what it says, and for each of the requests the status and who got how many.
ROUTES: dict[str, tuple[str, str | None, dict[str, Any], list[tuple[str, int, dict[str, int]]]]] = {
    "timeout": (
        "silent",
        "v2",
        # Long enough for the shadow, which has the same.
        {"timeout": "1s", "headers": {"response": {"set": {"x-rule": "1"}}}},
        [
            ("GET /", 504, {"silent": 1, "v2": 1}),
            ("POST / | Content-Length: 4 | Body: data", 504, {"silent": 1, "v2": 1}),
        ],
    ),
    "gRPC timeout": (
        "silent",
        None,
        {"timeout": "1s"},
        [("POST / | Content-Type: application/grpc | Content-Length: 0", 200, {"silent": 1})],
    ),
    "in time": (
        "flaky",
        None,
        {"timeout": "30s", "retries": {"attempts": 0}},
        [("GET /", 503, {"flaky": 1})],
    ),
    "a try's own timeout": (
        "silent",
        "v2",
        {"timeout": "20s", "retries": {"attempts": 1, "perTryTimeout": "1s", "retryOn": "5xx"}},
        [("GET /", 504, {"silent": 2, "v2": 1})],
    ),
    "5xx": (
        "failing",
        "v2",
        {"retries": {"attempts": 2, "retryOn": "5xx"}},
        [
            ("GET /", 500, {"failing": 3, "v2": 1}),
            ("PUT / | Content-Length: 4 | Body: data", 500, {"failing": 3, "v2": 1}),
            ("POST / | Transfer-Encoding: chunked | Body: data", 500, {"failing": 3, "v2": 1}),
            ("HEAD /", 500, {"failing": 3, "v2": 1}),
        ],
    ),
    "gateway-error": (
        "failing",
        None,
        {"retries": {"attempts": 2, "retryOn": "gateway-error"}},
        [("GET /", 500, {"failing": 1})],
    ),
    "retriable-4xx": (
        "conflict",
        None,
        {"retries": {"attempts": 1, "retryOn": "retriable-4xx"}},
        [("GET /", 409, {"conflict": 2})],
    ),
    "a status": (
        "conflict",
        None,
        {"retries": {"attempts": 1, "retryOn": "409"}},
        [("GET /", 409, {"conflict": 2})],
    ),
    "Istio's conditions where retryOn is absent": (
        "flaky",
        "v2",
        {"retries": {"attempts": 1}},
        [("GET /", 503, {"flaky": 1, "v2": 1})],
    ),
    "503": (
        "flaky",
        "v2",
        {"retries": {"attempts": 1, "retryOn": "503"}},
        [("GET /", 200, {"flaky": 2, "v2": 1}), ("DELETE /", 200, {"flaky": 2, "v2": 1})],
    ),
    "reset": (
        "shaky",
        "v2",
        {"retries": {"attempts": 1, "retryOn": "reset"}},
        [("GET /", 200, {"shaky": 2, "v2": 1})],
    ),
    "reset, always": (
        "gone",
        None,
        {"retries": {"attempts": 1, "retryOn": "reset"}},
        [("GET /", 503, {"gone": 2})],
    ),
    "reset is no connect-failure": (
        "gone",
        None,
        {"retries": {"attempts": 1, "retryOn": "connect-failure"}},
        [("GET /", 503, {"gone": 1})],
    ),
    "connect-failure": (
        "refused",
        "v2",
        {"retries": {"attempts": 1, "retryOn": "connect-failure"}},
        [("GET /", 503, {"v2": 1})],
    ),
    "another endpoint": (
        "half",
        None,
        {"retries": {"attempts": 3, "retryOn": "connect-failure", "retryIgnorePreviousHosts": True}},
        [(f"GET /{number}", 200, {"v1": 1}) for number in range(6)],
    ),
    "a gRPC status": (
        "unavailable",
        None,
        {"retries": {"attempts": 1, "retryOn": "unavailable"}},
        [("POST / | Content-Type: application/grpc | Content-Length: 0", 200, {"unavailable": 2})],
    ),
    "another gRPC status": (
        "unavailable",
        None,
        {"retries": {"attempts": 1, "retryOn": "cancelled"}},
        [("POST / | Content-Type: application/grpc | Content-Length: 0", 200, {"unavailable": 1})],
    ),
}


@pytest.fixture(scope="module")
def scene(start_scene: Any, service: Any, virtual_service: Any) -> Iterator[Scene]:
    own = {label: Backend(label, answer) for label, answer in ANSWERS.items()}  # type: ignore[arg-type]
    documents = [service(label, [backend.port]) for label, backend in own.items()]
    for number, (host, mirror, fields, _) in enumerate(ROUTES.values()):
        route: dict[str, Any] = {"route": [{"destination": {"host": host}}], **fields}
        if mirror:
            route["mirror"] = {"host": "svc", "subset": mirror}
        documents.append(
            virtual_service(f"route{number}", {"hosts": [f"route{number}.test"], "http": [route]})
        )
    found, _ = start_scene(documents, own=own)
    # The worker has started when this has its shadow: the shadows of routes with a timeout have no longer.
    found.observe([parse_request("GET /", f"route{list(ROUTES).index('5xx')}.test")])
    yield found
    for backend in own.values():
        backend.stop()


CASES = [
    pytest.param(number, *request, id=f"{name}: {request[0]}")
    for number, (name, (_, _, _, requests)) in enumerate(ROUTES.items())
    for request in requests
]


@pytest.mark.parametrize(("number", "text", "status", "attempts"), CASES)
def test_both_send_the_same_attempts(
    scene: Scene, number: int, text: str, status: int, attempts: dict[str, int]
) -> None:
    request = parse_request(text, f"route{number}.test")
    (seen,) = scene.observe([request])

    for proxy in PROXIES:
        assert (proxy, seen[proxy].response.status) == (proxy, status)
        assert (proxy, Counter(label for label, _ in seen[proxy].received)) == (proxy, Counter(attempts))
    assert seen["addon"].comparable(request) == seen["envoy"].comparable(request)

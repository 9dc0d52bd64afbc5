"""Rules as YAML in the test, and requests with only what the test is about."""

from collections.abc import Callable, Iterator

import pytest

from mitm_mirror.resources.issue import Severity
from mitm_mirror.resources.load import load_text
from mitm_mirror.routing.compile import compile_table
from mitm_mirror.routing.request import HeaderFields, RequestHead
from mitm_mirror.routing.table import RouteTable
from mitm_mirror.routing.vantage import DEFAULT_VANTAGE, Vantage

Rules = Callable[..., RouteTable]
Warned = Callable[..., list[str]]
Head = Callable[..., RequestHead]


@pytest.fixture
def rules() -> Rules:
    """Compiles YAML that must be valid."""

    def compile_text(text: str, vantage: Vantage = DEFAULT_VANTAGE) -> RouteTable:
        loaded = load_text(text, "rules.yaml")
        assert not [str(issue) for issue in loaded.errors]
        table, compile_issues = compile_table(loaded.resources, vantage=vantage)
        assert not [str(issue) for issue in compile_issues if issue.severity is Severity.ERROR]
        return table

    return compile_text


@pytest.fixture
def warned() -> Warned:
    """What compiling YAML says about it, a line for each issue."""

    def issues_of(text: str, vantage: Vantage = DEFAULT_VANTAGE) -> list[str]:
        _, issues = compile_table(load_text(text, "rules.yaml").resources, vantage=vantage)
        return [str(issue) for issue in issues]

    return issues_of


SERVICES = """
kind: ServiceEntry
apiVersion: networking.istio.io/v1
metadata: {name: backends}
spec:
  hosts: [httpbin.default.svc.cluster.local, other.example.com]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints:
  - {address: 10.0.0.1, labels: {version: v1}}
  - {address: 10.0.0.2, labels: {version: v2}}
---
kind: DestinationRule
apiVersion: networking.istio.io/v1
metadata: {name: httpbin}
spec:
  host: httpbin
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
kind: VirtualService
apiVersion: networking.istio.io/v1
metadata:
  name: httpbin
  annotations: %s
spec:
  hosts: [httpbin]
  http:
%s
"""


@pytest.fixture
def http() -> Callable[..., str]:
    """Rules for host httpbin with these `http` routes; 10.0.0.1 is its subset v1, 10.0.0.2 its v2."""

    def text(routes: str, annotations: str = "{}") -> str:
        return SERVICES % (annotations, routes)

    return text


@pytest.fixture
def head() -> Head:
    """A request's head; GET http://httpbin:8080/ where nothing else is said."""

    def make(
        target: str = "/",
        *,
        authority: str = "httpbin:8080",
        method: str = "GET",
        scheme: str = "http",
        headers: HeaderFields = (),
        port: int = 8080,
        client: str = "192.0.2.1",
    ) -> RequestHead:
        return RequestHead(method, scheme, authority, target.encode(), headers, port, client)

    return make


class Draws:
    """Numbers to draw, in order. It fails where more are asked for, and knows whether all were."""

    def __init__(self, *numbers: float) -> None:
        self._numbers: Iterator[float] = iter(numbers)

    def __call__(self) -> float:
        number = next(self._numbers, None)
        assert number is not None, "no further number was to be drawn"
        return number

    def left(self) -> list[float]:
        return list(self._numbers)


@pytest.fixture
def draws() -> type[Draws]:
    return Draws

"""When a request goes to its primary a second time, and that such a copy is counted apart."""

from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.test import tflow

from mitm_mirror.client.request import OutgoingRequest
from mitm_mirror.outcome import Outcome
from mitm_mirror.proxy.compared import ComparedRequest
from mitm_mirror.proxy.noise_copies import NoiseCopies, NoiseCopy
from mitm_mirror.routing.decision import Endpoint, Forward, RuleRef, Target
from mitm_mirror.shadow.answer import CompareTerms, Want
from mitm_mirror.shadow.terms import Terms

V1 = Target("httpbin", "v1", 8080, Endpoint("127.0.0.1", 8001))
FORWARD = Forward(
    RuleRef("default/httpbin", "http[0]", "f:1"), V1, "httpbin:8080", "httpbin", b"/get", (), (), ()
)
NAMES = ("httpbin:8080", "127.0.0.1:8001")


class Pool:
    def __init__(self) -> None:
        self.submitted: list[tuple[OutgoingRequest, bytes, NoiseCopy, Terms]] = []

    def submit(self, *submitted: Any) -> int:
        self.submitted.append(submitted)
        return 7


def make_flow(method: str = "GET", body: bytes = b"") -> http.HTTPFlow:
    flow = tflow.tflow()
    flow.request = http.Request.make(method, "http://127.0.0.1:8001/get", body)
    flow.request.headers["Host"] = "httpbin:8080"
    return flow


def make_request(*, third: bool = False, shadows: int = 1) -> ComparedRequest:
    request = ComparedRequest("default/httpbin http[0]", NAMES)
    for number in range(shadows):
        request.waiting[number] = NoiseCopy(request, number)
    request.thirds = int(third)
    return request


def test_it_goes_to_the_primary_as_the_primary_does_and_is_compared() -> None:
    copies, pool, request = NoiseCopies(lambda address, port: False, lambda: 0.49), Pool(), make_request()
    copies.share = 0.5
    copy = copies.make(make_flow(), FORWARD, request, pool, 15.0)  # type: ignore[arg-type]

    assert copy is not None
    assert (copy.number, copy.is_third, copy.compared) == (7, True, request)
    [(outgoing, body, token, terms)] = pool.submitted
    assert (outgoing.address, outgoing.port, outgoing.target, body) == ("127.0.0.1", 8001, b"/get", b"")
    assert (b"Host", b"httpbin:8080") in outgoing.headers
    assert token is copy
    assert terms == Terms(15.0, V1.cluster, want=Want(compare=CompareTerms(NAMES)))


@pytest.mark.parametrize(
    ("flow", "request_", "share", "own_address"),
    [
        pytest.param(make_flow(), make_request(), 0.0, False, id="the option is off"),
        pytest.param(make_flow(), make_request(), 0.5, False, id="chance is against it"),
        pytest.param(make_flow("POST"), make_request(), 1.0, False, id="a method that may change something"),
        pytest.param(make_flow("GET", b"body"), make_request(), 1.0, False, id="a body"),
        pytest.param(make_flow(), make_request(third=True), 1.0, False, id="a mirror is a third copy"),
        pytest.param(make_flow(), make_request(shadows=0), 1.0, False, id="no shadow is on its way"),
        pytest.param(make_flow(), make_request(), 1.0, True, id="the primary is this proxy"),
    ],
)
def test_no_copy(flow: http.HTTPFlow, request_: ComparedRequest, share: float, own_address: bool) -> None:
    copies, pool = NoiseCopies(lambda address, port: own_address, lambda: 0.5), Pool()
    copies.share = share

    assert copies.make(flow, FORWARD, request_, pool, 15.0) is None  # type: ignore[arg-type]
    assert (pool.submitted, copies.sent) == ([], 0)


def test_they_are_counted_apart() -> None:
    copies = NoiseCopies(lambda address, port: False)
    copies.sent = 3
    copies.ended.update([Outcome.TIMEOUT, Outcome.OK, Outcome.OK])

    assert str(copies) == "noise copies, which are no shadows: 3 sent, ok 2, timeout 1"

"""Which flows the addon sends itself, and what becomes of them; on flows that no proxy is behind."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest
from mitmproxy import http
from mitmproxy.addons import proxyserver
from mitmproxy.proxy import mode_specs
from mitmproxy.test import taddons, tflow

from lab import loopback
from mitm_mirror.client.client import Client
from mitm_mirror.client.settings import ClientSettings
from mitm_mirror.proxy.attempts import Attempts
from mitm_mirror.proxy.exchange import Exchange
from mitm_mirror.proxy.flows import RoutedRequest, primary_request
from mitm_mirror.proxy.retrying import PrimaryEnd
from mitm_mirror.proxy.sending import PrimarySender, needs_sender
from mitm_mirror.routing.decision import Endpoint, Forward, RuleRef, Sending, Target
from mitm_mirror.routing.request import RequestHead
from mitm_mirror.routing.retry import RetryPolicy
from mitm_mirror.upstream_tls import UpstreamTls

TARGET = Target("httpbin", "", 80, Endpoint("10.0.0.1", 8001))
OTHER = Target("httpbin", "", 80, Endpoint("10.0.0.2", 8002))
HEAD = RequestHead("GET", "http", "httpbin", b"/", (), 80, "127.0.0.1")


def make_forward(sending: Sending | None, target: Target = TARGET) -> Forward:
    rule = RuleRef("default/httpbin", "http[0]", "rules.yaml:1")
    return Forward(rule, target, "httpbin", "httpbin", b"/", (), (), (), sending=sending)


def make_flow() -> http.HTTPFlow:
    flow = tflow.tflow()
    flow.request = http.Request.make("GET", "http://10.0.0.1:8001/", b"")
    flow.request.headers["Host"] = "httpbin"
    return flow


def make_sender(net: httpx.AsyncBaseTransport | None = None) -> PrimarySender:
    sender = PrimarySender(ClientSettings(), Attempts(), lambda address, port: address == "127.0.0.9")
    if net is not None:
        sender._client = Client(ClientSettings(), make_transport=lambda _: net, report=pytest.fail)
    return sender


SENDING = Sending(60.0, None, lambda tried: tried[-1])


def streamed(flow: http.HTTPFlow) -> None:
    flow.request.stream = True


def upgrading(flow: http.HTTPFlow) -> None:
    flow.request.headers["Upgrade"] = "websocket"


def upstream_mode(flow: http.HTTPFlow) -> None:
    flow.client_conn.proxy_mode = mode_specs.ProxyMode.parse("upstream:http://127.0.0.1:1")


def elsewhere(flow: http.HTTPFlow) -> None:
    flow.request.data.host = "10.9.9.9"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(streamed, "mitmproxy streams the request", id="streamed"),
        pytest.param(upgrading, "the request upgrades the connection", id="upgrade"),
        pytest.param(upstream_mode, "all goes through an upstream proxy", id="upstream proxy"),
        pytest.param(elsewhere, "another addon sends the request elsewhere", id="changed by another addon"),
    ],
)
def test_what_is_left_to_mitmproxy_is_said_once(
    change: Callable[[http.HTTPFlow], None], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    sender, flow = make_sender(), make_flow()
    assert sender.takes(flow, make_forward(SENDING)) is SENDING
    change(flow)

    assert [sender.takes(flow, make_forward(SENDING)) for _ in range(2)] == [None, None]
    (record,) = caplog.records
    expected = f"mirror: default/httpbin http[0]: {reason}, so it is sent without the route's timeout and"
    assert record.getMessage().startswith(expected)


def test_an_endpoint_that_is_this_proxy_is_left_to_mitmproxy_which_refuses_it() -> None:
    own = Target("httpbin", "", 80, Endpoint("127.0.0.9", 80))
    flow = make_flow()
    flow.request.data.host, flow.request.data.port = "127.0.0.9", 80

    assert make_sender().takes(flow, make_forward(SENDING, own)) is None


def test_a_route_that_asks_for_nothing_needs_no_sender() -> None:
    assert not needs_sender(make_forward(None))
    assert needs_sender(make_forward(SENDING))
    assert needs_sender(make_forward(None, Target("httpbin", "", 80, Endpoint("unix:///run/httpbin", 0))))


class Net(httpx.AsyncBaseTransport):
    """Refuses at the first address, answers at the second; where it is silent, it does neither."""

    def __init__(self, *, silent: bool = False) -> None:
        self.asked: list[str] = []
        self.silent = silent
        self.started = asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.url.host}:{request.url.port}")
        self.started.set()
        if self.silent:
            await asyncio.Event().wait()
        if request.url.host == "10.0.0.1":
            raise httpx.ConnectError("s3cret")
        return httpx.Response(200, stream=httpx.ByteStream(b"ok"), headers=[("X-a", "1")])


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def with_options() -> None:
        with taddons.context(proxyserver.Proxyserver(), loadcore=False):
            await test()

    loopback.run(with_options)


def test_the_flow_shows_who_answered() -> None:
    net, flow = Net(), make_flow()
    policy = RetryPolicy(1, frozenset({"connect-failure"}), backoff_s=0.001)
    sending = Sending(60.0, policy, lambda _: OTHER)
    exchange = Exchange(HEAD, make_forward(sending), 1)

    async def test() -> None:
        await make_sender(net).send(flow, exchange, make_forward(sending), sending)

    run(test)
    assert net.asked == ["10.0.0.1:8001", "10.0.0.2:8002"]
    assert flow.response is not None
    assert (flow.response.status_code, flow.response.raw_content) == (200, b"ok")
    assert (b"X-a", b"1") in flow.response.headers.fields
    assert flow.server_conn.address == ("10.0.0.2", 8002)
    assert (flow.request.host, flow.request.port) == ("10.0.0.2", 8002)
    assert flow.request.headers["Host"] == "httpbin", "the rules' own, not the endpoint's"
    assert exchange.sent is not None
    assert (exchange.sent.end, exchange.attempts, exchange.target) == (PrimaryEnd.ANSWERED, 2, OTHER)


def test_what_it_waited_for_a_connection_counts_against_the_timeout() -> None:
    flow, exchange = make_flow(), Exchange(HEAD, make_forward(SENDING), 1)
    exchange.waited_s = 60.0

    async def test() -> None:
        await make_sender(Net(silent=True)).send(flow, exchange, make_forward(SENDING), SENDING)

    run(test)
    assert flow.response is not None
    assert flow.response.status_code == 504


def test_a_client_that_leaves_ends_its_own_attempts_alone() -> None:
    net, leaving, staying = Net(silent=True), make_flow(), make_flow()

    async def test() -> None:
        sender = make_sender(net)
        tasks = []
        for flow in (leaving, staying):
            net.started.clear()
            sent = sender.send(flow, Exchange(HEAD, make_forward(SENDING), 1), make_forward(SENDING), SENDING)
            tasks.append(asyncio.create_task(sent))
            await net.started.wait()
        assert sender.under_way == 2
        sender.release(leaving.client_conn.id)
        await tasks[0]
        assert leaving.response is None, "mitmproxy finds out itself, and sends nothing"
        assert sender.under_way == 1
        tasks[1].cancel()  # as mitmproxy does at its end
        with pytest.raises(asyncio.CancelledError):
            await tasks[1]
        assert sender.under_way == 0

    run(test)


def test_what_the_client_cannot_write_mitmproxy_does(caplog: pytest.LogCaptureFixture) -> None:
    flow = make_flow()
    flow.request.headers["Content-Length"] = "5"  # there is no body
    exchange = Exchange(HEAD, make_forward(SENDING), 1)

    async def test() -> None:
        await make_sender(Net()).send(flow, exchange, make_forward(SENDING), SENDING)

    run(test)
    assert flow.response is None
    assert (exchange.sent, exchange.attempts) == (None, 0)
    assert "its Content-Length is not the length of its body" in caplog.text


def test_an_http2_request_is_written_as_mitmproxy_writes_it() -> None:
    flow = make_flow()
    flow.request.http_version = "HTTP/2.0"
    flow.request.data.authority = b"httpbin:8080"
    flow.request.headers.fields = ((b"cookie", b"a=1"), (b"x-a", b"1"), (b"cookie", b"b=2"))
    tls = UpstreamTls(sni="v1.example")
    target = Target("httpbin", "", 80, Endpoint("10.0.0.1", 8001, "https", tls))

    request = primary_request(RoutedRequest.of(flow), make_forward(SENDING), target, b"body")

    assert request.headers == (
        (b"Host", b"httpbin:8080"),
        (b"cookie", b"a=1; b=2"),
        (b"x-a", b"1"),
        (b"content-length", b"4"),
    )
    assert (request.scheme, request.address, request.port) == ("https", "10.0.0.1", 8001)
    assert (request.sni, request.tls) == ("httpbin", tls)

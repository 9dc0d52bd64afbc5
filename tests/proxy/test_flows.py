"""Reading a head from a flow, applying a decision to it, and taking a copy of it."""

import pytest
from mitmproxy import http
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import tflow

from mitm_mirror.proxy.flows import (
    RoutedRequest,
    apply_forward,
    apply_pass_through,
    copy_request,
    hide_proxy_credentials,
    make_answer,
    read_head,
)
from mitm_mirror.proxy.upstream_address import UpstreamAddress
from mitm_mirror.routing.decision import (
    Endpoint,
    Forward,
    HeaderOperations,
    MirrorCopy,
    RuleRef,
    Target,
)
from mitm_mirror.routing.headers import NO_OPERATIONS
from mitm_mirror.routing.request import HeaderFields

RULE = RuleRef("default/httpbin", "http[0]", "rules/httpbin.yaml:9")


def make_flow(
    *,
    mode: str = "regular",
    version: bytes = b"HTTP/1.1",
    headers: HeaderFields = ((b"Host", b"httpbin:8080"),),
    authority: bytes = b"",
    host: str = "original.example",
    port: int = 81,
    path: bytes = b"/get?a=1",
    method: bytes = b"GET",
    client_tls: bool = False,
) -> http.HTTPFlow:
    flow = tflow.tflow()
    flow.client_conn.proxy_mode = ProxyMode.parse(mode)
    flow.client_conn.tls = client_tls
    flow.request = http.Request(
        host, port, method, b"http", authority, path, version, http.Headers(headers), b"", None, 1.0, 2.0
    )
    return flow


def make_forward(
    *,
    authority: str = "httpbin:8080",
    path: bytes = b"/get?a=1",
    scheme: str | None = None,
    operations: tuple[HeaderOperations, ...] = (),
) -> Forward:
    endpoint = Endpoint("127.0.0.1", 8001, scheme)  # type: ignore[arg-type]  # a parametrized literal
    target = Target("httpbin.default.svc.cluster.local", "v1", 8080, endpoint)
    return Forward(RULE, target, authority, "httpbin", path, operations, (), ())


def test_an_https_flow_without_rules_is_kept_off_connections_that_rules_opened() -> None:
    flow, plain = make_flow(), make_flow()
    flow.request.scheme = "https"
    apply_pass_through(flow)
    apply_pass_through(plain)

    assert flow.request.data.host == "original.example"
    assert flow.request.data.host != UpstreamAddress("original.example", "sni.example")
    assert type(plain.request.data.host) is str


def make_copy(*, headers: HeaderOperations = NO_OPERATIONS) -> MirrorCopy:
    target = Target("httpbin.default.svc.cluster.local", "v2", 8080, Endpoint("::1", 8002, "https"))
    return MirrorCopy(target.cluster, None, target, "httpbin-shadow:8080", "httpbin", headers, None)


@pytest.mark.parametrize(
    ("mode", "headers", "client_tls", "expected"),
    [
        pytest.param("regular", ((b"Host", b"httpbin:8080"),), False, 8080, id="the authority's port"),
        pytest.param("regular", ((b"Host", b"httpbin"),), False, 81, id="else where the client went"),
        pytest.param("transparent", ((b"Host", b"[::1]"),), False, 81, id="IPv6 without a port"),
        pytest.param("reverse:http://x:9", ((b"host", b"httpbin"),), False, 80, id="reverse: http's port"),
        pytest.param("reverse:http://x:9", ((b"host", b"httpbin"),), True, 443, id="reverse: https's port"),
        pytest.param("reverse:http://x:9", ((b"host", b"httpbin:99999"),), False, 80, id="no such port"),
        pytest.param("regular", (), False, 81, id="no Host at all"),
        pytest.param("transparent", (), False, 81, id="transparent, no Host at all"),
    ],
)
def test_port_is_the_one_that_the_client_addressed(
    mode: str, headers: HeaderFields, client_tls: bool, expected: int
) -> None:
    head = read_head(make_flow(mode=mode, headers=headers, client_tls=client_tls))

    assert expected == head.port


def test_head_is_what_the_client_sent_byte_by_byte() -> None:
    headers = ((b"hOsT", b"httpbin:8080"), (b"X-A", b"1"), (b"x-a", b"\xff"))
    head = read_head(make_flow(headers=headers, path=b"/a//b/../c|d?x=%2F??\xc3", method=b"gEt"))

    assert headers == head.headers
    assert b"/a//b/../c|d?x=%2F??\xc3" == head.target
    assert "gEt" == head.method
    assert "httpbin:8080" == head.authority


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        pytest.param("regular", "original.example:81", id="regular: from the URI"),
        pytest.param("upstream:http://x:9", "original.example:81", id="upstream: from the URI"),
        pytest.param("socks5", "original.example:81", id="SOCKS: what the client named"),
        pytest.param("transparent", "original.example:81", id="transparent: where the client went"),
        pytest.param("reverse:http://x:9", "", id="reverse: there is none"),
    ],
)
def test_the_authority_of_a_request_without_host(mode: str, expected: str) -> None:
    assert expected == read_head(make_flow(mode=mode, headers=())).authority


def test_an_ipv6_address_as_authority_has_brackets() -> None:
    flow = make_flow(mode="transparent", headers=(), host="2001:db8::7", port=80)

    assert read_head(flow).authority == "[2001:db8::7]:80"


def test_http2_authority_is_the_authority() -> None:
    head = read_head(make_flow(version=b"HTTP/2.0", headers=(), authority=b"httpbin:8080"))

    assert "httpbin:8080" == head.authority


def test_forward_sets_the_address_and_leaves_host_as_the_rules_left_it() -> None:
    flow = make_flow(headers=((b"X-A", b"1"), (b"hoSt", b"httpbin:8080"), (b"x-a", b"2")))

    apply_forward(flow, make_forward())

    assert ("127.0.0.1", 8001) == (flow.request.host, flow.request.port)
    assert ((b"X-A", b"1"), (b"hoSt", b"httpbin:8080"), (b"x-a", b"2")) == flow.request.headers.fields


def test_forward_rewrites_authority_path_scheme_and_headers() -> None:
    flow = make_flow()
    operations = (HeaderOperations(add=((b"x-one", b"1"),)), HeaderOperations(remove=frozenset({b"x-one"})))

    apply_forward(flow, make_forward(authority="other", path=b"/new", scheme="https", operations=operations))

    assert ((b"Host", b"other"),) == flow.request.headers.fields
    assert (b"/new", b"https") == (flow.request.data.path, flow.request.data.scheme)


@pytest.mark.parametrize(
    ("mode", "scheme", "expected"),
    [
        pytest.param("reverse:http://x:9", "http", b"", id="origin form to a server"),
        pytest.param("upstream:http://x:9", "http", b"127.0.0.1:8001", id="endpoint to an upstream proxy"),
        pytest.param("upstream:http://x:9", "https", b"", id="origin form through a proxy's tunnel"),
    ],
)
def test_absolute_form_is_kept_for_proxies_only(mode: str, scheme: str, expected: bytes) -> None:
    flow = make_flow(mode=mode, authority=b"httpbin:8080")

    apply_forward(flow, make_forward(scheme=scheme))

    assert expected == flow.request.data.authority


def test_http2_forward_changes_authority_and_makes_no_host_header() -> None:
    flow = make_flow(version=b"HTTP/2.0", headers=((b"accept", b"*/*"),), authority=b"httpbin:8080")

    apply_forward(flow, make_forward(authority="other"))

    assert b"other" == flow.request.data.authority
    assert ((b"accept", b"*/*"),) == flow.request.headers.fields


def test_copy_equals_the_primary_apart_from_its_host() -> None:
    headers = ((b"A", b"1"), (b"host", b"httpbin:8080"), (b"a", b"2"), (b"Cookie", b"x=1"))
    flow = make_flow(headers=headers, method=b"pUrGe")
    copy = make_copy()
    assert copy.target is not None

    shadow = copy_request(RoutedRequest.of(flow), copy, copy.target, 4)

    expected = ((b"A", b"1"), (b"host", b"httpbin-shadow:8080"), (b"a", b"2"), (b"Cookie", b"x=1"))
    assert expected == shadow.headers
    assert (b"pUrGe", b"/get?a=1") == (shadow.method, shadow.target)
    assert ("https", "::1", 8002, "httpbin") == (shadow.scheme, shadow.address, shadow.port, shadow.sni)


TRAILERS = ((b"x-sum", b"6"), (b"x-sum", b"7"))


@pytest.mark.parametrize(
    ("version", "scheme", "http2", "trailers"),
    [
        pytest.param(b"HTTP/2.0", "https", False, TRAILERS, id="the mirror may choose HTTP/2"),
        pytest.param(b"HTTP/2.0", "http", True, TRAILERS, id="HTTP/2 in clear text"),
        pytest.param(b"HTTP/2.0", "http", False, (), id="HTTP/1 in clear text"),
        pytest.param(b"HTTP/1.1", "https", False, (), id="the mirror is offered HTTP/1 only"),
    ],
)
def test_a_copy_has_the_trailers_where_its_protocol_does(
    version: bytes, scheme: str, http2: bool, trailers: HeaderFields
) -> None:
    flow = make_flow(version=version, authority=b"httpbin:8080")
    flow.request.trailers = http.Headers(TRAILERS)
    endpoint = Endpoint("::1", 8002, scheme, http2=http2)  # type: ignore[arg-type]  # as above
    copy = make_copy()

    shadow = copy_request(RoutedRequest.of(flow), copy, Target("httpbin", "v2", 8080, endpoint), 0)

    assert shadow.trailers == trailers
    assert shadow.http2 is bool(trailers)


@pytest.mark.parametrize(
    ("mode", "names"),
    [
        pytest.param("upstream:http://x:9", [b"Host", b"Authorization"], id="upstream: it is for the proxy"),
        pytest.param("regular", [b"Host", b"Proxy-Authorization", b"Authorization"], id="else as it came"),
    ],
)
def test_a_mirror_does_not_get_what_an_upstream_proxy_is_told(mode: str, names: list[bytes]) -> None:
    headers = ((b"Host", b"httpbin"), (b"Proxy-Authorization", b"Basic x"), (b"Authorization", b"Basic y"))
    copy = make_copy()
    assert copy.target is not None

    shadow = copy_request(RoutedRequest.of(make_flow(mode=mode, headers=headers)), copy, copy.target, 0)

    assert [name for name, _ in shadow.headers] == names


@pytest.mark.parametrize(
    ("mode", "client_tls", "authority", "is_kept"),
    [
        pytest.param("upstream:http://x:9", False, b"127.0.0.1:8001", True, id="to the proxy itself"),
        pytest.param("upstream:http://x:9", True, b"", False, id="through its tunnel, TLS from the client"),
        pytest.param("upstream:http://x:9", True, b"httpbin:8080", False, id="the same over HTTP/2"),
        pytest.param("upstream:http://x:9", False, b"", False, id="through its tunnel, plain"),
        pytest.param("regular", True, b"", True, id="no upstream proxy: the client's own header"),
    ],
)
def test_what_an_upstream_proxy_is_told_does_not_go_through_its_tunnel(
    mode: str, client_tls: bool, authority: bytes, is_kept: bool
) -> None:
    headers = ((b"Proxy-Authorization", b"Basic x"), (b"A", b"b"))
    flow = make_flow(mode=mode, client_tls=client_tls, authority=authority, headers=headers)

    hide_proxy_credentials(flow)

    assert flow.request.headers.fields == (headers if is_kept else headers[1:])


def test_copy_is_a_snapshot() -> None:
    flow = make_flow()
    copy = make_copy()
    assert copy.target is not None
    shadow = copy_request(RoutedRequest.of(flow), copy, copy.target, 0)

    flow.request.headers["x-late"] = "1"
    flow.request.path = "/other"

    assert ((b"Host", b"httpbin-shadow:8080"),) == shadow.headers
    assert b"/get?a=1" == shadow.target


def test_shadow_only_headers_come_last() -> None:
    flow = make_flow(headers=((b"Host", b"httpbin:8080"), (b"Authorization", b"secret")))
    copy = make_copy(headers=HeaderOperations(frozenset({b"authorization"}), ((b"X-Mirror", b"1"),)))
    assert copy.target is not None

    shadow = copy_request(RoutedRequest.of(flow), copy, copy.target, 0)

    assert ((b"Host", b"httpbin-shadow:8080"), (b"X-Mirror", b"1")) == shadow.headers


def test_http2_copy_joins_cookies_and_gets_host_and_length() -> None:
    headers = ((b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2"))
    flow = make_flow(version=b"HTTP/2.0", headers=headers, authority=b"httpbin:8080")
    copy = make_copy()
    assert copy.target is not None

    shadow = copy_request(RoutedRequest.of(flow), copy, copy.target, 4)

    expected = (
        (b"Host", b"httpbin-shadow:8080"),
        (b"cookie", b"a=1; b=2"),
        (b"x", b"y"),
        (b"content-length", b"4"),
    )
    assert expected == shadow.headers


@pytest.mark.parametrize(
    ("method", "status", "body", "length"),
    [
        pytest.param(b"GET", 404, b"nope", "4", id="a body and its length"),
        pytest.param(b"HEAD", 404, b"", "4", id="HEAD: the length alone"),
        pytest.param(b"head", 404, b"", "4", id="lower-case head: mitmproxy reads it as HEAD"),
        pytest.param(b"GET", 204, b"", None, id="204: neither"),
        pytest.param(b"GET", 304, b"", None, id="304: neither"),
    ],
)
def test_answer_is_framed_as_its_status_and_method_demand(
    method: bytes, status: int, body: bytes, length: str | None
) -> None:
    flow = make_flow(method=method)

    response = make_answer(flow, status, ((b"X-A", b"1"),), b"nope")

    assert (status, body, length) == (
        response.status_code,
        response.raw_content,
        response.headers.get("content-length"),
    )
    assert "1" == response.headers["x-a"]


@pytest.mark.parametrize(
    ("mode", "headers", "expected"),
    [
        pytest.param(
            "transparent", ((b"Host", b"httpbin:8080"),), ("original.example", 81), id="transparent"
        ),
        pytest.param("regular", ((b"Host", b"httpbin:8080"),), ("original.example", 81), id="regular"),
        pytest.param("socks5", ((b"Host", b"httpbin:8080"),), ("original.example", 81), id="SOCKS"),
        pytest.param("upstream:http://x:9", (), ("original.example", 81), id="upstream"),
        pytest.param("reverse:http://x:9", ((b"Host", b"httpbin:8080"),), ("httpbin", 8080), id="reverse"),
        pytest.param("reverse:http://x:9", ((b"Host", b"[::1]"),), ("::1", 80), id="reverse, no port"),
        pytest.param("reverse:http://x:9", (), ("", 80), id="reverse, no Host"),
    ],
)
def test_where_the_client_meant_to_go(mode: str, headers: HeaderFields, expected: tuple[str, int]) -> None:
    head = read_head(make_flow(mode=mode, headers=headers))

    assert (head.original_host, head.original_port) == expected


@pytest.mark.parametrize(
    ("mode", "scheme", "http2", "expected"),
    [
        pytest.param("regular", "http", True, True, id="clear text"),
        pytest.param("regular", "https", True, True, id="TLS"),
        pytest.param("regular", "http", False, False, id="not meant"),
        pytest.param("upstream:http://proxy:3128", "http", True, False, id="an upstream proxy takes HTTP/1"),
        pytest.param("upstream:http://proxy:3128", "https", True, True, id="a tunnel through one"),
    ],
)
def test_http2_is_part_of_the_upstream_address(mode: str, scheme: str, http2: bool, expected: bool) -> None:
    flow = make_flow(mode=mode)
    endpoint = Endpoint("127.0.0.1", 8001, scheme, http2=http2)  # type: ignore[arg-type]  # as above
    target = Target("httpbin", "v1", 8080, endpoint)
    apply_forward(flow, Forward(RULE, target, "httpbin:8080", "httpbin", b"/", (), (), ()))

    host = flow.request.data.host
    assert host == "127.0.0.1"
    assert (isinstance(host, UpstreamAddress) and host.http2) is expected

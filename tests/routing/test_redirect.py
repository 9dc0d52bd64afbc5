import pytest

from mitm_mirror.resources.virtual_service import HTTPRedirect
from mitm_mirror.routing.redirect import compile_redirect
from mitm_mirror.routing.request import RequestHead


def head(
    authority: str = "a:8080", target: bytes = b"/old/x?q=1", scheme: str = "http", port: int = 8080
) -> RequestHead:
    return RequestHead("GET", scheme, authority, target, (), port, "192.0.2.1")


@pytest.mark.parametrize(
    ("spec", "request_head", "location"),
    [
        pytest.param({}, head(), b"http://a:8080/old/x?q=1", id="to itself"),
        pytest.param({"uri": "/new"}, head(), b"http://a:8080/new?q=1", id="the query stays"),
        pytest.param({"uri": "/new?z"}, head(), b"http://a:8080/new?z", id="unless uri has its own"),
        pytest.param({"uri": "new"}, head(), b"http://a:8080/new?q=1", id="a slash is put before"),
        pytest.param({"prefixRewrite": "/new"}, head(), b"http://a:8080/new/x?q=1", id="prefix"),
        pytest.param(
            {"authority": "b"}, head(), b"http://b/old/x?q=1", id="an authority replaces the port too"
        ),
        pytest.param({"scheme": "https"}, head(), b"https://a:8080/old/x?q=1", id="Host's port stays"),
        pytest.param(
            {"scheme": "https"},
            head("a:80", port=80),
            b"https://a/old/x?q=1",
            id="the old scheme's default goes",
        ),
        pytest.param({}, head("a:80"), b"http://a:80/old/x?q=1", id="it stays where the scheme stays"),
        pytest.param({"port": 9090}, head(), b"http://a:9090/old/x?q=1", id="port"),
        pytest.param(
            {"port": 443, "scheme": "https"}, head("a"), b"https://a/old/x?q=1", id="default port unnamed"
        ),
        pytest.param(
            {"authority": "b", "derivePort": "FROM_REQUEST_PORT"},
            head("a", port=8443),
            b"http://b:8443/old/x?q=1",
            id="port of the request",
        ),
        pytest.param(
            {"authority": "b", "derivePort": "FROM_PROTOCOL_DEFAULT"},
            head(),
            b"http://b/old/x?q=1",
            id="port of the protocol",
        ),
        pytest.param({"port": 81}, head("[::1]:80"), b"http://[::1]:81/old/x?q=1", id="IPv6"),
    ],
)
def test_locations(spec: dict[str, object], request_head: RequestHead, location: bytes) -> None:
    assert compile_redirect(HTTPRedirect.model_validate(spec)).location(request_head, 4) == location


@pytest.mark.parametrize(("code", "status"), [(0, 301), (302, 302), (308, 308)])
def test_no_code_means_301(code: int, status: int) -> None:
    assert compile_redirect(HTTPRedirect.model_validate({"redirectCode": code})).status == status

"""A request from a command line."""

import pytest

from mitm_mirror.imagined import imagine_request


@pytest.mark.parametrize(
    ("url", "headers", "authority", "target", "port"),
    [
        pytest.param("http://httpbin:8080/get?x=1", [], "httpbin:8080", b"/get?x=1", 8080, id="all parts"),
        pytest.param("http://httpbin", [], "httpbin", b"/", 80, id="no path"),
        pytest.param("https://httpbin/x", [], "httpbin", b"/x", 443, id="https"),
        pytest.param("HTTP://httpbin/x", [], "httpbin", b"/x", 80, id="a scheme has no case"),
        pytest.param("http://httpbin:80/", [], "httpbin", b"/", 80, id="Host has no default port"),
        pytest.param("https://httpbin:80/", [], "httpbin:80", b"/", 80, id="another scheme's port stays"),
        pytest.param("http://httpbin:/", [], "httpbin", b"/", 80, id="a bare colon"),
        pytest.param("http://[::1]:81/x", [], "[::1]:81", b"/x", 81, id="IPv6"),
        pytest.param("http://httpbin?x=/y", [], "httpbin", b"/?x=/y", 80, id="a query without a path"),
        pytest.param("http://httpbin/a#b?c", [], "httpbin", b"/a", 80, id="a fragment is not sent"),
        pytest.param(
            "http://httpbin//a/../%2F|??", [], "httpbin", b"//a/../%2F|??", 80, id="the target goes as it is"
        ),
        pytest.param("http://10.0.0.1:81/", ["Host: httpbin"], "httpbin", b"/", 81, id="Host without a port"),
        pytest.param("http://10.0.0.1:81/", ["host: a:90"], "a:90", b"/", 90, id="Host with a port"),
    ],
)
def test_url_and_host(url: str, headers: list[str], authority: str, target: bytes, port: int) -> None:
    head = imagine_request(url, headers=headers)

    assert (head.authority, head.target, head.port) == (authority, target, port)
    assert [value for name, value in head.headers if name.lower() == b"host"] == [authority.encode()]


def test_method_headers_and_client() -> None:
    head = imagine_request(
        "https://a/", method="PUT", headers=["X-User:  jane doe ", "x-empty:", "x-t: a:b"], client="192.0.2.1"
    )

    assert (head.method, head.scheme, head.client) == ("PUT", "https", "192.0.2.1")
    assert head.headers == (
        (b"Host", b"a"),
        (b"X-User", b"jane doe"),
        (b"x-empty", b""),
        (b"x-t", b"a:b"),
    )


@pytest.mark.parametrize(
    ("url", "arguments", "message"),
    [
        pytest.param(
            "httpbin:8080/get",
            {},
            "expected a URL with its scheme, such as http://httpbin:8080/get",
            id="bare",
        ),
        pytest.param("//httpbin/get", {}, "such as http://httpbin/get", id="no scheme"),
        pytest.param("ftp://httpbin/", {}, "expected http:// or https://", id="another scheme"),
        pytest.param("http:///get", {}, "expected a host, such as http://httpbin/get", id="no host"),
        pytest.param("http://:80/", {}, "expected a host", id="a port alone"),
        pytest.param("http://a:b/", {}, "expected a port from 1 to 65535", id="no port number"),
        pytest.param("http://a:70000/", {}, "expected a port from 1 to 65535", id="port too large"),
        pytest.param("http://a:0/", {}, "expected a port from 1 to 65535", id="port 0"),
        pytest.param("http://u:p@a/", {}, "expected no user name", id="user name"),
        pytest.param("http://a/b c", {}, "no URL has a space", id="space"),
        pytest.param("http://bücher.example/", {}, "in ASCII", id="host not in ASCII"),
        pytest.param("http://a/", {"method": "G ET"}, "expected a method", id="method"),
        pytest.param("http://a/", {"headers": ["x-user"]}, "expected 'name: value'", id="header, no colon"),
        pytest.param("http://a/", {"headers": [": x"]}, "expected 'name: value'", id="header without a name"),
        pytest.param("http://a/", {"headers": ["x: a\r\ny: b"]}, "on one line", id="header of two lines"),
        pytest.param("http://a/", {"headers": ["host: a", "Host: b"]}, "Host is given twice", id="two hosts"),
        pytest.param("http://a/", {"headers": ["host: a:b"]}, "expected a port", id="Host's port"),
    ],
)
def test_what_is_no_request_is_refused(url: str, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        imagine_request(url, **arguments)  # type: ignore[arg-type]

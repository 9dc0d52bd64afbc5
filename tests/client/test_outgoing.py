"""Requests whose headers and body disagree are refused before a byte is sent, by texts of our own."""

from typing import Any

import pytest

from mitm_mirror.client.outgoing import BadAddressError, UnsendableRequestError, build_request

SECRET = b"s3cret"

LENGTH = b"Content-Length"
CODING = b"Transfer-Encoding"


@pytest.mark.parametrize(
    ("headers", "body", "text"),
    [
        pytest.param([(LENGTH, b"5")], b"", "its Content-Length is not", id="body missing"),
        pytest.param([(LENGTH, b"1")], b"12", "its Content-Length is not", id="body too long"),
        pytest.param([(LENGTH, b"1"), (LENGTH, b"2")], b"1", "its Content-Length is not", id="two lengths"),
        pytest.param([(LENGTH, SECRET)], b"", "its Content-Length is not", id="length is no number"),
        pytest.param([(LENGTH, b"1"), (CODING, b"chunked")], b"1", "both", id="both framings"),
        pytest.param([(CODING, b"gzip, chunked")], b"1", "not just chunked", id="coding unknown to h11"),
        pytest.param([(CODING, b"chunked")] * 2, b"1", "not just chunked", id="coding twice"),
        pytest.param([], SECRET, "neither", id="body without framing"),
    ],
)
def test_framing_that_does_not_fit(
    kit: Any, headers: list[tuple[bytes, bytes]], body: bytes, text: str
) -> None:
    request = kit.request(headers=((b"Host", b"x"), (b"Authorization", SECRET), *headers))
    with pytest.raises(UnsendableRequestError, match=text) as caught:
        build_request(request, body)

    assert SECRET.decode() not in str(caught.value)


@pytest.mark.parametrize(
    ("method", "text"),
    [pytest.param(b"CONNECT", "tunnel", id="CONNECT"), pytest.param(b"G\xc3\x89T", "ASCII", id="not ASCII")],
)
def test_method_that_cannot_be_sent(kit: Any, method: bytes, text: str) -> None:
    with pytest.raises(UnsendableRequestError, match=text):
        build_request(kit.request(method=method), b"")


@pytest.mark.parametrize("address", ["", "a b", "a/b", "user@host", "[::1]", "xn--\udc80"])
def test_address_that_is_none(kit: Any, address: str) -> None:
    with pytest.raises((BadAddressError, UnicodeError)):
        build_request(kit.request(address=address), b"")


@pytest.mark.parametrize(
    ("address", "host"),
    [
        pytest.param("127.0.0.1", "127.0.0.1", id="IPv4"),
        pytest.param("::1", "::1", id="IPv6"),
        pytest.param("fe80::1%eth0", "fe80::1%eth0", id="IPv6 with a zone"),
        pytest.param("httpbin_v2.default", "httpbin_v2.default", id="underscore"),
    ],
)
def test_address(kit: Any, address: str, host: str) -> None:
    assert build_request(kit.request(80, address=address), b"").url.host == host


@pytest.mark.parametrize(
    ("scheme", "sni", "expected"),
    [
        pytest.param("https", "v2.example", "v2.example", id="given"),
        pytest.param("https", "", "127.0.0.1", id="empty means the address"),
        pytest.param("http", "v2.example", None, id="no TLS"),
    ],
)
def test_sni(kit: Any, scheme: str, sni: str, expected: str | None) -> None:
    request = build_request(kit.request(80, scheme=scheme, sni=sni), b"")

    assert request.extensions.get("sni_hostname") == expected

import pytest

from mitm_mirror.routing.authority import server_name, split_authority, suffix_authority


@pytest.mark.parametrize(
    ("authority", "host", "port", "name", "shadow"),
    [
        pytest.param("httpbin:8080", "httpbin", ":8080", "httpbin", "httpbin-shadow:8080", id="with a port"),
        pytest.param("re.example", "re.example", "", "re.example", "re.example-shadow", id="no port"),
        pytest.param("[::1]:80", "[::1]", ":80", "::1", "[::1]-shadow:80", id="IPv6 with a port"),
        pytest.param("[::1]", "[::1]", "", "::1", "[::1]-shadow", id="IPv6 without a port"),
        pytest.param("::1", "::1", "", "::1", "::1-shadow", id="IPv6 without brackets has no port"),
        pytest.param("a.b.:443", "a.b.", ":443", "a.b", "a.b.-shadow:443", id="trailing dot"),
        pytest.param("a:", "a", ":", "a", "a-shadow:", id="empty port"),
        pytest.param("", "", "", "", "-shadow", id="no Host at all"),
    ],
)
def test_authorities_come_apart(authority: str, host: str, port: str, name: str, shadow: str) -> None:
    assert split_authority(authority) == (host, port)
    assert server_name(authority) == name
    assert suffix_authority(authority, "-shadow") == shadow


def test_an_empty_suffix_leaves_the_host() -> None:
    assert suffix_authority("httpbin:8080", "") == "httpbin:8080"

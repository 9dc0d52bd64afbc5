import pytest

from mitm_mirror.routing.hosts import HostIndex, host_key, qualify_host, short_names

INDEX = HostIndex(
    [
        ("a.example.com", "exact"),
        ("*.example.com", "wildcard"),
        ("*.deep.example.com", "longer wildcard"),
        ("*-prod.example.com", "part of a label"),
        ("*", "everything"),
        ("a.example.com", "second exact"),
        ("*", "second everything"),
    ]
)


@pytest.mark.parametrize(
    ("host", "found"),
    [
        pytest.param("a.example.com", "exact", id="an exact host comes first"),
        pytest.param("b.example.com", "wildcard", id="a wildcard stands for one label"),
        pytest.param("c.b.example.com", "wildcard", id="a wildcard stands for several labels"),
        pytest.param("x.deep.example.com", "longer wildcard", id="the longest wildcard wins"),
        pytest.param("eu-prod.example.com", "part of a label", id="a wildcard may stand for part of a label"),
        pytest.param("example.com", "everything", id="a wildcard needs something to stand for"),
        pytest.param(".example.com", "everything", id="an empty label is nothing"),
        pytest.param("*.b.example.com", "wildcard", id="a wildcard is covered by a wider one"),
        pytest.param("*.example.com", "wildcard", id="a wildcard finds itself"),
        pytest.param("", "everything", id="no host"),
    ],
)
def test_the_best_host_is_found(host: str, found: str) -> None:
    assert INDEX.find(host) == found


def test_a_host_that_nobody_names_is_not_found() -> None:
    index = HostIndex([("a", 1), ("*.b", 2)])

    assert index.find("c") is None
    assert index.find("b") is None
    assert index.find("") is None


@pytest.mark.parametrize(
    ("authority", "key"),
    [
        pytest.param("HTTPBin:8080", "httpbin", id="case and port do not count"),
        pytest.param("a.b.:80", "a.b", id="trailing dot"),
        pytest.param("[FE80::1]:443", "fe80::1", id="IPv6"),
    ],
)
def test_host_keys(authority: str, key: str) -> None:
    assert host_key(authority) == key


@pytest.mark.parametrize(
    ("host", "namespace", "qualified"),
    [
        pytest.param("httpbin", "prod", "httpbin.prod.svc.cluster.local", id="short name"),
        pytest.param("HTTPBIN", "", "httpbin.default.svc.cluster.local", id="no namespace is default"),
        pytest.param("httpbin.org", "prod", "httpbin.org", id="a dot means qualified"),
        pytest.param("*", "prod", "*", id="everything"),
        pytest.param("*.org", "prod", "*.org", id="wildcard"),
        pytest.param("::1", "prod", "::1", id="IPv6 address"),
        pytest.param("v2", "prod", "v2.prod.svc.cluster.local", id="a digit at its end makes no address"),
    ],
)
def test_short_names_are_qualified(host: str, namespace: str, qualified: str) -> None:
    assert qualify_host(host, namespace) == qualified


@pytest.mark.parametrize(
    ("host", "names"),
    [
        pytest.param("a.ns.svc.cluster.local", ("a", "a.ns", "a.ns.svc"), id="a service of a cluster"),
        pytest.param("a.example.com", (), id="another host"),
        pytest.param("*.ns.svc.cluster.local", (), id="a wildcard has no short name"),
        pytest.param("x.a.ns.svc.cluster.local", (), id="a host below a service"),
        pytest.param("a.svc.cluster.local", (), id="no namespace"),
    ],
)
def test_services_have_short_names(host: str, names: tuple[str, ...]) -> None:
    assert short_names(host) == names

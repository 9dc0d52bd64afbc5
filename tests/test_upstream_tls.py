"""Names in certificates, and contexts that follow their files."""

from pathlib import Path

import pytest

from mitm_mirror.tls_contexts import TlsContexts
from mitm_mirror.upstream_tls import UpstreamTls, match_subject_alt_names

FOUND = [
    ("DNS", "a.example.com"),
    ("DNS", "*.wild.example.com"),
    ("URI", "spiffe://cluster.local/ns/x/sa/y"),
    ("IP Address", "10.0.0.1"),
    ("IP Address", "FD00:0:0:0:0:0:0:1"),
    ("email", "root@example.com"),
    ("DirName", "dir.example.com"),
]


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        pytest.param("a.example.com", True, id="DNS"),
        pytest.param("A.Example.com", True, id="DNS without case"),
        pytest.param("x.wild.example.com", True, id="wildcard of the certificate"),
        pytest.param("x.y.wild.example.com", False, id="a wildcard is one label"),
        pytest.param("wild.example.com", False, id="a wildcard is at least one label"),
        pytest.param(".wild.example.com", False, id="a wildcard is not nothing"),
        pytest.param("*.example.com", False, id="the rule has no wildcards"),
        pytest.param("example.com", False, id="no suffix"),
        pytest.param("spiffe://cluster.local/ns/x/sa/y", True, id="URI"),
        pytest.param("spiffe://cluster.local/ns/x/sa/Y", False, id="URI with case"),
        pytest.param("10.0.0.1", True, id="IPv4"),
        pytest.param("fd00::1", True, id="IPv6 however spelled"),
        pytest.param("10.0.0.2", False, id="another address"),
        pytest.param("root@example.com", True, id="email"),
        pytest.param("dir.example.com", False, id="a kind that is not compared"),
        pytest.param("", False, id="empty"),
    ],
)
def test_subject_alt_names(wanted: str, matches: bool) -> None:
    assert match_subject_alt_names((wanted,), FOUND) is matches
    assert match_subject_alt_names(("other.example", wanted), FOUND) is matches


def test_nothing_wanted_and_nothing_found_match_nothing() -> None:
    assert not match_subject_alt_names((), FOUND)
    assert not match_subject_alt_names(("a.example.com",), [])


def test_a_context_is_built_once_and_again_when_a_file_was_replaced(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("one")
    built: list[UpstreamTls] = []
    contexts = TlsContexts(lambda tls: built.append(tls) or len(built))
    tls = UpstreamTls(ca_file=str(file))

    assert [contexts.get(tls), contexts.get(tls)] == [1, 1]
    file.write_text("another")
    assert [contexts.get(tls), contexts.get(tls)] == [2, 2]
    file.unlink()
    with pytest.raises(FileNotFoundError):
        contexts.get(tls)


def test_different_settings_have_different_contexts_and_not_too_many_are_kept() -> None:
    built: list[UpstreamTls] = []
    contexts = TlsContexts(lambda tls: built.append(tls) or len(built))

    assert [contexts.get(UpstreamTls(sni=str(number))) for number in range(1000)] == list(range(1, 1001))
    assert len(contexts._built) <= 256

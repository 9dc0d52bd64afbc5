"""Certificate files that rules name are read when the rules are loaded."""

from pathlib import Path

import pytest

from lab.certificates import Authority
from mitm_mirror.resources.certificates import certificate_path
from mitm_mirror.resources.load import load_rules

RULE = """apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec:
  host: a
  %s:
    tls:
      mode: %s
      %s
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    authority = Authority(folder, "ca")
    authority.issue("client.example", label="client")
    authority.issue("client.example", label="other")
    authority.issue("client.example", label="locked", password="secret")
    (folder / "text.pem").write_text("no certificate\n")
    (folder / "sub").mkdir()
    return folder


def errors(folder: Path, fields: str, mode: str = "SIMPLE", place: str = "trafficPolicy") -> list[str]:
    file = folder / "rule.yaml"
    file.write_text(RULE % (place, mode, fields.replace("FOLDER", str(folder))))
    return [str(issue).replace(f"{folder}/", "") for issue in load_rules([str(file)]).errors]


@pytest.mark.parametrize(
    ("mode", "fields"),
    [
        pytest.param("SIMPLE", "caCertificates: ca.pem", id="relative to the rule file"),
        pytest.param("SIMPLE", "caCertificates: sub/../ca.pem", id="relative with dots"),
        pytest.param("SIMPLE", "caCertificates: FOLDER/ca.pem", id="absolute"),
        pytest.param("SIMPLE", "caCertificates: system", id="the system's"),
        pytest.param(
            "MUTUAL",
            "{clientCertificate: client.crt, privateKey: client.key, caCertificates: ca.pem}",
            id="all",
        ),
        pytest.param("SIMPLE", "clientCertificate: none.crt", id="not used in SIMPLE"),
        pytest.param("DISABLE", "caCertificates: none.pem", id="not used in DISABLE"),
    ],
)
def test_usable_files(folder: Path, mode: str, fields: str) -> None:
    text = fields.strip("{}").replace(", ", "\n      ")
    assert errors(folder, text, mode) == []


@pytest.mark.parametrize(
    ("mode", "fields", "error"),
    [
        pytest.param(
            "SIMPLE",
            "caCertificates: none.pem",
            "9:7: {}caCertificates: 'none.pem', none.pem cannot be read: No such file or directory",
            id="missing",
        ),
        pytest.param(
            "SIMPLE",
            "caCertificates: sub",
            "9:7: {}caCertificates: 'sub', expected a file, sub is none",
            id="folder",
        ),
        pytest.param(
            "SIMPLE",
            "caCertificates: text.pem",
            "9:7: {}caCertificates: 'text.pem', text.pem holds no certificates in PEM format",
            id="no certificates",
        ),
        pytest.param(
            "MUTUAL",
            "clientCertificate: client.crt, privateKey: none.key",
            "10:7: {}privateKey: 'none.key', none.key cannot be read: No such file or directory",
            id="key missing",
        ),
        pytest.param(
            "MUTUAL",
            "clientCertificate: client.crt, privateKey: other.key",
            "10:7: {}privateKey: 'other.key', other.key is not the key of clientCertificate",
            id="another's key",
        ),
        pytest.param(
            "MUTUAL",
            "clientCertificate: client.key, privateKey: client.key",
            "9:7: {}clientCertificate: 'client.key', client.key holds no certificate in PEM format",
            id="no client certificate",
        ),
        pytest.param(
            "MUTUAL",
            "clientCertificate: client.crt, privateKey: text.pem",
            "10:7: {}privateKey: 'text.pem', text.pem holds no private key in PEM format "
            "that needs no password",
            id="no key",
        ),
        pytest.param(
            "MUTUAL",
            "clientCertificate: locked.crt, privateKey: locked.key",
            "10:7: {}privateKey: 'locked.key', locked.key holds no private key in PEM format "
            "that needs no password",
            id="encrypted key",
        ),
    ],
)
def test_unusable_files_are_errors_at_their_line(folder: Path, mode: str, fields: str, error: str) -> None:
    text = fields.replace(", ", "\n      ")
    path = "DestinationRule default/a: spec.trafficPolicy.tls."
    assert errors(folder, text, mode) == [f"rule.yaml:{error.format(path)}"]


def test_every_tls_of_a_rule_is_looked_at(folder: Path) -> None:
    tls = "tls: {mode: SIMPLE, caCertificates: none.pem}"
    policy = f"{{{tls}, portLevelSettings: [{{port: {{number: 80}}, {tls}}}]}}"
    file = folder / "many.yaml"
    head = (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\nspec:\n  host: a\n"
    )
    file.write_text(f"{head}  trafficPolicy: {policy}\n  subsets: [{{name: x, trafficPolicy: {policy}}}]\n")

    paths = sorted(
        issue.path.removeprefix("DestinationRule default/a: spec.")
        for issue in load_rules([str(file)]).errors
    )

    assert paths == [
        "subsets[0].trafficPolicy.portLevelSettings[0].tls.caCertificates",
        "subsets[0].trafficPolicy.tls.caCertificates",
        "trafficPolicy.portLevelSettings[0].tls.caCertificates",
        "trafficPolicy.tls.caCertificates",
    ]


def test_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    assert certificate_path("rules/a.yaml", "ca.pem") == f"{tmp_path}/rules/ca.pem"
    assert certificate_path("/etc/rules/a.yaml", "/etc/certs/ca.pem") == "/etc/certs/ca.pem"

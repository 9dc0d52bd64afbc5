"""A DestinationRule's TLS through real mitmdump: to the primary, and to the mirror."""

import contextlib
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab.backend import Backend
from lab.certificates import Authority, Issued
from lab.client import RawConnection
from lab.mitmdump import Mitmdump, StartMitmdump
from lab.wire import Message

RULES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: httpbin}}
spec:
  hosts: [httpbin.example]
  http:
  - match: [{{uri: {{prefix: /other}}}}]
    route: [{{destination: {{host: httpbin.example, subset: other}}}}]
  - route: [{{destination: {{host: httpbin.example, subset: v1}}}}]
    mirror: {{host: httpbin.example, subset: v2}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: httpbin}}
spec:
  host: httpbin.example
  subsets:
  - {{name: v1, labels: {{version: v1}}, trafficPolicy: {{tls: {{{primary}}}}}}}
  - {{name: v2, labels: {{version: v2}}, trafficPolicy: {{tls: {{{mirror}}}}}}}
  - {{name: other, labels: {{version: v1}}, trafficPolicy: {{tls: {{{other}}}}}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: httpbin}}
spec:
  hosts: [httpbin.example]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints:
  - {{address: 127.0.0.1, ports: {{http: {v1}}}, labels: {{version: v1}}}}
  - {{address: 127.0.0.1, ports: {{http: {v2}}}, labels: {{version: v2}}}}
"""
CA = "caCertificates: certificates/ca.pem"
OWN = "clientCertificate: certificates/client.crt, privateKey: certificates/client.key"
SIMPLE = f"mode: SIMPLE, {CA}"
MUTUAL = f"mode: MUTUAL, {CA}, {OWN}"


@dataclass
class Place:
    """Two TLS servers, and the folder with the rules and their certificates."""

    rules: Path
    v1: Backend
    v2: Backend
    names: dict[str, list[str | None]] = field(default_factory=dict)
    """The SNIs that each server saw."""

    def write(self, primary: str, mirror: str = SIMPLE, other: str = SIMPLE) -> None:
        text = RULES.format(primary=primary, mirror=mirror, other=other, v1=self.v1.port, v2=self.v2.port)
        (self.rules / "rules.yaml").write_text(text)


@contextlib.contextmanager
def make_place(folder: Path, *, mutual: bool) -> Iterator[Place]:
    rules = folder / "tls-rules"
    certificates = rules / "certificates"
    certificates.mkdir(parents=True)
    authority = Authority(certificates, "ca")
    Authority(certificates, "other")
    authority.issue("client.example", label="client")
    names: dict[str, list[str | None]] = {"v1": [], "v2": []}

    def backend(label: str, issued: Issued) -> Backend:
        context = authority.server_context(issued, names[label], mutual=mutual)
        return Backend(label, tls=context)

    issued = authority.issue("httpbin.example", "spiffe://v1", label="server")
    with backend("v1", issued) as v1, backend("v2", issued) as v2:
        yield Place(rules, v1, v2, names)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with make_place(tmp_path, mutual=False) as made:
        yield made


@pytest.fixture
def mutual_place(tmp_path: Path) -> Iterator[Place]:
    with make_place(tmp_path, mutual=True) as made:
        yield made


def ask(mitmdump: Mitmdump, *paths: str) -> list[Message]:
    """Requests on one client connection."""
    with RawConnection(mitmdump.port) as client:
        return [
            client.exchange(
                f"GET http://httpbin.example{path} HTTP/1.1\r\nHost: httpbin.example\r\n\r\n".encode()
            )
            for path in paths
        ]


def stop(mitmdump: Mitmdump) -> dict[str, int]:
    """How the shadows ended."""
    assert mitmdump.stop(signal.SIGINT) == 0
    totals = mitmdump.totals()
    assert totals.pop("pending") == 0
    del totals["shadows"]
    return totals


def test_primary_and_mirror_over_simple_tls(place: Place, start: StartMitmdump) -> None:
    place.write(SIMPLE, f"{SIMPLE}, sni: v2.example, subjectAltNames: ['spiffe://v1']")
    mitmdump = start(mirror_rules=str(place.rules))

    answers = ask(mitmdump, "/1", "/2")

    assert [answer.body for answer in answers] == [b"v1", b"v1"]
    assert stop(mitmdump) == {"ok": 2}
    assert place.names["v1"] == ["httpbin.example"], "one connection for both requests"
    assert set(place.names["v2"]) == {"v2.example"}
    assert place.v2.requests[0].values(b"host") == [b"httpbin.example-shadow"]


def test_primary_and_mirror_over_mutual_tls(mutual_place: Place, start: StartMitmdump) -> None:
    mutual_place.write(MUTUAL, MUTUAL)
    mitmdump = start(mirror_rules=str(mutual_place.rules))

    answers = ask(mitmdump, "/1")

    assert [answer.body for answer in answers] == [b"v1"]
    assert stop(mitmdump) == {"ok": 1}


@pytest.mark.parametrize(
    ("tls", "status", "shadow"),
    [
        pytest.param("mode: SIMPLE", 502, "tls_error", id="an authority that nobody trusts"),
        pytest.param(
            "mode: SIMPLE, caCertificates: certificates/other.pem", 502, "tls_error", id="another authority"
        ),
        pytest.param(f"{SIMPLE}, sni: v9.example", 502, "tls_error", id="another name"),
        pytest.param(f"{SIMPLE}, subjectAltNames: [v9.example]", 502, "tls_error", id="no such SAN"),
        pytest.param(
            f"{SIMPLE}, sni: v9.example, subjectAltNames: [x, 'spiffe://v1']", 200, "ok", id="one of the SANs"
        ),
        pytest.param("mode: SIMPLE, insecureSkipVerify: true, sni: v9.example", 200, "ok", id="not verified"),
    ],
)
def test_verification_is_the_same_for_both_copies(
    place: Place, start: StartMitmdump, tls: str, status: int, shadow: str
) -> None:
    place.write(tls, tls)
    mitmdump = start(mirror_rules=str(place.rules))

    assert [answer.status for answer in ask(mitmdump, "/1")] == [status]
    assert stop(mitmdump) == {shadow: 1}
    assert place.v1.count == place.v2.count == (status == 200)


def test_a_primary_that_wants_a_client_certificate_gets_none_in_simple_mode(
    mutual_place: Place, start: StartMitmdump
) -> None:
    mutual_place.write(SIMPLE, MUTUAL)
    mitmdump = start(mirror_rules=str(mutual_place.rules))

    assert [answer.status for answer in ask(mitmdump, "/1")] == [502]
    assert stop(mitmdump) == {"ok": 1}
    assert mutual_place.v1.count == 0


def test_destinations_of_one_address_do_not_share_a_connection_where_their_tls_differs(
    place: Place, start: StartMitmdump
) -> None:
    place.write(
        "mode: SIMPLE, insecureSkipVerify: true, sni: one.example", other=f"{SIMPLE}, sni: httpbin.example"
    )
    mitmdump = start(mirror_rules=str(place.rules))

    answers = ask(mitmdump, "/1", "/other/1", "/2", "/other/2")

    assert [answer.status for answer in answers] == [200] * 4
    assert place.names["v1"] == ["one.example", "httpbin.example"]
    assert stop(mitmdump) == {"ok": 2}


def test_a_certificate_file_that_is_gone_refuses_and_its_return_serves(
    place: Place, start: StartMitmdump
) -> None:
    place.write(SIMPLE)
    file = place.rules / "certificates" / "ca.pem"
    mitmdump = start(mirror_rules=str(place.rules))
    kept = file.read_bytes()

    file.unlink()
    refused = ask(mitmdump, "/1")
    file.write_bytes(kept)
    served = ask(mitmdump, "/2")

    assert [answer.status for answer in (*refused, *served)] == [502, 200]
    mitmdump.wait_for_log(r"mirror: TLS to 127\.0\.0\.1 \(httpbin\.example\) is refused: .*No such file")
    # The mirror's worker may have looked while the file was gone, or was back.
    assert sum(stop(mitmdump).values()) == 2


def test_a_missing_certificate_file_stops_the_start(place: Place, tmp_path: Path) -> None:
    place.write("mode: SIMPLE, caCertificates: none.pem")

    with Mitmdump(tmp_path, {"mirror_rules": str(place.rules)}, wait=False) as mitmdump:
        assert mitmdump.wait() == 1
        mitmdump.wait_for_log(r"rules\.yaml:19:\d+: .*caCertificates: 'none\.pem', .*cannot be read")

"""Clients that know of no proxy, on a network of their own: a gateway redirects their connections."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from lab.backend import Backend
from lab.certificates import Authority
from lab.client import RawConnection
from lab.mirrored import MirroringTask
from lab.mitmdump import StartMitmdump
from lab.namespaces import BACKENDS_V4, BACKENDS_V6, PROXY_PORT, Network
from lab.rules import MIRROR_TO_V2, write_atomically
from lab.tunnels import start_tls

NOBODY = {4: "198.51.100.7", 6: "2001:db8::7"}
"""Addresses that exist nowhere (RFC 5737, RFC 3849)."""

RULES = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: httpbin}}
spec:
  hosts: [httpbin.default.svc.cluster.local]
  addresses: ["{nobody}"]
  resolution: STATIC
  ports: [{{number: 8080, name: http, protocol: HTTP}}]
  endpoints:
  - {{address: "{backends}", labels: {{version: v1}}, ports: {{http: {v1}}}}}
  - {{address: "{backends}", labels: {{version: v2}}, ports: {{http: {v2}}}}}
---
# Where the client's connection was going, whatever its address.
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: devices}}
spec:
  hosts: [device.test]
  resolution: NONE
  ports: [{{number: 80, name: http, protocol: HTTP}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: devices}}
spec:
  hosts: [device.test]
  http:
  - route: [{{destination: {{host: device.test}}}}]
    mirror: {{host: httpbin, subset: v2}}
"""


class Place(NamedTuple):
    network: Network
    task: MirroringTask
    rules: Path


@pytest.fixture(params=[4, 6], ids=["IPv4", "IPv6"])
def version(request: pytest.FixtureRequest) -> int:
    assert isinstance(request.param, int)
    return request.param


@pytest.fixture
def place(tmp_path: Path, namespaces: None, version: int) -> Iterator[Place]:
    backends = {4: BACKENDS_V4, 6: BACKENDS_V6}[version]
    folder = tmp_path / "transparent-rules"
    folder.mkdir()
    write_atomically(folder / "httpbin.yaml", MIRROR_TO_V2.read_text(encoding="utf-8"))
    with (
        Network() as network,
        Backend("v1", listener=network.listen("backends", backends)) as v1,
        Backend("v2", listener=network.listen("backends", backends)) as v2,
    ):
        network.redirect()
        text = RULES.format(nobody=NOBODY[version], backends=backends, v1=v1.port, v2=v2.port)
        write_atomically(folder / "endpoints.yaml", text)
        yield Place(network, MirroringTask(v1, v2, tmp_path / "access.log"), folder)


def test_transparent(place: Place, start: StartMitmdump, authority: Path, version: int) -> None:
    network, task, rules = place
    mitmdump = start(
        mode=f"transparent@{PROXY_PORT}",
        wrapper=network.wrapper("gateway"),
        **{**task.options, "mirror_rules": str(rules)},
    )
    nobody = NOBODY[version]
    by_address = f"[{nobody}]:80" if version == 6 else f"{nobody}:80"
    real = {4: BACKENDS_V4, 6: BACKENDS_V6}[version]

    def ask(address: str, port: int, head: str, *, tls: bool = False) -> bytes:
        connection = network.connect(address, port)
        with RawConnection(start_tls(connection, authority, "httpbin") if tls else connection) as client:
            return client.exchange(f"{head}\r\n\r\n".encode()).body

    answers = [
        ask(nobody, 80, "GET /a HTTP/1.1\r\nHost: httpbin"),
        ask(nobody, 443, "GET /b HTTP/1.1\r\nHost: httpbin", tls=True),
        ask(nobody, 80, f"GET /c HTTP/1.1\r\nHost: {by_address}"),
        ask(nobody, 80, "GET /d HTTP/1.0"),
        ask(real, task.v1.port, "GET /e HTTP/1.1\r\nHost: device.test"),
    ]

    assert answers == [b"v1"] * 5
    suffixed = by_address.removesuffix(":80") + "-shadow:80"
    records = task.check(
        mitmdump,
        [
            ("httpbin", "httpbin-shadow"),
            ("httpbin", "httpbin-shadow"),
            (by_address, suffixed),
            (by_address, suffixed),
            ("device.test", "device.test-shadow"),
        ],
    )
    assert [record["target"] for record in records] == ["/a", "/b", "/c", "/d", "/e"]


TLS_DEVICE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: tls-devices}
spec:
  hosts: [device.test]
  resolution: NONE
  ports: [{number: 443, name: https, protocol: HTTPS}]
"""


@pytest.mark.parametrize("version", [4], indirect=True)
def test_a_device_that_speaks_tls_is_asked_for_its_name(
    place: Place, start: StartMitmdump, authority: Path, tmp_path: Path
) -> None:
    """Resolution NONE over TLS: the address is the one that was dialled, the name is the rule's."""
    network, task, rules = place
    device_authority = Authority(tmp_path)
    names: list[str | None] = []
    context = device_authority.server_context(device_authority.issue("device.test"), names, mutual=False)
    with Backend("device", tls=context, listener=network.listen("backends", BACKENDS_V4)) as device:
        text = (rules / "endpoints.yaml").read_text(encoding="utf-8")
        documents = text.split("---")
        write_atomically(rules / "endpoints.yaml", "---".join([documents[0], TLS_DEVICE, documents[2]]))
        mitmdump = start(
            mode=f"transparent@{PROXY_PORT}",
            wrapper=network.wrapper("gateway"),
            ssl_verify_upstream_trusted_ca=str(device_authority.file),
            **{**task.options, "mirror_rules": str(rules)},
        )

        connection = start_tls(network.connect(BACKENDS_V4, device.port), authority, "device.test")
        with RawConnection(connection) as client:
            answer = client.exchange(b"GET /x HTTP/1.1\r\nHost: device.test\r\n\r\n")

        assert answer.body == b"device"
        assert names == ["device.test"]
        MirroringTask(device, task.v2, task.log).check(mitmdump, [("device.test", "device.test-shadow")])

"""TLS to a server as a DestinationRule says it, against real servers."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lab.certificates import Authority, Issued
from mitm_mirror.client.client import Client
from mitm_mirror.client.settings import ClientSettings
from mitm_mirror.outcome import Outcome
from mitm_mirror.upstream_tls import UpstreamTls

SPIFFE = "spiffe://cluster.local/ns/default/sa/mirror"


@dataclass
class Lab:
    ca: Authority
    other_ca: Authority
    server: Issued
    client: Issued
    stranger: Issued
    """A client whose authority the server does not know."""
    names: list[str | None] = field(default_factory=list)
    """The SNIs that the server saw."""

    @contextlib.asynccontextmanager
    async def serve(self, kit: Any, *, mutual: bool = False) -> AsyncIterator[Any]:
        self.names.clear()
        context = self.ca.server_context(self.server, self.names, mutual=mutual)
        context.maximum_version = self.version
        async with kit.serve(tls=context) as server:
            yield server

    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    folder = tmp_path_factory.mktemp("tls")
    ca, other_ca = Authority(folder, "ca"), Authority(folder, "other ca")
    server = ca.issue("mirror.example", "*.wild.example", "127.0.0.1", SPIFFE, label="server")
    client = ca.issue("client.example", label="client")
    return Lab(ca, other_ca, server, client, other_ca.issue("client.example", label="stranger"))


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"])
def lab(made: Lab, request: pytest.FixtureRequest) -> Lab:
    made.version = request.param
    return made


REFUSED = "the server's certificate was refused: "


@pytest.mark.parametrize(
    ("tls", "sni", "outcome", "text"),
    [
        pytest.param({"ca_file": "ca"}, "mirror.example", Outcome.OK, "", id="trusted"),
        pytest.param({"ca_file": "ca"}, "", Outcome.OK, "", id="trusted by its address"),
        pytest.param(
            {"ca_file": "other"}, "mirror.example", Outcome.TLS_ERROR, REFUSED, id="another authority"
        ),
        pytest.param({}, "mirror.example", Outcome.TLS_ERROR, REFUSED, id="not the default authorities'"),
        pytest.param(
            {"ca_file": "ca"}, "v2.example", Outcome.TLS_ERROR, "Hostname mismatch", id="another name"
        ),
        pytest.param({"verify": False}, "v2.example", Outcome.OK, "", id="insecureSkipVerify"),
        pytest.param(
            {"ca_file": "ca", "subject_alt_names": ("x", "mirror.example")},
            "v2.example",
            Outcome.OK,
            "",
            id="SAN",
        ),
        pytest.param(
            {"ca_file": "ca", "subject_alt_names": (SPIFFE,)}, "v2.example", Outcome.OK, "", id="SAN is a URI"
        ),
        pytest.param(
            {"ca_file": "ca", "subject_alt_names": ("127.0.0.1",)},
            "v2.example",
            Outcome.OK,
            "",
            id="SAN: address",
        ),
        pytest.param(
            {"ca_file": "ca", "subject_alt_names": ("a.wild.example",)},
            "v2.example",
            Outcome.OK,
            "",
            id="SAN: wildcard",
        ),
        pytest.param(
            {"ca_file": "ca", "subject_alt_names": ("v2.example",)},
            "mirror.example",
            Outcome.TLS_ERROR,
            REFUSED + "it has none of the subjectAltNames",
            id="the server name does not count beside SANs",
        ),
        pytest.param(
            {"ca_file": "other", "subject_alt_names": ("mirror.example",)},
            "mirror.example",
            Outcome.TLS_ERROR,
            REFUSED,
            id="a SAN does not replace the authority",
        ),
    ],
)
def test_verification(kit: Any, lab: Lab, tls: dict[str, Any], sni: str, outcome: Outcome, text: str) -> None:
    files = {"ca": str(lab.ca.file), "other": str(lab.other_ca.file)}
    given = UpstreamTls(**{**tls, "ca_file": files.get(tls.get("ca_file", ""), "")})

    async def test() -> None:
        async with lab.serve(kit) as server:
            result = await kit.send(kit.request(server.port, scheme="https", sni=sni, tls=given))
            assert result.outcome == outcome, result.error
            assert text in result.error
            assert len(server.requests) == (outcome == Outcome.OK)

    kit.run(test)
    assert lab.names == [sni or None]  # an address is no server name


def client_tls(lab: Lab, presents: str, *, verify: bool = True) -> UpstreamTls:
    issued = {"client": lab.client, "stranger": lab.stranger}.get(presents)
    own = {"client_certificate": str(issued.certificate), "private_key": str(issued.key)} if issued else {}
    return UpstreamTls(ca_file=str(lab.ca.file) if verify else "", verify=verify, **own)


@pytest.mark.parametrize("verify", [True, False], ids=["verified", "not verified"])
def test_a_client_certificate_is_presented(kit: Any, lab: Lab, verify: bool) -> None:
    tls = client_tls(lab, "client", verify=verify)

    async def test() -> None:
        async with lab.serve(kit, mutual=True) as server:
            result = await kit.send(kit.request(server.port, scheme="https", sni="mirror.example", tls=tls))
            assert result.outcome == Outcome.OK, result.error
            (connection,) = server.connections
            subject = connection.transport.get_extra_info("peercert")["subject"]
            assert subject == ((("commonName", "client"),),)

    kit.run(test)


@pytest.mark.parametrize("presents", ["", "stranger"], ids=["presents none", "presents a stranger's"])
def test_a_refused_client_is_a_tls_error(kit: Any, lab: Lab, presents: str) -> None:
    """The server says why and waits for us to hang up. (One that resets the connection, as asyncio's
    does, can beat its own alert in TLS 1.3, where our handshake is over by then.)"""
    context = lab.ca.server_context(lab.server, [], mutual=True)
    context.maximum_version = lab.version
    tls = client_tls(lab, presents)

    def serve(listener: socket.socket) -> None:
        accepted, _ = listener.accept()
        secured = context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        with pytest.raises(ssl.SSLError):
            secured.do_handshake()
        with socket.socket(fileno=secured.detach()) as plain:
            while plain.recv(65536):
                pass

    async def test() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = asyncio.create_task(asyncio.to_thread(serve, listener))
            port = listener.getsockname()[1]
            result = await kit.send(kit.request(port, scheme="https", sni="mirror.example", tls=tls))
            await server
        assert result.outcome == Outcome.TLS_ERROR, result.error

    kit.run(test)


@pytest.mark.parametrize(
    ("settings", "tls", "outcome"),
    [
        pytest.param(
            {"ca_file": "ca"}, {}, Outcome.OK, id="the proxy's authorities where the rule names none"
        ),
        pytest.param(
            {"ca_file": "ca"}, {"ca_file": "other"}, Outcome.TLS_ERROR, id="the rule's authorities only"
        ),
        pytest.param(
            {"tls_verify": False}, {"ca_file": "other"}, Outcome.OK, id="ssl_insecure holds for all"
        ),
        pytest.param(
            {"tls_verify": False}, {"subject_alt_names": ("x",)}, Outcome.OK, id="ssl_insecure checks no SAN"
        ),
    ],
)
def test_beside_the_options_of_the_proxy(
    kit: Any, lab: Lab, settings: dict[str, Any], tls: dict[str, Any], outcome: Outcome
) -> None:
    files = {"ca_file": {"ca": str(lab.ca.file), "other": str(lab.other_ca.file)}}

    def filled(given: dict[str, Any]) -> dict[str, Any]:
        return {name: files.get(name, {}).get(str(value), value) for name, value in given.items()}

    async def test() -> None:
        async with lab.serve(kit) as server:
            request = kit.request(
                server.port, scheme="https", sni="mirror.example", tls=UpstreamTls(**filled(tls))
            )
            assert (await kit.send(request, **filled(settings))).outcome == outcome

    kit.run(test)


def test_a_file_that_is_gone_is_a_tls_error_and_a_new_one_is_used(
    kit: Any, made: Lab, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    tls = UpstreamTls(ca_file=str(file))

    async def test() -> None:
        async with made.serve(kit) as server:
            # No connection is kept, so that each request has a handshake.
            client = Client(ClientSettings(max_idle_connections=0), report=pytest.fail)
            async with contextlib.aclosing(client):
                results = []
                for source in (made.other_ca.file, None, made.ca.file):
                    file.unlink(missing_ok=True)
                    if source is not None:
                        file.write_bytes(source.read_bytes())
                    request = kit.request(server.port, scheme="https", sni="mirror.example", tls=tls)
                    results.append(await kit.exchange(client, request))
        assert [result.outcome for result in results] == [Outcome.TLS_ERROR, Outcome.TLS_ERROR, Outcome.OK]
        assert results[1].error == "the rule's certificate files cannot be used any more"

    kit.run(test)

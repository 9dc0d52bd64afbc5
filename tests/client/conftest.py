"""What the client tests share: requests, loopback servers, and a self-signed certificate."""

import contextlib
import datetime as dt
import ipaddress
import math
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lab import loopback
from mitm_mirror.client.answer import AnswerHead, UnwantedAnswerError
from mitm_mirror.client.client import Client
from mitm_mirror.client.request import Fields, OutgoingRequest
from mitm_mirror.client.settings import ClientSettings
from mitm_mirror.client.upload import Upload
from mitm_mirror.outcome import Outcome
from mitm_mirror.upstream_tls import UpstreamTls


def request(
    port: int = 0,
    *,
    scheme: str = "http",
    address: str = "127.0.0.1",
    sni: str = "",
    method: bytes = b"GET",
    target: bytes = b"/",
    headers: tuple[tuple[bytes, bytes], ...] = ((b"Host", b"httpbin:8080"),),
    tls: UpstreamTls | None = None,
    http2: bool = False,
    trailers: Fields = (),
) -> OutgoingRequest:
    return OutgoingRequest(scheme, address, port, sni, method, target, headers, tls, http2, trailers)


@dataclass
class Exchanged:
    """How one request ended, and its answer as the sink got it."""

    outcome: Outcome = Outcome.OK
    error: str = ""
    blameless: bool = False
    answer: AnswerHead | None = None
    body: bytes = b""
    wanted_bytes: float = math.inf

    @property
    def status(self) -> int:
        return 0 if self.answer is None else self.answer.status

    def head(self, head: AnswerHead) -> None:
        self.answer = head
        self._look()

    def chunk(self, data: bytes) -> None:
        self.body += data
        self._look()

    def _look(self) -> None:
        if len(self.body) >= self.wanted_bytes:
            raise UnwantedAnswerError


async def exchange(
    client: Client,
    request: OutgoingRequest,
    body: bytes | Upload = b"",
    timeout_s: float | None = 20.0,
    *,
    wanted_bytes: float = math.inf,
) -> Exchanged:
    """Send over a client that exists."""
    exchanged = Exchanged(wanted_bytes=wanted_bytes)
    sent = await client.send(request, body, timeout_s, exchanged)
    exchanged.outcome, exchanged.error, exchanged.blameless = sent[:3]
    return exchanged


async def send(
    request: OutgoingRequest, body: bytes | Upload = b"", timeout_s: float | None = 20.0, **settings: Any
) -> Exchanged:
    """Send over a client of its own."""
    client = Client(ClientSettings(**settings), report=pytest.fail)
    async with contextlib.aclosing(client):
        return await exchange(client, request, body, timeout_s)


class Kit:
    """The above for tests: helper modules cannot be imported under pytest's importlib mode."""

    serve = staticmethod(loopback.serve)
    request = staticmethod(request)
    send = staticmethod(send)
    exchange = staticmethod(exchange)
    poll_until = staticmethod(loopback.poll_until)
    run = staticmethod(loopback.run)


@pytest.fixture
def kit() -> type[Kit]:
    return Kit


class Certificate:
    """A self-signed certificate for `mirror.example` and 127.0.0.1, on disk."""

    def __init__(self, folder: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mirror.example")])
        now = dt.datetime.now(dt.UTC)
        names = [x509.DNSName("mirror.example"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        self.file = str(folder / "certificate.pem")
        Path(self.file).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_file = folder / "key.pem"
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        self.server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server_context.load_cert_chain(self.file, str(key_file))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("certificate"))

"""What the shadow tests share: loopback mirrors that keep the bytes they get, and a way to await endings."""

import asyncio
import contextlib
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mitm_mirror.shadow.ending import Ending
from mitm_mirror.shadow.message import ShadowRequest
from mitm_mirror.upstream_tls import UpstreamTls

DEADLINE_S = 30.0
"""For the whole of one test: far more than it needs, so that only a hang meets it."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Answer = Callable[["MirrorConnection"], None]


def is_complete(data: bytes) -> bool:
    """Whether `data` is one whole request, as far as the tests send them."""
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return False
    lines = [line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:]]
    fields = {name: value.strip() for name, value in lines}
    if fields.get(b"transfer-encoding") == b"chunked":
        return body.endswith(b"0\r\n\r\n")
    return len(body) >= int(fields.get(b"content-length", b"0"))


class MirrorConnection(asyncio.Protocol):
    def __init__(self, mirror: "Mirror") -> None:
        self.mirror = mirror
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.mirror.connections.append(self)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if is_complete(self.buffer):
            self.mirror.requests.append(self.buffer)
            self.buffer = b""
            self.mirror.changed.set()
            self.mirror.answer(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.mirror.lost_connections += 1
        self.mirror.changed.set()


class Mirror:
    """A server that keeps each request's bytes and answers as it is told."""

    def __init__(self, answer: Answer | bytes) -> None:
        self.answer: Answer
        if isinstance(answer, bytes):
            self.answer = lambda connection: connection.transport.write(answer)
        else:
            self.answer = answer
        self.port = 0
        self.requests: list[bytes] = []
        self.connections: list[MirrorConnection] = []
        self.lost_connections = 0
        self.changed = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.changed.clear()
            await self.changed.wait()


@contextlib.asynccontextmanager
async def serve(answer: Answer | bytes = OK, tls: ssl.SSLContext | None = None) -> AsyncIterator[Mirror]:
    """A mirror on a free port of the loopback interface."""
    mirror = Mirror(answer)
    server = await asyncio.get_running_loop().create_server(
        lambda: MirrorConnection(mirror), "127.0.0.1", 0, ssl=tls
    )
    mirror.port = server.sockets[0].getsockname()[1]
    try:
        yield mirror
    finally:
        server.close()
        for connection in mirror.connections:
            connection.transport.abort()
        await asyncio.sleep(0)


def shadow(
    port: int = 0,
    *,
    scheme: str = "http",
    address: str = "127.0.0.1",
    sni: str = "",
    method: bytes = b"GET",
    target: bytes = b"/",
    headers: tuple[tuple[bytes, bytes], ...] = ((b"Host", b"httpbin-shadow:8080"),),
    tls: UpstreamTls | None = None,
) -> ShadowRequest:
    return ShadowRequest(scheme, address, port, sni, method, target, headers, tls)


class Endings:
    """An `on_end` that keeps what it is told."""

    def __init__(self) -> None:
        self.all: list[Ending[Any]] = []
        self._changed = asyncio.Event()

    def __call__(self, ending: Ending[Any]) -> None:
        self.all.append(ending)
        self._changed.set()

    @property
    def outcomes(self) -> dict[Any, str]:
        return {ending.token: str(ending.outcome) for ending in self.all}

    async def until(self, count: int) -> None:
        while len(self.all) < count:
            self._changed.clear()
            await self._changed.wait()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run one test's coroutine function, bounded in time."""

    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await test()

    asyncio.run(bounded())


async def poll_until(condition: Callable[[], bool]) -> None:
    """For what the system does not tell, such as a process's end; bounded by the test's deadline."""
    while not condition():  # noqa: ASYNC110  there is no event for it
        await asyncio.sleep(0.005)


class Kit:
    """The above for tests: helper modules cannot be imported under pytest's importlib mode."""

    OK = OK
    Mirror = Mirror
    MirrorConnection = MirrorConnection
    Endings = Endings
    serve = staticmethod(serve)
    shadow = staticmethod(shadow)
    run = staticmethod(run)
    poll_until: Callable[[Callable[[], bool]], Awaitable[None]] = staticmethod(poll_until)


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

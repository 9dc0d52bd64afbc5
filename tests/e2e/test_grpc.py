"""Real gRPC, client and servers, through real mitmdump over TLS: both versions see the same messages."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lab.certificates import Authority
from lab.mitmdump import Mitmdump, StartMitmdump

grpc: Any = pytest.importorskip("grpc")

RULES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: chat}}
spec:
  hosts: [chat.example]
  http:
  - route: [{{destination: {{host: chat.example, subset: v1}}}}]
    mirror: {{host: chat.example, subset: v2}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: chat}}
spec:
  host: chat.example
  trafficPolicy: {{{policy}}}
  subsets:
  - {{name: v1, labels: {{version: v1}}}}
  - {{name: v2, labels: {{version: v2}}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: chat}}
spec:
  hosts: [chat.example]
  ports: [{{number: 443, name: grpc, protocol: {protocol}}}]
  resolution: STATIC
  endpoints:
  - {{address: 127.0.0.1, ports: {{grpc: {v1}}}, labels: {{version: v1}}}}
  - {{address: 127.0.0.1, ports: {{grpc: {v2}}}, labels: {{version: v2}}}}
"""

UNARY, COLLECT, ECHO = "/chat.Chat/Unary", "/chat.Chat/Collect", "/chat.Chat/Echo"


class GrpcServer(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio has no types
    """Keeps the messages of each call with the authority and metadata that it came with."""

    def __init__(self, label: str, credentials: Any) -> None:
        self.label = label
        self.calls: list[tuple[str, str, str, list[bytes]]] = []
        self._changed = threading.Condition()
        self._server = grpc.server(ThreadPoolExecutor(4), handlers=(self,))
        if credentials is None:
            self.port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            self.port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self._server.start()

    def service(self, details: Any) -> Any:
        name = details.method

        def answer(messages: Iterator[bytes], context: Any) -> Iterator[bytes]:
            metadata = dict(context.invocation_metadata())
            seen = []
            for message in messages:
                seen.append(message)
                if name == ECHO:
                    yield self.label.encode() + message
            if name != ECHO:
                yield self.label.encode() + b"".join(seen)
            context.set_trailing_metadata((("x-answered-by", self.label),))
            with self._changed:
                self.calls.append(
                    (name, context._rpc_event.call_details.host.decode(), metadata.get("x-user", ""), seen)
                )
                self._changed.notify_all()

        return grpc.stream_stream_rpc_method_handler(answer)

    def wait_for_calls(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.calls) >= count, 60.0), self.calls

    def stop(self) -> None:
        self._server.stop(0).wait()


@contextlib.contextmanager
def channel_to(mitmdump: Mitmdump, confdir: Path) -> Iterator[Any]:
    trusted = grpc.ssl_channel_credentials((confdir / "mitmproxy-ca-cert.pem").read_bytes())
    options = (("grpc.ssl_target_name_override", "chat.example"), ("grpc.enable_http_proxy", 0))
    with grpc.secure_channel(f"127.0.0.1:{mitmdump.port}", trusted, options) as channel:
        yield channel


@pytest.fixture(params=["clear text", "TLS", "upgraded"])
def servers(request: pytest.FixtureRequest, tmp_path: Path, rules: Path) -> Iterator[list[GrpcServer]]:
    credentials, policy, protocol = None, "tls: {mode: DISABLE}", "GRPC"
    if request.param == "TLS":
        authority = Authority(tmp_path, "ca")
        issued = authority.issue("chat.example", label="server")
        pair = (issued.key.read_bytes(), issued.certificate.read_bytes())
        credentials = grpc.ssl_server_credentials([pair])
        policy = f"tls: {{mode: SIMPLE, caCertificates: {authority.file}}}"
    elif request.param == "upgraded":
        policy, protocol = "connectionPool: {http: {h2UpgradePolicy: UPGRADE}}", "HTTP"
    made = [GrpcServer(label, credentials) for label in ("v1", "v2")]
    for file in rules.iterdir():
        file.unlink()
    text = RULES.format(policy=policy, protocol=protocol, v1=made[0].port, v2=made[1].port)
    (rules / "chat.yaml").write_text(text, encoding="utf-8")
    yield made
    for server in made:
        server.stop()


def assert_same_calls(servers: list[GrpcServer], count: int) -> None:
    for server in servers:
        server.wait_for_calls(count)
    primary, shadow = servers
    assert [call[1] for call in primary.calls] == ["chat.example"] * count
    assert [call[1] for call in shadow.calls] == ["chat.example-shadow"] * count
    assert sorted((call[0], call[2:]) for call in shadow.calls) == sorted(
        (call[0], call[2:]) for call in primary.calls
    )


def test_unary_and_client_streaming(servers: list[GrpcServer], start: StartMitmdump, confdir: Path) -> None:
    mitmdump = start(mode="reverse:https://127.0.0.1:9")
    with channel_to(mitmdump, confdir) as channel:
        unary, call = channel.unary_unary(UNARY).with_call(b"one", metadata=[("x-user", "a")], timeout=30)
        collected = channel.stream_unary(COLLECT)(iter([b"1", b"", b"x" * 100_000]), timeout=30)

    assert (unary, collected) == (b"v1one", b"v11" + b"x" * 100_000)
    assert dict(call.trailing_metadata())["x-answered-by"] == "v1"
    assert_same_calls(servers, 2)
    assert mitmdump.stop(signal.SIGINT) == 0
    assert mitmdump.totals() == {"shadows": 2, "ok": 2, "pending": 0}


def test_a_conversation_whose_next_word_depends_on_the_answer(
    servers: list[GrpcServer], start: StartMitmdump, confdir: Path
) -> None:
    """It needs streaming in both directions, which mitmproxy does where `stream_large_bodies` is set."""
    mitmdump = start(mode="reverse:https://127.0.0.1:9", stream_large_bodies="1")
    answered = threading.Event()

    def words() -> Iterator[bytes]:
        yield b"hello"
        assert answered.wait(30)
        yield b"again"

    with channel_to(mitmdump, confdir) as channel:
        answers = channel.stream_stream(ECHO)(words(), timeout=30)
        assert next(answers) == b"v1hello"
        answered.set()
        assert list(answers) == [b"v1again"]

    assert_same_calls(servers, 1)
    assert mitmdump.stop(signal.SIGINT) == 0
    assert mitmdump.totals() == {"shadows": 1, "ok": 1, "pending": 0}

"""Whatever a mirror does, the client sees what it would see without it, and the shadow ends by name.

One mitmdump serves every fault of the table at once, each as a mirror of a host of its own.
"""

import contextlib
import re
import signal
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import pytest

from lab.access_log import AccessLog, Record
from lab.backend import Backend, RefusingPort, Respond, response
from lab.certificates import Authority
from lab.client import proxy_get, send_raw
from lab.client_view import VIEW_REQUESTS, ClientView, answer_by_digest, look
from lab.load import Load
from lab.memory import MEASURABLE, peak_memory, reset_peak_memory, resident_memory
from lab.mirror_rules import PRIMARY, policy, route, service
from lab.misbehaviour import (
    answers_large,
    answers_once,
    black_hole_port,
    deaf_port,
    drips,
    hang_up,
    never,
    says,
    says_and_closes,
    says_and_resets,
    talking_port,
)
from lab.mitmdump import Mitmdump

Serve = Callable[[Path], contextlib.AbstractContextManager[int]]
"""From a folder, for its files, to the port of the mirror."""

CONCURRENCY = 16
TIMEOUT_S, PATIENCE_S = 1, 120
OK = response(b"v2")
HEALTHY = says(OK)
NOT_OK = response(b"more", "500 Internal Server Error")
UPGRADE = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nraw"
TWO_LENGTHS = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"
BANNER = b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n"
GROWTH_BYTES = 64 << 20
"""Of the proxy or the worker while a mirror goes wrong: far more than there is, and less than one answer."""
DRIP_S = TIMEOUT_S / 3
"""So that each byte comes in time, and only a deadline for the whole answer ends the shadow."""
HALF_HEAD = b"HTTP/1.1 200 OK\r\nContent-Le"
HALF_BODY = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf"

PLAIN = "plain"
"""The host without a mirror."""


def backend(respond: Respond, tls: ssl.SSLContext | None = None) -> Serve:
    @contextlib.contextmanager
    def serve(_folder: Path) -> Iterator[int]:
        with Backend("v2", respond, keep_requests=False, tls=tls) as mirror:
            yield mirror.port

    return serve


@contextlib.contextmanager
def refusing(_folder: Path) -> Iterator[int]:
    with RefusingPort() as mirror:
        yield mirror.port


@contextlib.contextmanager
def large(folder: Path) -> Iterator[int]:
    with backend(answers_large(folder))(folder) as port:
        yield port


def with_certificate(
    name: str,
    respond: Respond = HEALTHY,
    *,
    valid_days: tuple[float, float] = (-1, 1),
    self_signed: bool = False,
) -> Serve:
    """A mirror with a certificate; `ca.pem` in the folder is the authority that issued it."""

    @contextlib.contextmanager
    def serve(folder: Path) -> Iterator[int]:
        issuer = Authority(folder, "ca")
        issued = issuer.issue(name, label="server", valid_days=valid_days, self_signed=self_signed)
        with backend(respond, issuer.server_context(issued, [], mutual=False))(folder) as port:
            yield port

    return serve


@dataclass(frozen=True, slots=True)
class Fault:
    """One way in which a mirror goes wrong."""

    key: str
    serve: Serve
    outcomes: tuple[str] | tuple[str, str]
    """Of all shadows; or of one on a new connection, and of the next one on the same."""
    error: str = ""
    """What is in the text of those that are not ok."""
    tls: str = ""
    """The DestinationRule's."""
    in_body: bool = False
    """It is in the answer's body, which the answer to HEAD has not."""
    paced: bool = False
    """Each request waits for the shadow of the one before, so that they come on one connection."""
    may_also: frozenset[str] = field(default_factory=frozenset)
    """How shadows may end besides where many are sent at once."""
    load: int = 64
    """Requests at once."""
    has_breaker: bool = False
    """Whether the mirror is left alone after some failures, as it is without a DestinationRule."""

    def rules(self, port: int) -> str:
        """Its documents."""
        # Where another end than a time-out is expected, a slow machine must not bring one about.
        timeout_s = TIMEOUT_S if "timeout" in self.outcomes else PATIENCE_S
        mirror = f"{self.key}-mirror.example"
        return "".join(
            [
                route(f"{self.key}.example", mirror, name=self.key, timeout_s=timeout_s),
                service(mirror, port),
                "" if self.has_breaker else policy(mirror, tls=self.tls),
            ]
        )


CLOSES = frozenset({"ok", "protocol_error"})
"""Of a mirror that closes connections: who comes first, its close or the next shadow, is chance."""
BROKEN = "the connection broke|ended early|without an answer"
NO_HTTP = "not HTTP"
CA = "mode: SIMPLE, caCertificates: ca.pem"


def over_tls(fault: Fault, respond: Respond) -> Fault:
    """The same behind a good handshake: such shadows go another way through the client."""
    key = f"{fault.key}-in-tls"
    return replace(fault, key=key, serve=with_certificate(f"{key}.example", respond), tls=CA)


FAULTS = [
    Fault("refuses", refusing, ("connect_error",), "Connection refused"),
    Fault(
        "is-left-alone",
        refusing,
        ("connect_error",),
        "Connection refused|left alone",
        may_also=frozenset({"circuit_open"}),
        has_breaker=True,
    ),
    Fault("black-hole", lambda _: black_hole_port(), ("timeout",), "deadline"),
    Fault("never-reads", lambda _: deaf_port(), ("timeout",), "deadline"),
    Fault("never-answers", backend(never), ("timeout",), "deadline"),
    Fault("drips-a-head", backend(drips(b"HTTP/1.1 200 OK\r\nX-A: b", DRIP_S)), ("timeout",), "deadline"),
    Fault("drips-a-body", backend(drips(b"x", DRIP_S, HALF_BODY)), ("timeout",), "deadline", in_body=True),
    Fault("answers-100-mb", large, ("ok",), load=CONCURRENCY),
    Fault("garbage", backend(says(BANNER)), ("protocol_error",), NO_HTTP),
    Fault("speaks-first", lambda _: talking_port(BANNER), ("protocol_error",), f"{NO_HTTP}|{BROKEN}"),
    Fault("binary", backend(says_and_closes(bytes(range(256)) * 16)), ("protocol_error",), NO_HTTP),
    Fault("endless-head", backend(says(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000)), ("protocol_error",)),
    Fault("two-lengths", backend(says(TWO_LENGTHS)), ("protocol_error",), NO_HTTP),
    Fault("answers-twice", backend(says(OK + NOT_OK)), ("ok",), paced=True),
    Fault("upgrades-unasked", backend(says(UPGRADE)), ("protocol_error",), NO_HTTP),
    Fault("hangs-up", backend(hang_up), ("protocol_error",), BROKEN),
    Fault("resets", backend(says_and_resets(b"")), ("protocol_error",), BROKEN),
    Fault("resets-in-the-head", backend(says_and_resets(HALF_HEAD)), ("protocol_error",), BROKEN),
    Fault(
        "resets-in-the-body", backend(says_and_resets(HALF_BODY)), ("protocol_error",), BROKEN, in_body=True
    ),
    Fault(
        "closes-in-the-body", backend(says_and_closes(HALF_BODY)), ("protocol_error",), BROKEN, in_body=True
    ),
    Fault("closes-idle-connections", backend(says_and_closes(OK)), ("ok",), paced=True, may_also=CLOSES),
    Fault(
        "closes-at-the-next-request",
        backend(answers_once()),
        ("ok", "protocol_error"),
        BROKEN,
        paced=True,
        may_also=CLOSES,
    ),
    Fault("expired", with_certificate("expired.example", valid_days=(-2, -1)), ("tls_error",), "expired", CA),
    Fault(
        "not-yet-valid",
        with_certificate("not-yet-valid.example", valid_days=(1, 2)),
        ("tls_error",),
        "not yet",
        CA,
    ),
    Fault("wrong-name", with_certificate("v3.example"), ("tls_error",), "certificate", CA),
    Fault(
        "self-signed",
        with_certificate("self-signed.example", self_signed=True),
        ("tls_error",),
        "self-signed",
        CA,
    ),
    Fault(
        "unknown-authority",
        with_certificate("unknown-authority.example"),
        ("tls_error",),
        "issuer",
        "mode: SIMPLE",
    ),
    Fault("no-tls", lambda _: talking_port(BANNER), ("tls_error",), "TLS", "mode: SIMPLE"),
    Fault("silent-in-tls", lambda _: deaf_port(), ("timeout",), "deadline", "mode: SIMPLE"),
]

_BEHIND_TLS: dict[str, Respond] = {
    "never-answers": never,
    "drips-a-body": drips(b"x", DRIP_S, HALF_BODY),
    "garbage": says(BANNER),
    "answers-twice": says(OK + NOT_OK),
    "hangs-up": hang_up,
    "resets": says_and_resets(b""),
    "resets-in-the-body": says_and_resets(HALF_BODY),
    "closes-in-the-body": says_and_closes(HALF_BODY),
    "closes-idle-connections": says_and_closes(OK),
}
FAULTS += [over_tls(fault, _BEHIND_TLS[fault.key]) for fault in FAULTS if fault.key in _BEHIND_TLS]


WARM_UP = Fault("warm-up", backend(HEALTHY), ("ok",))
"""No fault: its shadow is awaited first, so that no other one waits for the worker's start."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A mitmdump with every fault behind it."""

    mitmdump: Mitmdump
    log: AccessLog
    primary: Backend
    authority: Path
    without_mirror: ClientView
    is_streaming: bool
    """Whether bodies are copied on their way."""

    def look(self, key: str, after_each: Callable[[int], object]) -> ClientView:
        return look(self.mitmdump.port, f"{key}.example", self.primary, self.authority, after_each)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, confdir: Path) -> Iterator[Stage]:
    with set_up(tmp_path_factory.mktemp("faults"), confdir) as stage:
        yield stage


@pytest.fixture(scope="module")
def streaming(tmp_path_factory: pytest.TempPathFactory, confdir: Path) -> Iterator[Stage]:
    """With another script, which has all bodies streamed to their primaries, and so to the mirrors."""
    folder = tmp_path_factory.mktemp("streaming")
    script = folder / "stream.py"
    script.write_text("def requestheaders(flow):\n    flow.request.stream = True\n", encoding="utf-8")
    with set_up(folder, confdir, "-s", str(script)) as stage:
        yield stage


@contextlib.contextmanager
def set_up(folder: Path, confdir: Path, *arguments: str) -> Iterator[Stage]:
    authority = confdir / "mitmproxy-ca-cert.pem"
    log = AccessLog(folder / "access.log")
    with contextlib.ExitStack() as stack:
        primary = stack.enter_context(Backend("v1", answer_by_digest))
        rules = folder / "rules"
        mirrors = [*FAULTS, WARM_UP]
        for fault in mirrors:
            own = rules / fault.key
            own.mkdir(parents=True)
            text = fault.rules(stack.enter_context(fault.serve(own)))
            (own / "rules.yaml").write_text(text, encoding="utf-8")
        (rules / "plain.yaml").write_text(
            route(f"{PLAIN}.example", "", name=PLAIN) + service(PRIMARY, primary.port), encoding="utf-8"
        )
        options = {
            "confdir": str(confdir),
            "mirror_rules": [str(rules), *(str(rules / fault.key) for fault in mirrors)],
            "mirror_timeout": str(TIMEOUT_S),
            **log.options,
        }
        mitmdump = stack.enter_context(Mitmdump(folder, options, arguments=arguments))
        plain = look(mitmdump.port, f"{PLAIN}.example", primary, authority, lambda _: None)
        proxy_get(mitmdump.port, f"http://{WARM_UP.key}.example/")
        log.wait_for_pairs(WARM_UP.key, 1)
        yield Stage(mitmdump, log, primary, authority, plain, is_streaming=bool(arguments))

        assert mitmdump.stop(signal.SIGINT) == 0
        shadows = mitmdump.totals()
        pending = shadows.pop("pending")
        ended = Counter(
            str(record["outcome"])
            for fault in mirrors
            for record in log.records(fault.key)
            if record["copy"] == "shadow"
        )
        assert (shadows.pop("shadows"), pending, shadows) == (ended.total(), 0, dict(ended))
        assert not [line for line in mitmdump.lines if "a bug of mitm-mirror" in line or "Traceback" in line]
        assert primary.errors == []


@pytest.mark.parametrize("fault", [pytest.param(fault, id=fault.key) for fault in FAULTS])
def test_no_client_can_tell(stage: Stage, fault: Fault) -> None:
    check_view(stage, fault)


@pytest.mark.parametrize("fault", [pytest.param(fault, id=fault.key) for fault in FAULTS])
def test_no_client_can_tell_where_bodies_are_streamed(streaming: Stage, fault: Fault) -> None:
    check_view(streaming, fault)


def check_view(stage: Stage, fault: Fault) -> None:
    """What a client sees is what it sees without a mirror, and each shadow of it ends as it has to."""

    def pace(sent: int) -> None:
        if fault.paced:
            stage.log.wait_for_pairs(fault.key, sent)

    seen = stage.look(fault.key, pace)
    shadows = stage.log.wait_for_pairs(fault.key, VIEW_REQUESTS)

    assert seen == stage.without_mirror
    # Uploads have connections of their own, and over TLS a close may be noticed later.
    in_order = not fault.tls and not fault.has_breaker and not stage.is_streaming
    ended = [record["outcome"] for record in shadows]
    if in_order and len(fault.outcomes) > 1:
        # Not in turn: after too long a pause the next shadow, too, is the first one of a connection.
        first, then = fault.outcomes
        assert then in ended
        assert set(ended) <= {first, then}
        assert all(before == first for before, after in pairwise([then, *ended]) if after == then)
    else:
        may_be = {*fault.outcomes, *(() if in_order else fault.may_also)}
        for record in shadows:
            is_whole = fault.in_body and record["method"] == "HEAD"
            assert record["outcome"] in may_be | ({"ok"} if is_whole else set())
    check_texts(fault, shadows)


@pytest.mark.parametrize("fault", [pytest.param(fault, id=fault.key) for fault in FAULTS])
def test_no_client_can_tell_under_load(stage: Stage, fault: Fault) -> None:
    before = len(stage.log.records(fault.key)) // 2
    head = "GET http://{}.example/load HTTP/1.1\r\nHost: {}.example\r\n\r\n"
    answer = send_raw(stage.mitmdump.port, head.replace("{}", PLAIN).encode())

    processes = [stage.mitmdump.pid, *stage.mitmdump.worker_pids] if MEASURABLE else []
    for pid in processes:
        reset_peak_memory(pid)
    memory = [resident_memory(pid) for pid in processes]
    load = Load(
        stage.mitmdump.port,
        head.replace("{}", fault.key).encode(),
        concurrency=CONCURRENCY,
        total=fault.load,
    ).join()
    shadows = stage.log.wait_for_pairs(fault.key, before + fault.load, timeout_s=300)[before:]

    growth = [peak_memory(pid) - held for pid, held in zip(processes, memory, strict=True)]

    assert load.errors == []
    assert load.bodies == {answer.body: fault.load}
    assert load.statuses == {answer.status: fault.load}
    assert {record["outcome"] for record in shadows} <= {*fault.outcomes, *fault.may_also}
    check_texts(fault, shadows)
    assert max(growth, default=0) < GROWTH_BYTES


def check_texts(fault: Fault, shadows: list[Record]) -> None:
    """What the log says of each shadow besides its outcome."""
    for record in shadows:
        if record["outcome"] == "ok":
            assert (record["status"], record["error"]) == (200, None)
        else:
            assert re.search(fault.error, record["error"]), record["error"]

"""The addon's hooks, on flows that no proxy is behind. What is sent is recorded, not sent."""

import asyncio
import contextlib
import gc
import json
import socket
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from mitmproxy import connection, exceptions, hooks, http, tls
from mitmproxy import flow as mitm_flow
from mitmproxy.addons import proxyserver, view
from mitmproxy.proxy import context, server_hooks
from mitmproxy.test import taddons, tflow

from lab.ports import ReservedPort
from mitm_mirror.client.request import Fields, OutgoingRequest
from mitm_mirror.metrics.traffic import TrafficKey
from mitm_mirror.outcome import Outcome
from mitm_mirror.proxy.addon import MirrorAddon
from mitm_mirror.proxy.delays import Delays
from mitm_mirror.proxy.gate import UNANSWERABLE_HOST
from mitm_mirror.proxy.mirrors import FLOW_OUTCOMES, GATHERED_BYTES
from mitm_mirror.proxy.shadows import Shadow
from mitm_mirror.routing.outlier import OutlierPolicy
from mitm_mirror.routing.pool_limits import PoolLimits
from mitm_mirror.shadow.ending import Ending
from mitm_mirror.shadow.message import ShadowResult
from mitm_mirror.shadow.pool import ShadowPool
from mitm_mirror.shadow.settings import PoolSettings
from mitm_mirror.shadow.terms import Terms

RULES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: httpbin, annotations: {mitm-mirror/methods: "GET,POST"}}
spec:
  hosts: [httpbin]
  http:
  - match: [{uri: {prefix: /bare}}]
    redirect: {uri: /elsewhere}
  - match: [{uri: {prefix: /get}}]
    route:
    - destination: {host: httpbin, subset: v1}
      headers: {response: {set: {x-rule: "1"}}}
    mirror: {host: httpbin, subset: v2}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: httpbin}
spec:
  host: httpbin
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: httpbin}
spec:
  hosts: [httpbin.default.svc.cluster.local]
  ports: [{number: 8080, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints:
  - {address: 127.0.0.1, ports: {http: 8001}, labels: {version: v1}}
  - {address: 127.0.0.2, ports: {http: 8002}, labels: {version: v2}}
"""
V2 = "outbound|8080|v2|httpbin.default.svc.cluster.local"


@dataclass
class RecordingUpload:
    """Stands in for the pool's: writes down how a body came."""

    request: OutgoingRequest
    token: Shadow
    calls: list[object] = field(default_factory=list)
    number: int = 1

    def write(self, data: bytes) -> None:
        self.calls.append(data)

    def finish(self, trailers: Fields) -> None:
        self.calls.append(("finish", *trailers) if trailers else "finish")

    def abort(self, outcome: Outcome, reason: str) -> None:
        self.calls.append(outcome)


@dataclass
class RecordingPool:
    """Stands in for the pool: takes shadows and sends none."""

    submitted: list[tuple[OutgoingRequest, bytes, Shadow, float]] = field(default_factory=list)
    uploads: list[RecordingUpload] = field(default_factory=list)
    terms: list[Terms] = field(default_factory=list)
    error: Exception | None = None

    def submit(self, request: OutgoingRequest, body: bytes, token: Shadow, terms: Terms) -> int:
        if self.error:
            raise self.error
        self.submitted.append((request, body, token, terms.timeout_s))
        self.terms.append(terms)
        return len(self.submitted)

    def stats(self) -> str:
        return "no workers"

    def open(self, request: OutgoingRequest, token: Shadow, terms: Terms) -> RecordingUpload:
        if self.error:
            raise self.error
        self.uploads.append(RecordingUpload(request, token))
        return self.uploads[-1]

    def drain(self, timeout_s: float) -> None:
        pass


@dataclass
class Bench:
    """A running addon and what is around it."""

    addon: MirrorAddon
    context: taddons.context
    pool: RecordingPool
    rules: Path
    log: Path

    async def cycle(self, flow: http.HTTPFlow, *hooks: str) -> None:
        """Runs hooks, and sends the copies that are gathered."""
        await self.run(flow, *hooks)
        self.addon.mirrors.gathered.flush()

    async def run(self, flow: http.HTTPFlow, *hooks: str) -> None:
        """Runs hooks as mitmproxy would: each of them, and the `update` that follows it."""
        for hook in hooks:
            for waiting in (getattr(self.addon, hook)(flow), self.addon.update([flow])):
                if waiting is not None:
                    await waiting

    def records(self) -> list[dict[str, object]]:
        assert self.addon.mirrors.log is not None
        self.addon.mirrors.log.flush()
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def totals(self) -> dict[str, int]:
        totals = self.addon.ledger.snapshot().totals
        assert totals.opened == totals.pending + sum(totals.ended.values())
        return {outcome.value: count for outcome, count in totals.ended.items()}


@contextlib.asynccontextmanager
async def running(tmp_path: Path, **options: object) -> AsyncIterator[Bench]:
    rules, log = tmp_path / "rules.yaml", tmp_path / "access.log"
    rules.write_text(RULES)
    addon = MirrorAddon()
    with taddons.context(proxyserver.Proxyserver(), loadcore=False) as tctx:
        tctx.master.addons.add(addon)
        tctx.configure(
            addon,
            **{
                "mirror_rules": [str(rules)],
                "mirror_workers": 0,
                "mirror_access_log": str(log),
                "mirror_access_log_format": "json",
                **options,
            },
        )
        addon.running()
        real = addon.mirrors.pool
        assert real is not None
        pool = RecordingPool()
        addon.mirrors.pool = pool  # type: ignore[assignment]  # what Mirrors uses of a pool, it has
        yield Bench(addon, tctx, pool, rules, log)
        addon.done()
        real.drain(0)


def make_flow(path: str = "/get", *, method: str = "GET", body: bytes = b"") -> http.HTTPFlow:
    flow = tflow.tflow()
    flow.request = http.Request.make(method, f"http://original.example{path}", body)
    flow.request.headers["Host"] = "httpbin:8080"
    return flow


def in_loop(test: Callable[[Path], Coroutine[None, None, None]]) -> Callable[[Path], None]:
    def run(tmp_path: Path) -> None:
        asyncio.run(test(tmp_path))

    run.__doc__ = test.__doc__
    return run


@in_loop
async def test_a_matched_flow_goes_to_its_primary_and_a_copy_to_the_mirror(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        flow = make_flow(method="POST", body=b"hello")
        await bench.cycle(flow, "requestheaders", "request")

    (request, body, _, timeout_s) = bench.pool.submitted[0]
    assert ("127.0.0.1", 8001) == (flow.request.host, flow.request.port)
    assert "httpbin:8080" == flow.request.host_header
    assert ("127.0.0.2", 8002, b"hello", 15.0) == (request.address, request.port, body, timeout_s)
    assert (b"Host", b"httpbin-shadow:8080") in request.headers


@in_loop
async def test_copies_are_sent_together_later_and_as_their_requests_were(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        flows = [make_flow(f"/get?{number}", method="POST", body=b"%d" % number) for number in range(3)]
        turns: list[Callable[[], None]] = []
        bench.addon.mirrors.gathered.schedule = turns.append
        for flow in flows:
            await bench.run(flow, "requestheaders", "request")
            flow.request.content = b"changed"
            flow.request.path = "/changed"
            flow.request.headers["Host"] = "changed"
        before = list(bench.pool.submitted)
        (turn,) = turns
        turn()

    assert before == []
    assert [(b"/get?%d" % number, b"%d" % number) for number in range(3)] == [
        (request.target, body) for request, body, _, _ in bench.pool.submitted
    ]
    assert all((b"Host", b"httpbin-shadow:8080") in request.headers for request, *_ in bench.pool.submitted)


@in_loop
async def test_bodies_that_are_large_are_not_kept_for_later(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        counts = []
        for size in (GATHERED_BYTES, 1, 1):
            flow = make_flow(method="POST", body=b"x" * size)
            await bench.run(flow, "requestheaders", "request")
            counts.append(len(bench.pool.submitted))

    assert [0, 2, 2] == counts
    assert [GATHERED_BYTES, 1, 1] == [len(body) for _, body, _, _ in bench.pool.submitted]


@in_loop
async def test_who_asks_for_counts_finds_what_is_gathered_in_them(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        flow = make_flow()
        await bench.run(flow, "requestheaders", "request")
        before = len(bench.pool.submitted)

        assert 1 == bench.addon.ledger.snapshot().totals.pending
        assert (0, 1) == (before, len(bench.pool.submitted))


@in_loop
async def test_the_end_of_the_addon_sends_what_is_gathered(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        flow = make_flow()
        await bench.run(flow, "requestheaders", "request")
        assert [] == bench.pool.submitted

    assert 1 == len(bench.pool.submitted)


@in_loop
async def test_a_shadow_comes_with_what_its_rule_says_about_limits_and_failures(tmp_path: Path) -> None:
    async with running_with_policy(tmp_path, f"{POOL}, {OUTLIER}") as bench:
        await bench.cycle(make_flow(), "requestheaders", "request")

    assert bench.pool.terms == [
        Terms(
            15.0,
            V2,
            PoolLimits(max_connections=1, max_pending_requests=1),
            OutlierPolicy(consecutive_5xx=2, max_ejection_percent=100),
        )
    ]


@in_loop
async def test_both_copies_are_logged_with_one_id_and_the_flow_is_tagged(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        flow = make_flow()
        await bench.cycle(flow, "requestheaders", "request")
        flow.response = http.Response.make(200, b"answer")
        await bench.cycle(flow, "responseheaders", "response")
        token = bench.pool.submitted[0][2]
        result = ShadowResult(1, Outcome.OK, 418, 135, 3.5, "")
        bench.addon.mirrors.on_end(Ending(token, Outcome.OK, result, 0.1, ""))
        primary, shadow = bench.records()

    assert "1" == flow.response.headers["x-rule"]
    assert [("primary", flow.id, 200), ("shadow", flow.id, 418)] == [
        (record["copy"], record["id"], record["status"]) for record in (primary, shadow)
    ]
    assert {V2: "ok"} == flow.metadata[FLOW_OUTCOMES]
    assert {"ok": 1} == bench.totals()


@in_loop
async def test_hosts_without_rules_pass_through_untouched(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        flow = make_flow()
        flow.request.headers["Host"] = "elsewhere"
        before = flow.request.get_state()
        await bench.cycle(flow, "requestheaders", "request")
        flow.response = http.Response.make(200)
        await bench.cycle(flow, "responseheaders", "response")

        assert before == flow.request.get_state()
        assert [] == bench.pool.submitted
        assert [] == bench.records()


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        pytest.param("/bare", 301, "redirect", id="redirect"),
        pytest.param("/nothing", 404, "no_route", id="no route"),
    ],
)
def test_an_answer_of_the_rules_is_logged_and_not_mirrored(
    tmp_path: Path, path: str, status: int, reason: str
) -> None:
    async def run() -> None:
        async with running(tmp_path) as bench:
            flow = make_flow(path)
            await bench.cycle(flow, "requestheaders", "request", "responseheaders", "response")

            assert flow.response is not None
            assert status == flow.response.status_code
            assert [reason] == [record["outcome"] for record in bench.records()]
            assert {} == bench.totals()

    asyncio.run(run())


@in_loop
async def test_an_answer_to_a_streamed_upload_is_a_refused_connection(tmp_path: Path) -> None:
    """mitmproxy raises when a response is set on a request that it streams."""
    async with running(tmp_path) as bench:
        flow = make_flow("/nothing")
        flow.request.stream = True
        await bench.cycle(flow, "requestheaders", "request")
        data = server_hooks.ServerConnectionHookData(server=flow.server_conn, client=flow.client_conn)
        data.server.address = (flow.request.host, flow.request.port)
        bench.addon.server_connect(data)

    assert flow.response is None
    assert UNANSWERABLE_HOST == flow.request.host
    assert data.server.error
    assert "stream_large_bodies" in data.server.error


@pytest.mark.parametrize(
    ("make", "options", "outcome"),
    [
        pytest.param(
            lambda: make_flow(method="POST", body=b"12345"),
            {"mirror_body_limit": "4"},
            "body_too_large",
            id="one byte above the limit",
        ),
        pytest.param(lambda: make_flow(method="DELETE"), {}, "method_guarded", id="method not listed"),
    ],
)
def test_a_copy_that_is_not_sent_is_counted_and_logged_by_name(
    tmp_path: Path, make: Callable[[], http.HTTPFlow], options: dict[str, object], outcome: str
) -> None:
    async def run() -> None:
        async with running(tmp_path, **options) as bench:
            flow = make()
            await bench.cycle(flow, "requestheaders", "request")

            assert [] == bench.pool.submitted
            assert {outcome: 1} == bench.totals()
            assert [outcome] == [record["outcome"] for record in bench.records()]
            assert {V2: outcome} == flow.metadata[FLOW_OUTCOMES]

    asyncio.run(run())


@in_loop
async def test_pause_ends_mirroring_and_resume_begins_it_again(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        commands = bench.context.master.commands
        commands.call("mirror.pause")
        await bench.cycle(make_flow(), "requestheaders", "request")
        commands.call("mirror.resume")
        await bench.cycle(make_flow(), "requestheaders", "request")

    assert {"paused": 1} == bench.totals()
    assert 1 == len(bench.pool.submitted)


async def stream(bench: Bench, flow: http.HTTPFlow, *chunks: bytes) -> list[bytes]:
    """The flow's body as mitmproxy streams it, up to its request hook; what went on to the primary."""
    await bench.cycle(flow, "requestheaders")
    assert callable(flow.request.stream)
    return [piece for chunk in (*chunks, b"") for piece in flow.request.stream(chunk)]


@in_loop
async def test_slow_primaries_make_the_governor_hold_shadows_back(tmp_path: Path) -> None:
    async with running(tmp_path, mirror_governor="primary=0.5") as bench:
        governor = bench.addon.mirrors.admission.governor
        assert governor is not None
        bench.addon.mirrors.admission._draw = lambda: 0.6
        now = 100.0
        bench.addon.mirrors._clock = lambda: now
        slow, held = make_flow(), make_flow()
        await bench.cycle(slow, "requestheaders", "request")
        slow.response = http.Response.make(200)
        now += 0.6
        await bench.cycle(slow, "responseheaders")
        now += 9.0  # the answer's body is slow, too, which is not looked at
        await bench.cycle(slow, "response")
        governor.end_period()
        await bench.cycle(held, "requestheaders", "request")
        stats = "\n".join(row[0] for row in bench.context.master.commands.call("mirror.stats"))
        governor.end_period()
        failed = make_flow()
        await bench.cycle(failed, "requestheaders", "request")
        now += 9.0
        failed.error = mitm_flow.Error("late")
        await bench.cycle(failed, "error")
        governor.end_period()
        share = governor.share
        bench.context.configure(bench.addon, mirror_governor="")
        assert bench.addon.mirrors.admission.governor is None

    assert len(bench.pool.submitted) == 1
    assert bench.totals() == {"paused": 2}
    assert "held back by mirror_governor: primaries are slow" in bench.log.read_text()
    assert "governor: 50% is mirrored, primaries are slow; 1 requests held back so far" in stats
    assert share < 0.5


@pytest.mark.parametrize(
    ("answered_early", "share"),
    [pytest.param(False, 0.5, id="after its end"), pytest.param(True, 1.0, id="before its end")],
)
def test_the_governor_sees_the_primaries_of_streamed_bodies(
    tmp_path: Path, answered_early: bool, share: float
) -> None:
    """Counted from the end of the request, however long that took."""

    async def body() -> float:
        async with running(tmp_path, mirror_governor="primary=0.5") as bench:
            governor = bench.addon.mirrors.admission.governor
            assert governor is not None
            now = 100.0
            bench.addon.mirrors._clock = lambda: now
            flow = make_flow(method="POST")
            flow.request.stream = True
            flow.request.data.content = None
            await stream(bench, flow, b"one")
            now += 9.0
            if answered_early:
                flow.response = http.Response.make(200)
                await bench.cycle(flow, "responseheaders", "request")
            else:
                await bench.cycle(flow, "request")
                flow.response = http.Response.make(200)
                now += 0.6
                await bench.cycle(flow, "responseheaders")
            now += 9.0
            await bench.cycle(flow, "response")
            governor.end_period()
            return governor.share

    assert asyncio.run(body()) == share


@in_loop
async def test_a_wall_clock_that_is_set_holds_no_shadow_back(tmp_path: Path) -> None:
    async with running(tmp_path, mirror_governor="primary=0.5") as bench:
        governor = bench.addon.mirrors.admission.governor
        assert governor is not None
        flow = make_flow()
        await bench.cycle(flow, "requestheaders", "request")
        flow.response = http.Response.make(200)
        flow.response.timestamp_start = flow.request.timestamp_start + 3600
        flow.response.timestamp_end = flow.request.timestamp_start - 3600
        await bench.cycle(flow, "responseheaders", "response")
        governor.end_period()
        [record] = [record for record in bench.records() if record["copy"] == "primary"]

    assert governor.share == 1
    assert record["duration_ms"] == 0.0


@in_loop
async def test_a_streamed_body_is_copied_on_its_way(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        flow = make_flow(method="POST")
        flow.request.headers["content-length"] = "6"
        flow.request.stream = True
        flow.request.data.content = None
        passed = await stream(bench, flow, b"one", b"two")
        [upload] = bench.pool.uploads
        assert [b"one", b"two"] == upload.calls == passed
        await bench.cycle(flow, "request")

    assert [b"one", b"two", "finish"] == upload.calls
    assert (b"content-length", b"6") in upload.request.headers
    assert [] == bench.pool.submitted


TRAILERS = ((b"x-sum", b"6"),)


@in_loop
async def test_trailers_go_with_the_end_of_a_streamed_copy(tmp_path: Path) -> None:
    """Also where the primary goes on in HTTP/1, and so without them."""
    async with running(tmp_path) as bench:
        flow = make_flow(method="POST")
        flow.request.headers["content-length"] = "3"
        flow.request.stream = True
        await stream(bench, flow, b"one")
        flow.request.trailers = http.Headers(TRAILERS)
        await bench.cycle(flow, "request")

    assert [b"one", ("finish", *TRAILERS)] == bench.pool.uploads[0].calls
    assert flow.request.trailers is None


@in_loop
async def test_a_body_that_was_to_be_streamed_and_is_empty(tmp_path: Path) -> None:
    """mitmproxy does not stream it then, and the copy has no framing for a body."""
    async with running(tmp_path) as bench:
        flow = make_flow()
        flow.request.stream = True
        await bench.cycle(flow, "requestheaders", "request")

    assert [] == bench.pool.uploads
    assert b"" == bench.pool.submitted[0][1]


@in_loop
async def test_an_upload_that_its_client_gives_up_ends_its_shadow(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        flow = make_flow(method="POST")
        flow.request.headers["content-length"] = "6"
        flow.request.stream = True
        await stream(bench, flow, b"one")
        flow.error = mitm_flow.Error("Client disconnected.")
        await bench.cycle(flow, "error")

    assert [b"one", Outcome.CANCELLED] == bench.pool.uploads[0].calls


@pytest.mark.parametrize(
    ("length", "calls"),
    [
        pytest.param("6", None, id="promised, so nothing is sent"),
        pytest.param(None, [b"one", Outcome.BODY_TOO_LARGE, "finish"], id="only seen on its way"),
    ],
)
def test_an_upload_above_the_limit(tmp_path: Path, length: str | None, calls: list[object] | None) -> None:
    async def run() -> None:
        async with running(tmp_path, mirror_body_limit="4") as bench:
            flow = make_flow(method="POST")
            flow.request.stream = True
            if length:
                flow.request.headers["content-length"] = length
            else:
                flow.request.headers["transfer-encoding"] = "chunked"
            await stream(bench, flow, b"one", b"two")
            await bench.cycle(flow, "request")

            if calls is None:
                assert [] == bench.pool.uploads
                assert {"body_too_large": 1} == bench.totals()
            else:
                assert calls == bench.pool.uploads[0].calls

    asyncio.run(run())


@pytest.mark.parametrize(("choice", "expected"), [("on", True), ("off", False), ("auto", False)])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_the_option_decides_whether_shadows_are_compared(
    tmp_path: Path, choice: str, expected: bool, streamed: bool
) -> None:
    async def run() -> Shadow:
        async with running(tmp_path, mirror_compare=choice) as bench:
            flow = make_flow(method="POST", body=b"hello")
            flow.request.stream = streamed
            await bench.run(flow, "requestheaders")
            if callable(flow.request.stream):
                flow.request.stream(b"hello")
            await bench.cycle(flow, "request")
            return bench.pool.uploads[0].token if streamed else bench.pool.submitted[0][2]

    assert (asyncio.run(run()).exchange.compared is not None) == expected


@in_loop
async def test_a_flow_of_which_another_addon_changes_the_version_is_not_kept(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        flow = make_flow()
        del flow.request.headers["content-length"]
        flow.request.http_version = "HTTP/2.0"
        await bench.run(flow, "requestheaders")
        flow.request.http_version = "HTTP/1.1"
        await bench.cycle(flow, "request")
        gone = weakref.ref(flow)
        del flow
        gc.collect()

        assert gone() is None


@pytest.mark.parametrize(
    ("headers", "version", "method", "streamed"),
    [
        pytest.param({"transfer-encoding": "chunked"}, "HTTP/1.1", "POST", True, id="chunked"),
        pytest.param({"content-length": "9"}, "HTTP/1.1", "POST", False, id="sized: mitmproxy decides"),
        pytest.param({}, "HTTP/1.1", "GET", False, id="no body"),
        pytest.param({}, "HTTP/2.0", "POST", True, id="HTTP/2 without a length"),
        pytest.param({}, "HTTP/2.0", "GET", False, id="HTTP/2 without a body"),
    ],
)
def test_a_body_that_mitmproxy_would_begin_to_stream_half_way_is_streamed_from_its_beginning(
    tmp_path: Path, headers: dict[str, str], version: str, method: str, streamed: bool
) -> None:
    async def run() -> None:
        async with running(tmp_path) as bench:
            bench.context.options.update(stream_large_bodies="1m")
            flow = make_flow(method=method)
            flow.request.headers.pop("content-length", None)
            flow.request.headers.update(headers)
            flow.request.http_version = version
            await bench.cycle(flow, "requestheaders")

            assert bool(flow.request.stream) is streamed

    asyncio.run(run())


@in_loop
async def test_the_copy_of_an_http2_upload_is_chunked(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        flow = make_flow(method="POST")
        flow.request.http_version = "HTTP/2.0"
        flow.request.headers.pop("content-length", None)
        flow.request.stream = True
        await stream(bench, flow, b"one")

    assert (b"transfer-encoding", b"chunked") in bench.pool.uploads[0].request.headers


@in_loop
async def test_a_body_that_was_streamed_past_us_is_named(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        flow = make_flow(method="POST")
        await bench.cycle(flow, "requestheaders")
        flow.request.data.content = None  # mitmproxy began to stream it half-way
        await bench.cycle(flow, "request")

    assert {"body_too_large": 1} == bench.totals()


@in_loop
async def test_a_request_that_a_later_addon_answers_is_not_mirrored(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        flow = make_flow()
        bench.addon.requestheaders(flow)
        bench.addon.request(flow)
        flow.response = http.Response.make(200, b"map_local")
        bench.addon.update([flow])

    assert [] == bench.pool.submitted
    assert {} == bench.totals()


@in_loop
async def test_what_a_later_addon_changes_is_in_the_copy(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        flow = make_flow(method="POST", body=b"before")
        await bench.cycle(flow, "requestheaders")
        bench.addon.request(flow)
        flow.request.content = b"after"
        bench.addon.update([flow])

    assert b"after" == bench.pool.submitted[0][1]


@in_loop
async def test_a_bug_of_ours_ends_the_pair_and_lets_the_flow_go_on(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        bench.pool.error = ZeroDivisionError("ours")
        await bench.cycle(make_flow(), "requestheaders", "request")

        assert {"protocol_error": 1} == bench.totals()
        assert {"ZeroDivisionError in _send_gathered": 1} == bench.addon.bugs.counts
        assert ["internal error: ZeroDivisionError"] == [record["error"] for record in bench.records()]


@in_loop
async def test_a_mirror_that_is_this_proxy_is_a_loop(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        admission = bench.addon.mirrors.admission
        admission._is_own_address = lambda address, port: (address, port) == ("127.0.0.2", 8002)
        await bench.cycle(make_flow(), "requestheaders", "request")

    assert {"loop": 1} == bench.totals()


@in_loop
async def test_rules_that_turn_bad_are_refused_and_the_old_ones_serve_on(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        commands = bench.context.master.commands
        bench.rules.write_text(RULES.replace("prefix: /get", "prefx: /get"))
        with pytest.raises(exceptions.CommandError, match=r"rules.yaml:\d+:\d+: .*prefx"):
            commands.call("mirror.reload")
        flow = make_flow()
        await bench.cycle(flow, "requestheaders", "request")

    assert 8001 == flow.request.port
    assert 1 == bench.addon.rules.refusals


@in_loop
async def test_deleted_rules_end_routing_and_mirroring(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        bench.rules.unlink()
        bench.context.master.commands.call("mirror.reload")
        flow = make_flow()
        await bench.cycle(flow, "requestheaders", "request")

    assert "original.example" == flow.request.host
    assert [] == bench.pool.submitted


@in_loop
async def test_an_option_that_is_refused_leaves_everything_as_it_was(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        options = bench.context.options
        for name, value in (
            ("mirror_rules", [str(tmp_path / "missing.yaml")]),
            ("mirror_timeout", "soon"),
            ("mirror_access_log", str(tmp_path / "no" / "such" / "folder" / "log")),
            ("mirror_workers", 2),
        ):
            before = getattr(options, name)
            with pytest.raises(exceptions.OptionsError, match=name if name != "mirror_rules" else "missing"):
                options.update(**{name: value})
            assert before == getattr(options, name)
        flow = make_flow()
        await bench.cycle(flow, "requestheaders", "request")

    assert 8001 == flow.request.port
    assert 1 == len(bench.pool.submitted)


@in_loop
async def test_options_change_while_it_runs(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        bench.context.options.update(
            mirror_host_suffix="", mirror_timeout="0.5", mirror_access_log=str(tmp_path / "other.log")
        )
        await bench.cycle(make_flow(), "requestheaders", "request")

    (request, _, _, timeout_s) = bench.pool.submitted[0]
    assert (((b"Host", b"httpbin:8080"),), 0.5) == (request.headers[-1:], timeout_s)


@in_loop
async def test_what_the_proxy_plays_changes_while_it_runs(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        ports = []
        bench.rules.write_text(
            RULES.replace("hosts: [httpbin]", "hosts: [httpbin]\n  gateways: [gw]\n  exportTo: [default]")
        )
        for option, value in (
            ("mirror_gateways", ["other/gw"]),
            ("mirror_gateways", ["gw"]),
            ("mirror_namespace", "prod"),
            ("mirror_gateways", ["default/gw"]),
            ("mirror_namespace", "default"),
        ):
            bench.context.options.update(**{option: value})
            flow = make_flow()
            await bench.cycle(flow, "requestheaders")
            ports.append(flow.request.port)
        with pytest.raises(exceptions.OptionsError, match="mirror_labels: 'x', expected NAME=VALUE"):
            bench.context.options.update(mirror_labels="x")

    assert ports == [80, 8001, 80, 80, 8001]


@in_loop
async def test_stats_and_rules_are_tables_a_person_can_read(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        await bench.cycle(make_flow(), "requestheaders", "request")
        real = ShadowPool[Shadow](PoolSettings(), lambda ending: None)
        real.submit(*bench.pool.submitted[0][:3], bench.pool.terms[0])
        bench.addon.mirrors.pool = real
        stats = "\n".join(row[0] for row in bench.context.master.commands.call("mirror.stats"))
        rules = "\n".join(row[0] for row in bench.context.master.commands.call("mirror.rules"))

    assert "forwarded" in stats
    assert f"{V2}: 1 shadows waiting, 0 in flight, " in stats
    assert "generation 1" in rules
    assert "httpbin" in rules
    assert "rules.yaml:" in rules


def start_tls(bench: Bench, flow: http.HTTPFlow, client: connection.Client) -> str | None:
    """The server name that mitmproxy would take for the flow's upstream connection."""
    server = connection.Server(address=(flow.request.host, flow.request.port))
    server.sni = flow.request.host
    data = tls.TlsData(conn=server, context=context.Context(client, bench.context.options))
    bench.addon.tls_start_server(data)
    assert data.ssl_conn is None  # mitmproxy's own to make
    return server.sni


def explained(bench: Bench, flow: http.HTTPFlow) -> list[str]:
    """What `mirror.explain` shows of the flow under the cursor, as the UI asks it."""
    shown = view.View()
    bench.context.master.addons.add(shown)
    shown.add([flow])
    rows = bench.context.master.commands.call_strings("mirror.explain", ["@focus"])
    bench.context.master.addons.remove(shown)
    return [row[0] for row in rows]


@in_loop
async def test_a_routed_flow_is_explained_by_the_request_that_the_client_sent(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        bench.rules.write_text(RULES.replace("    mirror:", "    rewrite: {uri: /bare}\n    mirror:"))
        bench.context.master.commands.call("mirror.reload")
        flow = make_flow("/get/x")
        fresh = explained(bench, flow)
        await bench.cycle(flow, "requestheaders", "request")
        routed = explained(bench, flow)

    assert "/bare/x" == flow.request.path
    assert fresh == routed
    assert "generation 2: " in routed[0]
    assert "GET http://httpbin:8080/get/x" == routed[1]
    assert '    match[0]: uri prefix "/bare" does not match "/get/x"' in routed
    assert "    endpoint  http://127.0.0.1:8001" in routed
    assert "    request   GET /bare/x" in routed
    assert "    Host      httpbin-shadow:8080" in routed


@in_loop
async def test_a_flow_is_explained_by_the_rules_that_are_served_now(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        flow = make_flow()
        await bench.cycle(flow, "requestheaders", "request")
        bench.rules.write_text(RULES.replace("prefix: /get", "prefix: /put"))
        bench.context.master.commands.call("mirror.reload")
        lines = explained(bench, flow)

    assert "this flow was decided by generation 1, before these rules came" == lines[1]
    assert '    match[0]: uri prefix "/put" does not match "/get"' in lines
    assert lines[-1].startswith("Answered 404 here")


@in_loop
async def test_only_http_flows_can_be_explained(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        with pytest.raises(exceptions.CommandError, match="expected an HTTP flow"):
            bench.context.master.commands.call("mirror.explain", tflow.ttcpflow())


@in_loop
async def test_the_server_name_of_an_https_primary_is_its_host(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        bench.rules.write_text(RULES.replace("protocol: HTTP", "protocol: HTTPS"))
        bench.context.master.commands.call("mirror.reload")
        flow = make_flow()
        await bench.cycle(flow, "requestheaders", "request")
        live = start_tls(bench, flow, flow.client_conn)
        replayed = start_tls(bench, flow, flow.client_conn.copy())

    assert ("https", "httpbin", "httpbin") == (flow.request.scheme, live, replayed)
    assert ("https", "httpbin") == (bench.pool.submitted[0][0].scheme, bench.pool.submitted[0][0].sni)


@in_loop
async def test_a_script_that_is_reloaded_mirrors_on(tmp_path: Path) -> None:
    """mitmproxy ends the addon and configures the same instance with all options again."""
    async with running(tmp_path) as bench:
        first = bench.addon.rules.current
        bench.context.master.addons.remove(bench.addon)
        assert bench.addon.mirrors.pool is None
        bench.rules.write_text("broken: [")
        bench.context.master.addons.register(bench.addon)
        bench.context.master.addons.invoke_addon_sync(
            bench.addon, hooks.ConfigureHook(bench.context.options.keys())
        )
        bench.addon.running()

        assert first is bench.addon.rules.current
        assert 1 == bench.addon.rules.refusals
        assert bench.addon.mirrors.pool is not None
        assert bench.addon.mirrors.log is not None


@in_loop
async def test_a_shadow_that_came_back_is_not_mirrored_again(tmp_path: Path) -> None:
    """Under another name or through another proxy: its Host tells."""
    async with running(tmp_path) as bench:
        bench.rules.write_text(RULES.replace("hosts: [httpbin]", "hosts: ['*']"))
        bench.context.master.commands.call("mirror.reload")
        flow = make_flow()
        flow.request.headers["Host"] = "httpbin-shadow:8080"
        await bench.cycle(flow, "requestheaders", "request")

    assert {"loop": 1} == bench.totals()
    assert [] == bench.pool.submitted


@in_loop
async def test_a_request_that_a_person_holds_is_copied_as_it_is_let_go(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        edited, killed = make_flow(), make_flow()
        copies = []
        for flow in (edited, killed):
            flow.live = True
            await bench.cycle(flow, "requestheaders")
            bench.addon.request(flow)
            flow.intercept()
            waiting = bench.addon.update([flow])
            assert waiting is not None
            copies.append(asyncio.ensure_future(waiting))
        edited.request.headers["X-Edited"] = "1"
        killed.kill()
        for flow in (edited, killed):
            flow.resume()
        await asyncio.gather(*copies)

    (request, _, _, _) = bench.pool.submitted[0]
    assert 1 == len(bench.pool.submitted)
    assert (b"X-Edited", b"1") in request.headers


@in_loop
async def test_an_http2_body_without_a_length_gets_one_on_both_copies(tmp_path: Path) -> None:
    """Without, mitmproxy writes it to an HTTP/1 server as if it were the next request."""
    async with running(tmp_path) as bench:
        flow = make_flow(method="POST", body=b"GET /smuggled HTTP/1.1")
        flow.request.http_version = "HTTP/2.0"
        flow.request.authority = "httpbin:8080"
        del flow.request.headers["content-length"]
        await bench.cycle(flow, "requestheaders", "request")

    (request, _, _, _) = bench.pool.submitted[0]
    assert "22" == flow.request.headers["content-length"]
    assert (b"content-length", b"22") in request.headers


@in_loop
async def test_an_http2_body_that_is_streamed_to_http1_is_sent_in_chunks(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        flow = make_flow(method="POST")
        flow.request.http_version = "HTTP/2.0"
        flow.request.authority = "httpbin:8080"
        flow.request.headers.pop("content-length", None)
        flow.request.stream = True
        await bench.cycle(flow, "requestheaders")

    assert "chunked" == flow.request.headers["transfer-encoding"]


@in_loop
async def test_so_is_one_for_a_host_without_rules(tmp_path: Path) -> None:
    """It is our lazy connection that leaves mitmproxy without a protocol for it."""
    async with running(tmp_path) as bench:
        flow = make_flow(method="POST")
        flow.request.http_version = "HTTP/2.0"
        flow.request.authority = flow.request.headers["Host"] = "elsewhere"
        flow.request.headers.pop("content-length", None)
        flow.request.stream = True
        await bench.cycle(flow, "requestheaders")

    assert "chunked" == flow.request.headers["transfer-encoding"]
    assert flow.request.stream is True


DELAY = "fault: {delay: {fixedDelay: 2500ms, percentage: {value: 100}}}"
ABORT = "fault: {abort: {httpStatus: 418, percentage: {value: 100}}}"
DELAY_AND_ABORT = (
    "fault: {delay: {fixedDelay: 2500ms, percentage: {value: 100}}, "
    "abort: {httpStatus: 418, percentage: {value: 100}}}"
)
CORS = "corsPolicy: {allowOrigins: [{exact: 'http://a'}], allowMethods: [GET]}"


@dataclass
class Clock:
    """Time that the test moves on."""

    delays_s: list[float] = field(default_factory=list)
    ends: list[Callable[[], None]] = field(default_factory=list)

    def __call__(self, delay_s: float, end: Callable[[], None]) -> "Clock":
        self.delays_s.append(delay_s)
        self.ends.append(end)
        return self

    def cancel(self) -> None:
        pass


@contextlib.asynccontextmanager
async def running_with(tmp_path: Path, more: str) -> AsyncIterator[tuple[Bench, Clock]]:
    """The route of `/get` has `more` besides."""
    async with running(tmp_path) as bench:
        clock = Clock()
        bench.addon.gate.delays = Delays(clock)
        place = "  - match: [{uri: {prefix: /get}}]\n"
        bench.rules.write_text(RULES.replace(place, f"{place}    {more}\n"))
        bench.context.master.commands.call("mirror.reload")
        yield bench, clock


async def held(bench: Bench, flow: http.HTTPFlow) -> "asyncio.Task[None]":
    """The flow's `requestheaders`, once it is held."""
    task = asyncio.create_task(bench.cycle(flow, "requestheaders"))
    await asyncio.sleep(0)
    assert bench.addon.gate.delays.held == 1
    assert not task.done()
    return task


@in_loop
async def test_a_flow_without_a_delay_has_nothing_to_await(tmp_path: Path) -> None:
    """An awaitable costs a turn of the event loop: only delayed flows may have one."""
    async with running(tmp_path) as bench:
        for path in ("/get", "/bare", "/nothing"):
            assert bench.addon.requestheaders(make_flow(path)) is None


@in_loop
async def test_a_delay_holds_the_primary_and_then_the_shadow_is_sent(tmp_path: Path) -> None:
    async with running_with(tmp_path, DELAY) as (bench, clock):
        flow = make_flow()
        task = await held(bench, flow)
        assert bench.pool.submitted == []
        assert bench.totals() == {}
        clock.ends[0]()
        await task
        await bench.cycle(flow, "request")
        flow.response = http.Response.make(200)
        await bench.cycle(flow, "responseheaders", "response")

        assert clock.delays_s == [2.5]
        assert len(bench.pool.submitted) == 1
        assert [(2500.0, "ok")] == [(record["delay_ms"], record["outcome"]) for record in bench.records()]


@in_loop
async def test_other_flows_go_on_while_one_is_held(tmp_path: Path) -> None:
    async with running_with(tmp_path, DELAY) as (bench, clock):
        task = await held(bench, make_flow())
        other = make_flow("/bare")
        await bench.cycle(other, "requestheaders", "request")
        assert other.response is not None
        clock.ends[0]()
        await task


@in_loop
async def test_a_client_that_leaves_while_it_is_held_leaves_no_shadow(tmp_path: Path) -> None:
    async with running_with(tmp_path, DELAY) as (bench, _):
        flow = make_flow()
        task = await held(bench, flow)
        bench.addon.client_disconnected(flow.client_conn)
        await task
        # What mitmproxy does when it finds after the hook that the client has left.
        flow.client_conn.state = connection.ConnectionState.CLOSED
        flow.error = mitm_flow.Error("Client disconnected.")
        await bench.cycle(flow, "error")

        assert bench.pool.submitted == []
        assert bench.totals() == {}
        assert ["client_gone"] == [record["outcome"] for record in bench.records()]


@in_loop
async def test_a_flow_that_is_killed_while_it_is_held_leaves_no_shadow(tmp_path: Path) -> None:
    async with running_with(tmp_path, DELAY) as (bench, clock):
        flow = make_flow()
        flow.live = True
        task = await held(bench, flow)
        flow.kill()
        clock.ends[0]()
        await task
        await bench.cycle(flow, "request")

        assert bench.pool.submitted == []
        assert bench.totals() == {}


@in_loop
async def test_a_held_flow_that_is_cancelled_is_no_bug(tmp_path: Path) -> None:
    """As mitmproxy does when it is stopped: it waits for no hook."""
    async with running_with(tmp_path, DELAY) as (bench, _):
        task = await held(bench, make_flow())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert bench.addon.gate.delays.held == 0
        assert bench.addon.bugs.counts == {}
        assert bench.totals() == {}


@in_loop
async def test_the_proxy_stops_while_a_flow_is_held(tmp_path: Path) -> None:
    """The flow goes on to its primary once it is let go; nothing is left to send its shadow."""
    async with running_with(tmp_path, DELAY) as (bench, clock):
        flow = make_flow()
        task = await held(bench, flow)
        bench.addon.done()
        clock.ends[0]()
        await task
        await bench.cycle(flow, "request")

        assert {"cancelled": 1} == bench.totals()


@pytest.mark.parametrize(
    ("more", "method", "expected", "reason", "delays_s"),
    [
        pytest.param(ABORT, "GET", (418, b"fault filter abort"), "fault_abort", [], id="abort"),
        pytest.param(
            DELAY_AND_ABORT, "GET", (418, b"fault filter abort"), "fault_abort", [2.5], id="delay, then abort"
        ),
        pytest.param(CORS, "OPTIONS", (200, b""), "cors_preflight", [], id="preflight"),
    ],
)
def test_faults_and_preflights_are_answered_and_not_mirrored(
    tmp_path: Path,
    more: str,
    method: str,
    expected: tuple[int, bytes],
    reason: str,
    delays_s: list[float],
) -> None:
    async def run() -> None:
        async with running_with(tmp_path, more) as (bench, clock):
            flow = make_flow(method=method)
            flow.request.headers["Origin"] = "http://a"
            flow.request.headers["Access-Control-Request-Method"] = "GET"
            if delays_s:
                task = await held(bench, flow)
                clock.ends[0]()
                await task
            else:
                await bench.cycle(flow, "requestheaders")
            await bench.cycle(flow, "request", "responseheaders", "response")

            assert flow.response is not None
            assert expected == (flow.response.status_code, flow.response.content)
            assert delays_s == clock.delays_s
            assert [reason] == [record["outcome"] for record in bench.records()]
            assert {reason: 1} == bench.addon.ledger.snapshot().answered
            assert bench.pool.submitted == []
            assert {} == bench.totals()

    asyncio.run(run())


@in_loop
async def test_a_cross_origin_answer_is_stamped(tmp_path: Path) -> None:
    async with running_with(tmp_path, CORS) as (bench, _):
        flow = make_flow()
        flow.request.headers["Origin"] = "http://a"
        await bench.cycle(flow, "requestheaders", "request")
        flow.response = http.Response.make(200, b"", {"Access-Control-Allow-Origin": "upstream"})
        await bench.cycle(flow, "responseheaders", "response")

        assert flow.response.headers.get_all("access-control-allow-origin") == ["http://a"]
        assert len(bench.pool.submitted) == 1


@in_loop
async def test_a_cookie_for_the_endpoint_reaches_the_client(tmp_path: Path) -> None:
    policy = "trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: user, ttl: 60s}}}}"
    async with running(tmp_path) as bench:
        bench.rules.write_text(RULES.replace("  host: httpbin\n", f"  host: httpbin\n  {policy}\n"))
        bench.context.master.commands.call("mirror.reload")
        flow = make_flow()
        await bench.cycle(flow, "requestheaders", "request")
        flow.response = http.Response.make(200, b"", {"Set-Cookie": "own=1"})
        await bench.cycle(flow, "responseheaders", "response")

    own, ours = flow.response.headers.get_all("set-cookie")
    assert own == "own=1"
    assert ours.startswith('user="')
    assert ours.endswith('"; Max-Age=60; HttpOnly')


POOL = "connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}"
OUTLIER = "outlierDetection: {consecutive5xxErrors: 2, maxEjectionPercent: 100}"


@contextlib.asynccontextmanager
async def running_with_policy(tmp_path: Path, policy: str, **options: object) -> AsyncIterator[Bench]:
    async with running(tmp_path, **options) as bench:
        place = "  host: httpbin\n"
        bench.rules.write_text(RULES.replace(place, f"{place}  trafficPolicy: {{{policy}}}\n"))
        bench.context.master.commands.call("mirror.reload")
        yield bench


def in_flight(bench: Bench) -> tuple[int, int]:
    """(requests on their way, requests that wait) of the only cluster."""
    (state,) = bench.addon.attempts.states
    return state.active, state.waiting


async def answer(bench: Bench, flow: http.HTTPFlow, status: int) -> None:
    flow.response = http.Response.make(status)
    await bench.cycle(flow, "responseheaders", "response")


@in_loop
async def test_a_request_above_a_limit_is_answered_and_not_mirrored(tmp_path: Path) -> None:
    async with running_with_policy(tmp_path, "connectionPool: {http: {http2MaxRequests: 1}}") as bench:
        first, second, third = make_flow(), make_flow(), make_flow()
        await bench.cycle(first, "requestheaders", "request")
        await bench.cycle(second, "requestheaders", "request", "responseheaders", "response")
        await answer(bench, first, 200)
        await bench.cycle(third, "requestheaders", "request")

        assert second.response is not None
        assert second.response.status_code == 503
        assert second.response.headers["x-envoy-overloaded"] == "true"
        assert second.response.headers["x-rule"] == "1"
        assert second.response.content is not None
        assert second.response.content.endswith(b"reset reason: overflow")
        assert [record["outcome"] for record in bench.records()] == ["overflow", "ok"]
        assert in_flight(bench) == (1, 0)
        shown = str(bench.context.master.commands.call("mirror.rules"))
        assert "outbound|8080|v1|httpbin.default.svc.cluster.local: 1 in flight, 1 turned away" in shown
        snapshot = bench.addon.ledger.snapshot()
        assert (snapshot.forwarded, snapshot.answered) == (2, {"overflow": 1})
        assert len(bench.pool.submitted) == 2


@in_loop
async def test_a_request_that_waits_for_longer_than_its_timeout_is_answered(tmp_path: Path) -> None:
    async with running_with_policy(tmp_path, POOL) as bench:
        mirror = "    mirror: {host: httpbin, subset: v2}\n"
        rules = bench.rules.read_text().replace(mirror, f"{mirror}    timeout: 10ms\n")
        bench.rules.write_text(rules)
        bench.context.master.commands.call("mirror.reload")
        first, second = make_flow(), make_flow()
        await bench.cycle(first, "requestheaders")
        await bench.cycle(second, "requestheaders", "request", "responseheaders", "response")

        assert second.response is not None
        assert (second.response.status_code, second.response.content) == (504, b"upstream request timeout")
        assert second.response.headers["x-rule"] == "1"
        assert [record["outcome"] for record in bench.records()] == ["timeout"]
        assert in_flight(bench) == (1, 0)
        assert bench.addon.ledger.snapshot().answered == {"timeout": 1}
        assert bench.pool.submitted == []


@in_loop
async def test_a_streamed_request_above_a_limit_connects_nowhere(tmp_path: Path) -> None:
    async with running_with_policy(tmp_path, "connectionPool: {http: {http2MaxRequests: 1}}") as bench:
        await bench.cycle(make_flow(), "requestheaders", "request")
        flow = make_flow(method="POST", body=b"x")
        flow.request.stream = True
        await bench.cycle(flow, "requestheaders")

        assert flow.request.data.host == UNANSWERABLE_HOST


def error(text: str) -> Callable[[http.HTTPFlow], None]:
    def fail(flow: http.HTTPFlow) -> None:
        flow.response = None
        flow.error = mitm_flow.Error(text)

    return fail


def leave(flow: http.HTTPFlow) -> None:
    flow.client_conn.state = connection.ConnectionState.CLOSED
    error("Client disconnected.")(flow)


ENDS = {
    "answer": (
        lambda flow: setattr(flow, "response", http.Response.make(500)),
        ("responseheaders", "response"),
    ),
    "addon's answer": (
        lambda flow: setattr(flow, "response", http.Response.make(500)),
        ("request", "response"),
    ),
    "error": (error("connection refused"), ("error",)),
    "killed": (error(mitm_flow.Error.KILLED_MESSAGE), ("error",)),
    "client gone": (leave, ("error",)),
    "response, then error": (
        lambda flow: setattr(flow, "response", http.Response.make(500)),
        ("responseheaders", "response", "error"),
    ),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("reload", [False, True], ids=["", "reloaded meanwhile"])
def test_each_way_to_end_makes_room_once(tmp_path: Path, end: str, reload: bool) -> None:
    change, hooks_ = ENDS[end]

    async def run() -> None:
        async with running_with_policy(tmp_path, "connectionPool: {http: {http2MaxRequests: 2}}") as bench:
            flows = [make_flow(), make_flow()]
            for flow in flows:
                await bench.cycle(flow, "requestheaders", "request")
            if reload:
                bench.context.master.commands.call("mirror.reload")
            assert in_flight(bench) == (2, 0)
            change(flows[0])
            await bench.cycle(flows[0], *hooks_)
            assert in_flight(bench) == (1, 0)
            bench.addon.client_disconnected(flows[0].client_conn)
            bench.addon.client_disconnected(flows[1].client_conn)
            assert in_flight(bench) == (0, 0)

    asyncio.run(run())


@in_loop
async def test_a_replay_is_counted_anew(tmp_path: Path) -> None:
    async with running_with_policy(tmp_path, "connectionPool: {http: {http2MaxRequests: 1}}") as bench:
        flow = make_flow()
        for _ in range(3):
            await bench.cycle(flow, "requestheaders", "request")
            assert in_flight(bench) == (1, 0)


@in_loop
async def test_a_websocket_counts_until_it_ends(tmp_path: Path) -> None:
    async with running_with_policy(tmp_path, "connectionPool: {http: {http2MaxRequests: 1}}") as bench:
        flow = make_flow()
        await bench.cycle(flow, "requestheaders", "request")
        flow.websocket = tflow.twebsocketflow().websocket
        await answer(bench, flow, 101)
        assert in_flight(bench) == (1, 0)
        await bench.cycle(flow, "websocket_end")
        assert in_flight(bench) == (0, 0)


@in_loop
async def test_a_request_waits_for_a_connection(tmp_path: Path) -> None:
    async with running_with_policy(tmp_path, POOL) as bench:
        first, second, third = make_flow(), make_flow(), make_flow()
        await bench.cycle(first, "requestheaders", "request")
        task = asyncio.create_task(bench.cycle(second, "requestheaders"))
        await asyncio.sleep(0)
        await bench.cycle(third, "requestheaders", "request", "response")
        assert in_flight(bench) == (1, 1)
        assert third.response is not None
        assert third.response.status_code == 503

        await answer(bench, first, 200)
        await task
        assert in_flight(bench) == (1, 0)
        assert second.request.host == "127.0.0.1"
        assert second.response is None


@in_loop
async def test_a_delayed_request_takes_its_place_after_its_delay(tmp_path: Path) -> None:
    async with running_with(tmp_path, DELAY) as (bench, clock):
        limited = "  trafficPolicy: {connectionPool: {http: {http2MaxRequests: 1}}}\n"
        text = bench.rules.read_text().replace("  host: httpbin\n", f"  host: httpbin\n{limited}")
        bench.rules.write_text(text)
        bench.context.master.commands.call("mirror.reload")
        early, late = make_flow(), make_flow()
        first = await held(bench, early)
        second = asyncio.create_task(bench.cycle(late, "requestheaders"))
        await asyncio.sleep(0)
        assert in_flight(bench) == (0, 0)
        for end in clock.ends:
            end()
        await asyncio.gather(first, second)
        assert in_flight(bench) == (1, 0)
        await bench.cycle(late, "request", "response")

        assert late.response is not None
        assert late.response.status_code == 503
        assert bench.records()[0]["delay_ms"] == 2500


@pytest.mark.parametrize(
    ("change", "hooks_", "ejected"),
    [
        pytest.param(*ENDS["answer"], True, id="500"),
        pytest.param(*ENDS["error"], True, id="refused"),
        pytest.param(*ENDS["addon's answer"], False, id="another addon's 500"),
        pytest.param(*ENDS["killed"], False, id="killed"),
        pytest.param(*ENDS["client gone"], False, id="client gone"),
    ],
)
def test_what_counts_against_an_endpoint(
    tmp_path: Path,
    change: Callable[[http.HTTPFlow], None],
    hooks_: tuple[str, ...],
    ejected: bool,
) -> None:
    async def run() -> None:
        async with running_with_policy(tmp_path, OUTLIER) as bench:
            for _ in range(2):
                flow = make_flow()
                await bench.cycle(flow, "requestheaders", "request")
                change(flow)
                await bench.cycle(flow, *hooks_)
            last = make_flow()
            await bench.cycle(last, "requestheaders", "request")

            assert (last.response is not None and last.response.content == b"no healthy upstream") is ejected

    asyncio.run(run())


@in_loop
async def test_metrics_can_be_switched_on_and_off_while_it_runs(tmp_path: Path) -> None:
    with ReservedPort() as reserved:
        async with running(tmp_path) as bench:
            bench.context.configure(bench.addon, mirror_metrics=f"127.0.0.1:{reserved.port}")
            flow = make_flow()
            await bench.cycle(flow, "requestheaders", "request")
            flow.response = http.Response.make(200, b"answer")
            await bench.cycle(flow, "responseheaders", "response")
            token = bench.pool.submitted[0][2]
            result = ShadowResult(1, Outcome.OK, 418, 135, 3.5, "")
            bench.addon.mirrors.on_end(Ending(token, Outcome.OK, result, 0.1, ""))
            meter = bench.addon.mirrors.meter
            assert meter is not None
            counts = {key: series.requests for key, series in meter.traffic.snapshot().items()}
            bench.context.configure(bench.addon, mirror_metrics="")
            assert bench.addon.mirrors.meter is None
            # nobody listens any more
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", reserved.port)

    assert counts == {
        TrafficKey("primary", V2.replace("v2", "v1"), 200, "-", grpc=False): 1,
        TrafficKey("shadow", V2, 418, "-", grpc=False): 1,
    }


@in_loop
async def test_a_shadow_that_was_never_sent_is_no_request(tmp_path: Path) -> None:
    with ReservedPort() as reserved:
        async with running(tmp_path, mirror_metrics=f"127.0.0.1:{reserved.port}") as bench:
            bench.addon.mirrors.admission.paused = True
            await bench.cycle(make_flow(), "requestheaders", "request")
            meter = bench.addon.mirrors.meter
            assert meter is not None
            assert meter.traffic.snapshot() == {}
            assert bench.totals() == {"paused": 1}


@in_loop
async def test_a_port_that_is_taken_is_refused_and_metrics_go_on_where_they_were(tmp_path: Path) -> None:
    with ReservedPort() as reserved, socket.create_server(("127.0.0.1", 0)) as taken:
        async with running(tmp_path, mirror_metrics=f"127.0.0.1:{reserved.port}") as bench:
            wanted = f"127.0.0.1:{taken.getsockname()[1]}"
            with pytest.raises(exceptions.OptionsError, match=f"mirror_metrics: cannot listen at {wanted}: "):
                bench.context.configure(bench.addon, mirror_metrics=wanted)
            meter = bench.addon.mirrors.meter
            assert meter is not None
            assert meter.address == ("127.0.0.1", reserved.port)


@pytest.mark.parametrize(("unsample", "expected"), [(False, b"1"), (True, b"0")], ids=["kept", "unsampled"])
def test_a_shadow_carries_its_trace_and_is_sampled_unless_told_otherwise(
    tmp_path: Path, unsample: bool, expected: bytes
) -> None:
    async def run() -> None:
        async with running(tmp_path, mirror_unsample_traces=unsample) as bench:
            flow = make_flow()
            flow.request.headers["X-B3-Sampled"] = "1"
            await bench.cycle(flow, "requestheaders", "request")
            assert dict(bench.pool.submitted[0][0].headers)[b"X-B3-Sampled"] == expected
            assert flow.request.headers["X-B3-Sampled"] == "1"

    asyncio.run(run())

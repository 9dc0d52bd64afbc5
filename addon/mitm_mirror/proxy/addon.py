"""The addon: mitmproxy's hooks, each of them guard, decide, apply, hand over.

It routes in the script's own place in mitmproxy's chain; what has to come last is `MirrorTail`'s, see `last`.
"""

import asyncio
import gc
import logging
import random
import ssl
from collections.abc import Awaitable, Collection
from functools import partial

from mitmproxy import addonmanager, connection, ctx, exceptions, http, tls
from mitmproxy.proxy import server_hooks

from mitm_mirror.client.settings import ClientSettings
from mitm_mirror.metrics.snapshot import MetricsSnapshot
from mitm_mirror.observe.access_log import AccessLog
from mitm_mirror.observe.formats import FORMATS
from mitm_mirror.observe.ledger import Ledger, render_requests, render_totals
from mitm_mirror.observe.record import format_address
from mitm_mirror.observe.writer import LogWriter
from mitm_mirror.proxy.attempts import Attempts
from mitm_mirror.proxy.bugs import BugCounter, guarded
from mitm_mirror.proxy.commands import MirrorCommands
from mitm_mirror.proxy.diff_view import MirrorDiff
from mitm_mirror.proxy.exchange import Exchange, exchange_of, forget_exchange, remember_exchange
from mitm_mirror.proxy.flows import (
    apply_forward,
    apply_pass_through,
    make_answer,
    read_head,
)
from mitm_mirror.proxy.gate import UNANSWERABLE_HOST, Gate
from mitm_mirror.proxy.last import DueHooks, last_hook, run_last
from mitm_mirror.proxy.listeners import OwnAddresses, is_own_address
from mitm_mirror.proxy.meter import Meter
from mitm_mirror.proxy.mirrors import Mirrors
from mitm_mirror.proxy.options import OPTION_PREFIX, MirrorSettings, add_options, parse_settings
from mitm_mirror.proxy.pair_commands import PairCommands
from mitm_mirror.proxy.pairs import is_shadow
from mitm_mirror.proxy.pressure import PressureGauge
from mitm_mirror.proxy.primary import upstream_failure
from mitm_mirror.proxy.replay import remember_routing, request_state, restore_received
from mitm_mirror.proxy.rules import RuleKeeper, RulesRefusedError
from mitm_mirror.proxy.sending import PrimarySender
from mitm_mirror.proxy.shown_pairs import ShownPairs
from mitm_mirror.proxy.tail import MirrorTail
from mitm_mirror.proxy.upstream_address import UpstreamAddress
from mitm_mirror.proxy.upstream_tls import PrimaryTls
from mitm_mirror.routing.decision import UNIX, Answer, Forward, PassThrough
from mitm_mirror.routing.headers import apply_operations
from mitm_mirror.routing.vantage import DEFAULT_VANTAGE
from mitm_mirror.shadow.governor import Governor, GovernorBounds
from mitm_mirror.shadow.pool import ShadowPool
from mitm_mirror.shadow.settings import PoolSettings

logger = logging.getLogger(__name__)

POOL_OPTIONS = frozenset({"mirror_workers", "mirror_max_inflight", "mirror_queue_bytes"})
"""Read once, when the workers start."""

RULE_OPTIONS = frozenset(
    {"mirror_rules", "mirror_host_suffix", "mirror_gateways", "mirror_namespace", "mirror_labels"}
)
"""What rules are compiled from: they are loaded again when one of these changes."""

COPY_GATHER_S = 0.02
"""How late copies may be sent, see `Mirrors.mirror`."""

LOG_GATHER_S = 0.2
"""How late a line of the access log may be made and written."""

LOG_RETRY_S = 0.01
"""How soon lines for which a pipe had no room are tried again: some 6 MB/s for a reader that keeps up."""


class MirrorAddon:
    """Routes each flow by Istio's rules, and has its mirrors served."""

    name = "mirror"

    def __init__(self) -> None:
        self.bugs = BugCounter()
        self.ledger = Ledger()
        self.rules = RuleKeeper()
        self.shown = ShownPairs(self.bugs)
        self.mirrors = Mirrors(self.bugs, self.ledger, OwnAddresses(), self.shown)
        self.attempts = Attempts()
        self.gate = Gate(self.ledger, self.attempts)
        self._settings: MirrorSettings | None = None
        self._tail = MirrorTail(self.bugs, self.mirrors)
        self._sender: PrimarySender | None = None
        self._primary_tls = PrimaryTls()
        self._gauge: PressureGauge | None = None
        self._diff_view = MirrorDiff()
        self._running = False

    def load(self, loader: addonmanager.Loader) -> None:
        add_options(loader)
        # Not as addons of their own: each of those is asked at all eight hooks of a request, for nothing.
        for commands in (MirrorCommands(self), PairCommands(self)):
            loader.master.commands.collect_commands(commands)

    def configure(self, updated: Collection[str]) -> None:
        self._tail.large_bodies_are_streamed = bool(ctx.options.stream_large_bodies)
        if not any(option.startswith(OPTION_PREFIX) for option in updated):
            self._look_again()
            return
        try:
            settings = parse_settings(ctx.options)
            if self._running and POOL_OPTIONS & set(updated):
                raise ValueError(f"{', '.join(sorted(POOL_OPTIONS & set(updated)))}: set it at the start")
            if RULE_OPTIONS & set(updated):
                self._load_rules(settings)
            log = self._open_log(settings, updated)
            self._meter(settings.metrics)
        except ValueError as error:
            if self._running:
                raise exceptions.OptionsError(str(error)) from error
            # Before start-up ends mitmproxy shows an exception out of `configure` as a traceback of
            # ours. An ERROR record stops the start as well, and says only what a person needs.
            for line in str(error).splitlines():
                logger.error("%s", line)  # noqa: TRY400  (no traceback, that is the point)
            return
        if log is not self.mirrors.log and self.mirrors.log is not None:
            self.mirrors.log.close()
        self.mirrors.log = log
        if log is not None:
            log.format_record = FORMATS[settings.access_log_format]
        self._settings = settings
        self.mirrors.timeout_s = settings.timeout_s
        self.mirrors.admission.body_limit_bytes = settings.body_limit_bytes
        self.mirrors.admission.host_suffix = settings.host_suffix
        self.mirrors.unsample_traces = settings.unsample_traces
        self.mirrors.comparing.configure(settings.compare)
        self.mirrors.noise_copies.share = settings.noise_share
        self.shown.configure(settings.flows, settings.flows_kept, settings.flows_bytes)
        self._govern(settings.governor)
        if self.mirrors.pool is None:
            # Not in `running`: mitmproxy listens before it calls that.
            self._start(settings)

    def running(self) -> None:
        self._running = True
        self._look_again()
        # What is loaded by now stays: 300,000 objects of mitmproxy, and 10,000 rules are a million more.
        # Else the garbage collector looks through all of it again and again, half a second with many rules.
        gc.collect()
        gc.freeze()

    update = run_last
    """Comes after each hook of a flow, when all addons have had it."""

    @guarded
    def requestheaders(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        last = self._tail.requestheaders
        due: DueHooks = [(last, flow, None)]
        last_hook.set(due)
        if flow.is_replay:
            forget_exchange(flow)  # of the same flow before it was replayed
        if self.attempts.by_client:
            self.attempts.end(flow)
        if flow.response or flow.error or (flow.metadata and is_shadow(flow)):
            return None  # a shadow that is replayed goes where it went
        if flow.is_replay:
            restore_received(flow)
        rules = self.rules.current
        head = read_head(flow)
        decision = rules.rule_set.table.decide(head, random.random, self.attempts.states)
        if isinstance(decision, PassThrough):
            apply_pass_through(flow)
            return None
        exchange = Exchange(head, decision, rules.generation)
        remember_exchange(flow, exchange)
        due[:] = [(last, flow, exchange)]
        if isinstance(decision, Answer):
            return self.gate.answer(flow, decision)
        received = request_state(flow)
        apply_forward(flow, decision)
        remember_routing(flow, received)
        return self.gate.forward(flow, exchange, decision)

    @guarded
    def request(self, flow: http.HTTPFlow) -> None:
        exchange = exchange_of(flow)
        last_hook.set([(self._tail.request, flow, exchange)])
        if exchange is None or flow.response or flow.error or flow.request.stream:
            return
        answer = exchange.decision
        if isinstance(answer, Answer):
            flow.response = make_answer(flow, answer.status, answer.headers, answer.body)

    @guarded
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        exchange = exchange_of(flow)
        last_hook.set([(self._tail.responseheaders, flow, exchange)])
        if exchange is None or flow.response is None or not isinstance(exchange.decision, Forward):
            return
        if exchange.sent is not None and exchange.sent.head is None:
            return  # an answer of our own, which has them already
        if self.attempts.by_client:
            self.attempts.answered(flow, flow.response.status_code)
        if exchange.compared is not None:
            self.mirrors.comparing.see_head(flow, exchange.compared)
        headers = flow.response.data.headers
        for operations in exchange.decision.response_headers:
            headers.fields = apply_operations(headers.fields, operations)

    @guarded
    def response(self, flow: http.HTTPFlow) -> None:
        exchange = exchange_of(flow)
        last_hook.set([(self._tail.response, flow, exchange)])
        if self.attempts.by_client and flow.websocket is None:
            self.attempts.end(flow)
        if self.mirrors.comparing.in_use and exchange is not None:
            self.mirrors.comparing.answered(flow, exchange)

    @guarded
    def websocket_end(self, flow: http.HTTPFlow) -> None:
        self.attempts.end(flow)

    @guarded
    def error(self, flow: http.HTTPFlow) -> None:
        exchange = exchange_of(flow)
        last_hook.set([(self._tail.error, flow, exchange)])
        failure = upstream_failure(flow)
        if failure is not None:
            self.attempts.failed(flow, failure)
        self.attempts.end(flow)
        if self.mirrors.comparing.in_use and exchange is not None:
            self.mirrors.comparing.failed(exchange)

    @guarded
    def server_connect(self, data: server_hooks.ServerConnectionHookData) -> None:
        if data.server.address and data.server.address[0] == UNANSWERABLE_HOST:
            data.server.error = (
                "The rules answer this request, but mitmproxy streams it (stream_large_bodies)."
            )

        elif data.server.address and data.server.address[0].startswith(UNIX):
            data.server.error = "mitmproxy connects to no Unix socket."

    @guarded
    def server_connected(self, data: server_hooks.ServerConnectionHookData) -> None:
        server = data.server
        address = server.address[0] if server.address else ""
        if isinstance(address, UpstreamAddress) and address.http2 and not server.tls and not server.via:
            # HTTP/2 without asking (RFC 9113, 3.3): mitmproxy goes by this, and by nothing else.
            server.alpn = b"h2"
        self._tail.connected(data.client)

    @guarded
    def tls_start_server(self, data: tls.TlsData) -> None:
        self._primary_tls.start(data)

    @guarded
    def tls_established_server(self, data: tls.TlsData) -> None:
        if isinstance(data.conn, connection.Server):
            self._tail.agreed(data.context.client, data.conn)

    @guarded
    def client_disconnected(self, client: connection.Client) -> None:
        self._tail.release(client.id)
        self.gate.release(client.id)
        if self._sender is not None:
            self._sender.release(client.id)

    def done(self) -> None:
        self._running = False  # a script that is reloaded brings this instance back
        self.rules.stop_watching()
        self.attempts.stop()
        self.mirrors.gathered.flush()
        pool, self.mirrors.pool = self.mirrors.pool, None
        if pool is not None and self._settings is not None:
            pool.drain(self._settings.drain_timeout_s)
            self.mirrors.comparing.close()
            self.shown.close()
            self._diff_view.unregister()
            snapshot = self.ledger.snapshot()
            logger.info("mirror: requests: %s", render_requests(snapshot))
            logger.info("%s", render_totals(snapshot))
        sender, self._sender, self._tail.sender = self._sender, None, None
        if sender is not None:
            sender.close()
        if self.mirrors.log is not None:
            self.mirrors.log.close()
            self.mirrors.log = None
        self._meter(None)

    def _start(self, settings: MirrorSettings) -> None:
        self.shown.open()
        self._diff_view.register()
        pool_settings = _pool_settings(settings)
        self._sender = self._tail.sender = PrimarySender(pool_settings.client, self.attempts, is_own_address)
        pool = ShadowPool(
            pool_settings,
            self.mirrors.on_end,
            on_compared=self.mirrors.on_compared,
            on_connected=self.mirrors.admission.loops.connected,
        )
        self.mirrors.pool = self.mirrors.comparing.pool = pool
        self.mirrors.gathered.schedule = partial(asyncio.get_running_loop().call_later, COPY_GATHER_S)
        pool.start()
        self.rules.start_watching(on_loaded=self._use_rules)
        self._use_rules()

    def _look_again(self) -> None:
        """An option of mitmproxy's changed, or all addons are there: `auto` may mean something else now."""
        self.mirrors.comparing.look_again()
        self.shown.look_again()

    def _govern(self, bounds: GovernorBounds | None) -> None:
        """Puts the governor to work, or an end to it; one whose bounds stay goes on as it is."""
        governor = self.mirrors.admission.governor
        if bounds == (governor.bounds if governor else None):
            return
        if self._gauge is not None:
            self._gauge.stop()
        self.mirrors.admission.governor = self._gauge = None
        if bounds is not None:
            self.mirrors.admission.governor = Governor(bounds)
            self._gauge = PressureGauge(self.mirrors.admission.governor, asyncio.get_running_loop())
            self._gauge.start()

    def _meter(self, address: tuple[str, int] | None) -> None:
        """Has metrics served at `address` from now on; None ends it. The same address goes on as it is."""
        meter = self.mirrors.meter
        if address == (meter.address if meter else None):
            return
        if address is None:
            self.mirrors.meter = None
        else:
            try:
                self.mirrors.meter = Meter(*address, self._snapshot, asyncio.get_running_loop())
            except ValueError as error:
                raise ValueError(f"mirror_metrics: {error}") from error
            logger.info("mirror: metrics at http://%s/metrics", format_address(*address))
        if meter is not None:
            meter.close()

    def _snapshot(self, meter: Meter) -> MetricsSnapshot:
        governor, pool, settings = self.mirrors.admission.governor, self.mirrors.pool, self._settings
        return MetricsSnapshot(
            vantage=settings.vantage if settings else DEFAULT_VANTAGE,
            traffic=meter.traffic.snapshot(),
            ledger=self.ledger.snapshot(),
            noise_copies=dict(self.mirrors.noise_copies.ended),
            pool=None if pool is None else pool.stats(),
            queue_limit_bytes=settings.queue_bytes if settings else 0,
            rules_generation=self.rules.current.generation,
            rules_refused=self.rules.refusals,
            governor_share=governor.share if governor else 1.0,
            governor_held_back=governor.held_back if governor else 0,
            loop_lag_s=meter.loop_lag.snapshot(),
            paused=self.mirrors.admission.paused,
            bugs=dict(self.bugs.counts),
        )

    def _load_rules(self, settings: MirrorSettings) -> None:
        try:
            self.rules.configure(settings.rules, settings.host_suffix, settings.vantage)
        except RulesRefusedError:
            if not ctx.options.mirror_rules:
                logger.info("mirror: these are the default rules; name others with --set mirror_rules=PATH")
            if self._running or not self.rules.current.generation:
                raise
            self.rules.reload_or_keep()  # this script was reloaded while its rules are broken

    def _open_log(self, settings: MirrorSettings, updated: Collection[str]) -> AccessLog | None:
        if "mirror_access_log" not in updated:
            return self.mirrors.log
        if not settings.access_log:
            return None
        if settings.access_log == "-" and "console_layout" in ctx.options:
            raise ValueError("mirror_access_log: '-' would be written over the console UI, expected a file")
        loop = asyncio.get_running_loop()
        retry = partial(loop.call_later, LOG_RETRY_S)
        writer = LogWriter(settings.access_log, schedule=loop.call_soon, retry=retry)
        schedule = partial(loop.call_later, LOG_GATHER_S)
        return AccessLog(writer, FORMATS[settings.access_log_format], schedule, self.bugs.report)

    def _use_rules(self) -> None:
        self.attempts.states.adopt(self.rules.current.rule_set.table.clusters)
        self._prepare_proxy()

    def _prepare_proxy(self) -> None:
        """Sets what mitmproxy needs for routing by rules, and says so."""
        if not self.rules.current.rule_set.table.virtual_service_count:
            return
        wanted = {"keep_host_header": True, "connection_strategy": "lazy"}
        changed = {name: value for name, value in wanted.items() if getattr(ctx.options, name) != value}
        if changed:
            ctx.options.update(**changed)
            logger.info(
                "mirror: rules are loaded, so mitmproxy now runs with %s (routing needs the client's Host, "
                "and no connection before the request is read)",
                ", ".join(f"{name}={str(value).lower()}" for name, value in changed.items()),
            )


def _pool_settings(settings: MirrorSettings) -> PoolSettings:
    ca_file = ctx.options.ssl_verify_upstream_trusted_ca or ""
    if ca_file:
        try:
            ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            # Said here once and stopping the start; else every worker would fail to start, again and again.
            logger.error("ssl_verify_upstream_trusted_ca: cannot use %s: %s", ca_file, error)  # noqa: TRY400
    return PoolSettings(
        workers=settings.workers,
        max_inflight=settings.max_inflight,
        queue_bytes=settings.queue_bytes,
        client=ClientSettings(tls_verify=not ctx.options.ssl_insecure, ca_file=ca_file),
    )

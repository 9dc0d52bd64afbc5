"""What `mitm-mirror replay` does: reads recordings, plays them, and makes the report."""
# ruff: noqa: T201 - it prints by trade

import asyncio
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mitmproxy import addons, exceptions, http
from mitmproxy.master import Master
from mitmproxy.options import Options

from mitm_mirror.observe.record import PrimaryOutcome
from mitm_mirror.observe.report.command import ReportOptions, UsageError, run_report
from mitm_mirror.observe.report.progress import Progress
from mitm_mirror.proxy.addon import MirrorAddon
from mitm_mirror.proxy.exchange import exchange_of
from mitm_mirror.proxy.playback.pace import Pace
from mitm_mirror.proxy.playback.player import Player
from mitm_mirror.proxy.playback.recording import Recording, RecordingError, read_recording
from mitm_mirror.proxy.primary import primary_outcome
from mitm_mirror.routing.decision import Forward, PassThrough

DEFAULT_GATE = "mismatch>0"

_PENDING_LIMIT = 512
"""Shadows that may be under way before the next request waits; half of what a worker takes by default."""

_HOPELESS = 10
"""Requests after which it gives up, where none of them reached its primary."""

_HOSTS_SHOWN = 5

_DEFAULTS = {"mirror_compare": "on", "mirror_drain_timeout": "60"}
"""Where --set says nothing else. Draining ends when the last shadow does, so its limit costs nothing."""

Address = tuple[str, str]
"""(endpoint, cluster)."""


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What the command line says."""

    recordings: Sequence[str]
    rules: Sequence[str]
    pace: Pace
    output: str | None = None
    as_json: bool = False
    fail_on: Sequence[str] = ()
    log: str | None = None
    """Where the access log is kept; None for nowhere."""
    settings: Sequence[str] = ()
    """Further options of mitmproxy and the addon, `name=value`."""


def run_replay(options: ReplayOptions) -> bool:
    """Replays, writes the report, and says whether every gate passed. Raises UsageError."""
    with tempfile.TemporaryDirectory(prefix="mitm-mirror-") as folder:
        log = options.log or str(Path(folder) / "access.log")
        if options.log:
            try:
                Path(log).write_bytes(b"")  # it is about this replay alone
            except OSError as error:
                raise UsageError(f"cannot write {log}: {error.strerror}") from error
        try:
            asyncio.run(_Replay(options, log).run())
        except KeyboardInterrupt:
            raise UsageError("interrupted; there is no report of a half") from None
        report = ReportOptions(
            [log],
            options.output,
            options.as_json,
            options.fail_on or [DEFAULT_GATE],
            sources=options.recordings,
        )
        return run_report(report)


class _Replay:
    def __init__(self, options: ReplayOptions, log: str) -> None:
        self._options = options
        self._log = log
        self._addon = MirrorAddon()
        self._played = 0
        self._forwarded = 0
        self._unreachable: Counter[Address] = Counter()
        self._progress = Progress(0, "", sys.stderr)
        self._hopeless = False
        self._playing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Raises UsageError where nothing came of it."""
        said = _Said(self._say)
        logging.getLogger().addHandler(said)
        try:
            master = self._start(said)
            try:
                await master.running()
                await self._play(master)
            except BaseException:  # Ctrl-C included: there will be no report, so no shadow is waited for
                master.options.update(mirror_drain_timeout="0")
                raise
            finally:
                await master.done()
        finally:
            logging.getLogger().removeHandler(said)

    def _start(self, said: "_Said") -> Master:
        """mitmproxy without listeners and without a UI, and the addon with its rules."""
        master = Master(Options())
        master.addons.add(*addons.default_addons())
        given = {setting.partition("=")[0] for setting in self._options.settings}
        own = {name: value for name, value in _DEFAULTS.items() if name not in given}
        try:
            # What the addon has is put aside until it is there; nothing is loaded before the update.
            master.options.set(*self._options.settings, defer=True)
            master.addons.add(self._addon)
            master.options.update(
                **own,
                mirror_rules=list(self._options.rules),
                mirror_access_log=self._log,
                mirror_access_log_format="json",
            )
        except exceptions.OptionsError as error:
            raise UsageError(f"--set: {error}") from error
        if master.options.deferred:
            raise UsageError(f"--set: there is no option {', '.join(master.options.deferred)}")
        if said.errors:
            raise UsageError("\n".join(said.errors))
        said.starting = False
        return master

    async def _play(self, master: Master) -> None:
        recording = self._read()
        count, began = len(recording.requests), time.monotonic()
        clients = len({request.client for request in recording.requests})
        self._progress = Progress(count, f"{count} requests", sys.stderr)
        player = Player(master.options, on_played=self._on_played, is_behind=self._is_behind)
        self._playing = asyncio.create_task(player.play(recording.requests, self._options.pace))
        try:
            await self._playing
        except asyncio.CancelledError:
            if not self._hopeless:
                raise  # by Ctrl-C
        if self._forwarded and sum(self._unreachable.values()) == self._forwarded:
            raise UsageError(_describe_unreachable(self._unreachable))
        seconds = time.monotonic() - began
        self._say(f"replayed {self._played} requests of {clients} client connections in {seconds:.1f} s")

    def _read(self) -> Recording:
        table = self._addon.rules.current.rule_set.table
        try:
            recording = read_recording(
                self._options.recordings,
                # Whether a rule is about a request depends on no chance.
                lambda head: not isinstance(table.decide(head, lambda: 0.0), PassThrough),
            )
        except RecordingError as error:
            raise UsageError(str(error)) from error
        for warning in recording.warnings:
            self._say(warning)
        skipped = ", ".join(f"{reason} {count}" for reason, count in recording.skipped.items())
        if not recording.requests and recording.unmatched:
            hosts = list(recording.unmatched)
            raise UsageError(
                f"no rule is about any request: {skipped}. Recorded hosts: {', '.join(hosts[:_HOSTS_SHOWN])}"
                f"{', ...' if len(hosts) > _HOSTS_SHOWN else ''}; expected a VirtualService for one of them "
                "in --rules (ask mitm-mirror explain)"
            )
        if not recording.requests:
            raise UsageError(
                f"nothing to replay in {', '.join(self._options.recordings)}: {skipped or 'empty'}"
            )
        if skipped:
            self._say(f"not replayed: {skipped}")
        return recording

    def _on_played(self, flow: http.HTTPFlow) -> None:
        self._played += 1
        self._progress.show(0, self._played)
        exchange = exchange_of(flow)
        if exchange is None or not isinstance(exchange.decision, Forward):
            return
        self._forwarded += 1
        if primary_outcome(flow, exchange) is not PrimaryOutcome.CONNECT_ERROR:
            return
        target = exchange.target or exchange.decision.target
        self._unreachable[target.endpoint.host_port, target.cluster] += 1
        if sum(self._unreachable.values()) == self._forwarded == _HOPELESS:
            self._hopeless = True
            assert self._playing is not None
            self._playing.cancel()
        elif self._unreachable[target.endpoint.host_port, target.cluster] == 1:
            self._say(f"no connection to primary {target.endpoint.host_port} of {target.cluster}; said once")

    def _is_behind(self) -> bool:
        return self._addon.ledger.pending >= _PENDING_LIMIT

    def _say(self, text: str) -> None:
        self._progress.clear()
        print(f"mitm-mirror replay: {text}", file=sys.stderr)


def _describe_unreachable(unreachable: Counter[Address]) -> str:
    endpoints = ", ".join(f"{endpoint} of {cluster}" for endpoint, cluster in unreachable)
    return (
        f"no primary can be reached: {endpoints}. Is it running? "
        "Where it is, is what a ServiceEntry of the rules says"
    )


class _Said(logging.Handler):
    """What mitmproxy and the addon warn about, for people; errors are kept, too."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self.starting = True
        self.errors: list[str] = []
        """Those while it starts, which end it."""
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if record.levelno >= logging.ERROR and self.starting:
            self.errors.append(text)
        else:
            self._say(text)

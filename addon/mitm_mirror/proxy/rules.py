"""The rule set that the addon serves: loaded whole or refused whole, and replaced when files change."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mitm_mirror.proxy.watch import Fingerprint, fingerprint, watch_rules
from mitm_mirror.resources.issue import Issue, Severity
from mitm_mirror.resources.load import load_rules
from mitm_mirror.resources.resource import Resources
from mitm_mirror.routing.compile import compile_table
from mitm_mirror.routing.table import RouteTable

logger = logging.getLogger(__name__)

_LOG_LEVELS = {
    Severity.NOTICE: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.ERROR: logging.ERROR,
}


@dataclass(frozen=True, slots=True)
class RuleSet:
    """A compiled rule set. A request is served by one of these from beginning to end."""

    generation: int
    """1 for the set that the addon started with, one more for each that replaced it; 0 before it serves."""
    table: RouteTable
    issues: tuple[Issue, ...]
    """Warnings and notices; a set with an error never comes to stand."""
    fingerprint: Fingerprint
    """Of the files as they were just before they were read."""
    summary: str
    """`2 VirtualServices, 1 DestinationRule, ... from 3 files`."""


class RulesRefusedError(ValueError):
    """The rule files have an error; `issues` holds all of them, warnings included."""

    def __init__(self, issues: tuple[Issue, ...]) -> None:
        errors = [issue for issue in issues if issue.severity is Severity.ERROR]
        super().__init__("\n".join(map(str, errors)))
        self.issues = issues
        self.errors = errors


def load_rule_set(paths: Sequence[str], *, host_suffix: str, missing_ok: bool) -> RuleSet:
    """The rule set that the files at `paths` say.

    With `missing_ok` a path that names nothing is a warning: rules that were deleted are no rules.
    Raises RulesRefusedError where any file has an error.
    """
    before = fingerprint(paths)
    loaded = load_rules(paths, missing_ok=missing_ok)
    if loaded.errors:
        raise RulesRefusedError(loaded.issues)
    resources = loaded.resources
    table, compile_issues = compile_table(resources, host_suffix=host_suffix)
    issues = loaded.issues + compile_issues
    if any(issue.severity is Severity.ERROR for issue in compile_issues):
        raise RulesRefusedError(issues)
    counts = (
        ("VirtualService", len(resources.virtual_services)),
        ("DestinationRule", len(resources.destination_rules)),
        ("ServiceEntry", len(resources.service_entries)),
        ("WorkloadEntry", len(resources.workload_entries)),
    )
    kinds = ", ".join(_counted(kind, count) for kind, count in counts if count) or "no rules"
    summary = f"{kinds} from {_counted('file', len(loaded.files))}"
    return RuleSet(0, table, issues, before, summary)


class RuleKeeper:
    """Holds the rule set that is served. Reading `current` is all that a request does here."""

    def __init__(self) -> None:
        self.current = RuleSet(0, compile_table(Resources())[0], (), (), "no rules")
        self.refusals = 0
        """How many times a changed rule set was refused."""
        self._paths: tuple[str, ...] = ()
        self._host_suffix = ""
        self._watch: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._on_loaded: Callable[[], None] = lambda: None

    def configure(self, paths: tuple[str, ...], host_suffix: str) -> None:
        """Serves the rules at `paths` from now on.

        Raises RulesRefusedError, and then nothing has changed.
        """
        rule_set = load_rule_set(paths, host_suffix=host_suffix, missing_ok=False)
        moved = paths != self._paths
        self._paths, self._host_suffix = paths, host_suffix
        self._serve(rule_set)
        if moved and self._watch is not None:
            self.stop_watching()
            self.start_watching(self._on_loaded)

    def reload(self) -> RuleSet:
        """Loads the same paths again, and serves what they say now.

        Raises RulesRefusedError, and then the last good set goes on serving.
        """
        try:
            rule_set = self._load()
        except RulesRefusedError as refused:
            self._refuse(refused)
            raise
        self._serve(rule_set)
        return self.current

    def start_watching(self, on_loaded: Callable[[], None]) -> None:
        """Reloads when files change; calls `on_loaded` after each set that came to stand."""
        self._on_loaded = on_loaded
        self._stop = asyncio.Event()
        self._watch = asyncio.create_task(
            watch_rules(self._paths, self.current.fingerprint, self._reload_in_thread, self._stop),
            name="mirror: rules watcher",
        )
        self._watch.add_done_callback(_report_crash)

    def stop_watching(self) -> None:
        """Ends the watch; its thread notices within milliseconds."""
        self._stop.set()
        self._watch = None

    async def _reload_in_thread(self) -> None:
        # A large rule set takes seconds to parse; requests go on meanwhile.
        stop = self._stop
        try:
            rule_set = await asyncio.to_thread(self._load)
        except RulesRefusedError as refused:
            self._refuse(refused)
            return
        if not stop.is_set():
            self._serve(rule_set)

    def _load(self) -> RuleSet:
        # Deleted rules are no rules: that is how routing is ended. At start-up they are a typo.
        return load_rule_set(self._paths, host_suffix=self._host_suffix, missing_ok=True)

    def _serve(self, loaded: RuleSet) -> None:
        # Numbered here and not where it is loaded, which may be in a thread.
        self.current = rule_set = replace(loaded, generation=self.current.generation + 1)
        _log_issues(rule_set.issues)
        verb = "loaded" if rule_set.generation == 1 else "reloaded"
        logger.info("mirror: rules %s (generation %d): %s", verb, rule_set.generation, rule_set.summary)
        self._on_loaded()

    def _refuse(self, refused: RulesRefusedError) -> None:
        self.refusals += 1
        _log_issues(refused.issues)
        logger.warning(
            "mirror: rules refused, generation %d goes on serving: %s",
            self.current.generation,
            _counted("error", len(refused.errors)),
        )


def _log_issues(issues: Sequence[Issue]) -> None:
    for issue in issues:
        logger.log(_LOG_LEVELS[issue.severity], "%s", issue)


def _report_crash(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("mirror: rule files are no longer watched, use mirror.reload", exc_info=error)


def _counted(noun: str, count: int) -> str:
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun[:-1]}ies" if noun.endswith("y") else f"{count} {noun}s"

"""The rule set that the addon serves: loaded whole or refused whole, and replaced when files change."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mitm_mirror.proxy.watch import Fingerprint, fingerprint, watch_rules
from mitm_mirror.resources.issue import Issue, Severity
from mitm_mirror.routing.vantage import DEFAULT_VANTAGE, Vantage
from mitm_mirror.rule_set import EMPTY_RULE_SET, RuleSet, counted, load_rule_set

logger = logging.getLogger(__name__)

_LOG_LEVELS = {
    Severity.NOTICE: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.ERROR: logging.ERROR,
}


@dataclass(frozen=True, slots=True)
class ServedRules:
    """A rule set as it is served. A request is served by one of these from beginning to end."""

    generation: int
    """1 for the set that the addon started with, one more for each that replaced it."""
    rule_set: RuleSet
    """Without errors."""


class RulesRefusedError(ValueError):
    """The rule files have an error; `rule_set` has all issues, warnings included."""

    def __init__(self, rule_set: RuleSet) -> None:
        super().__init__("\n".join(map(str, rule_set.errors)))
        self.rule_set = rule_set


class RuleKeeper:
    """Holds the rule set that is served. Reading `current` is all that a request does here."""

    def __init__(self) -> None:
        self.current = ServedRules(0, EMPTY_RULE_SET)
        self.refusals = 0
        """How many times a changed rule set was refused."""
        self._paths: tuple[str, ...] = ()
        self._host_suffix = ""
        self._vantage = DEFAULT_VANTAGE
        self._known: Fingerprint = ()
        """Of the files just before they were last read."""
        self._watch: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._on_loaded: Callable[[], None] = lambda: None

    def configure(self, paths: tuple[str, ...], host_suffix: str, vantage: Vantage) -> None:
        """Serves the rules at `paths` from now on, as the proxy at `vantage` sees them.

        Raises RulesRefusedError, and then nothing has changed.
        """
        known = fingerprint(paths)
        rule_set = load_rule_set(paths, host_suffix=host_suffix, vantage=vantage)
        if rule_set.errors:
            raise RulesRefusedError(rule_set)
        moved = paths != self._paths
        self._paths, self._host_suffix, self._vantage, self._known = paths, host_suffix, vantage, known
        self._serve(rule_set)
        if moved and self._watch is not None:
            self.stop_watching()
            self.start_watching(self._on_loaded)

    def reload(self) -> ServedRules:
        """Loads the same paths again, and serves what they say now.

        Raises RulesRefusedError, and then the last good set goes on serving.
        """
        rule_set = self._load()
        self._serve_or_refuse(rule_set)
        if rule_set.errors:
            raise RulesRefusedError(rule_set)
        return self.current

    def reload_or_keep(self) -> None:
        """As `reload`, but a set that is refused is only logged."""
        self._serve_or_refuse(self._load())

    def start_watching(self, on_loaded: Callable[[], None]) -> None:
        """Reloads when files change; calls `on_loaded` after each set that came to stand."""
        self._on_loaded = on_loaded
        self._stop = asyncio.Event()
        self._watch = asyncio.create_task(
            watch_rules(self._paths, self._known, self._reload_in_thread, self._stop),
            name="mirror: rules watcher",
        )
        self._watch.add_done_callback(_report_crash)

    def stop_watching(self) -> None:
        """Ends the watch."""
        self._stop.set()

    async def _reload_in_thread(self) -> None:
        # A large rule set takes seconds to parse; requests go on meanwhile.
        stop = self._stop
        rule_set = await asyncio.to_thread(self._load)
        if not stop.is_set():
            self._serve_or_refuse(rule_set)

    def _load(self) -> RuleSet:
        # Deleted rules are no rules: that is how routing is ended. At start-up they are a typo.
        return load_rule_set(
            self._paths, host_suffix=self._host_suffix, vantage=self._vantage, missing_ok=True
        )

    def _serve_or_refuse(self, rule_set: RuleSet) -> None:
        if not rule_set.errors:
            self._serve(rule_set)
            return
        self.refusals += 1
        _log_issues(rule_set.issues)
        logger.warning(
            "mirror: rules refused, generation %d goes on serving: %s",
            self.current.generation,
            counted("error", len(rule_set.errors)),
        )

    def _serve(self, rule_set: RuleSet) -> None:
        generation = self.current.generation + 1
        self.current = ServedRules(generation, rule_set)
        _log_issues(rule_set.issues)
        verb = "loaded" if generation == 1 else "reloaded"
        logger.info("mirror: rules %s (generation %d): %s", verb, generation, rule_set.summary)
        self._on_loaded()


def _log_issues(issues: Sequence[Issue]) -> None:
    for issue in issues:
        logger.log(_LOG_LEVELS[issue.severity], "%s", issue)


def _report_crash(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("mirror: rule files are no longer watched, use mirror.reload", exc_info=error)

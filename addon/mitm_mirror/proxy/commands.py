"""The addon's mitmproxy commands. Tables, because the console shows those whole and text cut off."""

import logging
from typing import TYPE_CHECKING, cast

import mitmproxy.flow
from mitmproxy import command, exceptions, http, types

from mitm_mirror.observe.ledger import render_table
from mitm_mirror.proxy.exchange import exchange_of
from mitm_mirror.proxy.flows import read_head
from mitm_mirror.proxy.legs import find_twins
from mitm_mirror.proxy.pairs import is_shadow
from mitm_mirror.proxy.rules import RulesRefusedError, ServedRules
from mitm_mirror.routing.explain import explain
from mitm_mirror.routing.explain_text import render_explanation

if TYPE_CHECKING:
    from mitm_mirror.proxy.addon import MirrorAddon

logger = logging.getLogger(__name__)


class MirrorCommands:
    """`mirror.*`, on one addon instance."""

    def __init__(self, addon: "MirrorAddon") -> None:
        self._addon = addon

    @command.command("mirror.reload")
    def reload(self) -> types.Data:
        """Load the rules again now. A set with an error is refused, and the last good one goes on."""
        try:
            served = self._addon.rules.reload()
        except RulesRefusedError as error:
            raise exceptions.CommandError(str(error)) from error
        return _rows(_heading(served))

    @command.command("mirror.rules")
    def rules(self) -> types.Data:
        """Show the rules that are served: hosts, routes, destinations, endpoints and mirrors."""
        served = self._addon.rules.current
        issues = map(str, served.rule_set.issues)
        state = self._addon.attempts.describe()
        return _rows(_heading(served), *issues, served.rule_set.table.describe(), *state)

    @command.command("mirror.explain")
    def explain(self, flow: mitmproxy.flow.Flow) -> types.Data:
        """Show what the rules that are served say about a flow's request, and why."""
        if not isinstance(flow, http.HTTPFlow):
            raise exceptions.CommandError("mirror.explain: expected an HTTP flow")
        if is_shadow(flow):
            flow = next(iter(find_twins(flow)), flow)  # no rule decided about the shadow itself
        served = self._addon.rules.current
        exchange = exchange_of(flow)
        # A flow that was routed carries the endpoint's address and the rewritten path by now.
        head = read_head(flow) if exchange is None else exchange.head
        lines = [_heading(served)]
        if exchange is not None and exchange.generation != served.generation:
            lines.append(
                f"this flow was decided by generation {exchange.generation}, before these rules came"
            )
        return _rows(
            *lines, render_explanation(explain(served.rule_set.table, head, self._addon.attempts.states))
        )

    @command.command("mirror.stats")
    def stats(self) -> types.Data:
        """Show what became of every request and every shadow so far."""
        addon = self._addon
        lines = [render_table(addon.ledger.snapshot())]
        if addon.mirrors.pool is not None:
            lines.append(str(addon.mirrors.pool.stats()))
        if addon.mirrors.noise_copies.sent:
            lines.append(str(addon.mirrors.noise_copies))
        if addon.mirrors.admission.governor is not None:
            lines.append(str(addon.mirrors.admission.governor))
        lines += addon.attempts.describe()
        lines.append(f"rules: generation {addon.rules.current.generation}, {addon.rules.refusals} refused")
        lines.extend(f"bugs: {kind}: {count}" for kind, count in addon.bugs.counts.items())
        if addon.mirrors.admission.paused:
            lines.append("mirroring is paused: mirror.resume")
        return _rows(*lines)

    @command.command("mirror.pause")
    def pause(self) -> None:
        """Send no more shadows; routing goes on. Shadows in flight end as they would."""
        self._addon.mirrors.gathered.flush()
        self._addon.mirrors.admission.paused = True
        logger.info("mirror: paused, routing goes on")

    @command.command("mirror.resume")
    def resume(self) -> None:
        """Send shadows again after mirror.pause."""
        self._addon.mirrors.admission.paused = False
        logger.info("mirror: resumed")


def _heading(served: ServedRules) -> str:
    return f"generation {served.generation}: {served.rule_set.summary}"


def _rows(*texts: str) -> types.Data:
    # mitmproxy's `Data` is a type to annotate with, nothing to build.
    return cast(types.Data, [[line] for text in texts for line in text.splitlines()])

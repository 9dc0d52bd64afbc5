"""The commands about pairs: `mirror.twin`, `mirror.next_diff`, `mirror.diff`, `mirror.resend`."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import mitmproxy.flow
from mitmproxy import command, ctx, exceptions, http, types
from mitmproxy.addons.view import View
from mitmproxy.log import ALERT

from mitm_mirror.observe.inspect import PairResult, plain_text
from mitm_mirror.proxy.exchange import exchange_of
from mitm_mirror.proxy.legs import find_pairs, find_twins, lay_out, why_no_pair
from mitm_mirror.proxy.pairs import DESTINATION, PAIR, RESULT, is_shadow
from mitm_mirror.routing.decision import Forward

if TYPE_CHECKING:
    from mitm_mirror.proxy.addon import MirrorAddon

logger = logging.getLogger(__name__)


class PairCommands:
    """On one addon instance."""

    def __init__(self, addon: "MirrorAddon") -> None:
        self._addon = addon

    @command.command("mirror.twin")
    def twin(self, flow: mitmproxy.flow.Flow) -> None:
        """Jump to the other leg of a flow's pair; from a primary with several shadows to the first."""
        http_flow = _http(flow, "mirror.twin")
        twins = find_twins(http_flow)
        if not twins:
            raise exceptions.CommandError(f"mirror.twin: {why_no_pair(http_flow)}")
        _focus(twins[0], "mirror.twin")

    @command.command("mirror.next_diff")
    def next_diff(self) -> None:
        """Jump to the next flow, round about, whose pair differs."""
        view = _view("mirror.next_diff")
        start = -1 if view.focus.index is None else view.focus.index
        here = view.focus.flow.metadata.get(PAIR) if view.focus.flow else None
        for step in range(1, len(view) + 1):
            flow = view[(start + step) % len(view)]
            other_pair = here is None or flow.metadata.get(PAIR) != here
            if flow.metadata.get(RESULT) == PairResult.DIFFERS and (other_pair or step == len(view)):
                view.focus.flow = flow
                return
        raise exceptions.CommandError("mirror.next_diff: no pair in the list differs")

    @command.command("mirror.diff")
    def diff(self, flow: mitmproxy.flow.Flow, path: types.Path = cast(types.Path, "")) -> types.Data:  # noqa: B008
        """Show a flow's pairs side by side; with a path, write them there as text."""
        http_flow = _http(flow, "mirror.diff")
        pairs = find_pairs(http_flow)
        if not pairs:
            raise exceptions.CommandError(f"mirror.diff: {why_no_pair(http_flow)}")
        text = "\n".join(plain_text(lay_out(*pair)) for pair in pairs)
        if path:
            try:
                Path(path).expanduser().write_text(text, encoding="utf-8")
            except OSError as error:
                raise exceptions.CommandError(f"mirror.diff: {error}") from error
            logger.log(ALERT, "mirror: the pair is in %s", path)
        return cast(types.Data, [[line] for line in text.splitlines()])

    @command.command("mirror.resend")
    def resend(self, flows: Sequence[mitmproxy.flow.Flow]) -> None:
        """Send flows' shadows again, also those that were left out, guarded or dropped. A primary's are all
        sent, of a shadow that one. Each is a new pair in the totals."""
        sent = 0
        for flow in flows:
            http_flow = _http(flow, "mirror.resend")
            only = http_flow.metadata.get(DESTINATION) if is_shadow(http_flow) else None
            primary = next(iter(find_twins(http_flow)), None) if is_shadow(http_flow) else http_flow
            if primary is None:
                raise exceptions.CommandError(f"mirror.resend: {why_no_pair(http_flow)}")
            exchange = exchange_of(primary)
            if exchange is None or not isinstance(exchange.decision, Forward):
                raise exceptions.CommandError(
                    "mirror.resend: no rule has forwarded this flow since mitmproxy started; replay it "
                    "(replay.client), and it is mirrored like any other"
                )
            if not exchange.decision.mirrors:
                raise exceptions.CommandError(
                    "mirror.resend: the rule that forwarded this flow has no mirror"
                )
            if primary.request.raw_content is None:
                raise exceptions.CommandError(
                    "mirror.resend: this flow's body was streamed, and is not kept to be sent again"
                )
            clusters = self._addon.rules.current.rule_set.table.clusters
            sent += self._addon.mirrors.resend(primary, exchange, exchange.decision, clusters, only)
        logger.log(ALERT, "mirror: %d shadow%s sent again", sent, "" if sent == 1 else "s")


def _http(flow: mitmproxy.flow.Flow, name: str) -> http.HTTPFlow:
    if not isinstance(flow, http.HTTPFlow):
        raise exceptions.CommandError(f"{name}: expected an HTTP flow")
    return flow


def _view(name: str) -> View:
    view = ctx.master.addons.get("view")
    if not isinstance(view, View):
        raise exceptions.CommandError(f"{name}: there is no list of flows here, as in mitmproxy or mitmweb")
    return view


def _focus(flow: http.HTTPFlow, name: str) -> None:
    view = _view(name)
    if flow not in view:
        raise exceptions.CommandError(f"{name}: the list's filter hides the flow, see view_filter")
    view.focus.flow = flow

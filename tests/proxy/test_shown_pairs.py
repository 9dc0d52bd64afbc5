"""Shadows as flows: what they carry, who sees them, how long they are kept, and the commands on them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from mitmproxy import contentviews, exceptions, http
from mitmproxy.addons import comment, proxyserver, save, view
from mitmproxy.test import taddons, tflow
from mitmproxy.utils.emoji import emoji

from lab.rules import MIRROR_TO_V2, endpoints_text
from mitm_mirror.client.request import OutgoingRequest
from mitm_mirror.observe.compare import Comparison, Difference, Kind, Verdict
from mitm_mirror.observe.inspect import PairResult
from mitm_mirror.outcome import Outcome
from mitm_mirror.proxy.addon import MirrorAddon
from mitm_mirror.proxy.pairs import (
    COPY,
    MARKERS,
    PAIR,
    RESULT,
    SHADOWS,
    comparison_of,
    tell_primary,
    tell_shadow,
)
from mitm_mirror.proxy.shadows import Shadow
from mitm_mirror.proxy.shown_pairs import SHOWN_BYTES
from mitm_mirror.shadow.answer import ShadowAnswer, Want
from mitm_mirror.shadow.ending import Ending
from mitm_mirror.shadow.message import ShadowResult
from mitm_mirror.shadow.terms import Terms

pytestmark = pytest.mark.filterwarnings("ignore:.parse(String|All). :DeprecationWarning")
"""mitmproxy 12 reads filters with names that newer pyparsing deprecates."""

V2 = "outbound|8080|v2|httpbin.default.svc.cluster.local"
JSON = (b"Content-Type", b"application/json")


@dataclass
class RecordingPool:
    """Stands in for the pool: takes shadows and sends none."""

    submitted: list[tuple[OutgoingRequest, bytes, Shadow, Terms]] = field(default_factory=list)

    def submit(self, request: OutgoingRequest, body: bytes, token: Shadow, terms: Terms) -> int:
        self.submitted.append((request, body, token, terms))
        return len(self.submitted)

    def drain(self, timeout_s: float) -> None:
        pass


@dataclass
class Witness:
    """Another addon, which writes down the hooks that it sees."""

    seen: list[tuple[str, str]] = field(default_factory=list)

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        self.seen.append(("requestheaders", flow.id))

    def request(self, flow: http.HTTPFlow) -> None:
        self.seen.append(("request", flow.id))

    def response(self, flow: http.HTTPFlow) -> None:
        self.seen.append(("response", flow.id))

    def error(self, flow: http.HTTPFlow) -> None:
        self.seen.append(("error", flow.id))


@dataclass
class Scene:
    """A running addon with the task's rules, and a UI's list of flows."""

    addon: MirrorAddon
    context: taddons.context
    view: view.View
    pool: RecordingPool
    witness: Witness

    async def primary(self, body: bytes = b"", *, method: str = "GET") -> http.HTTPFlow:
        """A primary that was mirrored and answered."""
        flow = tflow.tflow()
        flow.request = http.Request.make(method, "http://original.example/get", body)
        flow.request.headers["Host"] = "httpbin:8080"
        self.view.add([flow])
        for hook in ("requestheaders", "request"):
            for waiting in (getattr(self.addon, hook)(flow), self.addon.update([flow])):
                if waiting is not None:
                    await waiting
        self.addon.mirrors.gathered.flush()
        flow.response = http.Response.make(200, b'{"v": 1}', {"Content-Type": "application/json"})
        return flow

    async def end(
        self,
        outcome: Outcome = Outcome.OK,
        body: bytes = b'{"v": 2}',
        *,
        index: int = -1,
        error: str = "",
        complete: bool = True,
        headers: tuple[tuple[bytes, bytes], ...] = (JSON,),
    ) -> None:
        """Ends the shadow that was submitted last, and lets the hooks run."""
        token = self.pool.submitted[index][2]
        status = 200 if outcome is Outcome.OK else 0
        server = ("127.0.0.1", 8002) if status else None
        answer = ShadowAnswer(
            status, b"OK" if status else b"", b"HTTP/1.1", headers if status else (), body if status else b"",
            complete, 1000.0, 1000.5 if status else 0.0, 1001.0, server,
        )  # fmt: skip
        result = ShadowResult(1, outcome, status, len(body), 3.5, error, answer=answer)
        self.addon.mirrors.on_end(Ending(token, outcome, result, 0.1, error))
        if self.addon.shown._task is not None:
            await self.addon.shown._task

    async def pair(self) -> tuple[http.HTTPFlow, http.HTTPFlow]:
        primary = await self.primary()
        await self.end()
        return primary, self.shadow_of(primary)

    def shadow_of(self, primary: http.HTTPFlow) -> http.HTTPFlow:
        found = self.view.get_by_id(primary.metadata[SHADOWS][V2])
        assert isinstance(found, http.HTTPFlow)
        return found

    def call(self, command: str, *args: object) -> object:
        return self.context.master.commands.call(command, *args)

    def select(self, filter_text: str) -> list[str]:
        return [flow.id for flow in self.view.resolve(filter_text)]


@contextlib.asynccontextmanager
async def running(tmp_path: Path, *, with_view: bool = True, **options: object) -> AsyncIterator[Scene]:
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "a.yaml").write_text(MIRROR_TO_V2.read_text(encoding="utf-8"))
    (rules / "b.yaml").write_text(endpoints_text(8001, 8002))
    addon, list_of_flows, witness, saver = MirrorAddon(), view.View(), Witness(), save.Save()
    with taddons.context(proxyserver.Proxyserver(), saver, comment.Comment(), loadcore=False) as tctx:
        if with_view:
            tctx.master.addons.add(list_of_flows)
        tctx.master.addons.add(addon, witness)
        tctx.configure(
            addon, **{"mirror_rules": [str(rules)], "mirror_workers": 0, "mirror_compare": "off", **options}
        )
        addon.running()
        real, pool = addon.mirrors.pool, RecordingPool()
        assert real is not None
        addon.mirrors.pool = pool  # type: ignore[assignment]  # what Mirrors uses of a pool, it has
        try:
            yield Scene(addon, tctx, list_of_flows, pool, witness)
        finally:
            addon.done()
            saver.done()
            real.drain(0)


def in_loop(test: Callable[[Path], Coroutine[None, None, None]]) -> Callable[[Path], None]:
    def run(tmp_path: Path) -> None:
        asyncio.run(test(tmp_path))

    run.__doc__ = test.__doc__
    return run


@in_loop
async def test_a_shadow_is_a_flow_with_request_answer_times_and_address(tmp_path: Path) -> None:
    async with running(tmp_path) as scene:
        primary = await scene.primary(b"hello", method="POST")
        assert scene.pool.submitted[0][3].want == Want(SHOWN_BYTES)
        await scene.end()
        shadow = scene.shadow_of(primary)

    assert (shadow.request.method, shadow.request.path, shadow.request.content) == ("POST", "/get", b"hello")
    assert shadow.request.headers["Host"] == "httpbin-shadow:8080"
    assert shadow.request.url == "http://127.0.0.1:8002/get"
    assert shadow.server_conn.address == shadow.server_conn.peername == ("127.0.0.1", 8002)
    assert shadow.client_conn is primary.client_conn
    assert shadow.response is not None
    assert (shadow.response.status_code, shadow.response.reason) == (200, "OK")
    assert (shadow.response.content, shadow.response.headers.fields) == (b'{"v": 2}', (JSON,))
    times = (shadow.request.timestamp_start, shadow.response.timestamp_start, shadow.response.timestamp_end)
    assert times == (1000.0, 1000.5, 1001.0)
    assert shadow.error is None
    assert not shadow.live
    assert http.HTTPFlow.from_state(shadow.get_state()).metadata == shadow.metadata


@in_loop
async def test_other_addons_see_a_shadow_once_and_only_at_its_end(tmp_path: Path) -> None:
    async with running(tmp_path) as scene:
        _, answered = await scene.pair()
        failed = await scene.primary()
        await scene.end(Outcome.TIMEOUT, error="no answer within 15 s")
        failed = scene.shadow_of(failed)

    assert scene.witness.seen == [("response", answered.id), ("error", failed.id)]
    assert str(failed.error) == "timeout: no answer within 15 s"
    assert failed.response is None


@in_loop
async def test_a_pair_is_tied_both_ways_and_filters_select_it(tmp_path: Path) -> None:
    async with running(tmp_path) as scene:
        primary, shadow = await scene.pair()
        await scene.primary()
        await scene.end(Outcome.CONNECT_ERROR, error="refused")

        assert scene.select('~meta "mirror_copy: shadow"')[0] == shadow.id
        assert scene.select('~meta "mirror_copy: primary"')[0] == primary.id
        assert sorted(scene.select(f"~meta {primary.id}")) == sorted([primary.id, shadow.id])
        assert scene.select('~meta "mirror_result: answered"') == [primary.id, shadow.id]
        assert len(scene.select('~meta "mirror_result: failed"')) == 2
        assert shadow.id in scene.select("~marked")
        assert shadow.id in scene.select("~comment shadow")


DIFFERS = Comparison(Verdict.DIFFERS, "", (Difference("json.v", Kind.VALUE, "1", "2"),))


@pytest.mark.parametrize(
    ("outcome", "comparison", "on_shadow", "on_primary", "words"),
    [
        pytest.param(Outcome.OK, DIFFERS, ":warning:", ":warning:", "differs at json.v", id="differs"),
        pytest.param(
            Outcome.OK,
            Comparison(Verdict.EQUAL),
            ":heavy_check_mark:",
            "",
            "equal",
            id="equal: on the shadow only",
        ),
        pytest.param(
            Outcome.TIMEOUT,
            None,
            ":heavy_multiplication_x:",
            ":heavy_multiplication_x:",
            "timeout: late",
            id="failed",
        ),
        pytest.param(Outcome.OK, None, ":left_right_arrow:", "", "answered, not compared", id="answered"),
    ],
)
def test_marker_and_comment_say_how_a_pair_ended(
    tmp_path: Path,
    outcome: Outcome,
    comparison: Comparison | None,
    on_shadow: str,
    on_primary: str,
    words: str,
) -> None:
    async def run() -> None:
        async with running(tmp_path) as scene:
            primary = await scene.primary()
            token = scene.pool.submitted[0][2]
            result = ShadowResult(1, outcome, 200, 0, 3.5, "")
            scene.addon.shown.ended(
                token, outcome, "late", Ending(token, outcome, result, 0.1, ""), comparison
            )
            shadow = scene.shadow_of(primary)

            assert (shadow.marked, primary.marked) == (on_shadow, on_primary)
            assert shadow.comment == f"shadow {words} ({V2})"
            assert primary.comment == f"mirror {words} ({V2})"
            assert comparison_of(shadow) == comparison

    asyncio.run(run())


def test_markers_are_known_to_mitmproxy_and_told_apart() -> None:
    shown = [emoji[marker] for marker in MARKERS.values() if marker]
    assert len(set(shown)) == len(PairResult) - 1
    assert all(len(character) == 1 for character in shown)


@in_loop
async def test_a_persons_mark_and_comment_stay(tmp_path: Path) -> None:
    async with running(tmp_path) as scene:
        primary = await scene.primary()
        primary.marked, primary.comment = ":grapes:", "mine"
        await scene.end(Outcome.TIMEOUT, error="late")
        shadow = scene.shadow_of(primary)
        shadow.marked = ":eyes:"
        tell_shadow(shadow, PairResult.DIFFERS, "differs")
        tell_primary(primary, V2, PairResult.DIFFERS, "differs")

    assert (primary.marked, primary.comment) == (":grapes:", "mine")
    assert (shadow.marked, shadow.comment) == (":eyes:", f"shadow differs ({V2})")


@in_loop
async def test_the_list_keeps_so_many_shadows_and_the_oldest_leave(tmp_path: Path) -> None:
    async with running(tmp_path, mirror_flows_kept=3) as scene:
        primaries = []
        for _ in range(6):
            primaries.append(await scene.primary())
            await scene.end()
            if len(primaries) == 2:
                scene.shadow_of(primaries[1]).comment = "look at this"
        left = [primary.metadata[SHADOWS][V2] in scene.view._store for primary in primaries]

        # The second is a person's by now; the others are the three youngest.
        assert left == [False, True, False, True, True, True]
        assert all(primary.id in scene.view._store for primary in primaries)


@in_loop
async def test_the_shadow_that_is_looked_at_stays(tmp_path: Path) -> None:
    async with running(tmp_path, mirror_flows_kept=1) as scene:
        primary, shadow = await scene.pair()
        scene.view.focus.flow = shadow
        for _ in range(3):
            await scene.pair()
        assert scene.shadow_of(primary) is shadow
        assert len(scene.select('~meta "mirror_copy: shadow"')) <= 2


@in_loop
async def test_the_list_keeps_so_many_bytes(tmp_path: Path) -> None:
    async with running(tmp_path, mirror_flows_bytes="100k") as scene:
        for _ in range(5):
            await scene.primary()
            await scene.end(body=b"x" * 40_000)
        assert len(scene.select('~meta "mirror_copy: shadow"')) == 2


@pytest.mark.parametrize(
    ("with_view", "options", "expected"),
    [
        pytest.param(True, {}, True, id="auto with a UI"),
        pytest.param(False, {}, False, id="auto without anybody to look"),
        pytest.param(False, {"save_stream_file": "flows"}, True, id="auto with a flow file"),
        pytest.param(False, {"mirror_flows": "on"}, True, id="on"),
        pytest.param(True, {"mirror_flows": "off"}, False, id="off"),
    ],
)
def test_auto_is_on_where_somebody_is_there_to_look(
    tmp_path: Path, with_view: bool, options: dict[str, str], expected: bool
) -> None:
    async def run() -> None:
        files = {name: str(tmp_path / value) if "file" in name else value for name, value in options.items()}
        async with running(tmp_path, with_view=with_view, **files) as scene:
            primary = await scene.primary()
            assert (scene.pool.submitted[0][3].want == Want(SHOWN_BYTES)) == expected
            assert (COPY in primary.metadata) == expected
            await scene.end()
            assert (len(scene.witness.seen) == 1) == expected

    asyncio.run(run())


@in_loop
async def test_a_mirror_that_gets_nothing_is_told_on_the_primary(tmp_path: Path) -> None:
    async with running(tmp_path, mirror_body_limit="4") as scene:
        primary = await scene.primary(b"12345", method="POST")

    assert primary.comment == f"mirror body_too_large: 5 bytes, mirror_body_limit is 4 ({V2})"
    assert primary.marked == ":heavy_multiplication_x:"
    assert SHADOWS not in primary.metadata


@in_loop
async def test_nothing_piles_up_where_several_shadows_end_in_each_turn_of_the_loop(tmp_path: Path) -> None:
    async with running(tmp_path, mirror_flows_kept=3) as scene:
        for _ in range(40):
            await scene.primary()
        result, due = ShadowResult(1, Outcome.OK, 200, 0, 3.5, ""), []
        for turn in range(10):
            for _, _, token, _ in scene.pool.submitted[4 * turn : 4 * turn + 4]:
                scene.addon.mirrors.on_end(Ending(token, Outcome.OK, result, 0.1, ""))
            await asyncio.sleep(0)  # one turn
            due.append(len(scene.addon.shown._due))

        # What waits holds the shadows that have left the view: at most one turn's may, each with two hooks.
        assert max(due) <= 8


@in_loop
async def test_shadows_that_end_at_the_exit_still_reach_the_other_addons(tmp_path: Path) -> None:
    async with running(tmp_path) as scene:
        primary = await scene.primary()
        token = scene.pool.submitted[0][2]
        result = ShadowResult(1, Outcome.OK, 200, 0, 3.5, "")
        scene.addon.mirrors.on_end(Ending(token, Outcome.OK, result, 0.1, ""))
        assert scene.witness.seen == []
        scene.addon.shown.close()
        scene.addon.shown.ended(token, Outcome.OK, "", None)
        seen = [hook for hook, flow_id in scene.witness.seen if flow_id == primary.metadata[SHADOWS][V2]]
    assert seen == ["response", "response"]


@pytest.mark.parametrize(
    ("complete", "headers", "content"),
    [
        pytest.param(False, (JSON,), b"begin", id="the beginning"),
        pytest.param(False, ((b"Content-Encoding", b"gzip"),), None, id="half of a coded body"),
    ],
)
def test_a_body_that_was_cut_says_so(
    tmp_path: Path, complete: bool, headers: tuple[tuple[bytes, bytes], ...], content: bytes | None
) -> None:
    async def run() -> None:
        async with running(tmp_path) as scene:
            primary = await scene.primary()
            await scene.end(body=b"begin", complete=complete, headers=headers)
            shadow = scene.shadow_of(primary)
            assert shadow.response is not None
            assert shadow.response.raw_content == content
            assert "5 bytes of its body are kept" in shadow.comment
            assert "compared: body_incomplete" in text_of(scene.call("mirror.diff", shadow))

    asyncio.run(run())


@in_loop
async def test_a_shadow_that_is_replayed_is_neither_routed_nor_mirrored(tmp_path: Path) -> None:
    async with running(tmp_path) as scene:
        _, shadow = await scene.pair()
        before = shadow.request.get_state()
        shadow.response = None
        await_none = scene.addon.requestheaders(shadow)
        scene.addon.request(shadow)
        scene.addon.update([shadow])

        assert await_none is None
        assert shadow.request.get_state() == before
        assert len(scene.pool.submitted) == 1


@in_loop
async def test_a_primary_that_is_replayed_begins_a_new_pair(tmp_path: Path) -> None:
    async with running(tmp_path) as scene:
        primary, first = await scene.pair()
        tell_primary(primary, V2, PairResult.DIFFERS, "differs")
        primary.is_replay, primary.response = "request", None
        scene.addon.requestheaders(primary)
        scene.addon.request(primary)
        scene.addon.update([primary])

        assert (primary.marked, primary.comment) == ("", "")
        assert RESULT not in primary.metadata
        assert primary.metadata[SHADOWS][V2] != first.id


def text_of(rows: object) -> str:
    assert isinstance(rows, list)
    return "\n".join(row[0] for row in rows)


@in_loop
async def test_a_bug_while_a_pair_is_shown_costs_no_account(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as scene:
        primary = await scene.primary()
        primary.metadata = None  # type: ignore[assignment]  # so that our code raises
        scene.pool.submitted[0][2].flow = lambda: primary  # type: ignore[assignment]
        scene.addon.shown.ended(scene.pool.submitted[0][2], Outcome.OK, "", None)
        assert scene.addon.bugs.counts == {"AttributeError in ended": 1}


@in_loop
async def test_twin_jumps_to_the_other_leg_and_back(tmp_path: Path) -> None:
    async with running(tmp_path) as scene:
        await scene.pair()
        primary, shadow = await scene.pair()
        scene.call("mirror.twin", primary)
        assert scene.view.focus.flow is shadow
        scene.call("mirror.twin", shadow)
        assert scene.view.focus.flow is primary


@in_loop
async def test_next_diff_goes_from_pair_to_pair_and_round(tmp_path: Path) -> None:
    async with running(tmp_path) as scene:
        pairs = [await scene.pair() for _ in range(4)]
        for primary, shadow in (pairs[1], pairs[3]):
            tell_shadow(shadow, PairResult.DIFFERS, "differs", DIFFERS)
            tell_primary(primary, V2, PairResult.DIFFERS, "differs")
        scene.view.focus.flow = pairs[0][0]
        visited = []
        for _ in range(3):
            scene.call("mirror.next_diff")
            assert scene.view.focus.flow is not None
            visited.append(scene.view.focus.flow.metadata[PAIR])

        assert visited == [pairs[1][0].id, pairs[3][0].id, pairs[1][0].id]


@in_loop
async def test_diff_shows_a_pair_and_writes_it(tmp_path: Path) -> None:
    async with running(tmp_path) as scene:
        primary, shadow = await scene.pair()
        shown = text_of(scene.call("mirror.diff", primary))
        assert shown == text_of(scene.call("mirror.diff", shadow, str(tmp_path / "pair.txt")))
        with pytest.raises(exceptions.CommandError, match=r"mirror\.diff: .*Is a directory"):
            scene.call("mirror.diff", shadow, str(tmp_path))

    assert (tmp_path / "pair.txt").read_text(encoding="utf-8").splitlines() == shown.splitlines()
    assert "json.v\n 1                                     ≠ 2" in shown


@in_loop
async def test_resend_sends_again_what_was_sent_guarded_or_paused(tmp_path: Path) -> None:
    async with running(tmp_path) as scene:
        scene.addon.mirrors.admission.paused = True
        primary = await scene.primary(b"body", method="POST")
        assert scene.pool.submitted == []
        scene.call("mirror.resend", [primary])
        await scene.end()
        scene.call("mirror.resend", [scene.shadow_of(primary)])

        assert [(request.method, body) for request, body, *_ in scene.pool.submitted] == [
            (b"POST", b"body")
        ] * 2
        totals = scene.addon.ledger.snapshot().totals
        assert (totals.opened, totals.pending) == (3, 1)
        assert {"paused": 1, "ok": 1} == {outcome.value: count for outcome, count in totals.ended.items()}


@in_loop
async def test_resend_finds_an_endpoint_where_routing_chose_none(tmp_path: Path) -> None:
    async with running(tmp_path) as scene:
        rules = tmp_path / "rules" / "a.yaml"
        guarded = rules.read_text(encoding="utf-8").replace(
            "  name: httpbin\n", "  name: httpbin\n  annotations: {mitm-mirror/methods: GET}\n", 1
        )
        rules.write_text(guarded, encoding="utf-8")
        scene.call("mirror.reload")
        primary = await scene.primary(method="DELETE")
        assert "method_guarded" in primary.comment
        scene.call("mirror.resend", [primary])

        assert [(r.address, r.port, r.method) for r, *_ in scene.pool.submitted] == [
            ("127.0.0.1", 8002, b"DELETE")
        ]


def stranger() -> http.HTTPFlow:
    return tflow.tflow(resp=True)


@pytest.mark.parametrize(
    ("command", "argument", "message"),
    [
        pytest.param("mirror.twin", stranger, "was not mirrored", id="twin of a flow that was not mirrored"),
        pytest.param("mirror.diff", stranger, "was not mirrored", id="diff of a flow that was not mirrored"),
        pytest.param("mirror.twin", tflow.ttcpflow, "expected an HTTP flow", id="TCP"),
        pytest.param(
            "mirror.resend",
            lambda: [stranger()],
            "no rule has forwarded this flow",
            id="resend of what no rule sent",
        ),
        pytest.param("mirror.next_diff", None, "no pair in the list differs", id="nothing differs"),
    ],
)
def test_a_command_that_cannot_says_why(
    tmp_path: Path, command: str, argument: Callable[[], object] | None, message: str
) -> None:
    async def run() -> None:
        async with running(tmp_path) as scene:
            await scene.pair()
            with pytest.raises(exceptions.CommandError, match=f"^{command}: .*{message}"):
                scene.call(command, *([] if argument is None else [argument()]))

    asyncio.run(run())


@in_loop
async def test_a_twin_that_the_filter_hides_or_that_has_left(tmp_path: Path) -> None:
    async with running(tmp_path) as scene:
        primary, shadow = await scene.pair()
        scene.call("view.filter.set", '~meta "mirror_copy: primary"')
        with pytest.raises(exceptions.CommandError, match="filter hides"):
            scene.call("mirror.twin", primary)
        scene.view.remove([shadow])
        with pytest.raises(exceptions.CommandError, match="not in the list any more"):
            scene.call("mirror.twin", primary)
        scene.view.remove([primary])
        with pytest.raises(exceptions.CommandError, match=f"flow {primary.id}"):
            scene.call("mirror.diff", shadow)


@in_loop
async def test_explain_of_a_shadow_explains_its_primary(tmp_path: Path) -> None:
    async with running(tmp_path) as scene:
        primary, shadow = await scene.pair()
        assert scene.call("mirror.explain", shadow) == scene.call("mirror.explain", primary)


def render(flow: http.HTTPFlow) -> str:
    """The content view "Mirror diff", by whichever API this mitmproxy has."""
    assert flow.response is not None
    if hasattr(contentviews, "prettify_message"):
        return str(contentviews.prettify_message(flow.response, flow, "mirror diff").text)
    _, lines, error = contentviews.get_message_content_view("Mirror diff", flow.response, flow)
    assert error is None
    return "\n".join("".join(text for _, text in line) for line in lines)


@in_loop
async def test_the_content_view_shows_the_pair_on_either_leg(tmp_path: Path) -> None:
    async with running(tmp_path) as scene:
        primary, shadow = await scene.pair()
        shown = [render(flow) for flow in (primary, shadow)]
        alone = render(stranger())

    assert shown[0] == shown[1]
    assert "json.v\n 1                                     ≠ 2" in shown[0]
    assert alone.strip() == "This flow was not mirrored, or mirror_flows was off."


@in_loop
async def test_equal_answers_of_two_pairs_are_not_one_to_the_consoles_cache(tmp_path: Path) -> None:
    """It remembers what a view said by these three."""
    async with running(tmp_path) as scene:
        keys = {
            (message.raw_content, message.headers.fields, getattr(message, "path", None))
            for _ in range(2)
            for flow in await scene.pair()
            if (message := flow.response) is not None
        }
    assert len(keys) == 4


@in_loop
async def test_the_content_view_never_takes_the_place_of_another(tmp_path: Path) -> None:
    async with running(tmp_path) as scene:
        primary, _ = await scene.pair()
        assert primary.response is not None
        if hasattr(contentviews, "prettify_message"):
            chosen = contentviews.prettify_message(primary.response, primary).view_name
        else:
            chosen = contentviews.get_message_content_view("auto", primary.response, primary)[0]
    assert chosen == "JSON"


@in_loop
async def test_the_content_view_is_offered_again_after_a_reload_of_the_script(tmp_path: Path) -> None:
    async with running(tmp_path):
        pass
    (tmp_path / "rules").rename(tmp_path / "before")
    async with running(tmp_path) as scene:
        assert "json.v" in render((await scene.pair())[0])

"""Order and time of what is played. Nothing is sent."""

import asyncio

import pytest
from mitmproxy import http
from mitmproxy.options import Options
from mitmproxy.test import tflow

from mitm_mirror.proxy.playback import player as player_module
from mitm_mirror.proxy.playback.pace import Pace
from mitm_mirror.proxy.playback.player import Player
from mitm_mirror.proxy.playback.recording import RecordedRequest


class Scene:
    """A clock that moves when somebody sleeps, and a place where flows arrive."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answers_in: int = 1) -> None:
        self.now = 100.0
        self.sent: list[tuple[float, str]] = []
        self.under_way = self.most = 0
        self.behind = 0
        scene = self

        class Handler:
            def __init__(self, flow: http.HTTPFlow, options: Options) -> None:
                self.flow = flow

            async def replay(self) -> None:
                scene.sent.append((scene.now, self.flow.request.path))
                scene.under_way += 1
                scene.most = max(scene.most, scene.under_way)
                for _ in range(answers_in):
                    await asyncio.sleep(0)
                scene.under_way -= 1

        monkeypatch.setattr(player_module, "ReplayHandler", Handler)
        self.played: list[str] = []
        self.player = Player(
            Options(),
            on_played=lambda flow: self.played.append(flow.request.path),
            is_behind=self.is_behind,
            clock=lambda: self.now,
            sleep=self.sleep,
        )

    async def sleep(self, seconds: float) -> None:
        until = self.now + seconds
        await asyncio.sleep(0)
        self.now = max(self.now, until)

    def is_behind(self) -> bool:
        self.behind -= 1
        return self.behind >= 0


def request(path: str, client: str, started: float = 0.0) -> RecordedRequest:
    flow = tflow.tflow()
    flow.request.path = path
    return RecordedRequest(flow, started, client)


def test_requests_go_when_they_are_due(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    requests = [request("/1", "a", 50.0), request("/2", "a", 54.0)]

    asyncio.run(scene.player.play(requests, Pace(speed=2.0)))

    assert scene.sent == [(100.0, "/1"), (102.0, "/2")]
    assert scene.played == ["/1", "/2"]
    assert requests == []


def test_one_client_waits_for_its_answers_and_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, answers_in=3)

    asyncio.run(scene.player.play([request(f"/{i}", "ab"[i % 2]) for i in range(6)], Pace()))

    assert [path for _, path in scene.sent] == ["/0", "/1", "/2", "/3", "/4", "/5"]
    assert scene.most == 2


def test_no_more_than_so_many_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(player_module, "AT_A_TIME", 4)
    scene = Scene(monkeypatch, answers_in=3)

    asyncio.run(scene.player.play([request(f"/{i}", f"client {i}") for i in range(20)], Pace()))

    assert (scene.most, len(scene.played)) == (4, 20)


def test_it_waits_while_mirrors_are_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.behind = 3

    asyncio.run(scene.player.play([request("/1", "a")], Pace()))

    ((sent_at, _),) = scene.sent
    assert sent_at == pytest.approx(100.03)

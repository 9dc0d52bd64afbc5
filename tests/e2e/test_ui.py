"""The mirroring task in mitmproxy's two UIs, as a person sees it."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.chromium import find_chromium
from lab.rules import SHADOW_HOST
from lab.terminal import find_tmux
from lab.ui import MARKER, Scene, Shown, show_console, show_web, task_scene


def show(show_ui: Callable[[Scene, Path], Shown], tmp_path: Path) -> Shown:
    if find_chromium() is None or find_tmux() is None:
        pytest.skip("Chromium and tmux have to be on PATH, for the UIs and their pictures")
    with task_scene(tmp_path) as scene:
        return show_ui(scene, tmp_path)


def assert_shows_the_pair(shown: Shown) -> None:
    assert shown.flows.count("/get?show=both") == 2
    # On both rows: one look at the list tells that something differs.
    assert shown.flows.count(MARKER) == 2
    assert "shadow differs at json.version" in shown.comment
    difference = shown.diff.split("place differs")[1].split("The whole answers")[0]
    assert [line.strip("─ ") for line in difference.splitlines()][1:3] == [
        "json.version",
        '"v1"                                  ≠ "v2"',
    ]
    assert SHADOW_HOST in shown.diff


def assert_is_a_picture(path: Path) -> None:
    data = path.read_bytes()
    width, height = struct.unpack(">II", data[16:24])
    assert data.startswith(b"\x89PNG")
    assert min(width, height) >= 600
    assert len(data) > 10_000, "an empty page takes less"


def test_the_console_shows_both_legs_marker_comment_and_diff(tmp_path: Path) -> None:
    assert_shows_the_pair(show(show_console, tmp_path))
    for name in ("console-list.png", "console-diff.png"):
        assert_is_a_picture(tmp_path / name)


def test_mitmweb_shows_both_legs_marker_comment_and_diff(tmp_path: Path) -> None:
    shown = show(show_web, tmp_path)
    assert_shows_the_pair(shown)
    assert "http://httpbin-shadow:" in shown.flows
    for name in ("mitmweb-list.png", "mitmweb-diff.png"):
        assert_is_a_picture(tmp_path / name)

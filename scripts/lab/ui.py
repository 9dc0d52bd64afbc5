"""What mitmproxy's two UIs show of the mirroring task: both legs in the list, and the pair's diff."""

import asyncio
import base64
import contextlib
import json
import secrets
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mitmproxy import version as mitmproxy_version

from lab.backend import Backend, response
from lab.chromium import Chromium, Page
from lab.client import proxy_get
from lab.mitmdump import ADDON, Mitmdump, child_environment
from lab.rules import HOST, make_task_rules
from lab.terminal import Terminal
from lab.wire import Message

MARKER = "⚠"
"""Of a pair that differs."""
_VIEW = "mirror diff"
_COLUMNS, _ROWS = 110, 40


@dataclass(frozen=True, slots=True)
class Shown:
    """What a UI showed, as text; its pictures are files."""

    flows: str
    """The list."""
    comment: str
    """The shadow's comment, where it is shown."""
    diff: str
    """The content view, on the shadow's leg."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The task's two services, which differ in one JSON field, and rules that mirror one to the other."""

    folder: Path
    rules: Path
    v2: Backend


@contextlib.contextmanager
def task_scene(folder: Path, *, keep_requests: bool = True) -> Iterator[Scene]:
    """The scene, with everything that it writes in `folder`."""
    with (
        Backend("v1", _httpbin("v1"), keep_requests=keep_requests) as v1,
        Backend("v2", _httpbin("v2"), keep_requests=keep_requests) as v2,
    ):
        yield Scene(folder, make_task_rules(folder / "rules", v1.port, v2.port), v2)


def show_console(scene: Scene, pictures: Path) -> Shown:
    """Plays the task in mitmproxy's console UI; writes console-list.png and console-diff.png."""
    port = _free_port()
    argv: list[str | Path] = [
        Path(sys.executable).with_name("mitmproxy"), "--mode", f"regular@127.0.0.1:{port}", "-s", ADDON,
        "--set", f"confdir={scene.folder / 'mitmproxy'}", "--set", f"mirror_rules={scene.rules}",
        "--set", "console_focus_follow=true",
    ]  # fmt: skip
    environment = child_environment()
    with Terminal(argv, scene.folder, columns=_COLUMNS, rows=_ROWS, env=environment) as terminal:
        terminal.wait_for(f"127.0.0.1:{port}")
        proxy_get(port, f"http://{HOST}/get?show=both")
        flows = terminal.wait_for(f"↺{MARKER}")
        pages = [terminal.html()]
        terminal.press("Enter")
        terminal.wait_for("Request")
        terminal.press("Tab", "Tab")
        comment = terminal.wait_for("shadow differs")
        terminal.press("Tab", "Tab")
        terminal.type(f':console.flowview.mode.set "{_VIEW}"')
        terminal.press("Enter")
        diff = terminal.wait_for("The whole answers")
        pages.append(terminal.html())
    with Chromium(scene.folder) as browser:
        drawn = asyncio.run(_draw(browser.page_url(), pages))
    for name, picture in zip(("console-list.png", "console-diff.png"), drawn, strict=True):
        (pictures / name).write_bytes(picture)
    return Shown(flows, comment, diff)


def show_web(scene: Scene, pictures: Path) -> Shown:
    """Plays the task in mitmweb, in a real browser; writes mitmweb-list.png and mitmweb-diff.png."""
    options, url = web_options(scene)
    with (
        Mitmdump(scene.folder, options, program="mitmweb") as mitmweb,
        Chromium(scene.folder) as browser,
    ):
        proxy_get(mitmweb.port, f"http://{HOST}/get?show=both")
        scene.v2.wait_for_count(1)
        shown, *drawn = asyncio.run(_browse(browser.page_url(), url))
    for name, picture in zip(("mitmweb-list.png", "mitmweb-diff.png"), drawn, strict=True):
        (pictures / name).write_bytes(picture)
    return shown


def web_options(scene: Scene) -> tuple[dict[str, str], str]:
    """What mitmweb is started with, and the address of its UI."""
    port, password = _free_port(), secrets.token_hex(8)
    options = {"mirror_rules": str(scene.rules), "web_port": str(port), "web_open_browser": "false"}
    if _has_password():
        options["web_password"] = password
    return options, f"http://127.0.0.1:{port}/?token={password}"


async def _browse(page_url: str, url: str) -> tuple[Shown, bytes, bytes]:
    async with Page(page_url) as page:
        await page.open(url, 1500, 760)
        await page.wait_for(f"!!document.body && document.body.innerText.includes('{MARKER}')")
        flows = await page.text()
        list_picture = await page.screenshot()
        await page.click("tr", "-shadow")
        await page.click("nav a", "Comment")
        await page.wait_for("document.body.innerText.includes('shadow differs')")
        comment = await page.text()
        await page.click("nav a", "Response")
        await page.click(".controls a", "View:")
        await page.click("a", _VIEW)
        await page.wait_for("document.body.innerText.includes('The whole answers')")
        return Shown(flows, comment, await page.text()), list_picture, await page.screenshot()


def _httpbin(version: str) -> Callable[[Message], bytes]:
    """Answers as httpbin's /get does, and says its version."""

    def respond(_: Message) -> bytes:
        body = {
            "args": {"show": "both"},
            "headers": {"Accept": "*/*"},
            "origin": "127.0.0.1",
            "version": version,
        }
        return response(json.dumps(body).encode(), "200 OK", b"Content-Type: application/json")

    return respond


def _free_port() -> int:
    """mitmproxy's UIs do not say which port the system gave them."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _has_password() -> bool:
    """Since mitmproxy 12 mitmweb asks for one."""
    return int(mitmproxy_version.VERSION.split(".")[0]) >= 12


async def _draw(page_url: str, screens: list[str]) -> list[bytes]:
    """Pictures of a terminal's screens."""
    drawn = []
    async with Page(page_url) as page:
        for screen in screens:
            await page.open("data:text/html;base64," + base64.b64encode(screen.encode()).decode(), 960, 740)
            await page.wait_for("!!document.querySelector('pre')")
            drawn.append(await page.screenshot())
    return drawn

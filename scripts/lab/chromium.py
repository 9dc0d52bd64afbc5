"""A headless Chromium, driven over its DevTools protocol."""

import asyncio
import base64
import itertools
import json
import shutil
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tornado.websocket import WebSocketClientConnection, websocket_connect

from lab.process import Process

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_WAIT_S = 60.0
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024


class PageError(RuntimeError):
    """The page threw an error, or did not become what was waited for."""


def find_chromium() -> str | None:
    """The program; None where there is none on PATH."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


class Chromium(Process):
    """A browser of its own with one empty page. `folder` holds its profile."""

    def __init__(self, folder: Path) -> None:
        program = find_chromium()
        if program is None:
            raise FileNotFoundError(f"none of {', '.join(_NAMES)} is on PATH")
        super().__init__(
            "chromium",
            [
                program,
                "--headless",
                "--no-sandbox",  # it refuses to run as root with one; it shows our own pages only
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
                "--no-proxy-server",
                "--remote-debugging-port=0",
                f"--user-data-dir={folder / 'profile'}",
                "about:blank",
            ],
            cwd=folder,
        )

    def page_url(self) -> str:
        """Where its page is driven from."""
        port = self.wait_for_log(r"DevTools listening on ws://127\.0\.0\.1:(\d+)/")[1]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{port}/json/list") as answer:
            pages = json.load(answer)
        return next(str(page["webSocketDebuggerUrl"]) for page in pages if page["type"] == "page")


class Page:
    """One page; an asynchronous context."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._socket: WebSocketClientConnection | None = None
        self._numbers = itertools.count(1)

    async def __aenter__(self) -> Self:
        self._socket = await websocket_connect(self._url, max_message_size=_MAX_MESSAGE_BYTES)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._socket is not None:
            self._socket.close()
            while await self._socket.read_message() is not None:
                pass  # it closes with the browser's answer

    async def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """One command and its result. Raises PageError where the browser refuses it or is gone."""
        assert self._socket is not None
        number = next(self._numbers)
        await self._socket.write_message(json.dumps({"id": number, "method": method, "params": parameters}))
        async with asyncio.timeout(_WAIT_S):
            while True:
                message = await self._socket.read_message()
                if message is None:
                    raise PageError(f"{method}: the browser is gone")
                answer = json.loads(message)
                if answer.get("id") == number:
                    break
        if "error" in answer:
            raise PageError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    async def open(self, url: str, width: int, height: int) -> None:
        """Shows `url` in a window of that size, in CSS pixels."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        await self.call("Page.navigate", url=url)

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, or of its promise. Raises PageError where it throws."""
        answer = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise PageError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    async def wait_for(self, expression: str) -> Any:
        """The expression's value, once that is true; it is asked again with every frame that is drawn.

        Raises PageError where that does not come, with what the page shows then.
        """
        deadline = asyncio.get_running_loop().time() + _WAIT_S
        while asyncio.get_running_loop().time() < deadline:
            value = await self.evaluate(
                f"new Promise(done => setTimeout(() => requestAnimationFrame(() => done({expression})), 20))"
            )
            if value:
                return value
        raise PageError(f"not within {_WAIT_S:g} s: {expression}\n{await self.text()}")

    async def click(self, selector: str, text: str) -> None:
        """Clicks the first element of a CSS selector that shows `text`, once there is one."""
        await self.wait_for(
            f"(e => !!e && (e.click(), true))([...document.querySelectorAll({json.dumps(selector)})]"
            f".find(e => e.innerText.includes({json.dumps(text)})))"
        )

    async def text(self) -> str:
        """What the page shows, as text."""
        return str(await self.evaluate("document.body ? document.body.innerText : ''"))

    async def screenshot(self) -> bytes:
        """What the page shows, as a PNG."""
        answer = await self.call("Page.captureScreenshot", format="png")
        return base64.b64decode(answer["data"])

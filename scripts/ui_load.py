"""Mirrors many flows in mitmweb, and prints its memory and how fast its UI answers meanwhile.

usage: python scripts/ui_load.py [REQUESTS [mirror_flows [mirror_flows_kept]]]

mitmproxy keeps every primary, so memory grows with `mirror_flows=off` as well: what shadows cost is told by
both runs together. At the end the whole list is loaded, as a page's first request, and shown in Chromium.
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import Future, ThreadPoolExecutor, wait
from http.cookiejar import CookieJar
from pathlib import Path

from lab.chromium import Chromium, Page
from lab.hammer import Blow, hammer
from lab.mitmdump import Mitmdump
from lab.rules import HOST
from lab.ui import task_scene, web_options

GET = f"GET http://{HOST}/get HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
STEPS = 10
CONNECTIONS = 32
ASK_EVERY_S = 2.0


class WebUi:
    """mitmweb's UI, asked as its own page asks."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._jar = CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self._jar)
        )
        self._read("")  # brings the cookies

    def get(self, page: str) -> tuple[bytes, float]:
        """A page's bytes, and how long they took, in ms."""
        started = time.monotonic()
        return self._read(page), (time.monotonic() - started) * 1000

    def listed_flows(self) -> int:
        """How many flows the list shows."""
        token = next(str(cookie.value) for cookie in self._jar if cookie.name.startswith("_xsrf"))
        return int(
            json.loads(self._read("commands/view.properties.length", b'{"arguments": []}', token))["value"]
        )

    def _read(self, page: str, body: bytes | None = None, token: str = "") -> bytes:
        headers = {"X-XSRFToken": token, "Content-Type": "application/json"} if body else {}
        request = urllib.request.Request(  # noqa: S310 - mitmweb's own address
            self.url.replace("/?", f"/{page}?"), body, headers
        )
        with self._opener.open(request, timeout=300) as answer:
            return bytes(answer.read())


def main(requests: int = 100_000, mirror_flows: str = "on", kept: int = 5000) -> None:
    """Prints one line after each tenth of the requests."""
    with tempfile.TemporaryDirectory() as folder, task_scene(Path(folder), keep_requests=False) as scene:
        options, url = web_options(scene)
        options |= {"mirror_flows": mirror_flows, "mirror_flows_kept": str(kept)}
        with (
            Mitmdump(scene.folder, options, program="mitmweb") as mitmweb,
            ThreadPoolExecutor(1) as thread,
        ):
            mitmweb.wait_for_log(r"Web server listening")
            web = WebUi(url)
            print(f"mirror_flows={mirror_flows} mirror_flows_kept={kept}")
            for sent in range(requests // STEPS, requests + 1, requests // STEPS):
                load = thread.submit(
                    hammer, mitmweb.port, GET, connections=CONNECTIONS, total=requests // STEPS
                )
                busy_ms = _answers_until(load, web)
                scene.v2.wait_for_count(sent)
                print(
                    f"{sent:>7} requests: {mitmweb.memory_bytes / 1e6:.0f} MB, "
                    f"{web.listed_flows() - sent} shadows listed, {load.result().rate:.0f} requests/s; "
                    f"under load the UI answers in {statistics.median(busy_ms):.0f} ms, at worst in "
                    f"{max(busy_ms):.0f} ms, and in {web.get('options.json')[1]:.0f} ms after it",
                    flush=True,
                )
            text, list_ms = web.get("flows")
            flows = json.loads(text)
            shadows = sum(flow["comment"].startswith("shadow ") for flow in flows)
            print(
                f"the whole list, {len(flows) - shadows} primaries and {shadows} shadows, "
                f"{len(text) / 1e6:.0f} MB of JSON, in {list_ms / 1000:.1f} s",
                flush=True,
            )
            with Chromium(scene.folder) as browser:
                shown_s, clicked_ms = asyncio.run(_browse(browser.page_url(), url))
            print(
                f"in Chromium the list is there after {shown_s:.1f} s, "
                f"a click shows a flow in {clicked_ms:.0f} ms"
            )


def _answers_until(load: Future[Blow], web: WebUi) -> list[float]:
    """How long the UI took to answer, each time that it was asked during the load, in ms."""
    answers_ms = [web.get("options.json")[1]]
    while not wait([load], ASK_EVERY_S).done:
        answers_ms.append(web.get("options.json")[1])
    return answers_ms


async def _browse(page_url: str, url: str) -> tuple[float, float]:
    """Seconds until the list is drawn, and ms from a click on its first row to the flow's request."""
    async with Page(page_url) as page:
        started = time.monotonic()
        await page.open(url, 1500, 760)
        await page.wait_for(
            "document.querySelectorAll('tr').length > 5 && document.body.innerText.includes('/get')"
        )
        shown = time.monotonic()
        await page.click("tr", "/get")
        await page.wait_for(
            "[...document.querySelectorAll('nav a')].some(e => e.innerText.includes('Request'))"
        )
        return shown - started, (time.monotonic() - shown) * 1000


if __name__ == "__main__":
    requests, mirror_flows, kept = (*sys.argv[1:4], *("100000", "on", "5000")[len(sys.argv) - 1 :])
    main(int(requests), mirror_flows, int(kept))

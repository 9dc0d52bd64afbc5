"""The ways in which mitmproxy can be given the addon, each with real mitmdump."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.backend import Backend
from lab.client import proxy_get, send_raw
from lab.mitmdump import ADDON, ROOT, Mitmdump, child_environment
from lab.rules import HOST, MIRROR_TO_V2

TASK = "1 VirtualService, 1 DestinationRule, 1 ServiceEntry from 2 files"


@pytest.mark.parametrize(
    ("addon", "cwd"),
    [
        pytest.param("addon/addon.py", ROOT, id="from the root of a checkout"),
        pytest.param("addon.py", ROOT / "addon", id="from the addon folder"),
    ],
)
def test_a_checkout_loads_its_own_rules(tmp_path: Path, addon: str, cwd: Path) -> None:
    with Mitmdump(tmp_path, addon=addon, cwd=cwd) as mitmdump:
        match = mitmdump.wait_for_log(r"mirror: rules loaded \(generation 1\): (.*)")
        assert match[1] == TASK
        assert mitmdump.stop(signal.SIGINT) == 0


def test_named_rules_are_loaded_instead(tmp_path: Path) -> None:
    with Mitmdump(tmp_path, {"mirror_rules": [str(MIRROR_TO_V2)]}) as mitmdump:
        match = mitmdump.wait_for_log(r"mirror: rules loaded \(generation 1\): (.*)")
        assert match[1] == "1 VirtualService, 1 DestinationRule from 1 file"
        assert mitmdump.stop(signal.SIGINT) == 0


def test_the_installed_package_is_loaded_from_another_folder(
    tmp_path: Path, rules: Path, v2: Backend
) -> None:
    """Not the checkout's: a wheel is built and unpacked, and mitmdump is told to load what is in there."""
    pytest.importorskip("hatchling", reason="builds the wheel; scripts/test installs it")
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    install = [
        *pip,
        "install",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--target",
        str(site),
        str(ROOT),
    ]
    subprocess.run(install, check=True, env=child_environment(), timeout=300)
    environment = {"PYTHONPATH": str(site)}
    options = {"mirror_rules": str(rules)}
    script = site / "mitm_mirror" / "script.py"
    with Mitmdump(tmp_path, options, addon=script, cwd=tmp_path, env=environment) as mitmdump:
        match = mitmdump.wait_for_log(r"mirror: rules loaded \(generation 1\): (.*)")
        assert match[1] == TASK
        assert proxy_get(mitmdump.port, f"http://{HOST}/").body == b"v1"
        v2.wait_for_count(1)  # the worker process found the package too
        assert mitmdump.stop(signal.SIGINT) == 0


def test_an_error_in_the_rules_stops_the_start(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        MIRROR_TO_V2.read_text(encoding="utf-8").replace("value: 100.0", "value: 101.0"), encoding="utf-8"
    )
    line = 1 + next(n for n, text in enumerate(rules.read_text("utf-8").splitlines()) if "101.0" in text)
    with Mitmdump(tmp_path, {"mirror_rules": str(rules)}, wait=False) as mitmdump:
        assert mitmdump.wait() == 1
        assert f"{rules}:{line}:" in mitmdump.output
        assert "Traceback" not in mitmdump.output


def test_the_first_request_that_can_connect_is_routed_and_mirrored(
    tmp_path: Path, rules: Path, v1: Backend, v2: Backend
) -> None:
    """mitmproxy listens before it calls `running`; another script holds that moment open."""
    slow = tmp_path / "slow.py"
    slow.write_text("import asyncio\nasync def running():\n    await asyncio.sleep(3)\n", encoding="utf-8")
    options = {"mirror_rules": str(rules)}
    mode = "reverse:http://127.0.0.1:9"
    with Mitmdump(tmp_path, options, mode=mode, addon=slow, arguments=["-s", str(ADDON)]) as mitmdump:
        answer = send_raw(mitmdump.port, f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        assert answer.body == b"v1"
        v2.wait_for_count(1)
        assert mitmdump.stop(signal.SIGINT) == 0
        assert mitmdump.totals() == {"shadows": 1, "ok": 1, "pending": 0}

"""README's commands for each mode, as they are written, in a network namespace where their ports are free."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.backend import Backend
from lab.mitmdump import ROOT, child_environment
from lab.namespaces import Network, Role
from lab.process import Process

TRANSPARENT = "Transparent"


def read_sections() -> dict[str, list[list[str]]]:
    """By mode: its blocks of commands, each a list of whole lines."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    chapter = text.partition("\n## Modes\n")[2].partition("\n## ")[0]
    parts = re.split(r"^\*\*(\w[\w ]*)\*\*", chapter, flags=re.MULTILINE)[1:]
    return {
        name: [
            block.replace("\\\n", "").splitlines()
            for block in re.findall(r"^```sh\n(.*?)^```", body, flags=re.MULTILINE | re.DOTALL)
        ]
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }


SECTIONS = read_sections()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's, for mitmproxy's authority and settings."""
    folder = tmp_path_factory.mktemp("home")
    (folder / ".mitmproxy").mkdir()
    # On a loaded machine a worker may need longer than the default to start.
    (folder / ".mitmproxy" / "config.yaml").write_text("mirror_drain_timeout: '20'\n", encoding="utf-8")
    return folder


class Reader:
    """Somebody who types what stands there, in a checkout of their own."""

    def __init__(
        self,
        network: Network,
        folder: Path,
        home: Path,
        versions: tuple[Backend, Backend],
        stack: contextlib.ExitStack,
    ) -> None:
        """`stack` ends what was started, also after a failure."""
        self._network = network
        self._stack = stack
        self._folder = folder
        self._v1, self._v2 = versions
        self._running: list[Process] = []
        bin_folder = Path(sys.executable).parent
        path = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
        self._environment = child_environment({"HOME": str(home), "PATH": path})
        for name in ("addon", "rules"):
            (folder / name).symlink_to(ROOT / name)

    def type(self, line: str, role: Role) -> None:
        if line.startswith("mitmdump"):
            self._start(line)
        elif line.startswith("curl"):
            assert self._run(line.replace("curl ", "curl -sS "), role) == "v1"
        else:
            self._run(line, role)

    def stop(self) -> None:
        """Ctrl-C in each terminal, the last one first."""
        for process in reversed(self._running):
            assert process.stop(signal.SIGINT) == 0, process.output
            self._check(process)
        self._running.clear()

    def _start(self, line: str) -> None:
        replays = " -C " in line
        if replays:
            self.stop()
            self._v1.clear()
        process = self._stack.enter_context(
            Process(
                "mitmdump",
                (*self._network.wrapper("gateway"), "sh", "-c", f"exec {line}"),
                cwd=self._folder,
                env=self._environment,
            )
        )
        self._running.append(process)
        if replays:
            process.wait()
            return
        for mode in re.findall(r"--mode (\w+)", line) or ["regular"]:
            words = {"socks5": "SOCKS", "regular": r"HTTP\(S\) proxy", "upstream": "upstream"}
            process.wait_for_log(rf"(?i){words.get(mode, mode)}.* listening at ")

    def _check(self, process: Process) -> None:
        if "Loading script" in process.output:
            count = self._v1.count
            assert count > 0
            process.wait_for_log(rf"mirror: {count} shadows?: ok {count}; 0 pending")
            assert self._v2.count == count
        self._v1.clear()
        self._v2.clear()

    def _run(self, line: str, role: Role) -> str:
        return subprocess.run(
            (*self._network.wrapper(role), "sh", "-c", line),
            cwd=self._folder,
            env=self._environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout


@pytest.fixture
def reader(namespaces: None, tmp_path: Path, home: Path) -> Iterator[Reader]:
    if missing := [program for program in ("curl", "sysctl") if shutil.which(program) is None]:
        pytest.skip(f"NOT TESTED: not on PATH: {', '.join(missing)}")
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(Network())
        v1, v2 = (
            stack.enter_context(Backend(label, listener=network.listen("gateway", "127.0.0.1", port)))
            for label, port in (("v1", 8001), ("v2", 8002))
        )
        yield Reader(network, tmp_path, home, (v1, v2), stack)


@pytest.mark.parametrize("mode", SECTIONS)
def test_the_commands_do_what_readme_says(reader: Reader, mode: str) -> None:
    for block in SECTIONS[mode]:
        on_client = mode == TRANSPARENT and block[0].startswith("curl")
        if not on_client:
            reader.stop()
        for line in block:
            reader.type(line, "client" if on_client else "gateway")
    reader.stop()


def test_every_mode_has_its_commands() -> None:
    assert list(SECTIONS) == [
        "Regular",
        "Reverse",
        "Upstream",
        "SOCKS",
        TRANSPARENT,
        "Several at once",
        "Recorded traffic",
    ]
    assert all(any("mitmdump" in line for block in blocks for line in block) for blocks in SECTIONS.values())

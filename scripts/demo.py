"""Walks through Istio's mirroring task with two real httpbin, mitmdump and the addon.

Every command is shown as a person would type it, and each step is checked: the exit status is 0
only if everything happened as it says. Run it through `scripts/demo`, which sets it up.
"""

import argparse
import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

from lab.httpbin import PYTHON_VARIABLE, Httpbin, httpbin_python
from lab.mitmdump import ADDON, ROOT, Mitmdump, child_environment
from lab.process import ProcessFailedError, is_alive
from lab.rules import ALL_TO_V1, ENDPOINTS, HOST, MIRROR_TO_V2, SHADOW_HOST, endpoints_text, write_atomically

URL = f"http://{HOST}/headers"
PATIENCE_S = 60.0


class StepFailedError(Exception):
    """A step did not do what it says."""


class Screen:
    """Prints for a person: colours on a terminal only, lines folded to its width."""

    def __init__(self) -> None:
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._width = min(shutil.get_terminal_size().columns, 100)

    def title(self, text: str) -> None:
        print(f"\n{self._paint('1', text)}", flush=True)

    def command(self, text: str) -> None:
        """A command that can be copied whole: a folded line ends in a backslash."""
        self._print(text, first="  $ ", rest="      ", colour="36", end=" \\")

    def label(self, text: str) -> None:
        self._print(text, first="  ", rest="  ", colour="2")

    def lines(self, lines: Sequence[str], *, none: str = "(nothing)") -> None:
        for line in lines or [none]:
            self._print(line, first="    ", rest="      ")

    def check(self, fact: bool, claim: str) -> None:
        """Print that the claim holds, or raise StepFailedError."""
        if not fact:
            raise StepFailedError(claim)
        print(f"  {self._paint('32', 'ok')}  {claim}", flush=True)

    def failure(self, text: str) -> None:
        print(f"  {self._paint('31', 'FAILED')}  {text}", flush=True)

    def _print(self, text: str, *, first: str, rest: str, colour: str = "", end: str = "") -> None:
        indent = text[: len(text) - len(text.lstrip())]
        parts = textwrap.wrap(
            text,
            self._width - len(end),
            initial_indent=first,
            subsequent_indent=rest + indent,
            drop_whitespace=False,
            break_on_hyphens=False,
            break_long_words=False,
        ) or [""]
        for part in parts[:-1]:
            print(self._paint(colour, part.rstrip() + end), flush=True)
        print(self._paint(colour, parts[-1].rstrip()), flush=True)

    def _paint(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if colour and self._colour else text


class Demo:
    """The scene: a folder of rules, two httpbin, mitmdump in front of them, and one client."""

    def __init__(self, folder: Path, python: Path, screen: Screen, stack: contextlib.ExitStack) -> None:
        self.screen = screen
        self.rules = folder / "rules"
        self.rules.mkdir()
        self.access_log = folder / "access.log"
        self.v1 = stack.enter_context(Httpbin("httpbin v1", python, folder, log_file=folder / "v1.log"))
        self.v2 = stack.enter_context(Httpbin("httpbin v2", python, folder, log_file=folder / "v2.log"))
        endpoints = endpoints_text(self.v1.port, self.v2.port)
        (self.rules / "httpbin-endpoints.yaml").write_text(endpoints, encoding="utf-8")
        (self.rules / "httpbin.yaml").write_text(ALL_TO_V1.read_text(encoding="utf-8"), encoding="utf-8")
        options = {"mirror_rules": str(self.rules), "mirror_access_log": str(self.access_log)}
        self.mitmdump = stack.enter_context(Mitmdump(folder, options, log_file=folder / "mitmdump.log"))
        self.proxy = f"http://127.0.0.1:{self.mitmdump.port}"
        self.copies = 0
        """Lines of the addon's access log that were shown."""
        self._curl = shutil.which("curl")

    def show_scene(self) -> None:
        screen = self.screen
        screen.title("The scene: two versions of httpbin, and mitmdump in front of them")
        screen.label(f"httpbin v1 listens on 127.0.0.1:{self.v1.port}, v2 on 127.0.0.1:{self.v2.port}")
        screen.label(
            "The task's first rules, and a ServiceEntry, as there is no Kubernetes to ask for endpoints:"
        )
        screen.command(f"RULES={self.rules}")
        screen.command(f"cp {shown(ALL_TO_V1)} $RULES/httpbin.yaml")
        screen.command(
            f"sed 's/8001/{self.v1.port}/; s/8002/{self.v2.port}/' {shown(ENDPOINTS)}"
            " > $RULES/httpbin-endpoints.yaml"
        )
        screen.command(
            f"mitmdump -s {shown(ADDON)} --mode regular@127.0.0.1:{self.mitmdump.port}"
            f" --set mirror_rules=$RULES --set mirror_access_log={self.access_log}"
        )
        screen.lines([self.mitmdump.wait_for_log(r"mirror: rules loaded.*", timeout_s=PATIENCE_S)[0]])

    def default_route(self) -> None:
        screen = self.screen
        screen.title("1. All traffic goes to v1")
        answer = self.request()
        self.show_logs(v1=1, v2=0, copies=1)
        screen.check(host_in(answer) == HOST, f"the client got v1's answer; v1 saw Host {HOST}")
        screen.check(not self.v2.access_lines, "v2's log is empty")

    def mirror(self) -> None:
        screen = self.screen
        screen.title("2. v1 still answers everything, and v2 gets a copy of it")
        self.replace_rules(MIRROR_TO_V2)
        answer = self.request()
        self.show_logs(v1=2, v2=1, copies=3)
        v1_line, v2_line = self.v1.access_lines[-1], self.v2.access_lines[-1]
        screen.check('"GET /headers HTTP/1.1" 200' in v1_line, "v1's log has the request")
        screen.check('"GET /headers HTTP/1.1" 200' in v2_line, "v2's log has the request")
        screen.check(v1_line.endswith(f"host={HOST}"), f"v1 saw Host {HOST}")
        screen.check(v2_line.endswith(f"host={SHADOW_HOST}"), f"v2 saw Host {SHADOW_HOST}")
        primary, shadow = (line_of(self.access_log, copy) for copy in ("primary", "shadow"))
        screen.check(primary["id"] == shadow["id"], "the addon's log has both copies, under one id")
        screen.check(shadow["outcome"] == "ok", "and says that v2 answered the shadow")
        screen.check(host_in(answer) == HOST, "the client saw v1's answer and nothing of v2's")

    def delete_rules(self) -> None:
        screen = self.screen
        screen.title("3. The rules are deleted: routing and mirroring end")
        seen = len(self.mitmdump.lines)
        screen.command("rm $RULES/httpbin.yaml")
        (self.rules / "httpbin.yaml").unlink()
        self.show_reload(seen)
        status = self.request_status()
        self.show_logs(v1=2, v2=1, copies=3)
        if status == "502":
            screen.label("There is no host httpbin any more, and the proxy says so.")
        else:
            # Some networks answer for any name; that is not ours to judge.
            screen.label(f"This network has a host of that name, which answered {status}.")
        screen.check(
            (len(self.v1.access_lines), len(self.v2.access_lines)) == (2, 1), "neither v1 nor v2 was asked"
        )

    def stop(self) -> None:
        screen = self.screen
        screen.title("4. Everything is stopped")
        workers = self.mitmdump.worker_pids
        seen = len(self.mitmdump.lines)
        screen.command(f"kill -INT {self.mitmdump.pid}    # mitmdump; Ctrl-C in its terminal")
        status = self.mitmdump.stop(signal.SIGINT)
        totals = self.mitmdump.totals()
        screen.lines([line for line in self.mitmdump.lines[seen:] if "mirror:" in line])
        screen.check(status == 0, "mitmdump ended with status 0")
        screen.check(
            totals == {"shadows": 1, "ok": 1, "pending": 0},
            "and said what became of each copy: one, answered",
        )
        screen.command(f"kill {self.v1.pid} {self.v2.pid}    # both httpbin")
        for httpbin in (self.v1, self.v2):
            httpbin.stop()
        pids = [self.mitmdump.pid, *workers, self.v1.pid, self.v2.pid]
        screen.check(not any(map(is_alive, pids)), "no process is left")
        # Once they are stopped, nothing can come late any more.
        screen.check(len(self.v1.access_lines) == 2, "in all, v1 had 2 requests")
        screen.check(len(self.v2.access_lines) == 1, "in all, v2 had 1 request, the mirrored one")

    def replace_rules(self, source: Path) -> None:
        """Put a rule file in the place of httpbin.yaml, and wait until the addon serves it."""
        seen = len(self.mitmdump.lines)
        self.screen.command(f"cp {shown(source)} $RULES/httpbin.yaml")
        write_atomically(self.rules / "httpbin.yaml", source.read_text(encoding="utf-8"))
        self.show_reload(seen)

    def show_reload(self, seen: int) -> None:
        self.screen.lines([self.mitmdump.wait_for_log(r"mirror: rules (re|un)loaded.*", since=seen)[0]])

    def request(self) -> str:
        """The body that the client gets for the task's request."""
        if self._curl:
            body = self.run(["curl", "-sS", "-x", self.proxy, URL])
        else:
            body = self.run(
                ["python3", "-c", URLLIB, self.proxy, URL], shown_as=f"GET {URL} through {self.proxy}"
            )
        self.screen.lines(body.splitlines())
        return body

    def request_status(self) -> str:
        """The status that the client gets for the task's request."""
        if self._curl:
            status = self.run(
                ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}\\n", "-x", self.proxy, URL]
            )
        else:
            status = self.run(
                ["python3", "-c", URLLIB_STATUS, self.proxy, URL], shown_as=f"GET {URL} through {self.proxy}"
            )
        self.screen.lines(status.splitlines())
        return status.strip()

    def run(self, command: list[str], shown_as: str = "") -> str:
        self.screen.command(shown_as or shlex.join(command))
        argv = [sys.executable, *command[1:]] if command[0] == "python3" else command
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=PATIENCE_S, env=child_environment(), check=False
        )
        if done.returncode:
            raise StepFailedError(
                f"{shlex.join(command)} ended with {done.returncode}: {done.stderr.strip()}"
            )
        return done.stdout

    def show_logs(self, *, v1: int, v2: int, copies: int) -> None:
        """The logs, once they have as many lines as are to come."""
        self.screen.label("v1's log")
        self.screen.lines(self.v1.wait_for_access(v1))
        self.screen.label("v2's log")
        self.screen.lines(self.v2.wait_for_access(v2))
        lines = wait_for_lines(self.access_log, copies)
        self.screen.label("what is new in the addon's access log")
        self.screen.lines(lines[self.copies :])
        self.copies = len(lines)


URLLIB = """\
import sys, urllib.request as r
print(r.build_opener(r.ProxyHandler({"http": sys.argv[1]})).open(sys.argv[2]).read().decode())"""

URLLIB_STATUS = """\
import sys, urllib.request as r, urllib.error
try: print(r.build_opener(r.ProxyHandler({"http": sys.argv[1]})).open(sys.argv[2]).status)
except urllib.error.HTTPError as error: print(error.code)"""


def shown(path: Path) -> str:
    """A path of this repository as one types it at its root."""
    return str(path.relative_to(ROOT))


def host_in(answer: str) -> str:
    """The Host header in httpbin's answer to /headers."""
    try:
        return str(json.loads(answer)["headers"]["Host"])
    except (ValueError, KeyError, TypeError):
        raise StepFailedError(f"the answer is not httpbin's: {answer[:500]!r}") from None


def wait_for_lines(path: Path, count: int) -> list[str]:
    """The lines of a file once it has `count` or more. Polls: a file tells nobody that it grew."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        if len(lines) >= count:
            return lines
        if time.monotonic() > deadline:
            raise StepFailedError(f"{path} has {len(lines)} lines, {count} were expected")
        time.sleep(0.02)


def line_of(access_log: Path, copy: str) -> dict[str, str]:
    """The `name=value` fields of the last line about such a copy."""
    lines = [line for line in access_log.read_text(encoding="utf-8").splitlines() if f"copy={copy}" in line]
    if not lines:
        raise StepFailedError(f"{access_log} has no line about a {copy}")
    return dict(field.split("=", 1) for field in lines[-1].split() if "=" in field)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description="Istio's mirroring task on this machine: two real httpbin, and mitmdump with the addon.",
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep the rules and all logs, and say where they are"
    )
    parser.add_argument("--pause", action="store_true", help="wait for Enter before each step")
    return parser.parse_args()


def run_steps(demo: Demo, *, pause: bool) -> None:
    demo.show_scene()
    for step in (demo.default_route, demo.mirror, demo.delete_rules, demo.stop):
        if pause:
            input("\n(Enter) ")
        step()


def main() -> int:
    arguments = parse_arguments()
    screen = Screen()
    python = httpbin_python()
    if python is None:
        screen.failure(f"{PYTHON_VARIABLE} does not name the python that has httpbin: run scripts/demo")
        return 2
    # Ended from outside, we still end our children: the context managers below see an exception.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    folder = Path(tempfile.mkdtemp(prefix="mitm-mirror-demo-"))
    try:
        with contextlib.ExitStack() as stack:
            run_steps(Demo(folder, python, screen, stack), pause=arguments.pause)
    except (StepFailedError, ProcessFailedError, subprocess.TimeoutExpired) as error:
        screen.failure(str(error))
        log = folder / "mitmdump.log"
        if log.exists():
            screen.label("the end of mitmdump's log")
            screen.lines(log.read_text(encoding="utf-8").splitlines()[-30:])
        return 1
    except KeyboardInterrupt:
        screen.failure("interrupted")
        return 130
    finally:
        if arguments.keep:
            screen.title(f"Rules and logs are kept in {folder}")
        else:
            shutil.rmtree(folder)
    screen.title("All of it happened as the task says.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

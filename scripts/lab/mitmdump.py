"""mitmdump, as a user starts it."""

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lab.process import START_TIMEOUT_S, Process, children_of

ROOT = Path(__file__).resolve().parents[2]
ADDON = ROOT / "addon" / "addon.py"

# mitmproxy takes two modes with the same words for an address and a port as a mistake, port 0 included.
_LOOPBACK_SPELLINGS = ("127.0.0.1", "127.0.1", "127.1")

StartMitmdump = Callable[..., "Mitmdump"]
"""The tests' fixture: starts it with the test's rules; takes `mode=` and options by name."""


class Mitmdump(Process):
    """mitmdump with the addon, listening on a loopback port that the system chose.

    `mode` may be up to three, each with a port of its own; one that says where to listen (`transparent@9090`)
    listens there. `options` become `--set name=value`; a value that is a list is given once an element.
    `addon` None means plain mitmdump; `program` may be mitmweb. `wrapper` is
    what comes before the command, such as `ip netns exec`.
    Raises ProcessFailedError where it does not come up.
    """

    def __init__(
        self,
        folder: Path,
        options: Mapping[str, str | Sequence[str]] | None = None,
        *,
        mode: str | Sequence[str] = "regular",
        addon: Path | str | None = ADDON,
        program: str = "mitmdump",
        arguments: Sequence[str] = (),
        wrapper: Sequence[str] = (),
        python: Path | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        log_file: Path | None = None,
        wait: bool = True,
    ) -> None:
        # Not resolved: an environment's python is a link to the one that it was made from.
        modes = [mode] if isinstance(mode, str) else mode
        argv: list[str | Path] = [*wrapper, (python or Path(sys.executable)).with_name(program)]
        for spelling, each in zip(_LOOPBACK_SPELLINGS, modes, strict=False):
            argv += ["--mode", each if "@" in each else f"{each}@{spelling}:0"]
        if addon is not None:
            argv += ["-s", str(addon)]
        # mitmdump's default prints every flow, which drowns the log and costs time under load.
        own = {
            "confdir": str(folder / "mitmproxy"),
            **({"flow_detail": "0"} if program == "mitmdump" else {}),
        }
        for name, value in {**own, **(options or {})}.items():
            for element in [value] if isinstance(value, str) else value:
                argv += ["--set", f"{name}={element}"]
        super().__init__(
            program,
            [*argv, *arguments],
            cwd=cwd or folder,
            env=child_environment(env),
            log_file=log_file,
        )
        self.port = 0
        if wait:
            try:
                self.wait_until_listening()
            except BaseException:
                self.kill()
                raise

    def wait_until_listening(self, timeout_s: float = START_TIMEOUT_S) -> int:
        """The port that it listens on, once it does; of several modes the first that is ready."""
        self.port = self.port_of("", timeout_s=timeout_s)
        return self.port

    def port_of(self, mode: str, timeout_s: float = START_TIMEOUT_S) -> int:
        """The port of one of several modes, by mitmproxy's words for it, such as `SOCKS v5 proxy`."""
        pattern = rf"{re.escape(mode)} listening at (?:.*[^\d])?(?:127\.0\.0\.1|\*):(\d+)\."
        return int(self.wait_for_log(pattern, timeout_s=timeout_s)[1])

    @property
    def worker_pids(self) -> list[int]:
        """The process ids of the shadow workers that are running."""
        return children_of(self.pid)

    def totals(self) -> dict[str, int]:
        """What became of the shadows, by outcome, as said at the exit; with `shadows` and `pending`.

        Raises ProcessFailedError where the addon did not say it.
        """
        match = self.wait_for_log(r"mirror: (\d+) shadows?(?:: (.*))?; (\d+) pending")
        ended = re.findall(r"([a-z_]+) (\d+)", match[2] or "")
        return {name: int(count) for name, count in [("shadows", match[1]), *ended, ("pending", match[3])]}


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Our environment for a child: its output unbuffered, and nothing that would change what it does."""
    environment = {
        name: value
        for name, value in os.environ.items()
        # A proxy set for this machine would be asked for loopback addresses; coverage would slow the
        # children down and measure the tests' load instead of their speed.
        if not name.lower().endswith("_proxy") and not name.startswith("COVERAGE_")
    }
    # mitmdump prints its log with print(), which a pipe would hold back until it is full.
    return {**environment, "PYTHONUNBUFFERED": "1", **(extra or {})}

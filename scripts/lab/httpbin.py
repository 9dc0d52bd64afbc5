"""The real httpbin under gunicorn, with the access log that Istio's task reads."""

import os
import socket
from pathlib import Path

from lab.mitmdump import child_environment
from lab.process import Process

PYTHON_VARIABLE = "MITM_MIRROR_HTTPBIN_PYTHON"
"""Names the python of the environment that httpbin and gunicorn are in; the scripts set it."""

# gunicorn's default (the one that Istio's task shows), and the Host that the request came with.
ACCESS_LOG_FORMAT = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s" host=%({host}i)s'


def httpbin_python() -> Path | None:
    """The python that has httpbin, or None where the scripts did not name one."""
    value = os.environ.get(PYTHON_VARIABLE, "")
    return Path(value) if value else None


class Httpbin(Process):
    """httpbin on a loopback port; its access log lines are `access_lines`.

    gunicorn inherits a socket that is bound and listening already: the port cannot be lost to
    somebody else in between, and a request that comes early waits in its queue.
    """

    def __init__(self, name: str, python: Path, folder: Path, *, log_file: Path | None = None) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
            self.port: int = listener.getsockname()[1]
            argv: list[str | Path] = [
                python,
                "-m",
                "gunicorn",
                "--bind",
                f"fd://{listener.fileno()}",
                "--access-logfile",
                "-",
            ]
            argv += ["--access-logformat", ACCESS_LOG_FORMAT, "--worker-tmp-dir", folder, "httpbin:app"]
            super().__init__(
                name,
                argv,
                cwd=folder,
                # gunicorn 25 and newer keep a control socket below HOME.
                env=child_environment({"HOME": str(folder)}),
                pass_fds=[listener.fileno()],
                log_file=log_file,
            )
        try:
            self.wait_for_log(r"Booting worker with pid")
        except BaseException:
            self.kill()
            raise

    @property
    def access_lines(self) -> list[str]:
        """The access log: one line a request. gunicorn's own messages begin with a bracket."""
        return [line for line in self.lines if line and not line.startswith("[") and " host=" in line]

    def wait_for_access(self, count: int) -> list[str]:
        """The access log once it has `count` lines or more."""
        while True:
            seen = len(self.lines)
            if len(lines := self.access_lines) >= count:
                return lines
            self.wait_for_log(" host=", since=seen)

"""Real mitmdump, real sockets: the scene that the end-to-end tests play in."""

import contextlib
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lab.alpn import Place
from lab.backend import Backend
from lab.certificates import Authority
from lab.mitmdump import Mitmdump, StartMitmdump
from lab.quiet import import_mitmproxy
from lab.rules import make_task_rules

import_mitmproxy()  # some tests write flow files


@pytest.fixture(scope="session")
def confdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mitmproxy's certificates: made once, as a key pair takes a while."""
    return tmp_path_factory.mktemp("mitmproxy")


@pytest.fixture
def v1() -> Iterator[Backend]:
    """The primary."""
    with Backend("v1") as backend:
        yield backend


@pytest.fixture
def v2() -> Iterator[Backend]:
    """The mirror."""
    with Backend("v2") as backend:
        yield backend


@pytest.fixture
def rules(tmp_path: Path, v1: Backend, v2: Backend) -> Path:
    """A folder with the task's final rules, their endpoints the two backends."""
    return make_task_rules(tmp_path / "rules", v1.port, v2.port)


@pytest.fixture
def start(tmp_path: Path, confdir: Path, rules: Path) -> Iterator[StartMitmdump]:
    """Starts mitmdump with the addon and `rules`; ends it with the test. What it said is shown on failure."""
    with contextlib.ExitStack() as stack:

        def start_mitmdump(
            *,
            mode: str | Sequence[str] = "regular",
            arguments: Sequence[str] = (),
            wrapper: Sequence[str] = (),
            **options: str,
        ) -> Mitmdump:
            given = {
                "confdir": str(confdir),
                "mirror_rules": str(rules),
                # No expectation: on a loaded machine a worker may need longer than the default to start.
                "mirror_drain_timeout": "20",
                **options,
            }
            mitmdump = stack.enter_context(
                Mitmdump(tmp_path, given, mode=mode, arguments=arguments, wrapper=wrapper)
            )
            stack.callback(lambda: print(*interesting(mitmdump.lines)[-60:], sep="\n"))  # noqa: T201 - for pytest
            return mitmdump

        yield start_mitmdump


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Makes servers behind TLS, and their rules in a folder of their own."""
    folder = tmp_path / "uploads"
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        yield Place(folder, Authority(tmp_path), stack)


@pytest.fixture
def trusting() -> ssl.SSLContext:
    """Takes whatever certificate mitmproxy makes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def interesting(lines: list[str]) -> list[str]:
    """The log without the coming and going of connections."""
    return [line for line in lines if not line.endswith("connect") and "server connect" not in line]

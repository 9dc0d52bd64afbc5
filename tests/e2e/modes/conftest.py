"""The mirroring task in every mode of mitmproxy."""

from pathlib import Path

import pytest

from lab.backend import Backend
from lab.mirrored import MirroringTask
from lab.mitmdump import Mitmdump, StartMitmdump
from lab.namespaces import missing_for_namespaces


@pytest.fixture
def task(tmp_path: Path, v1: Backend, v2: Backend) -> MirroringTask:
    """The task with its two versions on loopback ports."""
    return MirroringTask(v1, v2, tmp_path / "access.log")


@pytest.fixture
def begin(start: StartMitmdump, task: MirroringTask) -> StartMitmdump:
    """As `start`, with the log that `task` reads."""

    def start_task(**options: object) -> Mitmdump:
        return start(**task.options, **options)

    return start_task


@pytest.fixture
def authority(confdir: Path) -> Path:
    """mitmproxy's authority, which a client has to trust; there once a mitmdump was started."""
    return confdir / "mitmproxy-ca-cert.pem"


@pytest.fixture(scope="session")
def namespaces() -> None:
    """For tests that need network namespaces; scripts/test says it, too, where there are none."""
    if why := missing_for_namespaces():
        pytest.skip(f"NOT TESTED: {why}")

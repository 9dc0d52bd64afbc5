"""Who steps back, and what happens where the system does not know how, or not yet."""

import errno
from pathlib import Path

import pytest

from mitm_mirror.shadow.priority import NICENESS, step_back_as_session


def test_a_session_is_asked_to_step_back(tmp_path: Path) -> None:
    autogroup = tmp_path / "autogroup"
    assert step_back_as_session(autogroup)
    assert autogroup.read_text() == str(NICENESS)


@pytest.mark.parametrize(
    ("number", "done"), [(errno.EAGAIN, False), (errno.EPERM, True), (errno.EROFS, True)]
)
def test_only_a_system_that_is_asked_too_often_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, number: int, done: bool
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(number, "refused")

    monkeypatch.setattr(Path, "write_text", refuse)
    assert step_back_as_session() is done


def test_a_system_without_sessions_that_share_is_not_asked_again(tmp_path: Path) -> None:
    assert step_back_as_session(tmp_path / "no-proc" / "autogroup")

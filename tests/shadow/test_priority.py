"""When a worker's session steps back, when it does not, and what it takes the system's refusals for."""

import errno
import os
from pathlib import Path

import pytest

from mitm_mirror.shadow.priority import (
    HURRY_S,
    NICENESS,
    PATIENCE_S,
    STARVED_SHARE,
    SessionPriority,
)


class Machine:
    """A folder in the place of `/proc/self`, and a clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 100.0
        self._waited_s = 3.0
        self._autogroup = folder / "autogroup"
        self._autogroup.touch()
        self._read = 0
        self._niceness = 0
        self._tell()
        self.priority = SessionPriority(folder, lambda: self.now)

    def _tell(self) -> None:
        (self.folder / "schedstat").write_bytes(b"123456789 %d 17\n" % (self._waited_s * 1e9))

    @property
    def niceness(self) -> int:
        """The session's. A file keeps one write after the other, so look after each."""
        text = self._autogroup.read_text()
        if len(text) > self._read:
            self._niceness = int(text[self._read :])
            self._read = len(text)
        return self._niceness

    def run(self, waiting_share: float, seconds: float = 0.5) -> int:
        """The session's niceness after a look that comes after so long."""
        self.now += seconds
        self._waited_s += waiting_share * seconds
        self._tell()
        self.priority.look()
        return self.niceness


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_nothing_is_asked_for_before_the_first_look(tmp_path: Path) -> None:
    Machine(tmp_path)
    assert (tmp_path / "autogroup").read_text() == ""


def test_where_there_is_room_the_session_steps_back_and_stays_back(machine: Machine) -> None:
    assert [machine.run(share) for share in (0.0, 0.1, STARVED_SHARE - 0.01)] == [NICENESS] * 3


def test_a_session_that_starves_takes_its_weight_back_and_keeps_it_for_a_while(machine: Machine) -> None:
    machine.run(0.0)
    assert machine.run(STARVED_SHARE + 0.01) == 0
    assert machine.run(0.0) == 0
    assert machine.run(0.0, PATIENCE_S - 1) == 0
    assert machine.run(0.0, 1.0) == NICENESS


def test_on_a_busy_machine_it_never_steps_back(machine: Machine) -> None:
    assert {machine.run(0.9, 10.0) for _ in range(20)} == {0}


def test_a_pile_gives_it_its_weight_back_at_once_and_for_a_moment(machine: Machine) -> None:
    machine.run(0.0)
    machine.priority.hurry()
    assert machine.niceness == 0
    assert machine.run(0.0, HURRY_S - 0.5) == 0
    machine.priority.hurry()
    assert machine.run(0.0, HURRY_S - 0.5) == 0
    assert machine.run(0.0, 0.5) == NICENESS


def test_a_pile_does_not_shorten_the_patience_of_one_that_starved(machine: Machine) -> None:
    machine.run(0.9)
    machine.priority.hurry()
    assert machine.run(0.0, PATIENCE_S - 1) == 0


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EPERM])
def test_a_system_that_refuses_is_asked_again_at_the_next_look(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(number, "refused")

    machine.run(0.0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", refuse)
        assert machine.run(0.9) == NICENESS
    assert machine.run(0.0) == 0


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("1 x 2", id="no number"),
        pytest.param("1", id="one number"),
        pytest.param("0 0 0", id="a kernel that does not count"),
    ],
)
@pytest.mark.parametrize("from_the_start", [True, False])
def test_who_cannot_tell_whether_it_starves_does_not_step_back(
    machine: Machine, text: str, from_the_start: bool
) -> None:
    (machine.folder / "schedstat").write_text(text)
    if from_the_start:
        machine.priority = SessionPriority(machine.folder, lambda: machine.now)
    machine.priority.look()
    assert machine.niceness == 0


def test_a_kernel_that_has_not_yet_counted_the_time_counts_all_the_same(machine: Machine) -> None:
    (machine.folder / "schedstat").write_text("0 3000000000 1")
    machine.priority = SessionPriority(machine.folder, lambda: machine.now)
    assert machine.run(0.0) == NICENESS


def test_it_needs_no_further_file(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, "refused")

    monkeypatch.setattr(os, "open", refuse)
    assert machine.run(0.0) == NICENESS
    machine.priority.hurry()
    assert machine.run(0.0) == 0
    assert machine.run(0.0, HURRY_S) == NICENESS


def test_a_system_without_any_of_it(tmp_path: Path) -> None:
    priority = SessionPriority(tmp_path / "nothing")
    priority.look()
    priority.hurry()
    assert not (tmp_path / "nothing").exists()

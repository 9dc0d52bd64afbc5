"""A wall clock that a test sets, for a mitmdump and its workers. The monotonic clock goes on as it is.

Python's own only: `time.time` and `time.time_ns` are replaced at the start of each interpreter. There is no
namespace for this clock, and the machine's is not a test's to set.
"""

import struct
from pathlib import Path

_SITE = """\
import mmap, os, struct, time

with open(os.environ["LAB_WALL_CLOCK"], "rb") as file:
    shared = mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)

def moved(real=time.time):
    return real() + struct.unpack("d", shared)[0]

time.time = moved
time.time_ns = lambda: int(moved() * 1e9)
"""


class WallClock:
    """Right until it is moved."""

    def __init__(self, folder: Path) -> None:
        self._offset = folder / "clock"
        self._offset.write_bytes(struct.pack("d", 0.0))
        self._site = folder / "site"
        self._site.mkdir()
        (self._site / "sitecustomize.py").write_text(_SITE, encoding="ascii")

    @property
    def environment(self) -> dict[str, str]:
        """What a process has to be started with."""
        return {"PYTHONPATH": str(self._site), "LAB_WALL_CLOCK": str(self._offset)}

    def move(self, seconds: float) -> None:
        """From now on it is so far ahead of the real one; below 0 behind it."""
        with self._offset.open("r+b") as file:  # in place: it is mapped
            file.write(struct.pack("d", seconds))

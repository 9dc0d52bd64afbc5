"""A proxy that the bench measures, and what one way of mirroring is."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from lab.process import Process, children_of
from lab.usage import exact_cpu_s, usage_of


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running proxy."""

    process: Process
    port: int

    @property
    def cpu_s(self) -> float:
        """Of the proxy process only: what its worker takes, it takes from another core."""
        return exact_cpu_s(self.process.pid)

    @property
    def all_cpu_s(self) -> float:
        """Of its children, too."""
        return sum(map(exact_cpu_s, self._pids))

    @property
    def peak_bytes(self) -> int:
        """The most that it and its children ever held."""
        return sum(usage_of(pid).peak_bytes for pid in self._pids)

    @property
    def _pids(self) -> list[int]:
        return [self.process.pid, *children_of(self.process.pid)]


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the primary and the mirror are."""

    primary: int
    mirror: int


Start = Callable[[ExitStack, Path, Ports, bool], Proxy]
"""(stack that stops it, a folder of its own, backends, whether it mirrors) -> the running proxy."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One way of mirroring."""

    name: str
    start: Start
    family: str = "mitmdump"
    """Those of one family have the same proxy without a mirror to be compared with."""
    sends: bool = True
    """Whether anything comes to its mirror."""

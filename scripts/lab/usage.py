"""What a running process uses, from /proc. Linux only: RuntimeError elsewhere."""

import time
from dataclasses import dataclass
from pathlib import Path

_KIB = 1024


@dataclass(frozen=True, slots=True)
class Usage:
    """One look at one process."""

    resident_bytes: int
    peak_bytes: int
    """The most that was ever resident."""
    descriptors: int
    """Open files, sockets and pipes."""


def usage_of(pid: int) -> Usage:
    """What the process uses now. Raises OSError where it has ended."""
    if not Path("/proc/self/status").exists():
        raise RuntimeError("memory and descriptors of other processes are read from /proc, which is Linux's")
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines())
    return Usage(
        int(status["VmRSS"].split()[0]) * _KIB,
        int(status["VmHWM"].split()[0]) * _KIB,
        sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
    )


def exact_cpu_s(pid: int) -> float:
    """Seconds of CPU that the process has taken, to the microsecond and less; its children's do not count."""
    # The clock of another process, as glibc's clock_getcpuclockid makes its number.
    return time.clock_gettime(~pid << 3 | 2)


def listening_port(pid: int) -> int | None:
    """The TCP port that the process listens on, over IPv4; None where there is none or more than one."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(str(link.readlink()).removeprefix("socket:[").removesuffix("]"))
        except OSError:
            continue  # closed meanwhile
    rows = [line.split() for line in Path("/proc/net/tcp").read_text("utf-8").splitlines()[1:]]
    ports = {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and row[9] in inodes}
    return ports.pop() if len(ports) == 1 else None

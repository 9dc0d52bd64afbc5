"""What a process holds in memory. Linux only."""

import re
from pathlib import Path

MEASURABLE = Path("/proc/self/clear_refs").exists()


def resident_memory(pid: int) -> int:
    """Bytes that it holds now."""
    return _status(pid, "VmRSS")


def peak_memory(pid: int) -> int:
    """The most bytes that it has held since `reset_peak_memory`."""
    return _status(pid, "VmHWM")


def reset_peak_memory(pid: int) -> None:
    """From now on the peak is what it holds now or later."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")  # proc_pid_clear_refs(5)


def _status(pid: int, name: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    match = re.search(rf"^{name}:\s*(\d+) kB$", text, re.MULTILINE)
    if match is None:
        raise ProcessLookupError(f"process {pid} has no {name}: it has ended")
    return int(match[1]) * 1024

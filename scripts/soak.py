"""Full load for a long time: is memory flat, are descriptors flat, is every shadow accounted for?

Rules are reloaded, the access log is rotated and the mirror stands still for a while all along; the worker is
killed in the first half only, so that one worker's memory can be followed through the second. Run it through
`scripts/soak`.
"""

import argparse
import os
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from lab.hammer import hammer
from lab.mitmdump import Mitmdump
from lab.origin import Origin
from lab.process import wait_until_gone
from lab.rules import HOST, MIRROR_TO_V2, make_task_rules, write_atomically
from lab.usage import Usage, usage_of

CONNECTIONS = 32
BURST = 250
"""Requests between two looks at the clock; each burst opens its connections anew."""
SAMPLES = 60
BODY = b"x" * 10_240

FLAT_SHARE = 0.05
FLAT_BYTES = 4 * 1024 * 1024
"""Between the middle and the end memory may grow by so much: an allocator's pages come and go."""
FLAT_DESCRIPTORS = 8

_SETTLE_S = 30.0
"""For a new worker to start, or a pile's connections to be closed."""
STALL_BURSTS = 5
"""While the mirror stands still: more shadows than the worker sends at a time. Without it a worker's memory
grows when the machine happens to stand still, and nobody knows whether it would grow again."""

REQUESTS = (
    f"GET /get?q=1 HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: soak/1.0\r\nAccept: */*\r\n\r\n".encode(),
    f"POST /post HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(BODY)}\r\n\r\n".encode() + BODY,
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at both processes, while no request is under way."""

    share: float
    """How much of the time has passed, 0 to 1."""
    proxy: Usage
    worker: Usage


class Soak:
    """One run. The folder gets the rules and the access log."""

    def __init__(self, folder: Path, duration_s: float) -> None:
        self._folder = folder
        self._duration_s = duration_s
        self._rules = folder / "rules"
        self._log = folder / "access.log"
        self._rotated = 0
        self._generation = 1
        self.sent = 0
        self.lines = 0
        """Of the access log, all files together."""
        self.kills = 0
        self._events = 0
        self.samples: list[Sample] = []
        self.broken: list[str] = []

    def run(self) -> bool:
        """Whether everything held."""
        with Origin("v1") as v1, Origin("v2") as v2:
            make_task_rules(self._rules, v1.port, v2.port)
            options = {"mirror_rules": str(self._rules), "mirror_access_log": str(self._log)}
            mode = f"reverse:http://127.0.0.1:{v1.port}"
            with Mitmdump(self._folder, options, mode=mode) as proxy:
                proxy.wait_for_log(r"listening at")
                self._load(proxy, v2)
                proxy.stop()
                self._judge(proxy.totals(), v2.count)
        return not self.broken

    def _load(self, proxy: Mitmdump, mirror: Origin) -> None:
        start = time.monotonic()
        sample_at = event_at = 0.0
        step = 0
        print(f"{'time':>6} {'requests':>9} {'proxy':>16} {'worker':>16}   events", flush=True)
        while (share := (time.monotonic() - start) / self._duration_s) < 1:
            self._burst(proxy, step)
            step += 1
            what = ""
            if share >= event_at:
                event_at += 1 / (SAMPLES / 4)
                what = self._event(proxy, mirror, share)
            if share >= sample_at or what:
                sample_at += 1 / SAMPLES
                self._sample(proxy, share, what)

    def _burst(self, proxy: Mitmdump, step: int) -> None:
        hammer(proxy.port, REQUESTS[step % 2], connections=CONNECTIONS, total=BURST)
        self.sent += BURST

    def _event(self, proxy: Mitmdump, mirror: Origin, share: float) -> str:
        """Reload, rotation, a mirror that stands still and, in the first half, a worker's death, in turns."""
        turn = self._events % (4 if share < 0.5 else 3)
        self._events += 1
        if turn == 0:
            self._reload(proxy)
            return f"reloaded, generation {self._generation}"
        if turn == 1:
            self._rotate()
            return "log rotated"
        if turn == 2:
            return self._stall(proxy, mirror)
        return self._kill_worker(proxy)

    def _reload(self, proxy: Mitmdump) -> None:
        since = len(proxy.lines)
        self._generation += 1
        text = f"{MIRROR_TO_V2.read_text('utf-8')}# {self._generation}\n"
        write_atomically(self._rules / "httpbin.yaml", text)
        proxy.wait_for_log(rf"rules reloaded \(generation {self._generation}\)", since=since)

    def _rotate(self) -> None:
        """As logrotate without a signal: the file is renamed, and a new one comes with the next lines."""
        self._rotated += 1
        self._log.rename(self._folder / f"access.log.{self._rotated}")

    def _stall(self, proxy: Mitmdump, mirror: Origin) -> str:
        """Stops the mirror for some seconds: shadows pile up, and none may be late for its timeout."""
        (worker,) = proxy.worker_pids
        before = usage_of(worker).descriptors
        os.kill(mirror.pid, signal.SIGSTOP)
        try:
            for step in range(STALL_BURSTS):
                self._burst(proxy, step)
        finally:
            os.kill(mirror.pid, signal.SIGCONT)
        deadline = time.monotonic() + _SETTLE_S
        while (now := usage_of(worker).descriptors) > before + FLAT_DESCRIPTORS:
            if time.monotonic() > deadline:
                self._check(f"worker {worker} closes a pile's connections, {now} are left of {before}", False)
                break
            time.sleep(0.05)
        return f"mirror stood still for {STALL_BURSTS * BURST} requests"

    def _kill_worker(self, proxy: Mitmdump) -> str:
        """Kills the worker in the middle of a burst, which nobody may notice."""
        (victim,) = proxy.worker_pids
        timer = threading.Timer(0.1, os.kill, (victim, signal.SIGKILL))
        timer.start()
        self._burst(proxy, 0)
        timer.join()
        self.kills += 1
        if not wait_until_gone(victim):
            self._check(f"worker {victim} ends at SIGKILL", False)
        deadline = time.monotonic() + _SETTLE_S
        while not proxy.worker_pids and time.monotonic() < deadline:
            time.sleep(0.05)
        return f"worker {victim} killed"

    def _sample(self, proxy: Mitmdump, share: float, what: str) -> None:
        time.sleep(0.3)  # the last connections close
        (worker,) = proxy.worker_pids
        sample = Sample(share, usage_of(proxy.pid), usage_of(worker))
        self.samples.append(sample)
        cells = [
            f"{use.resident_bytes / 1e6:8.1f} MB {use.descriptors:3d} fd"
            for use in (sample.proxy, sample.worker)
        ]
        print(f"{share * self._duration_s:5.0f}s {self.sent:9d} {' '.join(cells)}   {what}", flush=True)
        self._count_rotated()

    def _count_rotated(self) -> None:
        """Counts the lines of all rotated files but the last, which may still be written to; deletes them."""
        for path in sorted(self._folder.glob("access.log.*"))[:-1]:
            self._count_lines(path)

    def _count_lines(self, path: Path) -> None:
        with path.open("rb") as file:
            self.lines += sum(1 for _ in file)
        path.unlink()

    def _judge(self, totals: dict[str, int], delivered: int) -> None:
        for path in self._folder.glob("access.log*"):
            self._count_lines(path)
        ended = sum(count for name, count in totals.items() if name not in {"shadows", "pending"})
        lost = totals.get("lost", 0)
        print(f"\n{self.sent} requests, each answered 200; {totals}; v2 got {delivered}")
        self._check("totals are closed", totals["shadows"] == self.sent == ended and not totals["pending"])
        allowed = {"ok", "lost"} if self.kills else {"ok"}
        self._check(
            "shadows ended ok, or with a killed worker", set(totals) <= allowed | {"shadows", "pending"}
        )
        self._check(f"v2 got what ended ok, {lost} lost ones aside", 0 <= delivered - totals["ok"] <= lost)
        self._check(f"the log has two lines a request, {self.lines}", self.lines == 2 * self.sent)
        for name in ("proxy", "worker"):
            self._check_flat(name)

    def _check_flat(self, name: str) -> None:
        """Compares the third fifth with the last: by then caches are full and the last kill is past."""
        middle = [getattr(sample, name) for sample in self.samples if 0.55 <= sample.share < 0.75]
        end = [getattr(sample, name) for sample in self.samples if sample.share >= 0.8]
        if not middle or not end:
            self._check(f"{name}: too short a run for a verdict", False)
            return
        before, after = (median(use.resident_bytes for use in uses) for uses in (middle, end))
        allowed = max(before * FLAT_SHARE, FLAT_BYTES)
        text = f"{name} memory is flat: {before / 1e6:.1f} MB, then {after / 1e6:.1f} MB"
        self._check(text, after - before <= allowed)
        before, after = (max(use.descriptors for use in uses) for uses in (middle, end))
        text = f"{name} descriptors are flat: at most {before}, then {after}"
        self._check(text, after - before <= FLAT_DESCRIPTORS)
        print(f"  {name} peak memory {max(use.peak_bytes for use in [*middle, *end]) / 1e6:.1f} MB")

    def _check(self, what: str, holds: bool) -> None:
        print(f"  {'ok    ' if holds else 'BROKEN'}  {what}", flush=True)
        if not holds:
            self.broken.append(what)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak", description="Full load for a long time.")
    parser.add_argument("--minutes", type=float, default=30, help="how long (default: 30)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mitm-mirror-soak-") as name:
        held = Soak(Path(name), arguments.minutes * 60).run()
    print("\nheld" if held else "\nNOT HELD")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())

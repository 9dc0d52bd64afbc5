"""What goes wrong around a mirror: its network, its name, the log's disk, the clock. No client can tell."""

import contextlib
import datetime as dt
import signal
from pathlib import Path

import pytest

from lab.access_log import AccessLog
from lab.backend import Backend
from lab.client_view import VIEW_REQUESTS, ClientView, answer_by_digest, look
from lab.load import Load
from lab.mirror_rules import PRIMARY, policy, route, service
from lab.misbehaviour import never
from lab.mitmdump import Mitmdump, StartMitmdump
from lab.sandbox import (
    BLACK_HOLE,
    UNREACHABLE,
    Resolver,
    missing_for_sandbox,
    mount_small,
    replace_file,
    run_in_sandbox,
)
from lab.wall_clock import WallClock

MISSING = missing_for_sandbox()
sandboxed = pytest.mark.skipif(bool(MISSING), reason=f"NOT TESTED: {MISSING}")

CONCURRENCY, LOAD = 16, 64

TIMEOUT_S, PATIENCE_S = 1, 120
"""Where another end than a time-out is expected, a slow machine must not bring one about."""

PLACES = {
    "first": ("127.0.0.1", "ok", ""),  # no fault: the worker has started by its end
    "black-hole": (BLACK_HOLE, "timeout", "deadline"),
    "unreachable": (UNREACHABLE, "connect_error", "unreachable"),
    "fails": ("fails.test", "connect_error", "does not resolve"),
    "breaks": ("breaks.test", "connect_error", "does not resolve"),
    "hangs": ("hangs.test", "timeout", "deadline"),
    "slow": ("slow.test", "ok", ""),
    "works": ("works.test", "ok", ""),
}
"""By host: the mirror's address, how its shadows end, and what is in their text."""


class Proxy:
    """mitmdump before a primary, and what clients see of it."""

    def __init__(self, mitmdump: Mitmdump, primary: Backend, confdir: Path) -> None:
        self.mitmdump = mitmdump
        self._primary = primary
        self._authority = confdir / "mitmproxy-ca-cert.pem"

    def look(self, name: str) -> ClientView:
        port = self.mitmdump.port
        return look(port, f"{name}.example", self._primary, self._authority, lambda _: None)

    def load(self, name: str) -> bytes:
        """The body of all answers."""
        request = f"GET http://{name}.example/ HTTP/1.1\r\nHost: {name}.example\r\n\r\n"
        result = Load(self.mitmdump.port, request.encode(), concurrency=CONCURRENCY, total=LOAD).join()
        assert result.errors == []
        assert result.statuses == {200: LOAD}
        (body,) = result.bodies
        return body


@sandboxed
def test_mirrors_that_cannot_be_reached_or_found(tmp_path: Path, confdir: Path, start: StartMitmdump) -> None:
    log = AccessLog(tmp_path / "access.log")

    def test() -> None:
        own = tmp_path / "etc"
        own.mkdir()
        # The most that is to be had, some minutes: a name that hangs does so for as long as this lasts.
        replace_file(Path("/etc/resolv.conf"), "nameserver 127.0.0.1\noptions timeout:30 attempts:5\n", own)
        replace_file(Path("/etc/nsswitch.conf"), "hosts: files dns\n", own)
        Resolver()
        with Backend("v1", answer_by_digest) as primary, Backend("v2") as mirror:
            rules = [route("plain.example", "", name="plain"), service(PRIMARY, primary.port)]
            for name, (address, outcome, _) in PLACES.items():
                timeout_s = TIMEOUT_S if outcome == "timeout" else PATIENCE_S
                rules.append(
                    route(f"{name}.example", f"{name}-mirror.example", name=name, timeout_s=timeout_s)
                )
                rules.append(service(f"{name}-mirror.example", mirror.port, address))
                rules.append(policy(f"{name}-mirror.example"))
            (tmp_path / "rules" / "faults.yaml").write_text("".join(rules), encoding="utf-8")
            proxy = Proxy(start(**log.options), primary, confdir)
            without_mirror, body = proxy.look("plain"), proxy.load("plain")
            for name, (_, outcome, error) in PLACES.items():
                assert proxy.look(name) == without_mirror, name
                assert proxy.load(name) == body, name
                shadows = log.wait_for_pairs(name, VIEW_REQUESTS + LOAD)
                assert {record["outcome"] for record in shadows} == {outcome}, name
                assert all(error in (record["error"] or "") for record in shadows), name
            assert proxy.mitmdump.stop(signal.SIGINT) == 0
            totals = proxy.mitmdump.totals()
            assert totals.pop("pending") == 0
            assert totals.pop("shadows") == sum(totals.values()) == len(PLACES) * (VIEW_REQUESTS + LOAD)

    run_in_sandbox(test)


@sandboxed
def test_a_disk_without_room_for_the_access_log(tmp_path: Path, confdir: Path, start: StartMitmdump) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    log = AccessLog(disk / "access.log")

    def test() -> None:
        mount_small(disk, 256 << 10)
        with Backend("v1", answer_by_digest) as primary, Backend("v2") as mirror:
            rules = [
                route("plain.example", "", name="plain") + service(PRIMARY, primary.port),
                route("full.example", "mirror.example", name="full"),
                route("after.example", "mirror.example", name="after"),
                service("mirror.example", mirror.port) + policy("mirror.example"),
            ]
            (tmp_path / "rules" / "faults.yaml").write_text("".join(rules), encoding="utf-8")
            proxy = Proxy(start(mirror_timeout=str(PATIENCE_S), **log.options), primary, confdir)
            without_mirror, body = proxy.look("plain"), proxy.load("plain")
            ballast = disk / "ballast"
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(1024))
            assert proxy.look("full") == without_mirror
            assert proxy.load("full") == body
            proxy.mitmdump.wait_for_log("mirror_access_log: cannot write .*: No space left on device")
            mirror.wait_for_count(VIEW_REQUESTS + LOAD)
            ballast.unlink()
            assert proxy.look("after") == without_mirror
            # Whole lines again, and of each of these requests both.
            log.wait_for_pairs("after", VIEW_REQUESTS)
            assert proxy.mitmdump.stop(signal.SIGINT) == 0
            proxy.mitmdump.wait_for_log(r"mirror_access_log: lines dropped in all: \d+")
            count = 2 * VIEW_REQUESTS + LOAD
            assert proxy.mitmdump.totals() == {"shadows": count, "ok": count, "pending": 0}

    run_in_sandbox(test)


def test_a_wall_clock_that_is_set_forth_and_back(tmp_path: Path, confdir: Path, rules: Path) -> None:
    log = AccessLog(tmp_path / "access.log")
    clock = WallClock(tmp_path)
    day_s = 86_400.0
    started = dt.datetime.now(dt.UTC)
    with Backend("v1", answer_by_digest) as primary, Backend("v2") as v2, Backend("v3", never) as silent:
        text = [route("plain.example", "", name="plain") + service(PRIMARY, primary.port)]
        for name, mirror, timeout_s in (("healthy", v2, PATIENCE_S), ("silent", silent, 2 * TIMEOUT_S)):
            text.append(route(f"{name}.example", f"{name}-mirror.example", name=name, timeout_s=timeout_s))
            text.append(service(f"{name}-mirror.example", mirror.port) + policy(f"{name}-mirror.example"))
        (rules / "faults.yaml").write_text("".join(text), encoding="utf-8")
        options = {
            "confdir": str(confdir),
            "mirror_rules": str(rules),
            # Bounds that nothing here comes near, but a day would.
            "mirror_governor": "lag=60,primary=60",
            **log.options,
        }
        with Mitmdump(tmp_path, options, env=clock.environment) as mitmdump:
            proxy = Proxy(mitmdump, primary, confdir)
            without_mirror, body = proxy.look("plain"), proxy.load("plain")
            request = b"GET http://silent.example/ HTTP/1.1\r\nHost: silent.example\r\n\r\n"
            asked = 0
            for seconds in (day_s, -day_s, 0.0):
                held = silent.count
                # In flight while the clock is set, both at their primary and at the mirror.
                load = Load(mitmdump.port, request, concurrency=CONCURRENCY)
                silent.wait_for_count(held + CONCURRENCY)
                clock.move(seconds)
                result = load.stop()
                assert (result.errors, set(result.statuses)) == ([], {200})
                asked += result.count
                assert proxy.look("healthy") == without_mirror
                assert proxy.load("healthy") == body
            healthy = log.wait_for_pairs("healthy", 3 * (VIEW_REQUESTS + LOAD))
            late = log.wait_for_pairs("silent", asked)
            records = [*log.records("healthy"), *log.records("silent")]
            assert mitmdump.stop(signal.SIGINT) == 0

    assert {record["outcome"] for record in healthy} == {"ok"}
    assert {record["outcome"] for record in late} == {"timeout"}
    moved = {
        round((dt.datetime.fromisoformat(record["start_time"]) - started).total_seconds() / day_s)
        for record in records
    }
    assert moved == {-1, 0, 1}, "the clock was set"
    assert min(record["duration_ms"] for record in records if record["duration_ms"] is not None) >= 0
    assert not [line for line in mitmdump.lines if "is mirrored until" in line or "a bug of mitm" in line]

"""Rules that are replaced under load: no request fails, and each is served by one whole rule set."""

import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from lab.backend import Backend
from lab.client import proxy_get
from lab.load import Load
from lab.mitmdump import StartMitmdump
from lab.rules import HOST, MIRROR_TO_V2, write_atomically
from lab.wire import Message

DURATION_S = 10.0
LOADS = 8
"""So often rules are loaded at least, however long that takes."""
PATIENCE_S = 120.0
INTERVAL_S = 0.1

GET = f"GET http://{HOST}/get HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


def version_text(version: int) -> str:
    """The task's rules, and three traces of their version: in the authority, and on both headers.

    The traces come from different places of the rule set, so a mixture of two would show.
    """
    route = f"""\
  - headers:
      request:
        set:
          x-route: "{version}"
    rewrite:
      authority: v{version}.example
    route:
    - destination:
        host: httpbin
        subset: v1
      headers:
        request:
          set:
            x-destination: "{version}"
      weight: 100
"""
    text = MIRROR_TO_V2.read_text(encoding="utf-8")
    start, end = text.index("  - route:"), text.index("    mirror:")
    return text[:start] + route + text[end:]


def versions_of(request: Message) -> set[str]:
    """The versions whose traces a request carries."""
    authority = request.values(b"host")[0].decode()
    return {
        authority.removeprefix("v").partition(".")[0],
        *(value.decode() for value in request.values(b"x-route")),
        *(value.decode() for value in request.values(b"x-destination")),
    }


@pytest.mark.parametrize("second_is_broken", [False, True], ids=["all good", "every second one broken"])
def test_rules_replaced_under_load(
    v1: Backend, v2: Backend, rules: Path, start: StartMitmdump, second_is_broken: bool
) -> None:
    write_atomically(rules / "httpbin.yaml", version_text(0))
    mitmdump = start()
    load = Load(mitmdump.port, GET, concurrency=8)
    pace = threading.Event()
    version, broken = 0, set()
    started = time.monotonic()

    def goes_on() -> bool:
        passed_s = time.monotonic() - started
        loads = sum("mirror: rules reloaded" in line for line in mitmdump.lines)
        return passed_s < DURATION_S or (loads < LOADS and passed_s < PATIENCE_S)

    while goes_on():
        pace.wait(INTERVAL_S)
        version += 1
        text = version_text(version)
        if second_is_broken and version % 2:
            broken.add(str(version))
            text = text.replace("subset: v2", "subset: v2\n      nonsense: true")
        write_atomically(rules / "httpbin.yaml", text)
    result = load.stop()
    v2.wait_for_count(v1.count)
    assert mitmdump.stop(signal.SIGINT) == 0

    assert result.errors == []
    assert set(result.statuses) == {200}
    assert v1.count == v2.count == result.count
    served: dict[str, Counter[str]] = {}
    for backend in (v1, v2):
        versions = [versions_of(request) for request in backend.requests]
        assert [mixed for mixed in versions if len(mixed) != 1] == []
        served[backend.label] = Counter(version for (version,) in versions)
    # The shadow is a copy under the rules that its primary was served by.
    assert served["v1"] == served["v2"]
    assert len(served["v1"]) > 5, "the rules were hardly ever reloaded"
    assert not broken & set(served["v1"])
    assert ("rules refused" in mitmdump.output) == second_is_broken


def test_a_refused_set_names_the_line_and_the_old_one_serves_on(
    v1: Backend, v2: Backend, rules: Path, start: StartMitmdump
) -> None:
    mitmdump = start()
    seen = len(mitmdump.lines)
    text = MIRROR_TO_V2.read_text(encoding="utf-8").replace("hosts:", "hots:")
    line = 1 + next(number for number, written in enumerate(text.splitlines()) if "hots:" in written)
    write_atomically(rules / "httpbin.yaml", text)
    mitmdump.wait_for_log(r"mirror: rules refused, generation 1 goes on serving", since=seen)
    assert f"{rules / 'httpbin.yaml'}:{line}:" in mitmdump.output
    assert proxy_get(mitmdump.port, f"http://{HOST}/").body == b"v1"
    v2.wait_for_count(1)
    seen = len(mitmdump.lines)
    write_atomically(rules / "httpbin.yaml", MIRROR_TO_V2.read_text(encoding="utf-8"))
    mitmdump.wait_for_log(r"mirror: rules reloaded \(generation 2\)", since=seen)
    assert proxy_get(mitmdump.port, f"http://{HOST}/").body == b"v1"
    v2.wait_for_count(2)


def test_deleted_rules_end_routing_and_mirroring(
    v1: Backend, v2: Backend, rules: Path, start: StartMitmdump
) -> None:
    mitmdump = start()
    assert proxy_get(mitmdump.port, f"http://{HOST}/").body == b"v1"
    v2.wait_for_count(1)
    seen = len(mitmdump.lines)
    (rules / "httpbin.yaml").unlink()
    mitmdump.wait_for_log(r"mirror: rules reloaded", since=seen)
    assert proxy_get(mitmdump.port, f"http://{HOST}/").body != b"v1"
    assert proxy_get(mitmdump.port, f"http://127.0.0.1:{v1.port}/direct").body == b"v1"
    assert mitmdump.stop(signal.SIGINT) == 0
    assert (v1.count, v2.count) == (2, 1)


def test_a_swapped_symlink_is_noticed(v1: Backend, v2: Backend, rules: Path, start: StartMitmdump) -> None:
    """As Kubernetes updates a mounted ConfigMap: the files are links through `..data`, which is swapped."""
    names = ["httpbin.yaml", "httpbin-endpoints.yaml"]
    for version in ("first", "second"):
        (rules / f"..{version}").mkdir()
        for name in names:
            (rules / f"..{version}" / name).write_text((rules / name).read_text("utf-8"), encoding="utf-8")
    (rules / "..second" / "httpbin.yaml").write_text(version_text(7), encoding="utf-8")
    (rules / "..data").symlink_to("..first")
    for name in names:
        (rules / name).unlink()
        (rules / name).symlink_to(f"..data/{name}")
    mitmdump = start()
    proxy_get(mitmdump.port, f"http://{HOST}/")
    seen = len(mitmdump.lines)
    (rules / "..new").symlink_to("..second")
    (rules / "..new").rename(rules / "..data")
    mitmdump.wait_for_log(r"mirror: rules reloaded \(generation 2\)", since=seen)
    proxy_get(mitmdump.port, f"http://{HOST}/")
    v2.wait_for_count(2)
    assert [request.values(b"host") for request in v1.requests] == [[HOST.encode()], [b"v7.example"]]

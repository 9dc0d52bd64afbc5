"""A thread with a network and mounts of its own, so that what it does disturbs nobody. Linux, root."""

import ctypes
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

BLACK_HOLE = "192.0.2.7"
"""In a sandbox: what is sent there goes nowhere, and no answer comes, not even that nobody is there."""

UNREACHABLE = "198.51.100.7"
"""In a sandbox: there is no way there, and the system says so at once."""

_CLONE_NEWNS = 0x00020000
_CLONE_NEWNET = 0x40000000
_MS_PRIVATE_AND_ALL_BELOW = 1 << 18 | 1 << 14

Result = TypeVar("Result")


def run_in_sandbox(task: Callable[[], Result]) -> Result:
    """What `task` returns or raises. Its threads and processes are in the sandbox as well.

    Raises OSError and CalledProcessError where the system refuses.
    """
    with ThreadPoolExecutor(1, "sandbox", initializer=_enter) as thread:
        return thread.submit(task).result()


def missing_for_sandbox() -> str:
    """Why there can be no sandbox on this machine; empty where there can."""
    if sys.platform != "linux":
        return "namespaces are Linux's"
    if os.geteuid() != 0:
        return "a network and a file system of one's own need root"
    missing = [program for program in ("ip", "mount") if shutil.which(program) is None]
    if missing:
        return f"not on PATH: {', '.join(missing)}"
    try:
        run_in_sandbox(lambda: None)
    except Exception as error:  # noqa: BLE001 - whatever it is, a container may forbid it, and it is told
        return f"no namespaces: {error}"
    return ""


def replace_file(path: Path, text: str, folder: Path) -> None:
    """Within a sandbox: from now on `path` has another content. `folder` is for the file that has it."""
    own = folder / path.name
    own.write_text(text, encoding="utf-8")
    _run("mount", "--bind", str(own), str(path))


def mount_small(folder: Path, size: int) -> None:
    """Within a sandbox: `folder` is a file system of its own, with room for `size` bytes."""
    _run("mount", "-t", "tmpfs", "-o", f"size={size}", "small", str(folder))


SLOW_S = 1.5
"""How late a `slow` name is answered."""


class Resolver:
    """Within a sandbox: a name server on 127.0.0.1. What a name begins with is what becomes of it."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 53))  # the sandbox's own port 53
        threading.Thread(target=self._serve, name="resolver", daemon=True).start()

    def _serve(self) -> None:
        while True:
            query, sender = self._socket.recvfrom(4096)
            answer = _dns_answer(query)
            if answer is not None:
                pause_s = SLOW_S if _first_label(query) == b"slow" else 0.0
                threading.Timer(pause_s, self._socket.sendto, (answer, sender)).start()


def _first_label(query: bytes) -> bytes:
    return query[13 : 13 + query[12]]


def _dns_answer(query: bytes) -> bytes | None:
    """`works` and `slow` are 127.0.0.1, `fails` is none, `breaks` a server failure, `hangs` gets no answer.

    Source: RFC 1035, section 4.
    """
    first = _first_label(query)
    question = query[12 : query.index(b"\0", 12) + 5]
    if first == b"hangs":
        return None
    code = {b"fails": 3, b"breaks": 2}.get(first, 0)
    is_address = question[-4:-2] == b"\0\1"
    record = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + socket.inet_aton("127.0.0.1")
    answers = [record] if code == 0 and is_address else []
    flags = (0x8180 | code).to_bytes(2, "big")
    counts = b"\0\1" + len(answers).to_bytes(2, "big") + b"\0\0\0\0"
    return query[:2] + flags + counts + question + b"".join(answers)


def _enter() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.unshare(_CLONE_NEWNET | _CLONE_NEWNS))
    _check(libc.mount(b"none", b"/", None, _MS_PRIVATE_AND_ALL_BELOW, None))
    _run("ip", "link", "set", "lo", "up")
    # A wire with nobody at its other end; a permanent neighbour, so that nothing asks who has the address.
    _run("ip", "link", "add", "wire", "type", "veth", "peer", "name", "end")
    _run("ip", "addr", "add", "192.0.2.1/24", "dev", "wire")
    for name in ("wire", "end"):
        _run("ip", "link", "set", name, "up")
    _run("ip", "neigh", "add", BLACK_HOLE, "lladdr", "02:00:00:00:00:01", "dev", "wire", "nud", "permanent")


def _check(status: int) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)

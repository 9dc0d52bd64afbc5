"""Three machines in one: network namespaces for a client, a gateway and backends. Linux, root only."""

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

PROXY_PORT = 9090
"""Where the gateway's proxy listens; every namespace has ports of its own, so it is always free."""

CLIENT_V4, BACKENDS_V4 = "10.77.1.2", "10.77.2.2"
CLIENT_V6, BACKENDS_V6 = "fd77:1::2", "fd77:2::2"
_GATEWAY = {"cli": ("10.77.1.1", "fd77:1::1"), "srv": ("10.77.2.1", "fd77:2::1")}

_CLONE_NEWNET = 0x40000000


class Gateway:
    """Backends, and a client whose only way out is a gateway that redirects it to its `PROXY_PORT`.

    The names are unique to this process and object. Leaving the context takes everything away, also
    after a failure half-way.
    """

    def __init__(self, number: int = 0) -> None:
        self._names = {
            role: f"mirror-{os.getpid()}-{number}-{role}" for role in ("client", "gateway", "backends")
        }

    @property
    def wrapper(self) -> tuple[str, ...]:
        """What starts a command on the gateway."""
        return ("ip", "netns", "exec", self._names["gateway"])

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self._take_away()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._take_away()

    def connect(self, address: str, port: int) -> socket.socket:
        """A connection from the client."""
        with self._inside("client"):
            return socket.create_connection((address, port), timeout=60.0)

    def listen(self, address: str, port: int = 0) -> socket.socket:
        """A listening socket at the backends; port 0 lets the system choose."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self._inside("backends"):
            return socket.create_server((address, port), family=family, backlog=128)

    def _build(self) -> None:
        client, gateway, backends = self._names.values()
        for name in self._names.values():
            _run("ip", "netns", "add", name)
            _run("ip", "-n", name, "link", "set", "lo", "up")
        # Made inside the namespaces, so the machine's own interfaces are never in the way.
        _run(
            "ip",
            "link",
            "add",
            "eth0",
            "netns",
            client,
            "type",
            "veth",
            "peer",
            "name",
            "cli",
            "netns",
            gateway,
        )
        _run(
            "ip",
            "link",
            "add",
            "eth0",
            "netns",
            backends,
            "type",
            "veth",
            "peer",
            "name",
            "srv",
            "netns",
            gateway,
        )
        _set_up(client, "eth0", (CLIENT_V4, CLIENT_V6))
        _set_up(backends, "eth0", (BACKENDS_V4, BACKENDS_V6))
        for interface, addresses in _GATEWAY.items():
            _set_up(gateway, interface, addresses)
        for address in _GATEWAY["cli"]:
            _run("ip", "-n", client, *_family(address), "route", "add", "default", "via", address)
        for program in ("iptables", "ip6tables"):
            _run(
                *self.wrapper,
                *f"{program} -t nat -A PREROUTING -i cli -p tcp -j REDIRECT --to-ports {PROXY_PORT}".split(),
            )

    def _take_away(self) -> None:
        for name in self._names.values():
            # With the namespace go its interfaces and rules. One that was never made is none to delete.
            if Path("/run/netns", name).exists():
                _run("ip", "netns", "delete", name)

    @contextlib.contextmanager
    def _inside(self, role: str) -> Iterator[None]:
        """This thread's new sockets are in a namespace, and stay there when it has left."""
        with (
            Path("/proc/thread-self/ns/net").open() as own,
            Path("/run/netns", self._names[role]).open() as other,
        ):
            _set_namespace(other.fileno())
            try:
                yield
            finally:
                _set_namespace(own.fileno())


def missing_for_namespaces() -> str:
    """Why there can be no `Gateway` on this machine; empty where there can."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [program for program in ("ip", "iptables", "ip6tables") if shutil.which(program) is None]
    if missing:
        return f"not on PATH: {', '.join(missing)} (packages iproute2 and iptables)"
    try:
        with Gateway(number=9):
            return ""
    except subprocess.CalledProcessError as error:
        # As in a container that may not make any.
        return f"{' '.join(error.cmd)}: {error.stderr.strip()}"


def _set_up(namespace: str, interface: str, addresses: Sequence[str]) -> None:
    for address in addresses:
        # Without duplicate address detection, which would keep an IPv6 address from use for a second.
        extra = ["/64", "nodad"] if ":" in address else ["/24"]
        _run("ip", "-n", namespace, "addr", "add", address + extra[0], "dev", interface, *extra[1:])
    _run("ip", "-n", namespace, "link", "set", interface, "up")


def _family(address: str) -> tuple[str, ...]:
    return ("-6",) if ":" in address else ()


def _set_namespace(descriptor: int) -> None:
    # os.setns is there from Python 3.12 on.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)

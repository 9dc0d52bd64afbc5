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
from typing import Literal, Self

PROXY_PORT = 9090
"""Where the gateway's proxy listens; every namespace has ports of its own, so it is always free."""

CLIENT_V4, BACKENDS_V4 = "10.77.1.2", "10.77.2.2"
CLIENT_V6, BACKENDS_V6 = "fd77:1::2", "fd77:2::2"
_GATEWAY = {"eth0": ("10.77.2.1", "fd77:2::1"), "eth1": ("10.77.1.1", "fd77:1::1")}
"""By interface: towards the backends, and towards the client."""

Role = Literal["client", "gateway", "backends"]

_CLONE_NEWNET = 0x40000000


class Network:
    """A client, a gateway that is its only way out, and backends behind the gateway; a namespace for each.

    Their names are unique to this process and object. Leaving the context takes everything away, also
    after a failure half-way.
    """

    def __init__(self, number: int = 0) -> None:
        self._names: dict[Role, str] = {
            role: f"mirror-{os.getpid()}-{number}-{role}" for role in ("client", "gateway", "backends")
        }

    def wrapper(self, role: Role) -> tuple[str, ...]:
        """What starts a command there: it goes before the command."""
        return ("ip", "netns", "exec", self._names[role])

    def redirect(self) -> None:
        """Has all TCP connections of the client answered by port `PROXY_PORT` of the gateway."""
        for program in ("iptables", "ip6tables"):
            rule = f"{program} -t nat -A PREROUTING -i eth1 -p tcp -j REDIRECT --to-ports {PROXY_PORT}"
            _run(" ".join((*self.wrapper("gateway"), rule)))

    def connect(self, address: str, port: int) -> socket.socket:
        """A connection from the client."""
        with self._inside("client"):
            return socket.create_connection((address, port), timeout=60.0)

    def listen(self, role: Role, address: str, port: int = 0) -> socket.socket:
        """A listening socket there; port 0 lets the system choose."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self._inside(role):
            return socket.create_server((address, port), family=family, backlog=128)

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

    def _build(self) -> None:
        client, gateway, backends = self._names.values()
        for name in self._names.values():
            _run(f"ip netns add {name}")
            _run(f"ip -n {name} link set lo up")
        # Made inside the namespaces, so the machine's own interfaces are never in the way.
        for name, interface in ((backends, "eth0"), (client, "eth1")):
            _run(f"ip link add eth0 netns {name} type veth peer name {interface} netns {gateway}")
        _set_up(client, "eth0", (CLIENT_V4, CLIENT_V6))
        _set_up(backends, "eth0", (BACKENDS_V4, BACKENDS_V6))
        for interface, addresses in _GATEWAY.items():
            _set_up(gateway, interface, addresses)
        for address in _GATEWAY["eth1"]:
            _run(f"ip -n {client} {'-6' if ':' in address else '-4'} route add default via {address}")

    def _take_away(self) -> None:
        for name in self._names.values():
            # With the namespace go its interfaces and rules. One that was never made is none to delete.
            if Path("/run/netns", name).exists():
                _run(f"ip netns delete {name}")

    @contextlib.contextmanager
    def _inside(self, role: Role) -> Iterator[None]:
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
    """Why there can be no `Network` on this machine; empty where there can."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [program for program in ("ip", "iptables", "ip6tables") if shutil.which(program) is None]
    if missing:
        return f"not on PATH: {', '.join(missing)} (packages iproute2 and iptables)"
    try:
        with Network(number=9) as network:
            network.redirect()
            return ""
    except subprocess.CalledProcessError as error:
        # As in a container that may not make any.
        return f"{' '.join(error.cmd)}: {error.stderr.strip()}"


def _set_up(namespace: str, interface: str, addresses: Sequence[str]) -> None:
    for address in addresses:
        # Without duplicate address detection, which would keep an IPv6 address from use for a second.
        length, extra = ("64", "nodad") if ":" in address else ("24", "")
        _run(f"ip -n {namespace} addr add {address}/{length} dev {interface} {extra}")
    _run(f"ip -n {namespace} link set {interface} up")


def _set_namespace(descriptor: int) -> None:
    # os.setns is there from Python 3.12 on.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _run(command: str) -> None:
    subprocess.run(command.split(), check=True, capture_output=True, text=True)

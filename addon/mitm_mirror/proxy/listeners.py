"""Which addresses are this proxy's own: a shadow that goes there would come back to us."""

import functools
import ipaddress
import math
import socket
import time
from collections.abc import Callable

from mitmproxy import ctx

_WILDCARDS = frozenset({"", "0.0.0.0", "::"})

_REMEMBERED_S = 1.0


class OwnAddresses:
    """`is_own_address`, whose answers are remembered for a second: each takes a system call a listener.

    A listener that is new meanwhile gets a shadow at worst, which is known by its connection when it comes.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._forget_at = -math.inf
        self._answers: dict[tuple[str, int], bool] = {}

    def __call__(self, address: str, port: int) -> bool:
        now = self._clock()
        if now >= self._forget_at:
            self._forget_at = now + _REMEMBERED_S
            self._answers = {}
        answer = self._answers.get((address, port))
        if answer is None:
            answer = self._answers[address, port] = is_own_address(address, port)
        return answer


def is_own_address(address: str, port: int) -> bool:
    """Whether this mitmproxy listens on `address` and `port`. Names other than localhost are not resolved."""
    proxyserver = ctx.master.addons.get("proxyserver")
    if proxyserver is None:
        return False
    for own_host, own_port, *_ in proxyserver.listen_addrs():
        if port == own_port and (
            address == own_host or (is_local(address) and (own_host in _WILDCARDS or is_local(own_host)))
        ):
            return True
    return False


@functools.lru_cache(maxsize=1024)
def is_local(address: str) -> bool:
    """Whether an IP address (or `localhost`) is one of this machine's."""
    if address == "localhost":
        return True
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if ip.is_loopback:
        return True
    # The system lets a socket be bound to its own addresses only. Nothing is sent.
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(ip), 0))
        except OSError:
            return False
    return True

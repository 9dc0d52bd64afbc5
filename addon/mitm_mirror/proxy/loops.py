"""Recognises shadows that come back to this proxy.

Where the Host carries the suffix nothing of this is needed. Without it a shadow and an equal request of a
client are the same bytes, so only what is not in them can tell: the connection that it came over, where it
came straight from a worker; through other proxies, a mark.
"""

import ipaddress
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable

from mitm_mirror.client.request import OutgoingRequest
from mitm_mirror.routing.authority import server_name
from mitm_mirror.routing.request import HeaderFields, RequestHead
from mitm_mirror.shadow.message import Address, SocketPair
from mitm_mirror.text import encode

MAX_CONNECTIONS = 65_536
"""As many as a machine has ports: what was opened before that is closed, or is used all the time."""

GRACE_S = 1.0
"""For so long a shadow that was answered may still come back: another mirroring proxy answers first and
copies later. A loop that takes longer gets around once in this time at most, and cannot grow into a storm."""

Key = tuple[bytes, bytes, str]
"""Method, target and the Host without port: what a proxy on the way leaves as it is."""


def head_key(head: RequestHead) -> Key:
    """Of a request as it came."""
    return encode(head.method), head.target, server_name(head.authority).lower()


def shadow_key(request: OutgoingRequest, authority: str) -> Key:
    """Of a shadow as it is sent."""
    return request.method, request.target, server_name(authority).lower()


class LoopGuard:
    """What is remembered of shadows that are under way. For one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, token: str | None = None) -> None:
        """`token` tells this proxy from every other one."""
        self._clock = clock
        self._mark = encode(f"mitm-mirror-{token or secrets.token_hex(4)}")
        self._servers: OrderedDict[Address, Address] = OrderedDict()
        self._under_way: Counter[Key] = Counter()
        self._ended: OrderedDict[Key, float] = OrderedDict()

    def connected(self, connections: Iterable[SocketPair]) -> None:
        """Workers opened these connections."""
        for own, server in connections:
            self._servers[_plain(own)] = _plain(server)
        while len(self._servers) > MAX_CONNECTIONS:
            self._servers.popitem(last=False)

    def is_own_connection(self, client: Address, *servers: Address) -> bool:
        """Whether a worker opened the connection from `client` to one of `servers`.

        Both ends have to fit: a port alone is used again by others as soon as it is closed. Of `servers` one
        is our own end, another one the destination before it was redirected to us.
        """
        own = _plain(client) if ":" in client[0] else client
        server = self._servers.get(own)
        if server is None or server not in map(_plain, servers):
            return False
        self._servers.move_to_end(own)
        return True

    def has_mark(self, fields: HeaderFields) -> bool:
        """Whether a request carries our mark: it was a shadow of ours."""
        mark = self._mark
        for name, value in fields:  # noqa: SIM110  (a generator costs twice as much)
            if len(name) == 3 and mark in value and name.lower() == b"via":
                return True
        return False

    def marked(self, fields: HeaderFields) -> HeaderFields:
        """Header lines with our mark, a pseudonym in `Via` (RFC 9110, 7.6.3: made to find loops)."""
        return (*fields, (b"Via", b"1.1 " + self._mark))

    def may_be_back(self, key: Key) -> bool:
        """Whether a shadow like this is under way, or was a moment ago.

        It may as well be an equal request of a client, so this is no reason not to mirror it.
        """
        self._forget()
        return self._under_way[key] > 0 or key in self._ended

    def sent(self, key: Key) -> None:
        """A shadow without any sign of its own goes out."""
        self._under_way[key] += 1

    def ended(self, key: Key) -> None:
        """Such a shadow has ended."""
        self._under_way[key] -= 1
        if not self._under_way[key]:
            del self._under_way[key]
        self._ended[key] = self._clock()
        self._ended.move_to_end(key)
        self._forget()

    def _forget(self) -> None:
        since = self._clock() - GRACE_S
        while self._ended and next(iter(self._ended.values())) < since:
            self._ended.popitem(last=False)


def _plain(address: Address) -> Address:
    """The address of IPv4 where IPv6 wraps one (`::ffff:127.0.0.1`)."""
    host, port = address
    if "." in host and ":" in host:
        ip = ipaddress.ip_address(host)
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped), port
    return host, port

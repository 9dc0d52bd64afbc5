"""Which addresses are this proxy's own: a shadow that goes there would come back to us."""

import functools
import ipaddress
import socket

from mitmproxy import ctx

_WILDCARDS = frozenset({"", "0.0.0.0", "::"})


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

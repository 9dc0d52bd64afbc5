"""Which addresses are this proxy's own: a shadow that goes there would come back to us."""

from mitmproxy import ctx

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def is_own_address(address: str, port: int) -> bool:
    """Whether this mitmproxy listens on `address` and `port`.

    The same rule by which mitmproxy refuses to connect a primary to itself.
    """
    proxyserver = ctx.master.addons.get("proxyserver")
    if proxyserver is None:
        return False
    return any(
        port == own_port and (address in _LOOPBACK or address == own_host)
        for own_host, own_port, *_ in proxyserver.listen_addrs()
    )

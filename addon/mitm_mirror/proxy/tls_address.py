"""An upstream address that knows how TLS is spoken to it."""

from typing import Self

from mitm_mirror.upstream_tls import UpstreamTls


class TlsAddress(str):
    """The host of an https flow, as its request and its server connection carry it.

    mitmproxy opens a flow's connection by itself, and lets the flows of one client connection share it
    where host, port and scheme are equal. Two destinations may be one address with different server names,
    certificates or checks; sharing would send one's requests over the other's connection. Hence the
    settings are part of the host, and of its equality among its like. To any other string it is
    the host that it spells, so scripts that compare hosts see no difference. It also tells the hook that
    sets up TLS what to do, for which mitmproxy passes nothing but the connection.
    """

    __slots__ = ("sni", "tls")

    sni: str
    """The server name; empty where no rule says anything, and mitmproxy decides."""
    tls: UpstreamTls | None

    def __new__(cls, host: str, sni: str = "", tls: UpstreamTls | None = None) -> Self:
        address = super().__new__(cls, host)
        address.sni = sni
        address.tls = tls
        return address

    def __eq__(self, other: object) -> bool:
        if isinstance(other, TlsAddress) and (self.sni, self.tls) != (other.sni, other.tls):
            return False
        return str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other  # str has its own __ne__, which would not ask __eq__

    __hash__ = str.__hash__

"""An upstream address that knows how its server is spoken to."""

from typing import Self

from mitm_mirror.upstream_tls import UpstreamTls


class UpstreamAddress(str):
    """The host of a flow, as its request and its server connection carry it.

    mitmproxy opens a flow's connection by itself, and lets the flows of one client connection share it
    where host, port and scheme are equal. Two destinations may be one address with different server names,
    certificates, checks or HTTP versions; sharing would send one's requests over the other's connection.
    Hence the settings are part of the host, and of its equality among its like. To any other string it is
    the host that it spells, so scripts that compare hosts see no difference. It also tells the hooks that
    set up a connection what to do, for which mitmproxy passes nothing but the connection.
    """

    __slots__ = ("http2", "sni", "tls")

    sni: str
    """The server name; empty where no rule says anything, and mitmproxy decides."""
    tls: UpstreamTls | None
    http2: bool
    """Whether HTTP/2 is spoken whatever the client speaks: in clear text without asking, else offered."""

    def __new__(
        cls, host: str, sni: str = "", tls: UpstreamTls | None = None, *, http2: bool = False
    ) -> Self:
        address = super().__new__(cls, host)
        address.sni = sni
        address.tls = tls
        address.http2 = http2
        return address

    def __eq__(self, other: object) -> bool:
        if isinstance(other, UpstreamAddress) and self._settings() != other._settings():
            return False
        return str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other  # str has its own __ne__, which would not ask __eq__

    __hash__ = str.__hash__

    def _settings(self) -> tuple[str, UpstreamTls | None, bool]:
        return self.sni, self.tls, self.http2

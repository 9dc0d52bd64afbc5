"""One request as it goes over the wire. Values only."""

import msgspec

from mitm_mirror.upstream_tls import UpstreamTls

_UNIX = "unix://"

Fields = tuple[tuple[bytes, bytes], ...]
"""Header lines or trailers: in order, with case and duplicates."""


class OutgoingRequest(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One request to send, ready for the wire. A snapshot: it never holds the live flow.

    The body travels beside it, so that a large one need not be copied into a message to a worker.
    """

    scheme: str
    """`http` or `https`."""
    address: str
    """An IP address (IPv6 without brackets), a DNS name, or a Unix socket: `unix:///path`, `unix://@abstract`."""
    port: int
    sni: str
    """The server name for TLS; empty means `address`. Unused for `http`."""
    method: bytes
    target: bytes
    """The raw request target; sent byte by byte."""
    headers: Fields
    """A shadow's Host is already its own. Framing headers are those of the client's request:
    `Transfer-Encoding: chunked` means that the body is sent chunked."""
    tls: UpstreamTls | None = None
    """What a DestinationRule says about TLS; None: verified as `ClientSettings` says. Unused for `http`."""
    http2: bool = False
    """For `http`: HTTP/2 is spoken without asking (prior knowledge); for `https` it is offered beside
    HTTP/1.1. Headers and framing are those of HTTP/1.1 either way."""
    trailers: Fields = ()
    """Of a whole body, sent in HTTP/2 only; an `Upload` brings its own with its end."""

    @property
    def unix_socket(self) -> str | None:
        """The socket's path as the system has it; None where it is none."""
        if not self.address.startswith(_UNIX):
            return None
        path = self.address.removeprefix(_UNIX)
        return f"\0{path[1:]}" if path.startswith("@") else path

"""What routing may know of a request. Values only."""

import msgspec

HeaderFields = tuple[tuple[bytes, bytes], ...]
"""Header lines as (name, value), in order, with the client's case and duplicates."""


class RequestHead(msgspec.Struct, frozen=True, gc=False):
    """The head of a request as the client sent it, before any rule touched it.

    A Struct, as whatever is made for each request: a frozen dataclass costs several times as much to make.
    """

    method: str
    scheme: str
    """`http` or `https`: what the client spoke."""
    authority: str
    """The Host header or `:authority`, port included where given; empty where there is none."""
    target: bytes
    """The raw target in origin form, query included, exactly as received."""
    headers: HeaderFields
    port: int
    """The port that the client addressed (not the one that the proxy listens on)."""
    client: str
    """The client's IP address."""
    original_host: str = ""
    """Where the client meant its connection to go: an IP address or a name; empty where nobody knows."""
    original_port: int = 0

"""What the proxy process and the shadow worker say to each other. Values only.

Both ends run the same version of this file: the worker is a child of the proxy, so the arrays
need no names and no compatibility. How they are put on the pipe is said in `frames`.
"""

import msgspec

from mitm_mirror.outcome import Outcome
from mitm_mirror.upstream_tls import UpstreamTls


class ShadowRequest(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One request to send, ready for the wire. A snapshot: it never holds the live flow.

    The body travels beside it, so that a large one need not be copied into a message.
    """

    scheme: str
    """`http` or `https`."""
    address: str
    """An IP address (IPv6 without brackets) or a DNS name."""
    port: int
    sni: str
    """The server name for TLS; empty means `address`. Unused for `http`."""
    method: bytes
    target: bytes
    """The raw request target; sent byte by byte."""
    headers: tuple[tuple[bytes, bytes], ...]
    """In order, with case and duplicates; the Host is already the shadow's. Framing headers are the
    primary's own: `Transfer-Encoding: chunked` means that the body is sent chunked."""
    tls: UpstreamTls | None = None
    """What a DestinationRule says about TLS; None: verified as `SenderSettings` says. Unused for `http`."""


class ShadowResult(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """How one shadow ended, as the worker saw it (`lost` and the like are the pool's to say)."""

    number: int
    """Given by the pool with the request."""
    outcome: Outcome
    status: int
    """The mirror's HTTP status; 0 where there was none."""
    response_bytes: int
    """Bytes of the response body as they came, before any content decoding."""
    duration_ms: float
    """From the moment the worker began to send (or to connect) until the response had ended."""
    error: str
    """Why, in one line, without any header or body content; empty for `ok`."""

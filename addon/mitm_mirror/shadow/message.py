"""What the proxy process and the shadow worker say to each other. Values only.

Both ends run the same version of this file: the worker is a child of the proxy, so the arrays
need no names and no compatibility. How they are put on the pipe is said in `frames`.
"""

import msgspec

from mitm_mirror.outcome import Outcome


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
    blameless: bool = False
    """Whether it failed by no fault of the mirror's: the request cannot be written, or this machine is out of
    file descriptors. Such an end does not count against the endpoint."""

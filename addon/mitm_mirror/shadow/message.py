"""What the proxy process and the shadow worker say to each other. Values only.

Both ends run the same version of this file: the worker is a child of the proxy, so the arrays
need no names and no compatibility. How they are put on the pipe is said in `frames`.
"""

from enum import IntEnum

import msgspec

from mitm_mirror.outcome import Outcome
from mitm_mirror.shadow.answer import ShadowAnswer

CHUNK_OVERHEAD_BYTES = 128
"""What a piece of an upload costs beside its bytes, so that many tiny ones are counted for what they are."""


class ToWorker(IntEnum):
    """What a frame from the proxy is about. The first frame of all is `ClientSettings`, of kind 0."""

    REQUEST = 0
    """An OutgoingRequest with its whole body."""
    UPLOAD = 1
    """An OutgoingRequest whose body follows in chunks. Its time-out counts from the end of that."""
    CHUNK = 2
    """The next piece of an upload's body; no message."""
    END = 3
    """The upload's body is complete; the message is its trailers, and there is none without."""
    ABORT = 4
    """The proxy has ended this shadow: stop, and answer nothing; no message."""
    WANT = 5
    """A Want for the shadow of that number, whose request comes next. Its own frame, as most have none."""
    PRIMARY = 6
    """The PrimaryAnswer of that shadow, with its body: to be compared."""
    FORGET = 7
    """No comparison is wanted for that shadow any more; no message."""


class FromWorker(IntEnum):
    """What a frame from the worker is about."""

    RESULTS = 0
    """A list of ShadowResult. An empty one comes first, and says that the worker takes requests."""
    TAKEN = 1
    """A list of (number, bytes): how much of each upload has gone to its mirror's socket since the last,
    with CHUNK_OVERHEAD_BYTES for each piece."""
    COMPARED = 2
    """A list of (number, Comparison). Each comes after its shadow's ShadowResult."""
    CONNECTED = 3
    """A list of SocketPair: connections that were opened. Written before anything is sent over them, so that
    a proxy to which one leads can know it."""


Address = tuple[str, int]
"""An IP address and a port."""

SocketPair = tuple[Address, Address]
"""A connection's own end and its server's."""


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
    answer: ShadowAnswer | None = None
    """What came, where a Want asked for it; also of an exchange that failed."""
    http2: bool = False
    """Whether it was answered over HTTP/2."""

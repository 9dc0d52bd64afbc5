"""What the addon remembers of one flow between its hooks."""

from collections.abc import Callable, Iterable

import msgspec
from mitmproxy import http

from mitm_mirror.proxy.compared import ComparedRequest
from mitm_mirror.proxy.retrying import SentPrimary
from mitm_mirror.proxy.uploads import ShadowUpload
from mitm_mirror.routing.decision import Answer, Forward, Target
from mitm_mirror.routing.request import RequestHead

Stream = Callable[[bytes], Iterable[bytes] | bytes] | bool


class Exchange(msgspec.Struct):
    """One matched request on its way."""

    head: RequestHead
    decision: Forward | Answer
    generation: int
    """Of the rule set that decided."""
    request_body: "StreamTap | None" = None
    """Set where mitmproxy streams the request."""
    response_body: "StreamTap | None" = None
    """Set where mitmproxy streams the response."""
    answered_by_addon: bool = False
    """Another addon (such as `map_local`) answered what was to be forwarded."""
    uploads: list[ShadowUpload] | None = None
    """The shadows that get a streamed body piece by piece; None until its first piece."""
    attempts: int = 0
    """How often the primary was sent by us; 0 where mitmproxy sent it."""
    target: Target | None = None
    """Where the last of them went."""
    sent: SentPrimary | None = None
    """How they ended; None before that, and where the client left."""
    compared: ComparedRequest | None = None
    """Set where its shadows are compared with it."""
    waited_s: float = 0.0
    """How long it waited for a connection to its destination before it was let go."""
    logged: bool = False
    sent_at: float | None = None
    """When the whole request went to its primary, in seconds of a monotonic clock; None once it is answered,
    and where nobody asks."""


class StreamTap(msgspec.Struct):
    """Stands in a body that mitmproxy streams: counts its bytes, and shows each piece on its way."""

    inner: Stream
    """What was set before us: True, or another addon's function, whose output is what goes on."""
    on_chunk: Callable[[bytes], object] | None = None
    """Told of each piece, never of an empty one. Must not raise: mitmproxy would end the connection."""
    size: int = 0

    def __call__(self, data: bytes) -> Iterable[bytes]:
        chunks: Iterable[bytes] = (data,) if data else ()
        if callable(self.inner):
            made = self.inner(data)
            chunks = ((made,) if made else ()) if isinstance(made, bytes) else tuple(made)
        for chunk in chunks:
            self.size += len(chunk)
            if self.on_chunk is not None and chunk:
                self.on_chunk(chunk)
        return chunks


_ATTRIBUTE = "mirror_exchange"


def remember_exchange(flow: http.HTTPFlow, exchange: Exchange) -> None:
    """Keeps it for as long as there is the flow.

    As an attribute of the flow, since no hook is sure to be a flow's last. A weak dictionary did the same
    for some 7 us more a request under load. mitmproxy saves and copies flows by the names of its own
    attributes, so this one is neither saved nor copied.
    """
    setattr(flow, _ATTRIBUTE, exchange)


def forget_exchange(flow: http.HTTPFlow) -> None:
    """The flow begins anew."""
    setattr(flow, _ATTRIBUTE, None)


def exchange_of(flow: http.HTTPFlow) -> Exchange | None:
    """What is remembered of a flow; None where no rule was for it."""
    found: Exchange | None = getattr(flow, _ATTRIBUTE, None)
    return found

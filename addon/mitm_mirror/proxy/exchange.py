"""What the addon remembers of one flow between its hooks."""

import weakref
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


Exchanges = weakref.WeakKeyDictionary[http.HTTPFlow, Exchange]
"""By flow. Weak, since no hook is sure to be a flow's last."""

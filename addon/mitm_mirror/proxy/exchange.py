"""What the addon remembers of one flow between its hooks."""

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from mitmproxy import http

from mitm_mirror.routing.decision import Answer, Forward
from mitm_mirror.routing.request import RequestHead

Stream = Callable[[bytes], Iterable[bytes] | bytes] | bool


@dataclass(slots=True)
class Exchange:
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
    logged: bool = False


@dataclass(slots=True)
class StreamTap:
    """Stands in a body that mitmproxy streams: counts its bytes, and keeps them up to `keep_bytes`."""

    inner: Stream
    """What was set before us: True, or another addon's function, whose output is what goes on."""
    keep_bytes: int
    size: int = 0
    chunks: list[bytes] = field(default_factory=list)
    overflowed: bool = False

    def __call__(self, data: bytes) -> Iterable[bytes]:
        chunks: Iterable[bytes] = (data,) if data else ()
        if callable(self.inner):
            made = self.inner(data)
            chunks = ((made,) if made else ()) if isinstance(made, bytes) else tuple(made)
        for chunk in chunks:
            self.size += len(chunk)
            if self.overflowed:
                continue
            if self.size > self.keep_bytes:
                self.overflowed = True
                self.chunks.clear()
            else:
                self.chunks.append(chunk)
        return chunks

    def take_body(self) -> bytes | None:
        """The whole body, which is not kept any longer; None where it was larger than `keep_bytes`."""
        if self.overflowed:
            return None
        body = b"".join(self.chunks)
        self.chunks.clear()  # the flow, and so this tap, may stay in a UI for ever
        return body


Exchanges = weakref.WeakKeyDictionary[http.HTTPFlow, Exchange]
"""By flow. Weak, since no hook is sure to be a flow's last."""

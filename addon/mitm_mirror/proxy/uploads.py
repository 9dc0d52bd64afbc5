"""A shadow whose body is still coming."""

from typing import Any

from mitm_mirror.client.request import Fields
from mitm_mirror.outcome import Outcome
from mitm_mirror.shadow.upload import PoolUpload


class ShadowUpload:
    """One mirror's copy of a body that mitmproxy streams, up to `mirror_body_limit`."""

    __slots__ = ("_limit_bytes", "_upload", "size_bytes")

    def __init__(self, upload: PoolUpload[Any], limit_bytes: int) -> None:
        self._upload = upload
        self._limit_bytes = limit_bytes
        self.size_bytes = 0

    def write(self, data: bytes) -> None:
        """The next piece. Past the limit the shadow ends, and its mirror sees a broken request."""
        self.size_bytes += len(data)
        if self.size_bytes > self._limit_bytes:
            text = f"more than {self._limit_bytes} bytes, which is mirror_body_limit"
            self._upload.abort(Outcome.BODY_TOO_LARGE, text)
        else:
            self._upload.write(data)

    def finish(self, trailers: Fields) -> None:
        """The body is complete, and followed by these."""
        self._upload.finish(trailers)

    def abort(self, reason: str, outcome: Outcome = Outcome.CANCELLED) -> None:
        """The body will never be complete, here at least."""
        self._upload.abort(outcome, reason)

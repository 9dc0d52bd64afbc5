"""What a mirror answered, where somebody wants to know. Values, and the sink that makes them."""

import time
from collections.abc import Callable

import msgspec

from mitm_mirror.client.client import AnswerHead
from mitm_mirror.routing.request import HeaderFields


class Want(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What is wanted of a shadow's answer beside its status and size. Without it nothing is kept."""

    body_bytes: int
    """So much of the body is kept, from its beginning."""


class ShadowAnswer(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An answer as it came over the wire, whole or as far as it came. Times are UNIX seconds."""

    status: int
    """0 where no head came; `reason`, `http_version` and `headers` are empty then."""
    reason: bytes
    http_version: bytes
    """`HTTP/1.1`, or `HTTP/1.0`."""
    headers: HeaderFields
    """In order, with case and duplicates."""
    body: bytes
    """Its beginning, up to `Want.body_bytes`, without chunks but with its content coding."""
    complete: bool
    """Whether `body` is the whole body."""
    started_at: float
    """When the worker began to connect or to send."""
    head_at: float
    """0 where no head came."""
    ended_at: float
    server: tuple[str, int] | None
    """Address and port that answered; None where no head came."""


class AnswerKeeper:
    """An `AnswerSink` that counts an answer's bytes, and keeps its beginning."""

    def __init__(self, want: Want, wall_clock: Callable[[], float] = time.time) -> None:
        self._limit = want.body_bytes
        self._wall_clock = wall_clock
        self._head: AnswerHead | None = None
        self._body: list[bytes] = []
        self._kept = 0
        self._started_at = wall_clock()
        self._head_at = 0.0
        self._server: tuple[str, int] | None = None
        self.size = 0

    @property
    def status(self) -> int:
        """0 before the head."""
        return self._head.status if self._head else 0

    def head(self, head: AnswerHead) -> None:
        self._head = head
        self._head_at = self._wall_clock()
        self._server = head.server()

    def chunk(self, data: bytes) -> None:
        self.size += len(data)
        if self._kept < self._limit:
            piece = data[: self._limit - self._kept]
            self._kept += len(piece)
            self._body.append(piece)

    def answer(self, *, whole: bool) -> ShadowAnswer:
        """What came; `whole` says that the exchange went to its end."""
        head = self._head
        return ShadowAnswer(
            status=self.status,
            reason=head.reason if head else b"",
            http_version=head.http_version if head else b"",
            headers=head.headers if head else (),
            body=b"".join(self._body),
            complete=whole and self._kept == self.size,
            started_at=self._started_at,
            head_at=self._head_at,
            ended_at=self._wall_clock(),
            server=self._server,
        )

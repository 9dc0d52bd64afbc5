"""What a mirror answered, where somebody wants to know. Values, and the sink that makes them."""

import time
from collections.abc import Callable

import msgspec

from mitm_mirror.client.answer import AnswerHead
from mitm_mirror.observe.compare import CompareSettings
from mitm_mirror.routing.request import HeaderFields

COMPARED_BYTES = CompareSettings().body_limit_bytes
"""What is kept of a body to compare it: longer ones are not taken apart anyway."""

_ROOM_BYTES = 64 * 1024 * 1024


class AnswerRoom:
    """The memory that the kept bodies of one worker may have together."""

    def __init__(self, free_bytes: int = _ROOM_BYTES) -> None:
        self.free_bytes = free_bytes

    def take(self, size: int) -> bool:
        """False where there is not so much left; nothing is taken then."""
        if size > self.free_bytes:
            return False
        self.free_bytes -= size
        return True

    def give_back(self, size: int) -> None:
        self.free_bytes += size


class CompareTerms(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """How a shadow's answer is to be compared with its primary's."""

    authorities: tuple[str, ...] = ()
    """The shadow's, see `Response.authorities`."""
    ignore: tuple[str, ...] = ()
    """See `IgnoreRules.rules`."""


class Want(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What is wanted of a shadow's answer beside its status and size. Without it nothing is kept."""

    body_bytes: int | None = None
    """The answer is handed to the proxy, with so much of its body; None: it is not."""
    compare: CompareTerms | None = None
    """None: it is not compared."""

    @property
    def kept_bytes(self) -> int:
        """So much of the body has to be kept, from its beginning."""
        return max(self.body_bytes or 0, COMPARED_BYTES if self.compare is not None else 0)


class PrimaryAnswer(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The primary's answer, for the comparison. Its body travels beside it."""

    status: int
    headers: HeaderFields
    complete: bool
    """Whether the body is the whole body."""
    authorities: tuple[str, ...] = ()
    """The primary's, see `Response.authorities`."""


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
    """Its beginning, up to `Want.kept_bytes`, without chunks but with its content coding."""
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

    def __init__(self, want: Want, room: AnswerRoom, wall_clock: Callable[[], float] = time.time) -> None:
        self._limit = want.kept_bytes
        self._room = room
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

    @property
    def http2(self) -> bool:
        """Whether it came over HTTP/2; False before the head."""
        return self._head is not None and self._head.http_version == b"HTTP/2.0"

    def head(self, head: AnswerHead) -> None:
        self._head = head
        self._head_at = self._wall_clock()
        self._server = head.server()

    def chunk(self, data: bytes) -> None:
        self.size += len(data)
        piece = data[: self._limit - self._kept]
        if piece and self._room.take(len(piece)):
            self._kept += len(piece)
            self._body.append(piece)
        else:
            self._limit = self._kept  # what is kept is a beginning, without holes

    def drop(self) -> None:
        """Nobody wants it any more."""
        self._room.give_back(self._kept)
        self._kept = 0
        self._body.clear()

    def answer(self, *, whole: bool) -> ShadowAnswer:
        """What came; `whole` says that the exchange went to its end. The caller gives back the room."""
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

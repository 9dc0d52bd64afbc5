"""A shadow while it has not ended, and the order in which deadlines come. No I/O."""

import heapq
from collections.abc import Container, Iterator, Sized
from typing import TYPE_CHECKING, Generic, Protocol

from mitm_mirror.client.request import OutgoingRequest
from mitm_mirror.routing.outlier import OutlierPolicy
from mitm_mirror.shadow.answer import Want
from mitm_mirror.shadow.ending import Token
from mitm_mirror.shadow.seat import Seat

if TYPE_CHECKING:
    from mitm_mirror.shadow.lanes import Lane
    from mitm_mirror.shadow.upload import PoolUpload

_OVERHEAD_BYTES = 1024
"""What one shadow costs us beside its bytes: objects, and its places in dict, queue and heap."""

_NO_REQUEST = OutgoingRequest("", "", 0, "", b"", b"", ())


class Entry(Generic[Token]):
    """One submitted shadow. Mutable: the pool moves it from the queue to a worker to its end."""

    __slots__ = (
        "body",
        "deadline",
        "endpoint",
        "lane",
        "number",
        "outlier",
        "probe",
        "request",
        "seat",
        "sent_at",
        "size_bytes",
        "submitted_at",
        "token",
        "upload",
        "want",
    )

    def __init__(
        self,
        number: int,
        request: OutgoingRequest,
        body: bytes,
        token: Token,
        lane: "Lane[Token]",
        outlier: OutlierPolicy | None = None,
        want: Want | None = None,
        *,
        submitted_at: float,
        deadline: float,
    ) -> None:
        self.number = number
        self.request = request
        self.body = body
        self.token = token
        self.lane = lane
        self.outlier = outlier
        self.want = want
        self.endpoint = (request.address, request.port)
        self.submitted_at = submitted_at
        self.deadline = deadline
        self.sent_at: float | None = None
        self.seat: Seat | None = None
        self.upload: PoolUpload[Token] | None = None
        """Where the body is still coming; `deadline` is infinite until it is complete."""
        self.probe = False
        """Whether it was sent to see if a breaker may close."""
        size = _OVERHEAD_BYTES + len(request.target) + len(body)
        for name, value in request.headers:
            size += len(name) + len(value)
        for name, value in request.trailers:
            size += len(name) + len(value)
        self.size_bytes = size

    @property
    def had_little_time(self) -> bool:
        """Whether most of its time was gone when it was sent: then a timeout is our queue's fault."""
        return self.sent_at is not None and self.sent_at > (self.submitted_at + self.deadline) / 2

    def sent_to(self, seat: Seat, now: float) -> None:
        """It is on its way; from here on the worker holds its bytes."""
        self.seat = seat
        self.sent_at = now
        self.request = _NO_REQUEST
        self.body = b""


class _Numbers(Container[int], Sized, Protocol):
    """Numbers that are still open."""


class Deadlines:
    """Numbers by deadline. Ended ones stay until their time has come, or until there are too many."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, deadline: float, number: int) -> None:
        heapq.heappush(self._heap, (deadline, number))

    def due(self, now: float) -> Iterator[int]:
        """Take out the numbers whose time has come, earliest first."""
        while self._heap and self._heap[0][0] <= now:
            yield heapq.heappop(self._heap)[1]

    def tidy(self, open_numbers: _Numbers) -> None:
        """Forget ended numbers once they are most of the heap."""
        if len(self._heap) > 1000 + 2 * len(open_numbers):
            self._heap = [item for item in self._heap if item[1] in open_numbers]
            heapq.heapify(self._heap)

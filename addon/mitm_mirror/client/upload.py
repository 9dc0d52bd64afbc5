"""A request body that is still coming while it is sent. For one event loop."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from mitm_mirror.client.request import Fields

JOINED_BYTES = 256 * 1024
"""As much as the worker reads at a time."""


class Upload:
    """Takes pieces on one side without ever waiting, and yields them on the other, which may be slow.

    What may wait in between is for the caller to bound: `on_taken` says how many bytes have left for the
    socket.
    """

    def __init__(self, on_taken: Callable[[int], None]) -> None:
        self._on_taken = on_taken
        self._chunks: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self._complete = False
        self._on_complete: Callable[[], None] | None = None
        self.trailers: Fields = ()
        """Known at its end."""

    def put(self, data: bytes) -> None:
        """The next piece."""
        self._chunks.append(data)
        self._changed.set()

    def end(self, trailers: Fields = ()) -> None:
        """There is no further piece."""
        self.trailers = trailers
        self._complete = True
        self._changed.set()
        if self._on_complete is not None:
            self._on_complete()

    def when_complete(self, on_complete: Callable[[], None] | None) -> None:
        """Call it when all has been put, which may be now; None for nobody, from now on."""
        self._on_complete = on_complete
        if self._complete and on_complete is not None:
            on_complete()

    async def pieces(self, *, joined: bool) -> AsyncIterator[bytes]:
        """Yields them as they were put; `joined`, those that wait together, up to `JOINED_BYTES` or one.

        Joined they are fewer writes, each of which costs the worker more than the bytes in it; but only a
        framing that does not show the pieces may have them joined.
        """
        while True:
            while self._chunks:
                data, sizes = self._take(JOINED_BYTES if joined else 0)
                yield data
                for size in sizes:  # asked for the next one, so these have been written
                    self._on_taken(size)
            if self._complete:
                return
            self._changed.clear()
            await self._changed.wait()

    def _take(self, limit_bytes: int) -> tuple[bytes, list[int]]:
        """The next piece, with further ones as long as all are within the limit, and the size of each."""
        taken = [self._chunks.popleft()]
        size = len(taken[0])
        while self._chunks and size + len(self._chunks[0]) <= limit_bytes:
            taken.append(self._chunks.popleft())
            size += len(taken[-1])
        return b"".join(taken), [len(data) for data in taken]  # one alone is joined without a copy

"""The worker's event loop, which looks a name up once at a time, however many shadows wait for it."""

import asyncio
from collections.abc import Callable
from typing import Any

_Question = tuple[object, ...]


class LookupSharingLoop(asyncio.SelectorEventLoop):
    """Lookups take a thread each until the resolver answers or gives up, which a deadline does not change.

    With one for each shadow, a mirror whose name server is silent would soon have all threads, and every
    other mirror that has a name would wait for it. So it takes as many threads as there are such names.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lookups: dict[_Question, asyncio.Task[list[Any]]] = {}

    async def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - the original's
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """What asyncio's own gives; who asks the same before it is there gets the same answer or error."""
        question = (host, port, family, type, proto, flags)
        lookup = self._lookups.get(question)
        if lookup is None:
            lookup = self.create_task(
                super().getaddrinfo(host, port, family=family, type=type, proto=proto, flags=flags)
            )
            self._lookups[question] = lookup
            lookup.add_done_callback(self._forget(question))
        # Shielded: the deadline of one that waits is not the others'.
        return await asyncio.shield(lookup)

    def _forget(self, question: _Question) -> Callable[[asyncio.Task[list[Any]]], None]:
        def forget(lookup: asyncio.Task[list[Any]]) -> None:
            del self._lookups[question]
            if not lookup.cancelled():
                lookup.exception()  # seen, also where nobody waits any more

        return forget

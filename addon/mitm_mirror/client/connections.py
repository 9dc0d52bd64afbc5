"""From a transport to what speaks HTTP for it, by private names: nothing public leads there."""

from collections.abc import Iterator
from typing import Any

import httpcore
import httpx


def protocols(transport: httpx.AsyncBaseTransport) -> Iterator[Any]:
    """httpcore's HTTP/1.1 or HTTP/2 connection of each open connection; none of a test's transport.

    What is looked for in them is private, too. Tests see it if any of these names change.
    """
    pool = getattr(transport, "_pool", None)
    if isinstance(pool, httpcore.AsyncConnectionPool):
        for connection in pool.connections:
            yield connection._connection  # type: ignore[attr-defined]  # noqa: SLF001 - as above

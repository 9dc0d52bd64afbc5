"""TCP connections to an address, or to the address of a name that answers first.

asyncio's own race of addresses loses a socket, until the garbage collector finds it, where it is cancelled at
the wrong moment, as our deadlines do (CPython 3.11 to 3.13).
"""

import asyncio
import socket
from typing import Any

_HEAD_START_S = 0.25
"""How long one address of a name may take before the next one is tried as well (RFC 8305, 5)."""

_Info = tuple[Any, ...]
"""As `socket.getaddrinfo` gives it."""


async def connect(host: str, port: int) -> socket.socket:
    """A connected socket that does not block; `host` is an IP address or a name.

    Raises OSError (of a name the last address's), with it socket.gaierror, and UnicodeError for a name that
    none can be. Cancelled or failed, it leaves no socket behind.
    """
    loop = asyncio.get_running_loop()
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if len(infos) == 1:
        return await _connect_to(infos[0])
    attempts: list[asyncio.Task[socket.socket]] = []
    try:
        return await _first(infos, attempts)
    finally:
        for attempt in attempts:
            attempt.cancel()
            attempt.add_done_callback(_close_what_it_made)


async def _first(infos: list[_Info], attempts: list[asyncio.Task[socket.socket]]) -> socket.socket:
    """Of the address that answers first. `attempts` are those whose end nobody has seen."""
    failure = OSError("the name has no address")
    left = infos[::-1]
    while left or attempts:
        if left:
            attempts.append(asyncio.get_running_loop().create_task(_connect_to(left.pop())))
        patience_s = _HEAD_START_S if left else None
        ended, _ = await asyncio.wait(attempts, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
        for attempt in ended:
            attempts.remove(attempt)
            try:
                return attempt.result()
            except OSError as error:
                failure = error
    raise failure


async def _connect_to(info: _Info) -> socket.socket:
    family, kind, protocol, _, address = info
    made = socket.socket(family, kind, protocol)
    try:
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, address)
    except BaseException:
        made.close()
        raise
    return made


def _close_what_it_made(attempt: asyncio.Task[socket.socket]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()

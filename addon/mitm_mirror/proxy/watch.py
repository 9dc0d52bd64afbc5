"""Notices that rule files changed, by a fingerprint of them once a second, and more often while they change.

So a symlink that is swapped (a Kubernetes ConfigMap mount), a folder that is deleted and made again, and a
file system that sends no events are all noticed. Events would tell sooner, but the thread that waits for
them asks for Python's lock twenty times a second, for which the proxy's own thread has to stand still.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine, Sequence

from mitm_mirror.resources.load import list_rule_files

POLL_S = 1.0
"""A look takes some 20 system calls; 3 looks a second were 0.5 % of a busy proxy's time."""

EDITED_POLL_S = 0.3
EDITED_S = 10.0
"""For so long after a change it is looked more often: a change seldom comes alone."""

SETTLE_S = 0.1
"""Who writes files writes several, and not all at once: after a change it is waited for the rest of them."""

Fingerprint = tuple[tuple[str, int, int, int, int], ...]
"""(path, device, inode, mtime in ns, size) of every rule file, in order. Another link shows in the inode."""


def fingerprint(paths: Sequence[str]) -> Fingerprint:
    """What tells one state of the rule files from another; a file that is gone is left out."""
    entries = []
    for path in list_rule_files(paths):
        try:
            stat = path.stat()
        except OSError:
            continue
        entries.append((str(path), stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size))
    return tuple(entries)


async def watch_rules(
    paths: Sequence[str],
    known: Fingerprint,
    on_change: Callable[[], Coroutine[None, None, None]],
    stop: asyncio.Event,
) -> None:
    """Calls `on_change` after each change of the rule files since `known`, until `stop` is set.

    `on_change` runs to its end before the next look, and whatever changed meanwhile is seen then.
    """
    clock = asyncio.get_running_loop().time
    edited_until = -math.inf
    while not await _is_set_within(stop, EDITED_POLL_S if clock() < edited_until else POLL_S):
        # In a thread: a network's file system may take its time.
        if await asyncio.to_thread(fingerprint, paths) == known:
            continue
        if await _is_set_within(stop, SETTLE_S):
            return
        known = await asyncio.to_thread(fingerprint, paths)
        await on_change()
        edited_until = clock() + EDITED_S


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False

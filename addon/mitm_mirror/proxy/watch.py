"""Notices that rule files changed.

Events of the file system are only a hint to look: what counts is a fingerprint of the files, taken
also once a second. So a symlink that is swapped (a Kubernetes ConfigMap mount), a folder that is
deleted and made again, and a file system that sends no events are all noticed.
"""

import asyncio
import glob
import logging
import os
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path

import watchfiles

from mitm_mirror.resources.load import list_rule_files

logger = logging.getLogger(__name__)

POLL_MS = 1_000

Fingerprint = tuple[tuple[str, str, int, int, int, int], ...]
"""(path, real path, device, inode, mtime in ns, size) of every rule file, in order."""


def fingerprint(paths: Sequence[str]) -> Fingerprint:
    """What tells one state of the rule files from another; a file that is gone is left out."""
    entries = []
    for path in list_rule_files(paths):
        try:
            stat = path.stat()
        except OSError:
            continue
        entries.append(
            (str(path), os.path.realpath(path), stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size)
        )
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
    while not stop.is_set():
        folders = watched_folders(paths)
        # Armed first, compared second: a change in between is seen by one or the other.
        hints = watchfiles.awatch(
            *folders,
            watch_filter=None,
            recursive=False,
            rust_timeout=POLL_MS,
            yield_on_timeout=True,
            stop_event=stop,
            debounce=200,
            ignore_permission_denied=True,
        )
        async for _ in hints:
            current = await asyncio.to_thread(fingerprint, paths)
            changed = current != known
            if changed:
                known = current
                await on_change()
            # Resolved after a change only: a folder's swap shows in its files' real paths and inodes.
            if (changed and watched_folders(paths) != folders) or not all(map(os.path.isdir, folders)):
                break  # the symlink or folder that we watch is another one now: arm anew
        await hints.aclose()


def watched_folders(paths: Sequence[str]) -> tuple[str, ...]:
    """The existing folders in which a change can concern `paths`: their own and, for what may be
    replaced as a whole (a symlink, a folder), the one that it stands in."""
    folders = set()
    for text in paths:
        path = Path(text).expanduser().absolute()  # not resolved: a symlink may be swapped for another
        while glob.has_magic(path.name):
            path = path.parent
        for place in (path, path.resolve()):
            folders |= {_nearest_folder(place), _nearest_folder(place.parent)}
    folders |= {file.resolve().parent for file in list_rule_files(paths)}
    return tuple(sorted(map(str, folders)))


def _nearest_folder(path: Path) -> Path:
    while not path.is_dir():
        path = path.parent
    return path

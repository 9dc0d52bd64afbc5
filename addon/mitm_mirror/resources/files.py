"""Paths -> files -> text. The only module of this room that reads the disk."""

import glob
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from mitm_mirror.resources.issue import Issue, Severity

# A document of one route is about 300 bytes, so this is some 30,000 of them. It bounds what one wrong
# path (a log, a database) can cost, at 100 bytes of memory for each one of the file.
MAX_FILE_BYTES = 8 * 1024 * 1024

SUFFIXES = (".yaml", ".yml")


def find_files(paths: Sequence[str], *, missing: Severity) -> tuple[list[Path], list[Issue]]:
    """The rule files that `paths` name, each once, in their order; those of a folder sorted by name.

    A path is a file, a folder (its *.yaml and *.yml, not recursive, hidden ones left out: a mounted
    ConfigMap has `..data` beside its files) or a glob. One that names nothing is an issue of the
    severity `missing`.
    """
    files: dict[str, Path] = {}
    issues: list[Issue] = []
    for given in paths:
        found = False
        for path in _expand(os.path.expanduser(given)):  # noqa: PTH111 - Path raises for an unknown ~user
            try:
                is_folder = stat.S_ISDIR(path.stat().st_mode)
                listed = _folder(path) if is_folder else [path]
            except FileNotFoundError:
                continue
            except OSError as e:
                issues.append(Issue(Severity.ERROR, str(path), 0, 0, "", f"cannot be read: {e.strerror}"))
                found = True
                continue
            found = True
            if is_folder and not listed:
                issues.append(
                    Issue(Severity.NOTICE, str(path), 0, 0, "", "no *.yaml or *.yml in this folder")
                )
            for file in listed:
                files.setdefault(os.path.realpath(file), file)
        if not found:
            message = "no such file or folder" if not glob.has_magic(given) else "no file matches"
            issues.append(Issue(missing, given, 0, 0, "", message))
    return list(files.values()), issues


def _expand(path: str) -> Iterator[Path]:
    # A file may have glob characters in its name.
    if os.path.lexists(path) or not glob.has_magic(path):
        yield Path(path)
    else:
        yield from map(Path, sorted(glob.glob(path)))  # noqa: PTH207 - Path.glob takes no absolute pattern


def _folder(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix in SUFFIXES and not path.name.startswith(".") and not path.is_dir()
    )


def read_text(file: Path) -> str | Issue:
    """The text of a rule file, without a byte order mark, or the error that explains why there is none."""
    try:
        # The kind before the opening: to open a named pipe would wait for its writer.
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            return Issue(Severity.ERROR, str(file), 0, 0, "", "not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            return _too_large(file, status.st_size)
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as e:
        return Issue(Severity.ERROR, str(file), 0, 0, "", f"cannot be read: {e.strerror}")
    if len(data) > MAX_FILE_BYTES:
        return _too_large(file, len(data))
    return decode(data, str(file))


def decode(data: bytes, file: str) -> str | Issue:
    """UTF-8 with or without a byte order mark."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        good = data[: e.start]
        line = good.count(b"\n") + 1
        column = len(good[good.rfind(b"\n") + 1 :].decode("utf-8")) + 1
        message = f"not UTF-8: the byte 0x{data[e.start]:02x} at offset {e.start}; save the file as UTF-8"
        return Issue(Severity.ERROR, file, line, column, "", message)


def _too_large(file: Path, size: int) -> Issue:
    message = f"{size} bytes, expected at most {MAX_FILE_BYTES}; split it into several files"
    return Issue(Severity.ERROR, str(file), 0, 0, "", message)

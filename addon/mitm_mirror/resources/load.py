"""Paths -> one rule set: every resource, and every issue at once."""

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mitm_mirror.resources.certificates import check_certificates
from mitm_mirror.resources.document import read_document
from mitm_mirror.resources.files import decode, find_files, read_text
from mitm_mirror.resources.issue import Issue, Severity
from mitm_mirror.resources.resource import Resource, Resources
from mitm_mirror.resources.yaml_documents import read_documents

# Of one file. Every rule of a large set may have its warning; a file of something else altogether could
# have a million.
MAX_ISSUES = 100_000


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was read. With errors among the issues, `resources` is incomplete and not to be used."""

    resources: Resources
    issues: tuple[Issue, ...]
    """In the order of files, lines and columns."""
    files: tuple[Path, ...]
    """The files that were found, readable or not."""

    @property
    def errors(self) -> tuple[Issue, ...]:
        return tuple(issue for issue in self.issues if issue.severity is Severity.ERROR)


def list_rule_files(paths: Sequence[str]) -> list[Path]:
    """The files that `load_rules` would read now; a path that names nothing has none."""
    return find_files(paths, missing=Severity.WARNING)[0]


def load_rules(paths: Sequence[str], *, missing_ok: bool = False) -> Loaded:
    """The rules of files, folders and globs; see `find_files`.

    A path that names nothing is an error, or with `missing_ok` a warning (a reload after the rules
    were deleted).
    """
    files, issues = find_files(paths, missing=Severity.WARNING if missing_ok else Severity.ERROR)
    resources: list[Resource[Any]] = []
    with collector_paused():
        for file in files:
            text = read_text(file)
            if isinstance(text, Issue):
                issues.append(text)
            else:
                _read(text, str(file), resources, issues)
    return _loaded(resources, issues, tuple(files))


def load_text(text: str | bytes, file: str = "rules.yaml") -> Loaded:
    """The rules of one text, as if it were that file's."""
    resources: list[Resource[Any]] = []
    issues: list[Issue] = []
    decoded = decode(text, file) if isinstance(text, bytes) else text
    if isinstance(decoded, Issue):
        issues.append(decoded)
    else:
        _read(decoded, file, resources, issues)
    return _loaded(resources, issues, (Path(file),))


def _read(text: str, file: str, resources: list[Resource[Any]], issues: list[Issue]) -> None:
    documents, syntax = read_documents(text, file)
    issues += syntax
    enough = len(issues) + MAX_ISSUES
    for document in documents:
        if len(issues) > enough:
            line, column = document.positions.locate(())
            message = f"more than {MAX_ISSUES} issues in this file, the rest was not checked"
            issues.append(Issue(Severity.ERROR, file, line, column, "", message))
            return
        for found in read_document(document, file):
            if isinstance(found, Issue):
                issues.append(found)
            else:
                resources.append(found)


def _loaded(resources: list[Resource[Any]], issues: list[Issue], files: tuple[Path, ...]) -> Loaded:
    unique = list(_without_duplicates(resources, issues))

    def of(kind: str) -> tuple[Resource[Any], ...]:
        return tuple(resource for resource in unique if resource.kind == kind)

    found = Resources(
        virtual_services=of("VirtualService"),
        destination_rules=of("DestinationRule"),
        service_entries=of("ServiceEntry"),
        workload_entries=of("WorkloadEntry"),
    )
    issues += check_certificates(found.destination_rules)
    return Loaded(found, sort_issues(issues, files), files)


def sort_issues(issues: Iterable[Issue], files: Sequence[Path]) -> tuple[Issue, ...]:
    """In the order of files, lines and columns; those about no file of `files` first."""
    order = {str(file): index for index, file in enumerate(files)}
    return tuple(sorted(issues, key=lambda issue: (order.get(issue.file, -1), issue.line, issue.column)))


def _without_duplicates(resources: Iterable[Resource[Any]], issues: list[Issue]) -> Iterator[Resource[Any]]:
    first: dict[tuple[str, str, str], Resource[Any]] = {}
    for resource in resources:
        key = (resource.kind, resource.namespace, resource.name)
        earlier = first.setdefault(key, resource)
        if earlier is resource:
            yield resource
            continue
        line, _ = earlier.locate(("metadata", "name"))
        message = f"there is one of this name already, at {earlier.file}:{line}"
        issues.append(resource.issue(Severity.ERROR, ("metadata", "name"), message))


@contextmanager
def collector_paused() -> Iterator[None]:
    """No garbage collection meanwhile: nothing that rules are made of has cycles, and the collector's
    passes over a large rule set's objects take as long as the work itself."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()

"""A typed resource with the place that it came from. Values only; nothing here reads files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from mitm_mirror.resources.destination_rule import DestinationRule
from mitm_mirror.resources.issue import Issue, Severity
from mitm_mirror.resources.service_entry import ServiceEntry
from mitm_mirror.resources.virtual_service import VirtualService
from mitm_mirror.resources.workload_entry import WorkloadEntry

FieldPath = tuple[str | int, ...]
"""Keys and list indexes from the document's root, as the YAML spells them: ("spec", "http", 0)."""

Spec = TypeVar("Spec")


@dataclass(frozen=True, slots=True)
class Resource(Generic[Spec]):
    """One Istio document: its metadata, its typed `spec`, and where each field of it stands."""

    kind: str
    name: str
    namespace: str
    annotations: Mapping[str, str]
    labels: Mapping[str, str]
    spec: Spec
    file: str
    locate: Callable[[FieldPath], tuple[int, int]]
    """(line, column), from 1, of a field path; of the nearest enclosing field where it is absent."""
    created: datetime | None = None
    """`creationTimestamp`, with its time zone; None in a file that no cluster has seen."""

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"

    def issue(self, severity: Severity, path: FieldPath, message: str) -> Issue:
        """An issue about the field at `path` of this resource."""
        line, column = self.locate(path)
        return Issue(severity, self.file, line, column, f"{self}: {format_path(path)}", message)


def oldest_first(resources: Sequence[Resource[Spec]]) -> list[Resource[Spec]]:
    """By creation time, then name and namespace; those without a time last, as they were read.

    What is in no cluster yet will be younger than what is, and is created in the order of the files.
    Source: istio pilot/pkg/model/config.go, configCompareByCreationTime.
    """
    dated = [resource for resource in resources if resource.created is not None]
    if not dated:
        return list(resources)
    dated.sort(key=lambda resource: (resource.created, resource.name, resource.namespace))
    return [*dated, *(resource for resource in resources if resource.created is None)]


def format_path(path: FieldPath) -> str:
    """`spec.http[0].match[1].headers["x-user"].exact` for a field path."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.replace("_", "").isalnum():
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return text


@dataclass(frozen=True, slots=True)
class Resources:
    """All resources of one rule set, in the order in which they were read."""

    virtual_services: tuple[Resource[VirtualService], ...] = ()
    destination_rules: tuple[Resource[DestinationRule], ...] = ()
    service_entries: tuple[Resource[ServiceEntry], ...] = ()
    workload_entries: tuple[Resource[WorkloadEntry], ...] = ()

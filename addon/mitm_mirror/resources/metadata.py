"""The `metadata` of a document: what we use of it, and what Kubernetes may have put there."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mitm_mirror.resources.finding import Finding, error, show
from mitm_mirror.resources.resource import FieldPath
from mitm_mirror.resources.type_errors import quotes_hint, unknown_keys

DEFAULT_NAMESPACE = "default"

# Kubernetes' ObjectMeta. `kubectl get -o yaml` prints most of them.
_FIELDS = frozenset(
    {
        "annotations", "clusterName", "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp",
        "finalizers", "generateName", "generation", "labels", "managedFields", "name", "namespace",
        "ownerReferences", "resourceVersion", "selfLink", "uid",
    }
)  # fmt: skip
_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?", re.ASCII)
_NAME_CHARS = 253


@dataclass(frozen=True, slots=True)
class Metadata:
    name: str = ""
    """Empty where it is missing or wrong, which is an error."""
    namespace: str = DEFAULT_NAMESPACE
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    created: datetime | None = None
    """`creationTimestamp`, which decides between rules for the same host."""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def parse_metadata(value: Any) -> tuple[Metadata, list[Finding]]:
    """The metadata, without what is wrong in it; paths begin with "metadata"."""
    root: FieldPath = ("metadata",)
    if value is None:
        return Metadata(), [error((*root, "name"), "missing")]
    if not isinstance(value, dict):
        return Metadata(), [error(root, f"{show(value)}, expected a mapping")]
    findings = list(unknown_keys(value, _FIELDS, root))
    name = _parse_name(value.get("name"), (*root, "name"), findings)
    if name is None and value.get("name") is None:
        findings.append(error((*root, "name"), "missing"))
    namespace = _parse_name(value.get("namespace"), (*root, "namespace"), findings)
    labels = _parse_strings(value.get("labels"), (*root, "labels"), findings)
    annotations = _parse_strings(value.get("annotations"), (*root, "annotations"), findings)
    created = _parse_time(value.get("creationTimestamp"), (*root, "creationTimestamp"), findings)
    return Metadata(name or "", namespace or DEFAULT_NAMESPACE, labels, annotations, created), findings


def _parse_name(value: Any, path: FieldPath, findings: list[Finding]) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        findings.append(error(path, f"{show(value)}, expected a string{quotes_hint(value)}"))
        return None
    if len(value) > _NAME_CHARS or not _NAME.fullmatch(value):
        findings.append(
            error(path, f"{show(value)}, expected lower-case letters, digits, '-' and '.' between")
        )
        return None
    return value


def _parse_time(value: Any, path: FieldPath, findings: list[Finding]) -> datetime | None:
    if value is None:
        return None
    try:
        # RFC 3339, as Kubernetes prints it: without a zone it would be no point in time.
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        findings.append(error(path, f"{show(value)}, expected a time such as 2026-08-01T12:00:00Z"))
        return None
    return time


def _parse_strings(value: Any, path: FieldPath, findings: list[Finding]) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        findings.append(error(path, f"{show(value)}, expected a mapping"))
        return {}
    strings = {}
    for key, text in value.items():
        if isinstance(text, str):
            strings[key] = text
        else:
            findings.append(error((*path, key), f"{show(text)}, expected a string{quotes_hint(text)}"))
    return strings

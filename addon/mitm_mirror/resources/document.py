"""One YAML document -> typed resource, or what is wrong with it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, cast

from pydantic import ValidationError

from mitm_mirror.resources.annotations import parse_annotations
from mitm_mirror.resources.base import Message
from mitm_mirror.resources.check_destination_rule import check_destination_rule
from mitm_mirror.resources.check_service_entry import check_service_entry
from mitm_mirror.resources.check_virtual_service import check_virtual_service
from mitm_mirror.resources.check_workload_entry import check_workload_entry
from mitm_mirror.resources.destination_rule import DestinationRule
from mitm_mirror.resources.finding import Finding, error, show
from mitm_mirror.resources.issue import Issue, Severity
from mitm_mirror.resources.metadata import Metadata, parse_metadata
from mitm_mirror.resources.not_acted_on import not_acted_on
from mitm_mirror.resources.positions import Positions
from mitm_mirror.resources.prune import Pruned, prune
from mitm_mirror.resources.resource import FieldPath, Resource, format_path
from mitm_mirror.resources.service_entry import ServiceEntry
from mitm_mirror.resources.type_errors import MAX_ERRORS, type_errors, unknown_keys
from mitm_mirror.resources.virtual_service import VirtualService
from mitm_mirror.resources.workload_entry import WorkloadEntry
from mitm_mirror.resources.yaml_documents import Document

GROUP = "networking.istio.io"
VERSIONS = ("v1", "v1beta1", "v1alpha3")
# Of one document: each of thousands of routes may have its warning, but not each of a million values.
MAX_FINDINGS = 10_000


@dataclass(frozen=True, slots=True)
class _Kind:
    model: type[Message]
    check: Callable[[Any, Metadata], Iterator[Finding]]


_KINDS: Mapping[str, _Kind] = {
    "VirtualService": _Kind(VirtualService, check_virtual_service),
    "DestinationRule": _Kind(DestinationRule, check_destination_rule),
    "ServiceEntry": _Kind(ServiceEntry, check_service_entry),
    "WorkloadEntry": _Kind(WorkloadEntry, check_workload_entry),
}
# Annotations that istio pkg/config/validation/validation.go, validateMetadata, refuses.
_REFUSED = frozenset(
    {
        "internal.istio.io/parent-namespace",
        "internal.istio.io/parents",
        "internal.istio.io/webhook-always-reject",
        "istio.io/dry-run",
    }
)
_TOP_LEVEL = frozenset({"apiVersion", "kind", "metadata", "spec", "status"})
_LIST_FIELDS = frozenset({"apiVersion", "kind", "metadata", "items"})


def read_document(document: Document, file: str) -> Iterator[Resource[Any] | Issue]:
    """The resources of one document (several where it is a List) and the issues found on the way.

    A resource that is yielded may still have errors among the issues; then the set is refused anyway.
    """
    return _Reader(document.positions, file).read(document.value, ())


@dataclass(frozen=True, slots=True)
class _Reader:
    positions: Positions
    file: str

    def read(self, value: Any, root: FieldPath) -> Iterator[Resource[Any] | Issue]:
        """`root` is the path of this object in the document: empty, or that of a List's item."""
        if value is None and not root:
            return
        if not isinstance(value, dict):
            yield self._issue(
                Severity.ERROR, root, f"{show(value)}, expected a mapping with apiVersion and kind"
            )
            return
        api_version, kind = value.get("apiVersion"), value.get("kind")
        missing = False
        for name, given in (("apiVersion", api_version), ("kind", kind)):
            if not isinstance(given, str) or not given:
                message = "missing" if given in (None, "") else f"{show(given)}, expected a string"
                yield self._issue(Severity.ERROR, (*root, name), message)
                missing = True
        if missing:
            return
        if kind == "List" and api_version == "v1":
            yield from self._read_list(value, root)
            return
        group, _, version = cast(str, api_version).rpartition("/")
        if group != GROUP or kind not in _KINDS:
            yield self._passed_over(value, root, group)
        elif version not in VERSIONS:
            accepted = " or ".join(f"{GROUP}/{v}" for v in VERSIONS)
            yield self._issue(
                Severity.ERROR, (*root, "apiVersion"), f"{show(api_version)}, expected {accepted}"
            )
        else:
            yield from self._read_resource(value, root, cast(str, kind))

    def _read_list(self, value: dict[str, Any], root: FieldPath) -> Iterator[Resource[Any] | Issue]:
        items = value.get("items")
        for finding in unknown_keys(value, _LIST_FIELDS, ()):
            yield self._issue(finding.severity, finding.path, finding.message, root=root)
        if not isinstance(items, list):
            yield self._issue(Severity.ERROR, (*root, "items"), f"{show(items)}, expected a list")
            return
        for index, item in enumerate(items):
            yield from self.read(item, (*root, "items", index))

    def _passed_over(self, value: dict[str, Any], root: FieldPath, group: str) -> Issue:
        api_version, kind = value["apiVersion"], value["kind"]
        if group == "istio.io" or group.endswith(".istio.io"):
            known = ", ".join(_KINDS)
            message = f"{kind} ({api_version}) is not acted on, only {known} are"
            return self._issue(Severity.WARNING, (*root, "kind"), message)
        if kind in _KINDS:
            # Maybe a mistyped group, maybe another project's kind of the same name: it must be seen.
            message = f"{api_version} is not Istio's, so this {kind} is not acted on; Istio's is {GROUP}/v1"
            return self._issue(Severity.WARNING, (*root, "apiVersion"), message)
        return self._issue(Severity.NOTICE, (*root, "kind"), f"{kind} ({api_version}) is passed over")

    def _read_resource(
        self, value: dict[str, Any], root: FieldPath, kind: str
    ) -> Iterator[Resource[Any] | Issue]:
        findings = list(unknown_keys(value, _TOP_LEVEL, ()))
        metadata, metadata_findings = parse_metadata(value.get("metadata"))
        findings += metadata_findings
        wrong = [(key, "not allowed in this kind") for key in metadata.annotations if key in _REFUSED]
        if kind == "VirtualService":
            wrong += parse_annotations(metadata.annotations)[1]
        findings += [error(("metadata", "annotations", key), message) for key, message in wrong]
        spec, spec_findings = _parse_spec(value.get("spec"), kind, metadata)
        findings += spec_findings

        subject = f"{kind} {metadata}" if metadata.name else kind
        for finding in findings:
            yield self._issue(finding.severity, finding.path, finding.message, root=root, subject=subject)
        if spec is not None and metadata.name:
            locate = _Below(self.positions, root).locate if root else self.positions.locate
            yield Resource(
                kind=kind,
                name=metadata.name,
                namespace=metadata.namespace,
                annotations=metadata.annotations,
                labels=metadata.labels,
                spec=spec,
                file=self.file,
                locate=locate,
                created=metadata.created,
            )

    def _issue(
        self, severity: Severity, path: FieldPath, message: str, *, root: FieldPath = (), subject: str = ""
    ) -> Issue:
        line, column = self.positions.locate(root + path)
        shown = format_path(path)
        return Issue(severity, self.file, line, column, f"{subject}: {shown}" if subject else shown, message)


@dataclass(frozen=True, slots=True)
class _Below:
    """The positions of one item of a List."""

    positions: Positions
    root: FieldPath

    def locate(self, path: FieldPath) -> tuple[int, int]:
        return self.positions.locate(self.root + path)


def _parse_spec(value: Any, kind: str, metadata: Metadata) -> tuple[Message | None, list[Finding]]:
    root: FieldPath = ("spec",)
    if not isinstance(value, dict):
        message = "missing" if value is None else f"{show(value)}, expected a mapping"
        return None, [error(root, message)]
    model, check = _KINDS[kind].model, _KINDS[kind].check
    findings: list[Finding] = []
    pruned = Pruned()
    try:
        spec = model.model_validate(value)
    except ValidationError as e:
        # All errors at once: what is left without the wrong fields is checked, too.
        findings += type_errors(e, model, root)
        if e.error_count() > MAX_ERRORS:
            return None, findings
        pruned = prune(value, [details["loc"] for details in e.errors(include_url=False)])
        try:
            spec = model.model_validate(pruned.value)
        except ValidationError:
            return None, findings
    checked = (f for f in check(spec, metadata) if not pruned.touches(f.path[1:]))
    findings += islice(chain(checked, not_acted_on(kind, spec)), MAX_FINDINGS)
    if len(findings) >= MAX_FINDINGS:
        findings.append(error(root, f"more than {MAX_FINDINGS} issues, the rest was not checked"))
    return spec, findings

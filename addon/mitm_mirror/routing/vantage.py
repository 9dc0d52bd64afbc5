"""Where in a mesh this proxy stands: the gateways that it plays, its namespace and its labels."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mitm_mirror.resources import names
from mitm_mirror.resources.finding import show
from mitm_mirror.resources.issue import Issue, Severity
from mitm_mirror.resources.resource import Resource
from mitm_mirror.routing.hosts import DEFAULT_NAMESPACE

MESH = "mesh"
"""Istio's name for all sidecars, where it stands for a gateway."""

_NAMESPACE = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_GATEWAY = re.compile(
    r"(?:(?:\.|[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)/)?[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Vantage:
    """The proxy that this one plays; by default a sidecar of namespace `default` without labels."""

    gateways: tuple[str, ...] = (MESH,)
    """`mesh` for a sidecar, `namespace/name` for a Gateway; at least one."""
    namespace: str = DEFAULT_NAMESPACE
    labels: Mapping[str, str] = field(default_factory=dict)

    def sees(self, export_to: Collection[str], owner: str) -> bool:
        """Whether a resource of namespace `owner` with this `exportTo` is exported to this proxy.

        Source: istio pilot/pkg/model/push_context.go (initVirtualServices, IsServiceVisible) and
        pkg/config/visibility.
        """
        if not export_to or "*" in export_to:
            return True
        if "~" in export_to:
            return False
        return self.namespace in export_to or ("." in export_to and self.namespace == owner)

    def not_exported(self, resource: Resource[Any], export_to: Collection[str]) -> Issue:
        """The issue at a resource that this proxy does not see."""
        message = (
            f"exported to {', '.join(export_to)}, this proxy is of namespace {self.namespace} "
            "(mirror_namespace): not used here"
        )
        return resource.issue(self.namespace_severity, ("spec", "exportTo"), message)

    @property
    def gateway_severity(self) -> Severity:
        """Of an issue about rules that are for other gateways. What was asked for is no warning."""
        return Severity.WARNING if self.gateways == (MESH,) else Severity.NOTICE

    @property
    def namespace_severity(self) -> Severity:
        """Of an issue about rules that are for other namespaces."""
        return Severity.WARNING if self.namespace == DEFAULT_NAMESPACE else Severity.NOTICE

    @property
    def labels_severity(self) -> Severity:
        """Of an issue about rules that are for other workloads."""
        return Severity.NOTICE if self.labels else Severity.WARNING

    @property
    def plays(self) -> str:
        """`mesh`, `istio-system/ingress and default/egress`."""
        return " and ".join(self.gateways)


DEFAULT_VANTAGE = Vantage()


class VantageError(ValueError):
    """A part of a vantage that is no such thing."""

    def __init__(self, part: Literal["gateways", "namespace", "labels"], message: str) -> None:
        super().__init__(message)
        self.part = part


def parse_vantage(gateways: Sequence[str], namespace: str, labels: str) -> Vantage:
    """The vantage that options say; VantageError says which of them is wrong, and what would do.

    Gateways are written as in a VirtualService of `namespace`: `mesh`, `name`, `./name`, `namespace/name`.
    Labels are `app=sleep,version=v1`, empty for none.
    """
    if not _NAMESPACE.fullmatch(namespace):
        raise VantageError("namespace", f"{namespace!r}, expected a namespace such as default")
    for name in gateways:
        if not _GATEWAY.fullmatch(name):
            raise VantageError("gateways", f"{name!r}, expected mesh, NAME or NAMESPACE/NAME")
    played = tuple(dict.fromkeys(resolve_gateway(name, namespace) for name in gateways))
    return Vantage(played or (MESH,), namespace, _parse_labels(labels))


def resolve_gateway(name: str, namespace: str) -> str:
    """The `namespace/name` that a VirtualService of `namespace` means; `mesh` stays what it is.

    `name.namespace.svc.cluster.local` is an old spelling. Source: istio pilot/pkg/model/config.go,
    resolveGatewayName.
    """
    if name == MESH:
        return name
    before, slash, after = name.partition("/")
    if slash:
        return f"{namespace}/{after}" if before == "." else name
    short, dot, rest = name.partition(".")
    return f"{rest.partition('.')[0]}/{short}" if dot else f"{namespace}/{name}"


def show_labels(labels: Mapping[str, str]) -> str:
    """`app=sleep,version=v1`; `none` where there is none."""
    return ",".join(f"{name}={value}" for name, value in labels.items()) or "none"


def _parse_labels(text: str) -> dict[str, str]:
    labels: dict[str, str] = {}
    for part in text.split(",") if text else ():
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not name:
            raise VantageError("labels", f"{part!r}, expected NAME=VALUE, several with commas between")
        if name in labels:
            raise VantageError("labels", f"{show(name)} is given twice, expected each label once")
        labels[name] = value
    for finding in names.check_labels(labels, ()):
        raise VantageError("labels", f"{finding.message}; expected labels such as app=sleep,version=v1")
    return labels

"""Whom a rule is for: what `gateways`, `exportTo` and selectors may not say although their types are right.

Source: istio pkg/config/validation/validation.go (validateGatewayNames, validateExportTo,
validateWorkloadSelector, ValidateAlphaWorkloadSelector).
"""

from collections.abc import Iterator, Mapping, Sequence

from mitm_mirror.resources import names
from mitm_mirror.resources.finding import Finding, error, show, warning
from mitm_mirror.resources.names import at
from mitm_mirror.resources.resource import FieldPath

_PRIVATE, _PUBLIC, _NONE = ".", "*", "~"


def check_gateway_names(gateways: Sequence[str], path: FieldPath) -> Iterator[Finding]:
    """Errors of names; a warning for `name.namespace.svc...`, as they were once written.

    Istio stops at the first name without a namespace, `mesh` included; here the rest is checked, too.
    """
    for index, gateway in enumerate(gateways):
        here = (*path, index)
        namespace, slash, name = gateway.partition("/")
        if slash:
            if names.dns_label(namespace) or names.dns_label(name):
                yield error(here, f"{show(gateway)}, expected NAMESPACE/NAME")
            continue
        message = names.host_name(gateway, wildcard=False)
        yield from at(here, message)
        if message is None and "." in gateway:
            name, namespace = gateway.split(".")[:2]
            yield warning(here, f"{show(gateway)}, deprecated, use {namespace}/{name}")


def check_export_to(
    export_to: Sequence[str], namespace: str, path: FieldPath, *, to_nobody: bool = False
) -> Iterator[Finding]:
    """`to_nobody`: whether `~` is allowed, as it is for a ServiceEntry."""
    seen: dict[str, str] = {}
    for index, entry in enumerate(export_to):
        here = (*path, index)
        # `.` is the rule's own namespace, which may be spelled out.
        key = namespace if entry == _PRIVATE else entry
        if key in seen:
            yield error(here, f"{show(entry)}, {show(seen[key])} above is the same namespace")
            continue
        seen[key] = entry
        special = entry in (_PRIVATE, _PUBLIC) or (entry == _NONE and to_nobody)
        if not special and names.dns_label(entry):
            wanted = "*, ., ~" if to_nobody else "*, ."
            yield error(here, f"{show(entry)}, expected {wanted} or a namespace")
    for alone in (_PUBLIC, _NONE):
        if alone in seen and len(export_to) > 1:
            yield error(path, f"expected {show(alone)} alone, or without it the namespaces")


def check_selector(labels: Mapping[str, str], path: FieldPath) -> Iterator[Finding]:
    """Errors of the labels that select workloads; `path` is theirs."""
    for key, value in labels.items():
        if not key:
            yield error((*path, key), "a label without a name")
        if "*" in key or "*" in value:
            yield error((*path, key), f"{show(f'{key}={value}')}, wildcards are not supported here")

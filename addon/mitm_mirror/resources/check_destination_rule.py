"""What a DestinationRule may not say although its types are right.

Source: istio pkg/config/validation/validation.go (ValidateDestinationRule, validateWorkloadSelector).
"""

from collections.abc import Iterator

from mitm_mirror.resources import names
from mitm_mirror.resources.check_scope import check_export_to, check_selector
from mitm_mirror.resources.check_traffic_policy import check_traffic_policy
from mitm_mirror.resources.destination_rule import DestinationRule
from mitm_mirror.resources.finding import Finding, error, show, warning
from mitm_mirror.resources.metadata import Metadata
from mitm_mirror.resources.names import at
from mitm_mirror.resources.resource import FieldPath


def check_destination_rule(spec: DestinationRule, metadata: Metadata) -> Iterator[Finding]:
    """All errors and warnings of one spec; paths begin with "spec"."""
    message = names.host_name(spec.host, wildcard=True) if spec.host else "missing"
    yield from at(("spec", "host"), message)
    if spec.traffic_policy is not None:
        yield from check_traffic_policy(spec.traffic_policy, ("spec", "trafficPolicy"), metadata)
    seen: set[str] = set()
    for index, subset in enumerate(spec.subsets):
        path = ("spec", "subsets", index)
        yield from at((*path, "name"), names.dns_label(subset.name) if subset.name else "missing")
        if subset.name and subset.name in seen:
            yield error((*path, "name"), f"{show(subset.name)}, another subset has this name")
        seen.add(subset.name)
        yield from names.check_labels(subset.labels, (*path, "labels"))
        if subset.traffic_policy is not None:
            yield from check_traffic_policy(subset.traffic_policy, (*path, "trafficPolicy"), metadata)
    yield from _check_scope(spec, metadata.namespace, ("spec",))


def _check_scope(spec: DestinationRule, namespace: str, root: FieldPath) -> Iterator[Finding]:
    yield from check_export_to(spec.export_to, namespace, (*root, "exportTo"))
    if spec.workload_selector is None:
        return
    labels = spec.workload_selector.match_labels
    here = (*root, "workloadSelector")
    if not labels:
        yield warning(here, "without matchLabels it selects every workload of the namespace")
    yield from check_selector(labels, (*here, "matchLabels"))
    for index, exported in enumerate(spec.export_to):
        if exported not in (".", namespace):
            message = f"{show(exported)}, beside workloadSelector expected the own namespace alone: ."
            yield error((*root, "exportTo", index), message)

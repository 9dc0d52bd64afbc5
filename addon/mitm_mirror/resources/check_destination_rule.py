"""What a DestinationRule may not say although its types are right.

Source: istio pkg/config/validation/validation.go (ValidateDestinationRule). The settings that are not
acted on yet are checked for their types only.
"""

from collections.abc import Iterator

from mitm_mirror.resources import names
from mitm_mirror.resources.check_traffic_policy import check_traffic_policy
from mitm_mirror.resources.destination_rule import DestinationRule
from mitm_mirror.resources.finding import Finding, error, show
from mitm_mirror.resources.names import at


def check_destination_rule(spec: DestinationRule) -> Iterator[Finding]:
    """All errors of one spec; paths begin with "spec"."""
    message = names.host_name(spec.host, wildcard=True) if spec.host else "missing"
    yield from at(("spec", "host"), message)
    if spec.traffic_policy is not None:
        yield from check_traffic_policy(spec.traffic_policy, ("spec", "trafficPolicy"))
    seen: set[str] = set()
    for index, subset in enumerate(spec.subsets):
        path = ("spec", "subsets", index)
        yield from at((*path, "name"), names.dns_label(subset.name) if subset.name else "missing")
        if subset.name and subset.name in seen:
            yield error((*path, "name"), f"{show(subset.name)}, another subset has this name")
        seen.add(subset.name)
        yield from names.check_labels(subset.labels, (*path, "labels"))
        if subset.traffic_policy is not None:
            yield from check_traffic_policy(subset.traffic_policy, (*path, "trafficPolicy"))

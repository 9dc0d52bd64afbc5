"""What the locality settings of a loadBalancer may not say although their types are right.

Source: istio pkg/config/validation/agent/validation.go (ValidateLocalityLbSetting,
ValidateZoneAwareLbSetting, validateLocalities).
"""

from collections.abc import Iterator, Sequence

from mitm_mirror.resources.destination_rule import (
    Failover,
    LocalityLoadBalancerSetting,
    ZoneAwareLoadBalancerSetting,
)
from mitm_mirror.resources.finding import Finding, error, show, warning
from mitm_mirror.resources.resource import FieldPath

_TOPOLOGY = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone")


def check_locality(spec: LocalityLoadBalancerSetting, path: FieldPath, *, ejects: bool) -> Iterator[Finding]:
    """`ejects`: whether the policy has an outlierDetection, without which no endpoint ever fails over."""
    if spec.distribute and spec.failover:
        yield error((*path, "failover"), "not allowed beside distribute")
        return
    if spec.failover:
        for index, label in enumerate(spec.failover_priority):
            if label in _TOPOLOGY:
                message = f"{show(label)}, not allowed beside failover"
                yield error((*path, "failoverPriority", index), message)
    for index, share in enumerate(spec.distribute):
        here = (*path, "distribute", index)
        outside = {locality: weight for locality, weight in share.to.items() if not 1 <= weight <= 100}
        for locality, weight in outside.items():
            yield error((*here, "to", locality), f"{weight}, expected 1 to 100")
        total = sum(share.to.values())
        if total != 100 and not outside:
            yield error((*here, "to"), f"the weights add up to {total}, expected 100")
        yield from _check_localities([((*here, "to", locality), locality) for locality in share.to])
    sources = [((*path, "distribute", i, "from"), share.from_) for i, share in enumerate(spec.distribute)]
    yield from _check_localities(sources)
    yield from _check_failover(spec, path, ejects=ejects)


def check_zone_aware(
    spec: ZoneAwareLoadBalancerSetting, path: FieldPath, *, ejects: bool
) -> Iterator[Finding]:
    """`ejects` as for `check_locality`."""
    for index, label in enumerate(spec.failover_priority):
        if label in _TOPOLOGY:
            message = f"{show(label)}, regions and zones are ordered without it"
            yield error((*path, "failoverPriority", index), message)
    if spec.min_cluster_size == 0:
        yield error((*path, "minClusterSize"), "0, expected 1 or more")
    yield from _check_failover(spec, path, ejects=ejects)


def _check_failover(
    spec: LocalityLoadBalancerSetting | ZoneAwareLoadBalancerSetting, path: FieldPath, *, ejects: bool
) -> Iterator[Finding]:
    if (spec.failover or spec.failover_priority) and not ejects:
        name = "failover" if spec.failover else "failoverPriority"
        yield warning((*path, name), "does nothing without outlierDetection")
    for index, failover in enumerate(spec.failover):
        yield from _check_regions(failover, (*path, "failover", index))


def _check_regions(failover: Failover, path: FieldPath) -> Iterator[Finding]:
    if failover.from_ == failover.to:
        yield error((*path, "to"), f"{show(failover.to)}, expected another region than from")
    for name, region in (("from", failover.from_), ("to", failover.to)):
        if "/" in region or "*" in region:
            yield error((*path, name), f"{show(region)}, expected a region without '/' and '*'")


def _check_localities(localities: Sequence[tuple[FieldPath, str]]) -> Iterator[Finding]:
    """Errors of localities that exclude each other; of two that overlap the later one's."""
    known: list[tuple[str, list[str]]] = []
    for path, locality in localities:
        parts = locality.split("/", 2)
        if not all(parts) or "*" in locality.removesuffix("*"):
            yield error(path, f"{show(locality)}, expected REGION/ZONE/SUBZONE, where * may end it")
            continue
        own = [part for part in parts if part != "*"]
        for other, wide in known:
            shorter = min(len(own), len(wide))
            if own[:shorter] == wide[:shorter]:
                yield error(path, f"{show(locality)}, overlaps with {show(other)} above")
                break
        known.append((locality, own))

"""Which DestinationRules hold for a host, seen from this proxy.

Source throughout: istio pilot/pkg/model/push_context.go (setDestinationRules, destinationRule),
destination_rule.go (mergeDestinationRule) and sidecar.go (SidecarScope.DestinationRule).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from mitm_mirror.resources.destination_rule import DestinationRule, TrafficPolicy
from mitm_mirror.resources.issue import Issue
from mitm_mirror.resources.resource import Resource, oldest_first
from mitm_mirror.routing.hosts import HostIndex, qualify_host
from mitm_mirror.routing.services import Labels, is_subset
from mitm_mirror.routing.traffic_policy import SourcedPolicy
from mitm_mirror.routing.vantage import Vantage, show_labels

ROOT_NAMESPACE = "istio-system"
"""Istio's default (meshConfig.rootNamespace): its rules hold for every namespace that has none."""


@dataclass(frozen=True, slots=True)
class HostSubset:
    """A named part of a host's endpoints."""

    labels: Labels
    policy: SourcedPolicy | None


@dataclass(slots=True)
class HostRules:
    """What DestinationRules for one host say together."""

    policy: SourcedPolicy | None = None
    subsets: dict[str, HostSubset] = field(default_factory=dict)

    def add(self, rule: Resource[DestinationRule]) -> None:
        """Of two the first definition of a subset counts, and the first traffic policy, whole."""
        if self.policy is None:
            self.policy = _sourced(rule.spec.traffic_policy, rule)
        for subset in rule.spec.subsets:
            policy = _sourced(subset.traffic_policy, rule)
            self.subsets.setdefault(subset.name, HostSubset(subset.labels, policy))


@dataclass(slots=True)
class _Merged:
    """Rules of one namespace for one host that count as one: those with equal `exportTo` and selector."""

    rules: HostRules
    export_to: frozenset[str]
    selector: Labels | None


_ByHost = dict[str, list[_Merged]]


class DestinationRules:
    """All DestinationRules, by namespace and host."""

    def __init__(self, resources: Sequence[Resource[DestinationRule]], vantage: Vantage) -> None:
        self._vantage = vantage
        own: _ByHost = {}
        exported: dict[str, _ByHost] = {}
        self.issues: list[Issue] = []
        # Rules with a selector go first, so that others can join them.
        for rule in sorted(oldest_first(resources), key=lambda rule: rule.spec.workload_selector is None):
            selector = rule.spec.workload_selector
            export_to = frozenset(rule.spec.export_to if selector is None else ".")
            private = export_to in ({"."}, {rule.namespace})
            here = rule.namespace == vantage.namespace and vantage.sees(export_to, rule.namespace)
            # The root namespace's exported rules are for those who have none, so it asks them last, too.
            if here and (private or rule.namespace != ROOT_NAMESPACE):
                _merge(own, rule, export_to)
            if not private:
                _merge(exported.setdefault(rule.namespace, {}), rule, export_to)
            if not vantage.sees(export_to, rule.namespace):
                self.issues.append(vantage.not_exported(rule, sorted(export_to)))
            elif selector is not None and not is_subset(selector.match_labels, vantage.labels):
                message = (
                    f"it is for {show_labels(selector.match_labels)}, this proxy's labels: "
                    f"{show_labels(vantage.labels)} (mirror_labels): not used here"
                )
                path = ("spec", "workloadSelector")
                self.issues.append(rule.issue(vantage.labels_severity, path, message))
        self._own = HostIndex(own.items())
        self._exported = {namespace: HostIndex(found.items()) for namespace, found in exported.items()}

    def find(self, host: str, service_namespace: str) -> HostRules:
        """The rules that hold for a service: the proxy's namespace's, else the service's, else the root's.

        In each the best host decides, and only where a namespace has none the next is asked.
        """
        found = self._own.find(host)
        for namespace in (service_namespace, ROOT_NAMESPACE):
            if not found and namespace in self._exported:
                found = [
                    merged
                    for merged in self._exported[namespace].find(host) or ()
                    if not merged.export_to or {"*", self._vantage.namespace} & merged.export_to
                ]
        return self._pick(found or ())

    def reaches(self, namespace: str, service_namespace: str) -> bool:
        """Whether rules of a namespace can hold for a service of another one."""
        return namespace in (self._vantage.namespace, service_namespace, ROOT_NAMESPACE)

    def _pick(self, found: Sequence[_Merged]) -> HostRules:
        """The first whose selector means this proxy, else the last without any."""
        chosen = _NO_RULES
        for merged in found:
            if merged.selector is None:
                chosen = merged.rules
            elif is_subset(merged.selector, self._vantage.labels):
                return merged.rules
        return chosen


_NO_RULES = HostRules()


def _merge(by_host: _ByHost, rule: Resource[DestinationRule], export_to: frozenset[str]) -> None:
    """Adds the rule to those that it counts as one with, and as one of its own where it must."""
    found = by_host.setdefault(qualify_host(rule.spec.host, rule.namespace), [])
    selector = None if rule.spec.workload_selector is None else rule.spec.workload_selector.match_labels
    separate = True
    for merged in found:
        same = export_to == merged.export_to
        if not same and not (merged.export_to and export_to > merged.export_to):
            separate = True
            continue
        if selector is not None and merged.selector is not None and selector != merged.selector:
            separate = True
            continue
        separate = not same and selector != merged.selector
        merged.rules.add(rule)
    if separate:
        rules = HostRules()
        rules.add(rule)
        found.append(_Merged(rules, export_to, selector))


def _sourced(policy: TrafficPolicy | None, rule: Resource[DestinationRule]) -> SourcedPolicy | None:
    return None if policy is None else SourcedPolicy(policy, rule.file)

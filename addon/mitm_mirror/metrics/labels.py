"""Istio's standard labels for a key of `TrafficCounts`.

Source: https://istio.io/latest/docs/reference/config/metrics/
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

from mitm_mirror.metrics.traffic import OTHER, TrafficKey
from mitm_mirror.observe.record import cluster_parts
from mitm_mirror.routing.vantage import MESH, Vantage

UNKNOWN = "unknown"
"""Istio's own word for what a proxy cannot tell."""

TRAFFIC_LABELS = (
    "mirror_copy",
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_app",
    "source_version",
    "source_principal",
    "source_cluster",
    "destination_workload",
    "destination_workload_namespace",
    "destination_app",
    "destination_version",
    "destination_principal",
    "destination_cluster",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "request_protocol",
    "response_code",
    "response_flags",
    "connection_security_policy",
)
"""The names, in the order of `traffic_labels`."""

Key = TypeVar("Key", bound=Hashable)


def traffic_labels(key: TrafficKey, vantage: Vantage) -> list[str]:
    """The values of `TRAFFIC_LABELS`.

    The reporter is the source, as for every proxy that sends; such a one says of the connection's
    security `unknown`, as in Istio. The destination's version is its subset's name: workloads are not known.
    """
    if key.destination == OTHER:
        host = subset = name = namespace = code = OTHER
    else:
        _, subset, host = cluster_parts(key.destination)
        name, namespace = _service(host)
        code = str(key.status)
    gateway = "" if MESH in vantage.gateways else vantage.gateways[0].rpartition("/")[2]
    return [
        key.copy,
        "source",
        gateway or UNKNOWN,
        vantage.namespace,
        vantage.labels.get("app", UNKNOWN),
        vantage.labels.get("version", UNKNOWN),
        UNKNOWN,
        UNKNOWN,
        UNKNOWN,
        namespace,
        UNKNOWN,
        subset or UNKNOWN,
        UNKNOWN,
        UNKNOWN,
        host or UNKNOWN,
        name,
        namespace,
        "grpc" if key.grpc else "http",
        code,
        key.flags,
        UNKNOWN,
    ]


def _service(host: str) -> tuple[str, str]:
    """(name, namespace): of `httpbin.default.svc.cluster.local` both, else the host, and nothing known."""
    parts = host.split(".")
    if len(parts) > 2 and parts[2] == "svc":
        return parts[0], parts[1]
    return host or UNKNOWN, UNKNOWN


class LabelCap(Generic[Key]):
    """Says which keys are shown by themselves: the first ones that came, for ever; the rest are summed up.

    For ever, since a counter that vanished into `other` and came back would look like a restart.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._admitted: set[Key] = set()

    def admits(self, key: Key) -> bool:
        """Whether `key` is shown by itself."""
        if key in self._admitted:
            return True
        if len(self._admitted) >= self._limit:
            return False
        self._admitted.add(key)
        return True

"""ServiceEntry's spec, message for message.

Source: istio/api networking/v1alpha3/service_entry.proto and sidecar.proto (WorkloadSelector),
which v1 and v1beta1 share.
"""

from enum import StrEnum

from pydantic import Field

from mitm_mirror.resources.base import Message
from mitm_mirror.resources.scalars import Str, UInt32
from mitm_mirror.resources.workload_entry import WorkloadEntry


class ServicePort(Message):
    number: UInt32 = 0
    protocol: Str = ""
    name: Str = ""
    target_port: UInt32 = 0
    """0 means `number`."""


class WorkloadSelector(Message):
    labels: dict[Str, Str] = Field(default_factory=dict)


class Location(StrEnum):
    MESH_EXTERNAL = "MESH_EXTERNAL"
    MESH_INTERNAL = "MESH_INTERNAL"


class Resolution(StrEnum):
    NONE = "NONE"
    STATIC = "STATIC"
    DNS = "DNS"
    DNS_ROUND_ROBIN = "DNS_ROUND_ROBIN"
    DYNAMIC_DNS = "DYNAMIC_DNS"


class ServiceEntry(Message):
    hosts: tuple[Str, ...] = ()
    addresses: tuple[Str, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    location: Location = Location.MESH_EXTERNAL
    resolution: Resolution = Resolution.NONE
    endpoints: tuple[WorkloadEntry, ...] = ()
    workload_selector: WorkloadSelector | None = None
    export_to: tuple[Str, ...] = ()
    subject_alt_names: tuple[Str, ...] = ()

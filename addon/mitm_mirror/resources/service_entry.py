"""ServiceEntry's spec, message for message.

Source: istio/api networking/v1alpha3/service_entry.proto and sidecar.proto (WorkloadSelector),
which v1 and v1beta1 share. Limits of length are the CRD's.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from mitm_mirror.resources.base import Message
from mitm_mirror.resources.scalars import Str, UInt32
from mitm_mirror.resources.workload_entry import WorkloadEntry

_Hosts = Annotated[tuple[Str, ...], Field(max_length=256)]
_Addresses = Annotated[tuple[Annotated[Str, Field(max_length=64)], ...], Field(max_length=256)]
_Labels = Annotated[dict[Str, Annotated[Str, Field(max_length=63)]], Field(max_length=256)]


class ServicePort(Message):
    number: UInt32 = 0
    protocol: Str = ""
    name: Str = ""
    target_port: UInt32 = 0
    """0 means `number`."""


class WorkloadSelector(Message):
    labels: _Labels = Field(default_factory=dict)


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
    hosts: _Hosts = ()
    addresses: _Addresses = ()
    ports: Annotated[tuple[ServicePort, ...], Field(max_length=256)] = ()
    location: Location = Location.MESH_EXTERNAL
    resolution: Resolution = Resolution.NONE
    endpoints: Annotated[tuple[WorkloadEntry, ...], Field(max_length=4096)] = ()
    workload_selector: WorkloadSelector | None = None
    export_to: tuple[Str, ...] = ()
    subject_alt_names: tuple[Str, ...] = ()

"""WorkloadEntry's spec, which is also one endpoint of a ServiceEntry.

Source: istio/api networking/v1alpha3/workload_entry.proto, which v1 and v1beta1 share. Limits
of length are the CRD's.
"""

from typing import Annotated

from pydantic import Field

from mitm_mirror.resources.base import Message
from mitm_mirror.resources.scalars import Str, UInt32

_Text256 = Annotated[Str, Field(max_length=256)]
_Text2048 = Annotated[Str, Field(max_length=2048)]


class WorkloadEntry(Message):
    address: _Text256 = ""
    ports: Annotated[dict[Str, UInt32], Field(max_length=128)] = Field(default_factory=dict)
    """By the service port's name."""
    labels: Annotated[dict[Str, Str], Field(max_length=256)] = Field(default_factory=dict)
    network: _Text2048 = ""
    locality: _Text2048 = ""
    weight: UInt32 = 0
    """0 counts as 1."""
    service_account: Annotated[Str, Field(max_length=253)] = ""

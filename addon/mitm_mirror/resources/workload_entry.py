"""WorkloadEntry's spec, which is also one endpoint of a ServiceEntry.

Source: istio/api networking/v1alpha3/workload_entry.proto, which v1 and v1beta1 share.
"""

from pydantic import Field

from mitm_mirror.resources.base import Message
from mitm_mirror.resources.scalars import Str, UInt32


class WorkloadEntry(Message):
    address: Str = ""
    ports: dict[Str, UInt32] = Field(default_factory=dict)
    """By the service port's name."""
    labels: dict[Str, Str] = Field(default_factory=dict)
    network: Str = ""
    locality: Str = ""
    weight: UInt32 = 0
    """0 counts as 1."""
    service_account: Str = ""

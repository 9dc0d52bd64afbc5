"""What every model of an Istio message shares: protobuf-JSON spelling, no unknown field, null means absent.

Absent, zero and given stay three cases: an absent message or wrapper (`UInt32Value`) is None, an
absent plain number or string is its protobuf default, an absent list or map is empty.

Maps take their default from `default_factory`: pydantic deep-copies a `{}` for each message, which is
a tenth of what ten thousand rules take to validate.
"""

from functools import cache
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator


def json_name(name: str) -> str:
    """`mirrorPercentage` for `mirror_percentage`: protobuf's rule, which leaves `5xx` as it is."""
    first, *rest = name.rstrip("_").split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


@cache
def attribute_name(name: str) -> str:
    """`mirror_percentage` for `mirrorPercentage`: the way back, for names without acronyms or digits."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)


class Message(BaseModel):
    """An Istio message. Attributes are spelled as in the proto file, YAML as in protobuf-JSON.

    An attribute that would be a Python keyword ends in an underscore (`from_`).
    """

    # defer_build: the console command answers for a small file before it would have built the
    # validators of every load-balancer setting.
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=json_name, defer_build=True)

    field_names: ClassVar[frozenset[str]] = frozenset()
    """The YAML spelling of every field."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.field_names = frozenset(json_name(name) for name in cls.model_fields)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, value: Any) -> Any:
        # protobuf-JSON: null is absent, but only as a field: in a list or a map it stays an error.
        if isinstance(value, dict) and None in value.values():
            return {k: v for k, v in value.items() if v is not None or k not in cls.field_names}
        return value

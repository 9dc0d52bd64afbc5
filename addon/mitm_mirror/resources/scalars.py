"""protobuf's scalar types as protobuf-JSON spells them, for use in the models' annotations.

Freedoms of protobuf-JSON that hold here: a number may be a string, and an integer may be written as
a float without a fraction. Not a freedom: a number or boolean where a string is wanted.
"""

import base64
import binascii
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, Strict
from pydantic_core import PydanticCustomError

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?", re.ASCII)
_DURATION = re.compile(r"[-+]?(?:0|(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+)", re.ASCII)
_DURATION_PART = re.compile(r"([0-9.]+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
# No number of a rule needs more; longer digit strings cost quadratic time to convert.
_NUMBER_CHARS = 64


def parse_duration(text: str) -> float:
    """Seconds of a Go duration: `5s`, `0.5s`, `100ms`, `1h30m`, `0`.

    Raises ValueError where the text is none, or is negative (Istio refuses every negative duration).
    Source: Istio reads durations by Go's time.ParseDuration, not by protobuf-JSON's `5s` alone.
    """
    if len(text) > _NUMBER_CHARS or not _DURATION.fullmatch(text):
        raise ValueError("expected a duration such as 5s, 0.5s, 100ms or 1h30m")
    if text.startswith("-"):
        raise ValueError("expected a duration of 0s or more")
    return sum(float(number) * _UNIT_S[unit] for number, unit in _DURATION_PART.findall(text))


def _duration(value: Any) -> Any:
    if not isinstance(value, str):
        raise PydanticCustomError("duration", "expected a duration with its unit, such as 5s or 100ms")
    try:
        return parse_duration(value)
    except ValueError as e:
        raise PydanticCustomError("duration", "{reason}", {"reason": str(e)}) from e


def _integer(value: Any) -> Any:
    if type(value) is int:
        return value
    if isinstance(value, str) and len(value) <= _NUMBER_CHARS and _NUMBER.fullmatch(value):
        value = int(value) if value.lstrip("-").isdigit() else float(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int:
        raise PydanticCustomError("integer", "expected a whole number")
    return value


def _double(value: Any) -> Any:
    if isinstance(value, str) and len(value) <= _NUMBER_CHARS and _NUMBER.fullmatch(value):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PydanticCustomError("double", "expected a number")
    return value


def _bytes(value: Any) -> Any:
    # protobuf-JSON takes the standard and the URL-safe alphabet, padded or not.
    if isinstance(value, str):
        text = value.replace("-", "+").replace("_", "/").rstrip("=")
        try:
            return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):
            pass
    raise PydanticCustomError("base64", "expected bytes as base64")


Str = Annotated[str, Strict()]
Bool = Annotated[bool, Strict()]
Int32 = Annotated[int, Field(ge=-(2**31), le=2**31 - 1), BeforeValidator(_integer)]
UInt32 = Annotated[int, Field(ge=0, le=2**32 - 1), BeforeValidator(_integer)]
UInt64 = Annotated[int, Field(ge=0, le=2**64 - 1), BeforeValidator(_integer)]
Double = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_double)]
Bytes = Annotated[bytes, BeforeValidator(_bytes)]
Duration = Annotated[float, BeforeValidator(_duration)]
"""In seconds."""

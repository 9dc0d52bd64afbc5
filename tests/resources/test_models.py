"""The typed models: protobuf-JSON's freedoms, and absent, zero and given as three cases."""
# ruff: noqa: E501 - a table reads best with one case a line

import re
from typing import Any

import pydantic
import pytest

from mitm_mirror.resources.base import Message, attribute_name, json_name
from mitm_mirror.resources.destination_rule import DestinationRule, Distribute, SimpleLB
from mitm_mirror.resources.scalars import parse_duration
from mitm_mirror.resources.service_entry import Resolution, ServiceEntry
from mitm_mirror.resources.virtual_service import HTTPBody, HTTPRoute, Percent, VirtualService
from mitm_mirror.resources.workload_entry import WorkloadEntry


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hosts", "hosts"), ("mirror_percentage", "mirrorPercentage"), ("from_", "from"),
        ("consecutive_5xx_errors", "consecutive5xxErrors"), ("http2_keep_alive", "http2KeepAlive"),
        ("h2_upgrade_policy", "h2UpgradePolicy"), ("warmup_duration_secs", "warmupDurationSecs"),
    ],
)  # fmt: skip
def test_json_name(name: str, expected: str) -> None:
    assert json_name(name) == expected


def test_attribute_name_is_the_way_back() -> None:
    for name in HTTPRoute.model_fields:
        assert attribute_name(json_name(name)) == name


def test_absent_zero_and_given_mirror_percentage_are_three_cases() -> None:
    assert HTTPRoute.model_validate({}).mirror_percentage is None
    assert HTTPRoute.model_validate({"mirrorPercentage": None}).mirror_percentage is None
    assert HTTPRoute.model_validate({"mirrorPercentage": {}}).mirror_percentage == Percent.model_validate({})
    assert HTTPRoute.model_validate({"mirrorPercentage": {"value": 0}}).mirror_percentage == Percent(value=0)
    assert HTTPRoute.model_validate({"mirrorPercentage": {"value": 7}}).mirror_percentage == Percent(value=7)
    assert HTTPRoute.model_validate({}).mirror_percent is None
    assert HTTPRoute.model_validate({"mirrorPercent": 0}).mirror_percent == 0


@pytest.mark.parametrize(
    ("written", "expected"),
    [(5, 5), ("5", 5), (5.0, 5), ("5.0", 5), ("1e2", 100)],
    ids=repr,
)
def test_integers_may_be_strings_or_whole_floats(written: Any, expected: int) -> None:
    assert HTTPRoute.model_validate({"mirrorPercent": written}).mirror_percent == expected


@pytest.mark.parametrize(
    "written", [True, 5.5, "5.5", "", " 5", "five", "9" * 5000, -1, 2**32, [], {}], ids=lambda v: repr(v)[:9]
)
def test_what_is_no_unsigned_integer(written: Any) -> None:
    with pytest.raises(pydantic.ValidationError):
        HTTPRoute.model_validate({"mirrorPercent": written})


@pytest.mark.parametrize(
    ("written", "expected"), [(5, 5.0), ("2.5", 2.5), (0.25, 0.25), ("1e-3", 0.001)], ids=repr
)
def test_doubles(written: Any, expected: float) -> None:
    assert Percent.model_validate({"value": written}).value == expected


@pytest.mark.parametrize("written", [True, "x", float("nan"), float("inf"), "", []], ids=repr)
def test_what_is_no_double(written: Any) -> None:
    with pytest.raises(pydantic.ValidationError):
        Percent.model_validate({"value": written})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5s", 5.0), ("0.5s", 0.5), ("1h", 3600.0), ("1h30m", 5400.0), ("100ms", 0.1), ("1.5m", 90.0), ("0", 0.0),
        ("0s", 0.0), ("+5s", 5.0), (".5s", 0.5), ("5.s", 5.0), ("1us", 1e-6), ("1µs", 1e-6), ("2ns", 2e-9),
    ],
    ids=repr,
)  # fmt: skip
def test_durations(text: str, expected: float) -> None:
    assert parse_duration(text) == pytest.approx(expected)
    assert HTTPRoute.model_validate({"timeout": text}).timeout == pytest.approx(expected)


@pytest.mark.parametrize(
    "written", ["5", "", "s", "5 s", "5x", "-5s", "1d", ".s", "5s ", "1" * 100 + "s", 5, 0.5, True], ids=repr
)
def test_what_is_no_duration(written: Any) -> None:
    with pytest.raises(pydantic.ValidationError, match="duration"):
        HTTPRoute.model_validate({"timeout": written})


@pytest.mark.parametrize("written", ["aGk=", "aGk", "-_-_", "+/+/"])
def test_bytes_are_base64_of_either_alphabet(written: str) -> None:
    assert HTTPBody.model_validate({"bytes": written}).bytes in (b"hi", b"\xfb\xff\xbf")


@pytest.mark.parametrize("written", ["a", "a b=", "é", 5], ids=repr)
def test_what_is_no_base64(written: Any) -> None:
    with pytest.raises(pydantic.ValidationError, match="base64"):
        HTTPBody.model_validate({"bytes": written})


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"hosts": [None]}, id="in a list"),
        pytest.param({"http": [{"match": [{"headers": {"x": None}}]}]}, id="in a map"),
        pytest.param({"nonsense": None}, id="of an unknown field"),
    ],
)
def test_null_is_an_error(spec: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError):
        VirtualService.model_validate(spec)


def test_null_fields_are_absent() -> None:
    assert VirtualService.model_validate({"hosts": None, "http": None}) == VirtualService.model_validate({})


def test_mirror_percent_has_the_second_spelling_of_the_crds() -> None:
    assert HTTPRoute.model_validate({"mirror_percent": 7}).mirror_percent == 7


def test_snake_case_is_unknown() -> None:
    with pytest.raises(pydantic.ValidationError, match="Extra inputs"):
        HTTPRoute.model_validate({"mirror_percentage": {"value": 5}})


def test_models_are_frozen() -> None:
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        Percent(value=5).value = 6


def test_enums_and_python_keywords() -> None:
    rule = DestinationRule.model_validate(
        {"host": "a", "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}}
    )

    assert rule.traffic_policy is not None
    assert rule.traffic_policy.load_balancer is not None
    assert rule.traffic_policy.load_balancer.simple is SimpleLB.RANDOM
    assert Distribute.model_validate({"from": "a/*", "to": {"b": "80"}}).from_ == "a/*"
    assert ServiceEntry.model_validate({}).resolution is Resolution.NONE


# The fields of the proto files (istio/api), so that none is forgotten or misspelled.
PROTO_FIELDS = {
    VirtualService: "hosts gateways http tls tcp exportTo",
    HTTPRoute: "name match route redirect directResponse delegate rewrite timeout retries fault mirror mirrors"
    " mirrorPercent mirrorPercentage corsPolicy headers",
    DestinationRule: "host trafficPolicy subsets exportTo workloadSelector",
    ServiceEntry: "hosts addresses ports location resolution endpoints workloadSelector exportTo subjectAltNames",
    WorkloadEntry: "address ports labels network locality weight serviceAccount",
}


@pytest.mark.parametrize("model", PROTO_FIELDS, ids=lambda model: model.__name__)
def test_every_field_of_the_proto_is_there(model: type[Message]) -> None:
    assert model.field_names == set(re.split(r"\s+", PROTO_FIELDS[model]))

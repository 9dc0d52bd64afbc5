"""Checks of `fault`, each at its field."""

from collections.abc import Iterator

import pytest
import yaml

from mitm_mirror.resources.check_fault import check_fault
from mitm_mirror.resources.issue import Severity
from mitm_mirror.resources.resource import format_path
from mitm_mirror.resources.virtual_service import HTTPFaultInjection

ALL = "percentage: {value: 100}"


def lines(text: str) -> Iterator[tuple[str, str]]:
    spec = HTTPFaultInjection.model_validate(yaml.safe_load(text))
    for finding in check_fault(spec, ("fault",)):
        severity = "error" if finding.severity is Severity.ERROR else "warning"
        yield severity, f"{format_path(finding.path)}: {finding.message}"


@pytest.mark.parametrize(
    "text",
    [
        f"{{abort: {{httpStatus: 200, {ALL}}}}}",
        f"{{abort: {{httpStatus: 599, {ALL}}}}}",
        f"{{abort: {{grpcStatus: UNAVAILABLE, {ALL}}}}}",
        "{abort: {httpStatus: 500, percentage: {value: 0}}}",
        "{abort: {httpStatus: 500, percentage: {value: 0.0001}}}",
        f"{{delay: {{fixedDelay: 1ms, {ALL}}}}}",
        f"{{delay: {{fixedDelay: 1.001s, {ALL}}}}}",
        f"{{delay: {{fixedDelay: 1h30m, {ALL}}}}}",
    ],
)
def test_valid(text: str) -> None:
    assert list(lines(text)) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("{}", "fault: expected delay, abort or both", id="empty"),
        pytest.param(
            f"{{abort: {{httpStatus: 199, {ALL}}}}}",
            "fault.abort.httpStatus: 199, expected 200 to 599",
            id="status too low",
        ),
        pytest.param(
            f"{{abort: {{httpStatus: 600, {ALL}}}}}",
            "fault.abort.httpStatus: 600, expected 200 to 599",
            id="status too high",
        ),
        pytest.param(
            f"{{abort: {{httpStatus: 500, http2Error: x, {ALL}}}}}",
            "fault.abort.http2Error: not allowed beside httpStatus",
            id="two kinds of abort, and the one that is not supported",
        ),
        pytest.param(
            f"{{abort: {{httpStatus: 500, grpcStatus: OK, {ALL}}}}}",
            "fault.abort.grpcStatus: not allowed beside httpStatus",
            id="two kinds of abort",
        ),
        pytest.param(
            f"{{abort: {{http2Error: x, {ALL}}}}}",
            "fault.abort.http2Error: not supported by Istio, expected httpStatus or grpcStatus",
            id="http2Error",
        ),
        pytest.param(
            "{abort: {httpStatus: 500, percentage: {value: 100.5}}}",
            "fault.abort.percentage.value: 100.5, expected 0, or 0.0001 to 100",
            id="above 100",
        ),
        pytest.param(
            "{delay: {fixedDelay: 1s, percentage: {value: 0.00009}}}",
            "fault.delay.percentage.value: 9e-05, expected 0, or 0.0001 to 100",
            id="too small to count",
        ),
        pytest.param(
            f"{{delay: {{fixedDelay: 0s, {ALL}}}}}",
            "fault.delay.fixedDelay: 0 s, expected whole milliseconds, 1ms or more",
            id="no delay",
        ),
        pytest.param(
            f"{{delay: {{fixedDelay: 1500us, {ALL}}}}}",
            "fault.delay.fixedDelay: 0.0015 s, expected whole milliseconds, 1ms or more",
            id="half a millisecond",
        ),
        pytest.param(
            f"{{delay: {{exponentialDelay: 1s, {ALL}}}}}",
            "fault.delay.exponentialDelay: not supported by Istio, expected fixedDelay",
            id="exponentialDelay",
        ),
        pytest.param(
            f"{{delay: {{fixedDelay: 1s, exponentialDelay: 1s, {ALL}}}}}",
            "fault.delay.exponentialDelay: not allowed beside fixedDelay",
            id="two delays",
        ),
    ],
)
def test_invalid(text: str, expected: str) -> None:
    assert ("error", expected) in list(lines(text))


def test_an_unknown_grpc_status_is_told_the_known_ones() -> None:
    ((severity, line),) = lines(f"{{abort: {{grpcStatus: not_found, {ALL}}}}}")

    assert severity == "error"
    assert line.startswith("fault.abort.grpcStatus: 'not_found', expected one of OK, CANCELLED, ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("{abort: {httpStatus: 500}}", "fault.abort: without percentage", id="abort of nobody"),
        pytest.param("{delay: {fixedDelay: 1s}}", "fault.delay: without percentage", id="delay of nobody"),
        pytest.param(
            f"{{abort: {{{ALL}}}}}", "fault.abort: without httpStatus or grpcStatus", id="abort with nothing"
        ),
        pytest.param(f"{{delay: {{{ALL}}}}}", "fault.delay: without fixedDelay", id="delay by nothing"),
        pytest.param(
            "{delay: {fixedDelay: 1s, percent: 5}}", "fault.delay.percent: deprecated", id="deprecated"
        ),
        pytest.param(
            "{delay: {fixedDelay: 1s, percentage: {}}}",
            "fault.delay.percentage: empty, which means 0 percent",
            id="empty percentage",
        ),
    ],
)
def test_valid_but_hardly_meant(text: str, expected: str) -> None:
    ((severity, line),) = lines(text)

    assert severity == "warning"
    assert line.startswith(expected)


def test_a_percent_out_of_range_counts_as_100() -> None:
    assert ("warning", "fault.delay.percent: 101, expected 0 to 100; it counts as 100") in list(
        lines("{delay: {fixedDelay: 1s, percent: 101}}")
    )

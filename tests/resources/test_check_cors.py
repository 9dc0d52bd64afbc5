"""Checks of `corsPolicy`, each at its field."""

from collections.abc import Iterator

import pytest
import yaml

from mitm_mirror.resources.check_cors import check_cors
from mitm_mirror.resources.issue import Severity
from mitm_mirror.resources.resource import format_path
from mitm_mirror.resources.virtual_service import CorsPolicy

STAR = "allowOrigins: [{exact: '*'}]"


def lines(text: str) -> Iterator[tuple[str, str]]:
    for finding in check_cors(CorsPolicy.model_validate(yaml.safe_load(text)), ("cors",)):
        severity = "error" if finding.severity is Severity.ERROR else "warning"
        yield severity, f"{format_path(finding.path)}: {finding.message}"


@pytest.mark.parametrize(
    "text",
    [
        f"{{{STAR}, allowMethods: [GET, '*'], allowHeaders: [x-a, '*'], exposeHeaders: [x-b], maxAge: 24h}}",
        "{allowOrigins: [{prefix: 'http://'}, {regex: '.*'}], unmatchedPreflights: IGNORE}",
    ],
)
def test_valid(text: str) -> None:
    assert list(lines(text)) == []


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        pytest.param("{allowOrigins: [{}]}", "allowOrigins[0]", "empty, expected one of", id="no origin"),
        pytest.param("{allowOrigins: [{exact: ''}]}", "allowOrigins[0]", "empty, expected one", id="empty"),
        pytest.param(
            "{allowOrigins: [{exact: a, prefix: b}]}",
            "allowOrigins[0]",
            "exact and prefix, expected",
            id="two",
        ),
        pytest.param(
            "{allowOrigins: [{exact: a}, {regex: '*'}]}",
            "allowOrigins[1].regex",
            "'*', not a regular expression of RE2",
            id="regex",
        ),
        pytest.param(
            f"{{{STAR}, allowMethods: [GET, get]}}",
            "allowMethods[1]",
            "'get', expected one of GET",
            id="method",
        ),
        pytest.param(
            f"{{{STAR}, allowHeaders: ['a b']}}", "allowHeaders[0]", "'a b' is not a header name", id="header"
        ),
        pytest.param(
            f"{{{STAR}, exposeHeaders: ['']}}",
            "exposeHeaders[0]",
            "'' is not a header name",
            id="empty header",
        ),
        pytest.param(
            f"{{{STAR}, maxAge: 1.5s}}", "maxAge", "1.5 s, expected whole seconds", id="half a second"
        ),
        pytest.param(f"{{{STAR}, maxAge: 0s}}", "maxAge", "0 s, expected whole seconds", id="no time"),
    ],
)
def test_invalid(text: str, place: str, message: str) -> None:
    ((severity, line),) = lines(text)

    assert severity == "error"
    assert line.startswith(f"cors.{place}: {message}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("{}", "cors: without allowOrigins no origin is allowed", id="empty"),
        pytest.param("{allowOrigin: [a]}", "cors.allowOrigin: deprecated, use allowOrigins", id="deprecated"),
        pytest.param(
            f"{{{STAR}, allowOrigin: [a]}}",
            "cors.allowOrigin: deprecated, use allowOrigins, which goes before it here",
            id="deprecated and ignored",
        ),
    ],
)
def test_valid_but_hardly_meant(text: str, expected: str) -> None:
    assert list(lines(text)) == [("warning", expected)]

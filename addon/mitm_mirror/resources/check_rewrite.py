"""What a `rewrite` may not say although its types are right.

Source: istio pkg/config/validation/validation.go (validateHTTPRewrite, validateURIRegexRewrite); that the
replacement fits the expression, Envoy finds out only when it gets the configuration.
"""

from collections.abc import Iterator

import re2  # type: ignore[import-untyped]

from mitm_mirror.resources import names
from mitm_mirror.resources.finding import Finding, error
from mitm_mirror.resources.names import at
from mitm_mirror.resources.resource import FieldPath
from mitm_mirror.resources.virtual_service import HTTPRewrite, RegexRewrite


def check_rewrite(rewrite: HTTPRewrite, path: FieldPath) -> Iterator[Finding]:
    """All errors of one rewrite."""
    if rewrite.uri and rewrite.uri_regex_rewrite:
        yield error((*path, "uriRegexRewrite"), "not allowed beside uri")
    if not (rewrite.uri or rewrite.uri_regex_rewrite or rewrite.authority):
        yield error(path, "expected uri, uriRegexRewrite or authority")
    if rewrite.uri_regex_rewrite:
        yield from _check_regex_rewrite(rewrite.uri_regex_rewrite, (*path, "uriRegexRewrite"))


def _check_regex_rewrite(rewrite: RegexRewrite, path: FieldPath) -> Iterator[Finding]:
    message = names.regex(rewrite.match)
    yield from at((*path, "match"), message)
    if not rewrite.rewrite:
        yield error((*path, "rewrite"), "empty, expected a replacement")
    if message is None:
        # RE2's replacement text: \0 to \9 are groups, \\ is a backslash, nothing else may follow one.
        groups = re2.compile(rewrite.match).groups
        escapes = rewrite.rewrite.replace("\\\\", "").split("\\")[1:]
        for escape in escapes:
            if not ("0" <= escape[:1] <= "9"):
                yield error(
                    (*path, "rewrite"), f"'\\{escape[:1]}', expected \\0 to \\9, or \\\\ for a backslash"
                )
            elif int(escape[0]) > groups:
                yield error((*path, "rewrite"), f"\\{escape[0]}, but match has {groups} groups")

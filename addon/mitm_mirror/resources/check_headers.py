"""What header operations may not say although their types are right.

Source: istio pkg/config/validation (validateHTTPRoute, validateHTTPRouteDestinations,
validateAuthorityRewrite). Stricter in one point: a name that is set or added has to be one of HTTP, which
Envoy finds out only when it gets the configuration.
"""

from collections.abc import Iterator, Mapping

from mitm_mirror.resources import names
from mitm_mirror.resources.finding import Finding, show
from mitm_mirror.resources.header_format import has_whole_commands
from mitm_mirror.resources.names import at
from mitm_mirror.resources.resource import FieldPath
from mitm_mirror.resources.virtual_service import Headers


def check_headers(headers: Headers, path: FieldPath) -> Iterator[Finding]:
    """All errors of the operations on requests and responses."""
    for side, operations in (("request", headers.request), ("response", headers.response)):
        if operations is None:
            continue
        changed: tuple[tuple[str, Mapping[str, str]], ...] = (
            ("set", operations.set),
            ("add", operations.add),
        )
        for name, values in changed:
            for header, value in values.items():
                here = (*path, side, name, header)
                yield from at(here, names.changed_header(header, authority=side == "request"))
                yield from at(here, _value(value))
        for index, header in enumerate(operations.remove):
            yield from at((*path, side, "remove", index), names.changed_header(header, authority=False))


def _value(value: str) -> str | None:
    if not has_whole_commands(value):
        return (
            f"{show(value)}, a % that begins no whole command such as %HOSTNAME%; write %% for a percent sign"
        )
    return names.header_value(value)

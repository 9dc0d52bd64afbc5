"""`headers` as Envoy's header operations.

Source: istio pilot/pkg/networking/core/route/route.go, TranslateHeadersOperations.
"""

from collections.abc import Mapping
from typing import Any

from mitm_mirror.resources.virtual_service import HeaderOperations, Headers

_OVERWRITE = "OVERWRITE_IF_EXISTS_OR_ADD"
_APPEND = "APPEND_IF_EXISTS_OR_ADD"


def header_fields(*specs: Headers | None) -> dict[str, Any]:
    """The fields `request_headers_to_add` and so on of all `specs` one after another; absent where empty."""
    fields: dict[str, list[Any]] = {}
    for spec in specs:
        if spec is None:
            continue
        for side, operations in (("request", spec.request), ("response", spec.response)):
            if operations is not None:
                fields.setdefault(f"{side}_headers_to_add", []).extend(_additions(operations))
                fields.setdefault(f"{side}_headers_to_remove", []).extend(
                    name for name in operations.remove if not _is_internal(name)
                )
    return {name: values for name, values in fields.items() if values}


def rewritten_authority(spec: Headers | None) -> str:
    """What `Host` or `:authority` is set to; empty where it is not."""
    if spec is None or spec.request is None:
        return ""
    for operations in (spec.request.set, spec.request.add):
        for name, value in operations.items():
            if name.lower() in ("host", ":authority") and value:
                return value
    return ""


def mutations(set_headers: tuple[tuple[str, str], ...], remove_headers: frozenset[bytes]) -> list[Any]:
    """A list of HeaderMutation: removals first, then one line for each header that is set."""
    removed: list[Any] = [{"remove": name.decode()} for name in sorted(remove_headers)]
    return removed + [{"append": _option(name, value, _OVERWRITE)} for name, value in set_headers]


def _additions(operations: HeaderOperations) -> list[Any]:
    written: tuple[tuple[Mapping[str, str], str], ...] = (
        (operations.set, _OVERWRITE),
        (operations.add, _APPEND),
    )
    return [
        _option(name, value, action)
        for headers, action in written
        for name, value in sorted(headers.items())
        if not _is_internal(name)
    ]


def _option(name: str, value: str, action: str) -> dict[str, Any]:
    return {"header": {"key": name, "value": value}, "append_action": action}


def _is_internal(name: str) -> bool:
    return name.startswith(":") or name.lower() == "host"

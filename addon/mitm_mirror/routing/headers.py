"""Header changes: from a rule's `headers` to operations, and the operations on header lines."""

from collections.abc import Iterable, Mapping

from mitm_mirror.resources.virtual_service import HeaderOperations as HeaderOperationsSpec
from mitm_mirror.routing.decision import HeaderOperations
from mitm_mirror.routing.request import HeaderFields

NO_OPERATIONS = HeaderOperations()


def apply_operations(fields: HeaderFields, operations: HeaderOperations) -> HeaderFields:
    """The header lines after the operations; names are compared without case.

    Removals come first, then each `set` (every line of that name goes, one new line comes last),
    then each `add` (a line of its own, last). Source: Envoy's HeaderParser::evaluateHeaders and
    HeaderMapImpl::setReferenceKey, which removes and then appends.
    """
    gone = operations.remove | {name.lower() for name, _ in operations.set}
    kept = tuple(field for field in fields if field[0].lower() not in gone) if gone else fields
    written: dict[bytes, tuple[bytes, bytes]] = {}
    for field in operations.set:
        # Two of one name (the route's and its single destination's): the later one wins, in its place.
        written.pop(field[0].lower(), None)
        written[field[0].lower()] = field
    return kept + tuple(written.values()) + operations.add


def compile_operations(spec: HeaderOperationsSpec | None) -> tuple[HeaderOperations, str]:
    """(operations, authority) of one `headers.request` or `headers.response`.

    `Host` or `:authority` under `set` (or, after it, `add`) becomes the authority; it and all pseudo
    headers can be changed or removed in no other way. An empty value adds nothing and overwrites
    nothing. Source: istio pilot/pkg/networking/core/route/route.go, TranslateHeadersOperations,
    which also sorts by name; Envoy's HeaderParser::evaluateHeaders.
    """
    if spec is None:
        return NO_OPERATIONS, ""
    operations = HeaderOperations(
        remove=frozenset(name.lower().encode() for name in spec.remove if not _is_internal(name)),
        set=_fields(spec.set),
        add=_fields(spec.add),
    )
    return operations, _authority(spec.set) or _authority(spec.add)


def merge_operations(route: HeaderOperations, destination: HeaderOperations) -> HeaderOperations:
    """The operations of a route and its single destination as one, the destination's last of each kind.

    One list, so all removals come before all additions. Source: route.go, processDestination.
    """
    return HeaderOperations(
        remove=route.remove | destination.remove,
        set=route.set + destination.set,
        add=route.add + destination.add,
    )


def shadow_operations(
    set_headers: Iterable[tuple[str, str]], remove_headers: frozenset[bytes]
) -> HeaderOperations:
    """The operations of the `mitm-mirror/set-headers` and `remove-headers` annotations."""
    operations = HeaderOperations(
        remove=remove_headers, set=tuple((name.encode(), value.encode()) for name, value in set_headers)
    )
    return operations or NO_OPERATIONS


def _is_internal(name: str) -> bool:
    return name.startswith(":") or name.lower() == "host"


def _fields(headers: Mapping[str, str]) -> HeaderFields:
    return tuple(
        (name.encode(), value.encode())
        for name, value in sorted(headers.items())
        if value and not _is_internal(name)
    )


def _authority(headers: Mapping[str, str]) -> str:
    return next((value for name, value in headers.items() if name.lower() in (":authority", "host")), "")

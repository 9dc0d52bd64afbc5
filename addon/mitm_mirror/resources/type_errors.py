"""pydantic's errors -> plain ones: unknown fields and wrong types, each at its field."""

import difflib
import typing
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from pydantic import ValidationError

from mitm_mirror.resources.base import Message, json_name
from mitm_mirror.resources.finding import Finding, error, show
from mitm_mirror.resources.resource import FieldPath

# By pydantic's error type. {found} is the value, the others come from the error's context.
_MESSAGES: Mapping[str, str] = {
    "base64": "{found}, expected bytes as base64",
    "bool_type": "{found}, expected true or false without quotes",
    "dict_type": "{found}, expected a mapping",
    "double": "{found}, expected a number",
    "duration": "{found}, {reason}",
    "enum": "{found}, expected one of {expected}",
    "finite_number": "{found}, expected a finite number",
    "greater_than_equal": "{found}, expected {ge} or more",
    "integer": "{found}, expected a whole number",
    "less_than_equal": "{found}, expected {le} or less",
    "model_type": "{found}, expected a mapping",
    "string_type": "{found}, expected a string{hint}",
    "string_too_long": "{found}, expected at most {max_length} characters",
    "too_long": "{actual_length} items, expected at most {max_length}",
    "tuple_type": "{found}, expected a list",
}
KNOWN_TYPES = frozenset(_MESSAGES) | {"extra_forbidden"}


# Of one document. Nobody reads more, and suggesting a name takes 100 microseconds.
MAX_ERRORS = 100
# pydantic makes a dict of a kilobyte for each error, or none.
_MAX_LISTED = 10_000


def type_errors(exception: ValidationError, model: type[Message], root: FieldPath) -> Iterator[Finding]:
    """One finding per error of `model.model_validate`, the first `MAX_ERRORS` of them.

    `root` is the path of the value that was validated.
    """
    if exception.error_count() > _MAX_LISTED:
        yield error(root, f"{exception.error_count()} errors, which are too many to show")
        return
    errors = exception.errors(include_url=False)
    if len(errors) > MAX_ERRORS:
        yield error(root, f"{len(errors)} errors, the first {MAX_ERRORS} are shown")
    for details in errors[:MAX_ERRORS]:
        loc = details["loc"]
        if details["type"] == "extra_forbidden":
            name = str(loc[-1])
            yield error(root + loc, unknown(name, _fields_at(model, loc[:-1]), "field"))
            continue
        found = details["input"]
        context = {"reason": details["msg"], **details.get("ctx", {})}
        if "expected" in context:
            context["expected"] = context["expected"].replace("'", "").replace(" or ", ", ")
        message = _MESSAGES.get(details["type"], "{found}, {reason}")
        yield error(
            root + loc, message.format_map(context | {"found": show(found), "hint": quotes_hint(found)})
        )


def quotes_hint(found: Any) -> str:
    """What to do about a scalar that YAML does not take for the string that it was meant to be."""
    return "; write it in quotes" if isinstance(found, bool | int | float) else ""


def unknown_keys(value: Mapping[str, Any], known: frozenset[str], root: FieldPath) -> Iterator[Finding]:
    """An error for each key of a mapping that is none of the known ones, the first `MAX_ERRORS` of them."""
    for key in islice((key for key in value if key not in known), MAX_ERRORS):
        yield error((*root, key), unknown(key, known, "field"))


def unknown(name: str, known: Iterable[str], what: str) -> str:
    """`unknown field; did you mean x?`"""
    known = sorted(known)
    camel = json_name(name)
    folded = {k.lower(): k for k in known}
    close = [camel] if camel in known else difflib.get_close_matches(name.lower(), folded, n=1)
    if close:
        return f"unknown {what}; did you mean {folded.get(close[0], close[0])}?"
    return f"unknown {what}; expected one of {', '.join(known)}"


def _fields_at(model: type[Message], loc: tuple[str | int, ...]) -> frozenset[str]:
    """The field names of the message at `loc` below `model`."""
    annotation: Any = model
    for part in loc:
        if typing.get_origin(annotation) in (tuple, dict):
            # `part` is an index or a key.
            annotation = next(filter(_is_message, typing.get_args(annotation)), None)
        else:
            fields = annotation.model_fields
            annotation = next(fields[name].annotation for name in fields if json_name(name) == part)
            if not _is_message(annotation) and typing.get_origin(annotation) not in (tuple, dict):
                annotation = next(filter(_is_message, typing.get_args(annotation)), None)  # `X | None`
    return annotation.field_names if _is_message(annotation) else frozenset()


def _is_message(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Message)

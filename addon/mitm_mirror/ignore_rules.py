r"""The parts of an answer that a comparison leaves out: `json:$.items[*].id, header:x-request-id`. Pure.

Rules are matched against the paths of differences, which are written here too: `json.items[3].id`,
`header.x-request-id`, `form.a`. A rule for a node covers everything below it.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

_PLAIN_KEY = re.compile(r"[A-Za-z_$][\w$-]*", re.ASCII)
_NAME = re.compile(r"[^\s,]+")
_STEP = re.compile(
    r"""(?P<deep>\.\.)?(?:
        (?P<any_key>(?:(?<=\.\.)|\.)\*)
      | (?P<any_index>\[\*\])
      | \[(?P<index>[0-9]+)\]
      | \[(?P<quoted>"(?:[^"\\]|\\.)*"|'[^'\\]*')\]
      | (?:(?<=\.\.)|\.)(?P<key>[A-Za-z_$][\w$-]*)
    )""",
    re.VERBOSE | re.ASCII,
)
_KEY_PATTERN = r'(?:\.[A-Za-z_$][\w$-]*|\["(?:[^"\\]|\\.)*"\])'
_ANY_PATTERN = rf"(?:{_KEY_PATTERN}|\[[0-9]+\])"
_EXPECTED = "expected json:PATH (such as json:$.items[*].id), header:NAME, trailer:NAME, form:NAME or status"


def key_step(key: str) -> str:
    """How a path goes on to the member `key` of an object: `.price`, or `["a.b"]` where that is ambiguous."""
    return f".{key}" if _PLAIN_KEY.fullmatch(key) else f"[{json.dumps(key)}]"


@dataclass(frozen=True)  # no slots: the expression is compiled once, on first use
class IgnoreRules:
    """What `parse_ignore_rules` returns. Equal where the rules were written the same."""

    rules: tuple[str, ...] = ()

    def ignores(self, path: str) -> bool:
        """Whether a difference at `path` is left out."""
        return bool(self.rules) and self._expression.match(path) is not None

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        return re.compile("|".join(f"(?:{_translate(rule)})" for rule in self.rules), re.ASCII | re.DOTALL)


NO_RULES = IgnoreRules()


def parse_ignore_rules(text: str) -> IgnoreRules:
    """The rules of a text, separated by commas or line breaks; a comma within `["..."]` separates nothing.

    JSON paths are a part of RFC 9535: `$`, `.name`, `["name"]`, `[0]`, `[*]`, `.*` and `..name`.
    Raises ValueError with the rule that is wrong and what is expected.
    """
    rules = tuple(dict.fromkeys(_split(text)))
    if not rules:
        raise ValueError(_EXPECTED)
    for rule in rules:
        _translate(rule)
    return IgnoreRules(rules)


def _split(text: str) -> Iterator[str]:
    rule, quote = "", ""
    for character in text.replace("\n", ","):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'" and rule.rstrip().endswith("["):
            quote = character
        elif character == ",":
            if rule.strip():
                yield rule.strip()
            rule = ""
            continue
        rule += character
    if rule.strip():
        yield rule.strip()


def _translate(rule: str) -> str:
    """The rule as a regular expression that is to match the beginning of a path."""
    source, colon, rest = rule.partition(":")
    rest = rest.strip()
    if rule == "status":
        return r"status\Z"
    if source == "json" and colon:
        return _translate_json_path(rule, rest)
    if source in ("header", "trailer") and _NAME.fullmatch(rest):
        return rf"{source}\.{re.escape(rest.lower())}(?:\Z|[.;\[])"
    if source == "form" and rest:
        return rf"form{re.escape(key_step(rest))}\Z"
    raise ValueError(f"{rule!r}: {_EXPECTED}")


def _translate_json_path(rule: str, path: str) -> str:
    if not path.startswith("$"):
        raise ValueError(f"{rule!r}: expected a JSON path that begins with $, such as json:$.items[*].id")
    parts = [r"(?:json|ndjson\[[0-9]+\])"]
    place = 1
    while place < len(path):
        step = _STEP.match(path, place)
        if step is None:
            raise ValueError(
                f"{rule!r}: cannot read {path[place:]!r} of the JSON path; "
                'expected .name, ["name"], [0], [*], .* or ..name'
            )
        parts.append(_translate_step(step))
        place = step.end()
    return "".join(parts) + r"(?:\Z|[.\[])"


def _translate_step(step: re.Match[str]) -> str:
    deep = f"{_ANY_PATTERN}*" if step["deep"] else ""
    if step["any_key"]:
        # `.*` is each child: RFC 9535 means the elements of an array too
        return deep + _ANY_PATTERN
    if step["any_index"]:
        return deep + r"\[[0-9]+\]"
    if step["index"]:
        return deep + rf"\[{int(step['index'])}\]"
    if step["quoted"]:
        text = step["quoted"]
        key = json.loads(text) if text[0] == '"' else text[1:-1]
        return deep + re.escape(key_step(key))
    return deep + re.escape(key_step(step["key"]))

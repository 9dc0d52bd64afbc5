"""YAML text -> plain values, with the line and column of every field.

Consumes libyaml's events in one loop: composing nodes first takes four times as long, and recurses.
Time and memory are bounded by the text's size: aliases are not copied, and what they would come to if
they were is counted.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from mitm_mirror.resources.issue import Issue, Severity
from mitm_mirror.resources.positions import Positions, PositionTree, line_of, moved, pack
from mitm_mirror.resources.yaml_scalars import resolve_plain

# The same parser in C where PyYAML was built with libyaml: ten times as fast.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# A VirtualService needs 10 levels. libyaml's time for one token grows with the flow level.
MAX_DEPTH = 100
_TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"
# Of libyaml since PyYAML 6.0.4, past 1,000 levels. It reads up to 1,024 characters ahead of its events.
_TOO_DEEP_FOR_LIBYAML = "exceeded maximum nesting depth"
# Of one document. A List of as many rules as fit into a file has about this many keys and values; a
# typed value takes up to a kilobyte.
MAX_NODES = 1_000_000
# What all aliases of one file may come to when written out. A file of hand-written anchors has hundreds.
MAX_ALIASED_NODES = 100_000
# Each broken document is reported and skipped; a file that is no YAML at all would be reported by the line.
MAX_SYNTAX_ERRORS = 20
# Between two syntax errors; a text with more was not written by hand.
MAX_DUPLICATE_KEYS = 100

_DOCUMENT_START = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_TAG_PREFIX = "tag:yaml.org,2002:"
_SCALAR_TAGS: dict[str, type | tuple[type, ...]] = {
    "int": int, "float": (int, float), "bool": bool, "null": type(None),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Document:
    """One document's plain value."""

    value: Any
    positions: Positions


def read_documents(text: str, file: str) -> tuple[list[Document], list[Issue]]:
    """The documents of a YAML text that can be read, and what is wrong with the others.

    A document with an error in its syntax is left out; reading goes on at the next `---`. One with a
    duplicate key keeps the key's first value. Comments alone make no document.
    """
    documents: list[Document] = []
    issues: list[Issue] = []
    budget = _Budget()
    line_offset = 0
    for _ in range(MAX_SYNTAX_ERRORS):
        start, error = _read_until_error(text, file, line_offset, budget, documents, issues)
        if error is not None:
            issues.append(error)
        following = start is not None and _DOCUMENT_START.search(text, max(start, 1))
        if not following:
            return documents, issues
        line_offset += text.count("\n", 0, following.start())
        text = text[following.start() :]
    issues.append(
        Issue(Severity.ERROR, file, line_offset + 1, 1, "", "too many errors, the rest was not read")
    )
    return documents, issues


@dataclass(slots=True)
class _Budget:
    """What the documents of one text share."""

    aliased_nodes: int = MAX_ALIASED_NODES
    resolved: dict[str, Any] = field(default_factory=dict)
    """What each plain scalar means; also makes one string of those that come again."""


class _DocumentError(Exception):
    """This document cannot be read on."""

    def __init__(self, mark: Any, message: str) -> None:
        super().__init__(message)
        self.mark = mark
        self.message = message


def _read_until_error(
    text: str, file: str, line_offset: int, budget: _Budget, documents: list[Document], issues: list[Issue]
) -> tuple[int | None, Issue | None]:
    """Appends what was read. Returns where (in `text`) to look for the next document, or None at the end."""

    def at(mark: Any, message: str) -> Issue:
        return Issue(Severity.ERROR, file, mark.line + 1 + line_offset, mark.column + 1, "", message)

    loader = None
    problems: list[tuple[Any, str]] = []
    try:
        loader = _Loader(text)
        while True:
            builder = _DocumentBuilder(loader.get_event, budget, line_offset, problems)
            if not builder.read():
                return None, None
            if builder.root is not None:
                value, tree = builder.root
                documents.append(Document(value, Positions(tree, line_offset)))
    except _DocumentError as e:
        return e.mark.index, at(e.mark, e.message)
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        if mark is None:
            return None, Issue(Severity.ERROR, file, 0, 0, "", f"invalid YAML: {e.problem}")
        return mark.index, at(mark, _syntax_message(e, text, line_offset))
    except yaml.reader.ReaderError as e:
        # The reader works on blocks ahead of the parser: nothing after this character can be trusted.
        line = text.count("\n", 0, e.position) + 1 + line_offset
        column = e.position - text.rfind("\n", 0, e.position)
        code = e.character if isinstance(e.character, int) else ord(e.character)
        message = f"invalid YAML: the control character U+{code:04X} is not allowed"
        return None, Issue(Severity.ERROR, file, line, column, "", message)
    finally:
        issues.extend(at(mark, message) for mark, message in problems)
        if loader is not None:
            loader.dispose()


def _syntax_message(e: yaml.MarkedYAMLError, text: str, line_offset: int) -> str:
    mark = e.problem_mark
    if mark is not None and text[mark.index : mark.index + 1] == "\t":
        return "invalid YAML: a tab; YAML is indented by spaces"
    if e.problem == _TOO_DEEP_FOR_LIBYAML:
        return _TOO_DEEP
    message = f"invalid YAML: {e.problem}"
    if e.context and e.context_mark is not None:
        message += f", {e.context} (line {e.context_mark.line + 1 + line_offset})"
    elif e.context:
        message += f", {e.context}"
    return message


_MERGE: Any = object()
_NO_KEY: Any = object()


@dataclass(slots=True)
class _Anchor:
    value: Any
    tree: PositionTree
    nodes: int
    open: bool
    """Its node has not ended yet: an alias to it here would contain itself."""


@dataclass(slots=True)
class _DocumentBuilder:
    """Builds one document: `root` is its (value, positions), `problems` gets (mark, message)."""

    next_event: Callable[[], Any]
    budget: _Budget
    line_offset: int
    problems: list[tuple[Any, str]]
    root: tuple[Any, PositionTree] | None = None

    # One loop without calls: it runs for each of the 1.2 million scalars of 10,000 rules.
    def read(self) -> bool:  # noqa: C901, PLR0912, PLR0915
        """False at the end of the stream. Raises _DocumentError and yaml.YAMLError."""
        next_event = self.next_event
        resolved = self.budget.resolved
        anchors: dict[str, _Anchor] = {}
        # The innermost open container: its value, its positions, the key whose value comes next, that
        # key's mark, its merges. What is around it waits in the stack.
        value: Any = None
        tree: Any = None
        in_mapping = False
        key, key_mark = _NO_KEY, None
        merges: list[tuple[Any, Any]] = []
        stack: list[tuple[Any, ...]] = []
        nodes = 0
        while True:
            event = next_event()
            kind = type(event)
            mark = event.start_mark
            new_tree: Any = None
            if kind is ScalarEvent:
                nodes += 1
                new = event.value
                plain = event.implicit[0]
                if plain:
                    try:
                        new = resolved[new]
                    except KeyError:
                        new = resolved[new] = resolve_plain(new)
                elif event.tag is not None:
                    new = _tagged(event)
                if event.anchor:
                    anchors[event.anchor] = _Anchor(new, 0, 1, open=False)
                if in_mapping and key is _NO_KEY:
                    if type(new) is not str:
                        raise _key_error(event.value, mark)
                    key = _MERGE if plain and new == "<<" else new
                    key_mark = mark
                    continue
            elif kind is MappingStartEvent or kind is SequenceStartEvent:
                nodes += 1
                _check_start(event, in_mapping and key is _NO_KEY, len(stack))
                if event.anchor:
                    anchors[event.anchor] = _Anchor(None, 0, 0, open=True)
                own = pack(key_mark if in_mapping else mark)
                stack.append((value, tree, in_mapping, key, key_mark, merges, event.anchor, nodes))
                in_mapping = kind is MappingStartEvent
                value, tree = ({}, {None: own}) if in_mapping else ([], [own])
                key, merges = _NO_KEY, []
                continue
            elif kind is MappingEndEvent or kind is SequenceEndEvent:
                if merges:
                    _merge(value, tree, merges)
                new, new_tree = value, tree
                value, tree, in_mapping, key, key_mark, merges, anchor, start = stack.pop()
                if anchor:
                    anchors[anchor] = _Anchor(new, new_tree, nodes - start + 1, open=False)
            elif kind is AliasEvent:
                target = self._alias(event, anchors)
                nodes += target.nodes
                new = target.value
                if in_mapping and key is _NO_KEY:
                    if type(new) is not str:
                        raise _key_error(f"*{event.anchor}", mark)
                    key, key_mark = new, mark
                    continue
                new_tree = moved(target.tree, pack(key_mark if in_mapping else mark))
            elif kind is DocumentEndEvent:
                if nodes > MAX_NODES:
                    raise _DocumentError(
                        mark, f"a document of more than {MAX_NODES} keys and values; split it"
                    )
                return True
            elif kind is StreamEndEvent:
                return False
            else:
                continue

            if in_mapping:
                if key is _MERGE:
                    merges.append(_merged(new, new_tree, key_mark))
                elif key in value:
                    if len(self.problems) >= MAX_DUPLICATE_KEYS:
                        raise _DocumentError(key_mark, f"more than {MAX_DUPLICATE_KEYS} duplicate keys")
                    line = line_of(tree[key]) + 1 + self.line_offset
                    self.problems.append((key_mark, f"duplicate key {key!r}, first given in line {line}"))
                else:
                    value[key] = new
                    tree[key] = pack(key_mark) if new_tree is None else new_tree
                key = _NO_KEY
            elif stack:
                value.append(new)
                tree.append(pack(mark) if new_tree is None else new_tree)
            else:
                self.root = (new, pack(mark) if new_tree is None else new_tree)

    def _alias(self, event: Any, anchors: dict[str, _Anchor]) -> _Anchor:
        target = anchors.get(event.anchor)
        if target is None:
            raise _DocumentError(event.start_mark, f"the alias *{event.anchor} has no anchor before it")
        if target.open:
            raise _DocumentError(event.start_mark, f"the alias *{event.anchor} is inside its own anchor")
        self.budget.aliased_nodes -= target.nodes
        if self.budget.aliased_nodes < 0:
            message = f"the aliases of this file come to more than {MAX_ALIASED_NODES} values"
            raise _DocumentError(event.start_mark, message)
        return target


def _check_start(event: Any, as_key: bool, depth: int) -> None:
    if as_key:
        raise _DocumentError(event.start_mark, "a key must be a string, not a list or mapping")
    if depth >= MAX_DEPTH:
        raise _DocumentError(event.start_mark, _TOO_DEEP)
    if event.tag not in (None, "!", _TAG_PREFIX + "map", _TAG_PREFIX + "seq"):
        raise _DocumentError(event.start_mark, f"the tag {event.tag} is not supported")


def _key_error(text: str, mark: Any) -> _DocumentError:
    if not text:
        return _DocumentError(mark, "a key is missing here")
    return _DocumentError(mark, f'a key must be a string, but {text} is none; write it in quotes: "{text}"')


def _merged(value: Any, tree: Any, mark: Any) -> tuple[Any, Any]:
    """What `<<` brings in; of a list of mappings the earlier ones win."""
    if type(value) is list and all(type(item) is dict for item in value):
        merged: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        _merge(*merged, list(zip(value, tree[1:], strict=True)))
        return merged
    if type(value) is not dict:
        raise _DocumentError(mark, "<< must be given a mapping or a list of mappings")
    return value, tree


def _merge(value: dict[str, Any], tree: dict[Any, Any], merges: list[tuple[Any, Any]]) -> None:
    for merged, merged_tree in merges:
        for key in merged:
            if key not in value:
                value[key] = merged[key]
                tree[key] = merged_tree[key]


def _tagged(event: Any) -> Any:
    """The value of a scalar with an explicit tag."""
    name = event.tag.removeprefix(_TAG_PREFIX)
    if name == "str" and event.tag != name:
        return event.value
    types = _SCALAR_TAGS.get(name) if event.tag != name else None
    if types is None:
        raise _DocumentError(event.start_mark, f"the tag {event.tag} is not supported")
    value = resolve_plain(event.value)
    if not isinstance(value, types) or (type(value) is bool and name != "bool"):
        raise _DocumentError(event.start_mark, f"{event.value!r} is not of the type !!{name}")
    return value

"""Compares two JSON documents by structure. Pure, and without recursion: answers choose their depth."""

import json
import marshal
from collections.abc import Iterable, Iterator
from typing import Any

from mitm_mirror.ignore_rules import key_step
from mitm_mirror.observe.compare.comparison import Findings, Kind
from mitm_mirror.observe.compare.hosts import Hosts
from mitm_mirror.observe.escape import readable

_Path = tuple[Any, str | int] | None
"""(path of the parent, key or index); None at the root. A text is made of it only where copies differ."""
_Pair = tuple[_Path, Any, Any]
_Found = tuple[_Path, Kind, Any, Any]
_CONTAINERS = (dict, list)


class _Repeated(list[Any]):
    """The values of a key that its object has several times; RFC 8259 leaves open what that means."""


class _Constant(str):
    """NaN, Infinity or -Infinity: no JSON, but Python and others write them. NaN equals NaN here."""

    __slots__ = ()


def parse_json(text: str) -> Any:
    """The document. Raises ValueError where it is none, or nested too deeply to be read."""
    try:
        return _decode(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    members.clear()
    repeated = set()
    for key, value in pairs:
        if key not in members:
            members[key] = value
        elif key in repeated:
            members[key].append(value)
        else:
            repeated.add(key)
            members[key] = _Repeated([members[key], value])
    return members


# Once: json.loads makes a decoder for each call that has arguments.
_decode = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_Constant).decode


def compare_json(primary: Any, shadow: Any, root: str, found: Findings, hosts: Hosts) -> None:
    """Notes what differs between two parsed documents. Numbers are compared by value (1 is 1.0), members
    by key, elements by index; where arrays differ in length, equal ends are laid side by side first."""
    known: dict[tuple[str | None, ...], str] = {}
    for path, kind, ours, theirs in _walk(primary, shadow, hosts, align=True):
        # Half a million elements may differ alike: no path is written, and no value, for those to come.
        shape = _shape(path)
        if shape in known:
            found.add_again(known[shape])
            continue
        pattern = found.add(
            _render(root, path),
            kind,
            None if kind is Kind.ONLY_SHADOW else _value(ours),
            None if kind is Kind.ONLY_PRIMARY else _value(theirs),
        )
        if found.truncated:
            return
        if not found.looks_at_each:
            known[shape] = pattern


def _walk(primary: Any, shadow: Any, hosts: Hosts, *, align: bool) -> Iterator[_Found]:
    if type(primary) is not type(shadow) or not isinstance(primary, _CONTAINERS):
        if (kind := _scalar_difference(primary, shadow, hosts)) is not None:
            yield None, kind, primary, shadow
        return
    stack: list[_Pair] = [(None, primary, shadow)]
    while stack:
        path, ours, theirs = stack.pop()
        if not align and isinstance(ours, list) and len(ours) != len(theirs):
            yield path, Kind.VALUE, ours, theirs
            continue
        children, only = _children(path, ours, theirs, hosts)
        yield from only
        nested: list[_Pair] = []
        for key, mine, other in children:
            if isinstance(mine, _CONTAINERS) and type(mine) is type(other):
                if not _surely_equal(mine, other):
                    nested.append(((path, key), mine, other))
            elif (kind := _scalar_difference(mine, other, hosts)) is not None:
                yield (path, key), kind, mine, other
        stack.extend(reversed(nested))


def _surely_equal(ours: Any, theirs: Any) -> bool:
    """Whether two containers are equal, found at C's speed; False says nothing.

    `==` stops at the first difference, but takes True for 1; marshal keeps types apart.
    """
    try:
        return bool(ours == theirs) and marshal.dumps(ours, 2) == marshal.dumps(theirs, 2)
    except (ValueError, RecursionError):  # our own classes, and what is nested deeply
        return False


_Children = tuple[Iterable[tuple[str | int, Any, Any]], Iterable[_Found]]
"""(key or index, the primary's child, the shadow's) to compare, and the children that only one side has."""


def _children(path: _Path, ours: Any, theirs: Any, hosts: Hosts) -> _Children:
    if isinstance(ours, dict):
        common = [(key, value, theirs[key]) for key, value in ours.items() if key in theirs]
        return common, _only(path, ours, theirs)
    if len(ours) == len(theirs):
        return zip(range(len(ours)), ours, theirs, strict=True), ()
    return _align(path, ours, theirs, hosts)


def _only(path: _Path, ours: dict[str, Any], theirs: dict[str, Any]) -> Iterator[_Found]:
    if ours.keys() == theirs.keys():
        return
    for key, value in ours.items():
        if key not in theirs:
            yield (path, key), Kind.ONLY_PRIMARY, value, None
    for key, value in theirs.items():
        if key not in ours:
            yield (path, key), Kind.ONLY_SHADOW, None, value


def _align(path: _Path, ours: list[Any], theirs: list[Any], hosts: Hosts) -> _Children:
    """The children of arrays of different length.

    Equal elements at both ends are taken away; that finds one insertion or removal wherever it is. A
    real alignment would cost the product of the lengths.
    """
    shorter = min(len(ours), len(theirs))
    start = 0
    while start < shorter and _same(ours[start], theirs[start], hosts):
        start += 1
    end = 0
    while end < shorter - start and _same(ours[-1 - end], theirs[-1 - end], hosts):
        end += 1
    middle = shorter - end
    pairs = [(i, ours[i], theirs[i]) for i in range(start, middle)]
    extra: list[_Found] = [
        ((path, i), Kind.ONLY_PRIMARY, ours[i], None) for i in range(middle, len(ours) - end)
    ]
    extra += [((path, i), Kind.ONLY_SHADOW, None, theirs[i]) for i in range(middle, len(theirs) - end)]
    return pairs, extra


def _same(ours: Any, theirs: Any, hosts: Hosts) -> bool:
    if isinstance(ours, _CONTAINERS) and type(ours) is type(theirs) and _surely_equal(ours, theirs):
        return True
    # Without aligning: that would look at an element once for each level above it.
    return next(_walk(ours, theirs, hosts, align=False), None) is None


def _scalar_difference(ours: Any, theirs: Any, hosts: Hosts) -> Kind | None:
    kind, other = type(ours), type(theirs)
    if kind is other:
        same = ours == theirs or (kind is str and hosts.same(ours, theirs))
        return None if same else Kind.VALUE
    # by type, and not by ==, which takes True for 1
    if kind in (int, float) and other in (int, float):
        return None if ours == theirs else Kind.VALUE
    return Kind.TYPE


def _shape(path: _Path) -> tuple[str | None, ...]:
    """The keys of a path, None for each index."""
    keys = []
    while path is not None:
        path, key = path
        keys.append(key if isinstance(key, str) else None)
    return tuple(keys)


def _render(root: str, path: _Path) -> str:
    steps = []
    while path is not None:
        path, key = path
        steps.append(f"[{key}]" if isinstance(key, int) else key_step(key))
    return root + "".join(reversed(steps))


def _value(value: Any) -> str:
    """JSON text, of a bounded size for a container: a whole subtree may be what one side lacks."""
    if isinstance(value, _Constant):
        return str(value)
    if isinstance(value, dict):
        return f"{{{len(value)} member{'' if len(value) == 1 else 's'}}}" if value else "{}"
    if isinstance(value, list):
        return f"[{len(value)} element{'' if len(value) == 1 else 's'}]" if value else "[]"
    return readable(json.dumps(value, ensure_ascii=False))

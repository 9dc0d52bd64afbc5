"""Compares texts by line, and forms by name. Pure."""

from difflib import SequenceMatcher
from urllib.parse import parse_qsl

from mitm_mirror.ignore_rules import key_step
from mitm_mirror.observe.compare.comparison import Findings
from mitm_mirror.observe.compare.hosts import Hosts

_MATCHED_LINES = 200
"""Lines, after equal beginnings and ends, up to which they are matched up; that costs their product."""
_FORM_FIELDS = 1000


def compare_lines(primary: str, shadow: str, found: Findings, hosts: Hosts) -> None:
    """Notes the lines that differ, as `text.line 12` by the primary's numbers, from 1."""
    ours, theirs = primary.splitlines(), shadow.splitlines()
    if ours == theirs:
        # only what ends the lines differs: it has to be seen
        ours = [repr(line) for line in primary.splitlines(keepends=True)]
        theirs = [repr(line) for line in shadow.splitlines(keepends=True)]
    shorter = min(len(ours), len(theirs))
    start = 0
    while start < shorter and hosts.same(ours[start], theirs[start]):
        start += 1
    end = 0
    while end < shorter - start and hosts.same(ours[-1 - end], theirs[-1 - end]):
        end += 1
    ours, theirs = ours[start : len(ours) - end], theirs[start : len(theirs) - end]
    if len(ours) != len(theirs) and max(len(ours), len(theirs)) <= _MATCHED_LINES:
        for _, i, i_end, j, j_end in filter(
            _differs, SequenceMatcher(None, ours, theirs, False).get_opcodes()
        ):
            _compare_block(start + i, ours[i:i_end], theirs[j:j_end], found, hosts)
    else:
        _compare_block(start, ours, theirs, found, hosts)


def _differs(opcode: tuple[str, int, int, int, int]) -> bool:
    return opcode[0] != "equal"


def _compare_block(start: int, ours: list[str], theirs: list[str], found: Findings, hosts: Hosts) -> None:
    for i in range(max(len(ours), len(theirs))):
        mine = ours[i] if i < len(ours) else None
        other = theirs[i] if i < len(theirs) else None
        if mine is None or other is None or not hosts.same(mine, other):
            found.add_values(f"text.line {start + i + 1}", mine, other)
            if found.truncated:
                return


def compare_forms(primary: str, shadow: str, found: Findings, hosts: Hosts) -> None:
    """Notes the fields of application/x-www-form-urlencoded that differ, as `form.a`. The order of names
    does not count, that of several values of one name does. Raises ValueError where a text has more than
    1,000 fields."""
    ours, theirs = _fields(primary), _fields(shadow)
    for name in dict.fromkeys((*ours, *theirs)):
        mine, other = ours.get(name), theirs.get(name)
        if mine is None or other is None or not hosts.same(mine, other):
            found.add_values(f"form{key_step(name)}", mine, other)


def _fields(text: str) -> dict[str, str]:
    values: dict[str, list[str]] = {}
    for name, value in parse_qsl(text, keep_blank_values=True, max_num_fields=_FORM_FIELDS):
        values.setdefault(name, []).append(value)
    return {name: ", ".join(several) for name, several in values.items()}

"""Lays a pair out for 80 columns: what differs first, then both whole answers. Pure.

mitmproxy's UIs escape control characters themselves, one for one; nothing else here depends on them.
"""

import unicodedata
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher
from typing import Literal

from mitm_mirror.observe.compare import Comparison, Difference, Verdict
from mitm_mirror.observe.escape import readable
from mitm_mirror.observe.inspect.legs import Leg

WIDTH = 80
_COLUMN = (WIDTH - 3) // 2
_MATCHED_LINES = 2000
"""Lines of an answer up to which equal ones are laid side by side; that costs up to their product."""
_SHOWN_LINES = 5000
_ABSENT = "(absent)"

Style = Literal["header", "text", "error", "offset"]
"""mitmproxy's names: a heading, plain, what differs, and what matters less."""
Span = tuple[Style, str]
Line = list[Span]


def side_by_side(primary: Leg, shadow: Leg, comparison: Comparison | None) -> list[Line]:
    """The pair as lines of styled text, none wider than WIDTH.

    `comparison` is None where the shadow has no answer to compare.
    """
    lines: list[Line] = [[("header", f" {primary.name.upper():<{_COLUMN}}│ {shadow.name.upper()}")]]
    for one, other in (
        (primary.destination, shadow.destination),
        (primary.authority, shadow.authority),
        (primary.endpoint, shadow.endpoint),
        (primary.status_line, shadow.status_line),
        (_duration(primary), _duration(shadow)),
    ):
        lines += _row(one, other, "text")
    if comparison is not None:
        lines += _differences(comparison)
    lines += _heading("The whole answers, ≠ where a line differs")
    lines += _answers(primary.answer_lines(), shadow.answer_lines())
    return lines


def plain_text(lines: Iterable[Line]) -> str:
    """The same lines without styles; ends in a newline."""
    return "".join("".join(text for _, text in line).rstrip() + "\n" for line in lines)


def _differences(comparison: Comparison) -> Iterator[Line]:
    differences = [difference for difference in comparison.differences if not difference.noise]
    noise = [difference for difference in comparison.differences if difference.noise]
    if comparison.verdict is Verdict.EQUAL:
        yield from _heading("The answers are equal" + (", apart from noise" if noise else ""))
    if comparison.verdict is Verdict.NOT_COMPARED:
        yield from _heading(f"Not compared: {comparison.reason}")
    if differences:
        yield from _heading(
            f"{len(differences)} {'place differs' if len(differences) == 1 else 'places differ'}"
        )
        for difference in differences:
            yield from _difference(difference, "error")
    if comparison.truncated:
        yield from _heading("There are more differences than were kept")
    if comparison.reason and comparison.verdict is Verdict.DIFFERS:
        yield from _heading(f"The bodies were not compared: {comparison.reason}")
    if noise:
        yield from _heading("Noise: differs between two copies of one version, too")
        for difference in noise:
            yield from _difference(difference, "offset")


def _difference(difference: Difference, style: Style) -> Iterator[Line]:
    count = f"  ({difference.count} like it)" if difference.count > 1 else ""
    for part in _wrap(difference.path + count, WIDTH - 2):
        yield [("header", f"  {part}")]
    values = (difference.primary, difference.shadow)
    one, other = (_ABSENT if value is None else value for value in values)
    yield from _row(one, other, style, "≠")
    if difference.noise:
        for part in _wrap(difference.noise, WIDTH - 4):
            yield [("offset", f"    {part}")]


def _answers(ours: list[str], theirs: list[str]) -> Iterator[Line]:
    more = max(len(ours), len(theirs)) - _SHOWN_LINES
    ours, theirs = ours[:_SHOWN_LINES], theirs[:_SHOWN_LINES]
    for equal, one, other in _matched(ours, theirs):
        yield from _row(one, other, "text" if equal else "error", "│" if equal else "≠")
    if more > 0:
        yield [("offset", f"({more} further lines)")]


def _matched(ours: list[str], theirs: list[str]) -> Iterator[tuple[bool, str, str]]:
    """(equal, one, other) line by line, so that equal ones stand beside each other."""
    if max(len(ours), len(theirs)) > _MATCHED_LINES:
        blocks = [("replace", 0, len(ours), 0, len(theirs))]
    else:
        blocks = list(SequenceMatcher(a=ours, b=theirs, autojunk=False).get_opcodes())
    for _, start, end, other_start, other_end in blocks:
        one, other = ours[start:end], theirs[other_start:other_end]
        for index in range(max(len(one), len(other))):
            pair = (*one[index : index + 1], *other[index : index + 1])
            equal = len(pair) == 2 and pair[0] == pair[1]
            yield equal, "".join(one[index : index + 1]), "".join(other[index : index + 1])


def _heading(text: str) -> Iterator[Line]:
    # A rule and no blank line: mitmweb collapses those.
    first, *more = _wrap(f"── {text} ", WIDTH - 1)
    yield [("header", first.ljust(WIDTH - 1, "─"))]
    for part in more:
        yield [("header", part)]


def _row(one: str, other: str, style: Style, divider: str = "│") -> Iterator[Line]:
    left, right = _wrap(one, _COLUMN), _wrap(other, _COLUMN)
    for index in range(max(len(left), len(right))):
        first = left[index] if index < len(left) else ""
        second = right[index] if index < len(right) else ""
        yield [
            (style, f" {first}{' ' * (_COLUMN - _width(first))}"),
            (style if divider == "≠" else "offset", divider),
            (style, f" {second}"),
        ]


def _duration(leg: Leg) -> str:
    return "" if leg.duration_ms is None else f"{leg.duration_ms:.1f} ms"


def _wrap(text: str, width: int) -> list[str]:
    """`text` in pieces of at most `width` columns; at least one."""
    text = readable(text).replace("\t", "    ")
    if text.isascii():
        return [text[start : start + width] for start in range(0, len(text), width)] or [""]
    pieces, start, used = [], 0, 0
    for index, character in enumerate(text):
        columns = _columns(character)
        if used + columns > width:
            pieces.append(text[start:index])
            start, used = index, 0
        used += columns
    return [*pieces, text[start:]]


def _width(text: str) -> int:
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    """How many a terminal takes. Source: Unicode's UAX #11; combining characters take none."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1

"""Where the fields of a YAML document stand, in little memory.

10,000 rules have half a million fields. Integers in plain dicts cost a third of mark objects, and the
garbage collector does not visit them.
"""

from dataclasses import dataclass
from typing import Any

from mitm_mirror.resources.resource import FieldPath

# Wider than any column of a file within `MAX_FILE_BYTES`.
_COLUMN_BITS = 24

PositionTree = int | dict[str | None, Any] | list[Any]
"""A packed position of a scalar; of a mapping, the tree of each key, and its own position under None;
of a list, its own position and then the tree of each item."""


def pack(mark: Any) -> int:
    """A YAML mark's line and column as one integer."""
    return int(mark.line << _COLUMN_BITS | mark.column)


def line_of(tree: PositionTree) -> int:
    """The line, from 0, of a tree's root."""
    return _own(tree) >> _COLUMN_BITS


def moved(tree: PositionTree, position: int) -> PositionTree:
    """The same tree, standing elsewhere: an alias has its own place, what is in it the anchor's."""
    if isinstance(tree, dict):
        return {**tree, None: position}
    return [position, *tree[1:]] if isinstance(tree, list) else position


def _own(tree: PositionTree) -> int:
    position = tree[None] if isinstance(tree, dict) else tree[0] if isinstance(tree, list) else tree
    assert isinstance(position, int)
    return position


@dataclass(frozen=True, slots=True)
class Positions:
    """One document's positions."""

    tree: PositionTree
    line_offset: int
    """Lines of the file before the text that was parsed."""

    def locate(self, path: FieldPath) -> tuple[int, int]:
        """(line, column), from 1, of a field's key or a list's item; of the nearest around it if absent."""
        tree = self.tree
        for part in path:
            if isinstance(tree, dict) and isinstance(part, str) and part in tree:
                tree = tree[part]
            elif isinstance(tree, list) and isinstance(part, int) and part + 1 < len(tree):
                tree = tree[part + 1]
            else:
                break
        own = _own(tree)
        return (own >> _COLUMN_BITS) + 1 + self.line_offset, (own & ((1 << _COLUMN_BITS) - 1)) + 1

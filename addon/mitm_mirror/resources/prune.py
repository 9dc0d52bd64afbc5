"""A plain value without its wrong fields, so that the rest of it can be checked in the same run."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mitm_mirror.resources.resource import FieldPath


@dataclass(frozen=True, slots=True)
class Pruned:
    value: Any = None
    paths: tuple[FieldPath, ...] = ()
    """What was taken out. A list loses the whole field that it is the value of: no index may shift."""

    def touches(self, path: FieldPath) -> bool:
        """Whether a finding at `path` may be due to the pruning: it is beside, around or inside a gap."""
        return any(
            path[: len(gap)] == gap or gap[: len(path)] == path or gap[:-1] == path[:-1] for gap in self.paths
        )


def prune(value: dict[str, Any], wrong: Iterable[FieldPath]) -> Pruned:
    """`value` without the fields at the `wrong` paths. Copies what it changes: aliases share parts."""
    gaps = sorted({_field(path) for path in wrong}, key=len)
    copied = dict(value)
    done: list[FieldPath] = []
    for gap in gaps:
        if not any(gap[: len(outer)] == outer for outer in done):
            _delete(copied, gap)
            done.append(gap)
    return Pruned(copied, tuple(done))


def _field(path: FieldPath) -> FieldPath:
    while path and isinstance(path[-1], int):
        path = path[:-1]
    return path


def _delete(value: Any, path: FieldPath) -> None:
    """`value` is ours already; what is below it is copied on the way."""
    for part in path[:-1]:
        inner = value[part]
        value[part] = inner.copy()
        value = value[part]
    del value[path[-1]]

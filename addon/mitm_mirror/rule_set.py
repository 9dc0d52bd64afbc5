"""From paths to compiled rules: what the console command checks is what the proxy serves."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mitm_mirror.resources.issue import Issue, Severity
from mitm_mirror.resources.load import collector_paused, load_rules, sort_issues
from mitm_mirror.resources.resource import Resources
from mitm_mirror.routing.compile import compile_table
from mitm_mirror.routing.table import RouteTable
from mitm_mirror.routing.vantage import DEFAULT_VANTAGE, Vantage


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All rules of some paths. With errors the table is empty: rules are served whole or not at all."""

    table: RouteTable
    issues: tuple[Issue, ...]
    """In the order of files, lines and columns."""
    files: tuple[Path, ...]
    summary: str
    """`2 VirtualServices, 1 DestinationRule from 3 files`."""
    resources: Resources
    """What the table was compiled from."""

    @property
    def errors(self) -> tuple[Issue, ...]:
        return tuple(issue for issue in self.issues if issue.severity is Severity.ERROR)


def load_rule_set(
    paths: Sequence[str],
    *,
    host_suffix: str = "-shadow",
    vantage: Vantage = DEFAULT_VANTAGE,
    missing_ok: bool = False,
) -> RuleSet:
    """The rules of files, folders and globs, see `load_rules`, as the proxy at `vantage` sees them."""
    with collector_paused():
        loaded = load_rules(paths, missing_ok=missing_ok)
        table = _EMPTY_TABLE
        found: tuple[Issue, ...] = ()
        if not loaded.errors:
            table, found = compile_table(loaded.resources, host_suffix=host_suffix, vantage=vantage)
    issues = sort_issues((*loaded.issues, *found), loaded.files)
    if any(issue.severity is Severity.ERROR for issue in found):
        table = _EMPTY_TABLE
    summary = _summarize(loaded.resources, len(loaded.files))
    return RuleSet(table, issues, loaded.files, summary, loaded.resources)


def default_rules() -> str:
    """`rules/` next to `addon/` in a checkout, else `rules/` in the working directory."""
    checkout = Path(__file__).resolve().parents[2]
    beside = checkout / "rules"
    # In site-packages the same place would be somebody else's folder: addon.py tells a checkout.
    return str(beside) if (checkout / "addon" / "addon.py").is_file() else "rules"


_EMPTY_TABLE, _ = compile_table(Resources())
EMPTY_RULE_SET = RuleSet(_EMPTY_TABLE, (), (), "no rules", Resources())


def counted(noun: str, count: int) -> str:
    """`1 file`, `2 files`, `2 ServiceEntries`."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun[:-1]}ies" if noun.endswith("y") else f"{count} {noun}s"


def _summarize(resources: Resources, files: int) -> str:
    kinds = (
        ("VirtualService", resources.virtual_services),
        ("DestinationRule", resources.destination_rules),
        ("ServiceEntry", resources.service_entries),
        ("WorkloadEntry", resources.workload_entries),
    )
    found = ", ".join(counted(kind, len(of_kind)) for kind, of_kind in kinds if of_kind)
    return f"{found or 'no rules'} from {counted('file', files)}"

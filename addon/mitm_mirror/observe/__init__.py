"""Outcomes and answers -> counts, logs, comparisons. All is pure but `LogWriter`, which does the I/O.

`Ledger`        the closed accounting: each mirror pair ends exactly once
`AccessRecord`  what the log says about one copy
`FORMATS`       record -> line
`LogWriter`     line -> file
`compare`       two answers -> `Comparison`
`noise`         third copies -> which differences are noise
"""

from mitm_mirror.observe.formats import FORMATS
from mitm_mirror.observe.ledger import (
    Counts,
    Ledger,
    LedgerSnapshot,
    MirrorKey,
    OpenPair,
    render_requests,
    render_table,
    render_totals,
)
from mitm_mirror.observe.record import (
    AccessRecord,
    PickedHeaders,
    PrimaryOutcome,
    format_address,
    pick_headers,
)
from mitm_mirror.observe.writer import LogWriter

__all__ = [
    "FORMATS",
    "AccessRecord",
    "Counts",
    "Ledger",
    "LedgerSnapshot",
    "LogWriter",
    "MirrorKey",
    "OpenPair",
    "PickedHeaders",
    "PrimaryOutcome",
    "format_address",
    "pick_headers",
    "render_requests",
    "render_table",
    "render_totals",
]

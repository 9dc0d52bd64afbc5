"""Two answers -> what differs between them. Pure: nothing here performs I/O.

`Response`         one answer, as it came over the wire
`compare_responses`  the primary's and the shadow's answer -> `Comparison`
`Comparison`       verdict and differences, bounded, ready for msgspec and JSON
`Difference`       one path, and what each copy has there
"""

from mitm_mirror.observe.compare.comparison import (
    Comparison,
    Difference,
    Kind,
    NotCompared,
    Verdict,
    generalise,
    not_compared,
)
from mitm_mirror.observe.compare.responses import CompareSettings, Response, compare_responses

__all__ = [
    "CompareSettings",
    "Comparison",
    "Difference",
    "Kind",
    "NotCompared",
    "Response",
    "Verdict",
    "compare_responses",
    "generalise",
    "not_compared",
]

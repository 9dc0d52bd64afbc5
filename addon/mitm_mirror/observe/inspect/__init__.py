"""What a person who looks at a pair is shown. Pure: values in, lines out.

`PairResult`   how a pair ended, at a glance
`Leg`          one copy of a pair: where it went and what came back
`side_by_side` two legs and what differs -> lines of styled text, 80 columns
"""

from mitm_mirror.observe.inspect.legs import Leg
from mitm_mirror.observe.inspect.result import PairResult, describe_end, pair_result, worst
from mitm_mirror.observe.inspect.side_by_side import Line, Style, plain_text, side_by_side

__all__ = [
    "Leg",
    "Line",
    "PairResult",
    "Style",
    "describe_end",
    "pair_result",
    "plain_text",
    "side_by_side",
    "worst",
]

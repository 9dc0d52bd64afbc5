"""What ties a primary's flow and its shadows' flows together: metadata, which flow files keep.

`~meta "mirror_copy: shadow"` selects shadows, `~meta "mirror_result: differs"` both legs of pairs that
differ, `~meta ID` with a primary's flow id the whole pair.
"""

from typing import Any

import msgspec
from mitmproxy import http

from mitm_mirror.observe.compare import Comparison
from mitm_mirror.observe.inspect import PairResult, worst

COPY = "mirror_copy"
"""`primary` or `shadow`."""
PAIR = "mirror_pair"
"""The primary's flow id, on both legs."""
DESTINATION = "mirror_destination"
"""The cluster that this copy went to."""
SHADOWS = "mirror_shadows"
"""On a primary: its shadows' flow ids by cluster."""
RESULT = "mirror_result"
"""A PairResult. On a primary with several shadows the worst."""
ENDS = "mirror_ends"
"""On a primary: [PairResult, how it ended in words] by cluster, also where no shadow was sent."""
COMPARISON = "mirror_comparison"
"""On a shadow: the Comparison, where there is one."""
CUT = "mirror_body_cut"
"""On a shadow: true where its answer's body was not kept to its end."""
SAID = "mirror_said"
"""[marker, comment] that we set last: what differs from it is a person's."""

MARKERS = {
    # One column wide in a terminal and in common fonts, and told apart by shape and not by colour.
    PairResult.EQUAL: ":heavy_check_mark:",
    PairResult.DIFFERS: ":warning:",
    PairResult.FAILED: ":heavy_multiplication_x:",
    PairResult.ANSWERED: ":left_right_arrow:",
    PairResult.NOT_SENT: "",
}
_SHOWN_ON_PRIMARY = frozenset({PairResult.DIFFERS, PairResult.FAILED})


def is_shadow(flow: http.HTTPFlow) -> bool:
    """Whether the flow is a copy that we sent, also after it came out of a file."""
    return bool(flow.metadata.get(COPY) == "shadow")


def begin_pair(primary: http.HTTPFlow, destination: str) -> None:
    """Makes `primary` the first leg of pairs, and forgets those of an earlier run of the same flow."""
    for key in (SHADOWS, ENDS, RESULT):
        primary.metadata.pop(key, None)
    primary.metadata.update({COPY: "primary", PAIR: primary.id, DESTINATION: destination})
    _say(primary, "", "")


def tie_shadow(primary: http.HTTPFlow, destination: str, shadow_id: str) -> None:
    """Notes that a shadow is on its way, whose flow will have this id."""
    primary.metadata.setdefault(SHADOWS, {})[destination] = shadow_id


def tell_primary(primary: http.HTTPFlow, destination: str, result: PairResult, text: str) -> None:
    """Shows on the primary how one of its pairs ended."""
    ends: dict[str, list[str]] = primary.metadata.setdefault(ENDS, {})
    ends[destination] = [result.value, text]
    shown = worst(PairResult(end) for end, _ in ends.values())
    primary.metadata[RESULT] = shown.value
    comment = "; ".join(f"mirror {text} ({destination})" for destination, (_, text) in ends.items())
    _say(primary, MARKERS[shown] if shown in _SHOWN_ON_PRIMARY else "", comment)


def tell_shadow(
    shadow: http.HTTPFlow, result: PairResult, text: str, comparison: Comparison | None = None
) -> None:
    """Shows on the shadow how it ended."""
    shadow.metadata[RESULT] = result.value
    if comparison is not None:
        shadow.metadata[COMPARISON] = msgspec.to_builtins(comparison)
    _say(shadow, MARKERS[result], f"shadow {text} ({shadow.metadata[DESTINATION]})")


def comparison_of(shadow: http.HTTPFlow) -> Comparison | None:
    """What the comparison said; None where none was made."""
    kept: Any = shadow.metadata.get(COMPARISON)
    return None if kept is None else msgspec.convert(kept, Comparison)


def is_a_persons(flow: http.HTTPFlow) -> bool:
    """Whether somebody has marked, commented, edited or replayed the flow since."""
    said: list[str] = flow.metadata.get(SAID, ["", ""])
    return flow.modified() or [flow.marked, flow.comment] != said


def _say(flow: http.HTTPFlow, marker: str, comment: str) -> None:
    """Sets marker and comment, where they are not a person's own."""
    marked, said = flow.metadata.get(SAID, ["", ""])
    if flow.marked == marked:
        flow.marked = marker
    if flow.comment == said:
        flow.comment = comment
    flow.metadata[SAID] = [marker, comment]
    if flow.response is not None:
        # The console remembers what a content view said by a message's body, header lines and `path`: of two
        # pairs with equal answers the second would show the first one's "Mirror diff".
        flow.response.path = f"{flow.id} {comment}"  # type: ignore[attr-defined]

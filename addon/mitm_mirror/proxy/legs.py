"""From flows to the two legs of a pair, as a person is shown them."""

from mitmproxy import ctx, http
from mitmproxy.addons.view import View

from mitm_mirror.observe.compare import Comparison, Response, compare_responses
from mitm_mirror.observe.inspect import Leg, Line, side_by_side
from mitm_mirror.proxy.pairs import COPY, CUT, DESTINATION, PAIR, SHADOWS, comparison_of, is_shadow
from mitm_mirror.routing.authority import bracketed

Pair = tuple[http.HTTPFlow, http.HTTPFlow]
"""(primary, shadow)."""


def find_twins(flow: http.HTTPFlow) -> list[http.HTTPFlow]:
    """The other legs of its pairs that the view still has: a shadow's primary, or a primary's shadows."""
    view = ctx.master.addons.get("view")
    if not isinstance(view, View):
        return []
    wanted = [flow.metadata.get(PAIR)] if is_shadow(flow) else flow.metadata.get(SHADOWS, {}).values()
    found = (view.get_by_id(flow_id) for flow_id in wanted if flow_id)
    return [twin for twin in found if isinstance(twin, http.HTTPFlow)]


def find_pairs(flow: http.HTTPFlow) -> list[Pair]:
    """All pairs of which `flow` is a leg and the view has the other one."""
    twins = find_twins(flow)
    return [(twin, flow) for twin in twins] if is_shadow(flow) else [(flow, twin) for twin in twins]


def why_no_pair(flow: http.HTTPFlow) -> str:
    """Says of a flow without pairs what it is."""
    if COPY not in flow.metadata:
        return "This flow was not mirrored, or mirror_flows was off."
    if is_shadow(flow):
        return f"This shadow's primary is not in the list (any more): flow {flow.metadata.get(PAIR)}."
    if SHADOWS in flow.metadata:
        return "This flow's shadows are on their way, or not in the list any more."
    return f"No shadow of this flow was sent. {flow.comment}".rstrip()


def compare_legs(primary: http.HTTPFlow, shadow: http.HTTPFlow) -> Comparison | None:
    """What was found when the shadow ended; else it is compared now. None without two answers."""
    known = comparison_of(shadow)
    if known is not None:
        return known
    ours, theirs = _response(primary), _response(shadow)
    return None if ours is None or theirs is None else compare_responses(ours, theirs)


def lay_out(primary: http.HTTPFlow, shadow: http.HTTPFlow) -> list[Line]:
    """The pair as lines of styled text."""
    return side_by_side(_leg(primary, "primary"), _leg(shadow, "shadow"), compare_legs(primary, shadow))


def _leg(flow: http.HTTPFlow, name: str) -> Leg:
    request, response = flow.request, flow.response
    ended = response.timestamp_end if response else flow.error.timestamp if flow.error else None
    status = f"{response.status_code} {response.reason}".rstrip() if response else ""
    return Leg(
        name=name,
        destination=str(flow.metadata.get(DESTINATION, "")),
        authority=request.host_header or "",
        endpoint=_endpoint(flow),
        status_line=", ".join(filter(None, (status, str(flow.error or "")))) or "no answer yet",
        duration_ms=(ended - request.timestamp_start) * 1000 if ended else None,
        response=_response(flow),
    )


def _response(flow: http.HTTPFlow) -> Response | None:
    response = flow.response
    if response is None:
        return None
    body = response.raw_content
    return Response(
        status=response.status_code,
        headers=response.headers.fields,
        body=body or b"",
        trailers=response.trailers.fields if response.trailers else (),
        complete=body is not None and CUT not in flow.metadata,
        authorities=(flow.request.host_header or "", _endpoint(flow)),
    )


def _endpoint(flow: http.HTTPFlow) -> str:
    return f"{bracketed(flow.request.host)}:{flow.request.port}"

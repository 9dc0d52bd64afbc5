"""Replaying a flow that was routed before: rules must see the request as it was received.

A replay passes the same hooks as a live request. Without this its path would be rewritten a second
time, headers would be added twice, and a Host without a port would take the endpoint's.
"""

from typing import Any

from mitmproxy import http

ROUTED = "mirror_routed"
"""Flow metadata, which mitmproxy also saves in flow files: what was received, and what it became."""

_State = list[Any]
"""[scheme, host, port, path, authority, header lines]. In a flow file header lines are lists of lists."""


def remember_routing(flow: http.HTTPFlow, received: _State) -> None:
    """Keeps `received`, a `request_state` that is then no longer the caller's, beside what the flow's request
    is now."""
    sent = request_state(flow)
    # Most rules change no header: do not keep them three times, and do not copy them to find out.
    changed = received[-1] is not sent[-1] and received[-1] != sent[-1]
    for state in (received, sent):
        state[-1] = [list(field) for field in state[-1]] if changed else []
    flow.metadata[ROUTED] = [received, sent]


def restore_received(flow: http.HTTPFlow) -> None:
    """Undoes the routing of a flow that is replayed, except for what somebody has changed since."""
    if not flow.is_replay or ROUTED not in flow.metadata:
        return
    received, sent = flow.metadata[ROUTED]
    data = flow.request.data
    *current, fields = request_state(flow)
    kept = [
        now if now != then else before
        for now, then, before in zip(current, sent[:-1], received[:-1], strict=True)
    ]
    data.scheme, data.host, data.port, data.path, data.authority = kept
    if sent[-1] and [list(field) for field in fields] == sent[-1]:
        data.headers.fields = tuple((name, value) for name, value in received[-1])


def request_state(flow: http.HTTPFlow) -> _State:
    """What routing may change of a request."""
    data = flow.request.data
    return [data.scheme, data.host, data.port, data.path, data.authority, data.headers.fields]

"""Replaying a flow that was routed before: rules must see the request as it was received.

A replay passes the same hooks as a live request. Without this its path would be rewritten a second
time, headers would be added twice, and a Host without a port would take the endpoint's.
"""

from typing import Any

from mitmproxy import http

ROUTED = "mirror_routed"
"""Flow metadata, which mitmproxy also saves in flow files: what was received, and what it became."""

_State = list[Any]
"""[scheme, host, port, path, authority, header lines], as they are in a flow file."""


def remember_routing(flow: http.HTTPFlow, received: _State) -> None:
    """Keeps `received` (see `request_state`) beside what the flow's request is now."""
    sent = request_state(flow)
    if received[-1] == sent[-1]:
        received[-1] = sent[-1] = []  # most rules change no header: do not keep them three times
    flow.metadata[ROUTED] = [received, sent]


def restore_received(flow: http.HTTPFlow) -> None:
    """Undoes the routing of a flow that is replayed, except for what somebody has changed since."""
    if not flow.is_replay or ROUTED not in flow.metadata:
        return
    received, sent = flow.metadata[ROUTED]
    data = flow.request.data
    current = request_state(flow)
    kept = [now if now != then else before for now, then, before in zip(current, sent, received, strict=True)]
    data.scheme, data.host, data.port, data.path, data.authority = kept[:5]
    if sent[-1] and current[-1] == sent[-1]:
        data.headers.fields = tuple((name, value) for name, value in received[-1])


def request_state(flow: http.HTTPFlow) -> _State:
    """What routing may change of a request, in types that a flow file can hold."""
    data = flow.request.data
    fields = [[name, value] for name, value in data.headers.fields]
    return [data.scheme, data.host, data.port, data.path, data.authority, fields]

"""A script for mitmdump, after the addon: changes its rules, and says when its shadows have ended.

A test of many rule sets cannot start a mitmdump for each, nor wait for the watch on files.
"""

from typing import Any

from mitmproxy import ctx, exceptions, http

HOST = "control.lab.invalid"
"""Requests for this host are for this script."""


def request(flow: http.HTTPFlow) -> None:
    """`PUT /rules` with a path as body serves that file; `GET /pending` counts the shadows under way."""
    if flow.request.host_header != HOST:
        return
    if flow.request.path == "/rules":
        flow.response = _serve(flow.request.get_text() or "")
    else:
        flow.response = http.Response.make(200, str(_addon().ledger.snapshot().totals.pending))


def _serve(path: str) -> http.Response:
    try:
        ctx.options.update(mirror_rules=[path])
    except exceptions.OptionsError as error:
        return http.Response.make(400, str(error))
    return http.Response.make(200)


def _addon() -> Any:
    # By name and not by import: mitmdump's copy of the package is another than ours may be.
    return ctx.master.addons.get("mirror").addon

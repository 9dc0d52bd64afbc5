"""Why a match is not met by a request, in words, with what the request has."""

from mitm_mirror.routing.matchers import Check, Match, UnmetMatch, is_presence, match_kind
from mitm_mirror.routing.printable import quoted
from mitm_mirror.routing.view import RequestView


def explain_mismatch(match: Match | UnmetMatch, view: RequestView) -> str:
    """The first condition that fails and why, in the order in which routing asks; empty where all hold."""
    if isinstance(match, UnmetMatch):
        return f"{match.field}: never met, {match.reason}"
    if match.port and match.port != view.head.port:
        return f"port: expected {match.port}, the request is for {view.head.port}"
    for check, condition in zip(match.checks, match.conditions, strict=True):
        if not condition(view):
            return _failure(check, view)
    return ""


def describe_conditions(match: Match) -> str:
    """What the match asks, in one line: `uri prefix "/get", header x-user exact "tester"`."""
    parts = [f"port {match.port}"] if match.port else []
    for check in match.checks:
        name = f" {check.name}" if check.name else ""
        parts.append(f"{check.subject}{name} {_wanted(check)}")
    return ", ".join(parts) or "any request"


def _failure(check: Check, view: RequestView) -> str:
    subject = f"{check.subject} {check.name}" if check.name else check.subject
    if check.subject == "uri":
        return f"{subject} {_wanted(check)} does not match {quoted(view.path)}"
    found = _found(check, view)
    if check.subject != "without header":
        shown = " and ".join(map(quoted, found)) or "none"
        return f"{subject}: expected {_wanted(check)}, the request has {shown}"
    wanted = "no such header" if is_presence(check.spec) else f"nothing that is {_wanted(check)}"
    shown = " and ".join(map(quoted, found)) or 'none, which counts as ""'
    return f"{subject}: expected {wanted}, the request has {shown}"


def _wanted(check: Check) -> str:
    # For `uri` the regex `*` does not compile, so presence is never asked of it.
    if is_presence(check.spec):
        return "any value"
    kind, value = match_kind(check.spec)
    # Istio's ignoreUriCase leaves a regex as it is.
    caseless = " (in any case)" if check.ignore_case and kind != "regex" else ""
    return f"{kind} {quoted(value)}{caseless}"


def _found(check: Check, view: RequestView) -> list[bytes]:
    if check.subject == "query parameter":
        value = view.query_parameter(check.name.encode())
        return [] if value is None else [value]
    if check.subject in ("header", "without header"):
        return view.header(check.name.lower().encode())
    return view.header(f":{check.subject}".encode())

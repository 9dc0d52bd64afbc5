"""An explanation in lines for people, as `mitm-mirror explain` and `mirror.explain` show it."""

import textwrap
from collections.abc import Iterable, Sequence

from mitm_mirror.outcome import Outcome
from mitm_mirror.routing.decision import Answer, Forward, HeaderOperations, RuleRef
from mitm_mirror.routing.explanation import (
    Alternative,
    DecidingRoute,
    EndpointShare,
    ExplainedDestination,
    ExplainedMirror,
    Explanation,
    PassedMatch,
    PassedRoute,
)
from mitm_mirror.routing.printable import printable, quoted
from mitm_mirror.routing.request import RequestHead

_WIDTH = 100
_LABEL_WIDTH = 10


def render_explanation(explanation: Explanation) -> str:
    """What was asked, which rule decided and why, and what becomes of the request."""
    head = explanation.head
    lines = [printable(f"{head.method} {head.scheme}://{head.authority}") + printable(head.target), ""]
    if explanation.virtual_service is None:
        lines.append(f"No VirtualService is about host {quoted(head.authority)}: the request passes through.")
        if explanation.unused:
            lines.append(f"Left out is {explanation.unused}.")
        if explanation.close_hosts:
            lines.append(f"Hosts that look like it: {', '.join(explanation.close_hosts)}")
        return "\n".join(lines)
    rule = explanation.virtual_service
    lines += [f"VirtualService {rule.virtual_service} ({rule.source})", f"  by its host {explanation.host}"]
    for passed in explanation.passed:
        lines += _passed_route(passed, rule)
    if explanation.route is not None:
        lines += _deciding_route(explanation.route, rule)
    lines += ["", *_effect(explanation)]
    return "\n".join(lines)


def _passed_route(passed: PassedRoute, rule: RuleRef) -> list[str]:
    place = f"{passed.rule.seen_from(rule)} ({passed.rule.source})"
    if passed.reason:
        return [f"  {place} is never reached: {passed.reason}"]
    return [f"  {place} does not match", *_passed_matches(passed.matches)]


def _deciding_route(route: DecidingRoute, rule: RuleRef) -> list[str]:
    place = f"{route.rule.seen_from(rule)} ({route.rule.source})"
    lines = [f"  {place} decides", *_passed_matches(route.passed)]
    if route.index is None:
        return [*lines, "    it has no match: it takes every request"]
    return [*lines, f"    match[{route.index}] is met: {route.conditions}"]


def _passed_matches(matches: Iterable[PassedMatch]) -> list[str]:
    return [f"    match[{match.index}]: {match.reason}" for match in matches]


def _effect(explanation: Explanation) -> list[str]:
    if explanation.answer is not None:
        return _answer(explanation.answer)
    if explanation.alternatives:
        before = [f"fault: {line}" for line in explanation.faults]
        before += [f"{label}: {text}" for label, text in explanation.sending]
        return [*before, *_alternatives(explanation.alternatives, explanation.head)]
    if not explanation.ports:
        return ["None of its routes can ever match: the request passes through."]
    ports = ", ".join(map(str, explanation.ports))
    port = explanation.head.port
    return [f"Its routes are all for port {ports}, the request is for {port}: the request passes through."]


def _answer(answer: Answer) -> list[str]:
    why = {
        "redirect": "a redirect",
        "direct_response": "a direct response",
        "cors_preflight": "a CORS preflight",
        "no_route": "no route of the VirtualService matches",
        "no_endpoint": "the destination has no endpoint",
    }[answer.reason]
    lines = [f"Answered {answer.status} here: {why}. Nothing is sent, nothing is mirrored."]
    lines += _field("headers", [_header(field) for field in answer.headers])
    if answer.body:
        lines += _field("body", [quoted(answer.body)])
    return lines


def _alternatives(alternatives: Sequence[Alternative], head: RequestHead) -> list[str]:
    forwards = [alternative for alternative in alternatives if isinstance(alternative.decision, Forward)]
    # Which destination is chosen seldom matters to the mirrors: only where it changes the Host.
    common = all(alternative.mirrors == forwards[0].mirrors for alternative in forwards)
    lines: list[str] = []
    for alternative in alternatives:
        decision = alternative.decision
        lines.append(f"{_percent(alternative.percent)} -> {_name(alternative.destination)}")
        lines += _where(alternative.destination, head)
        if isinstance(decision, Answer):
            lines += [f"  {line}" for line in _answer(decision)]
            continue
        lines += _primary(decision, alternative.destination, head)
        if not common:
            lines += [f"  {line}" for line in _mirrors(alternative.mirrors, head)]
    return [*lines, *_mirrors(forwards[0].mirrors, head)] if common and forwards else lines


def _primary(forward: Forward, destination: ExplainedDestination, head: RequestHead) -> list[str]:
    path = head.target if forward.path is None else forward.path
    return [
        *_field("request", [printable(f"{head.method} ") + printable(path)]),
        *_field("Host", [printable(forward.authority)]),
        *_field("SNI", [_sni(forward.sni, destination.endpoints, head)]),
        *_field("headers", _operations(forward.request_headers)),
        *_field("answer", _operations(forward.response_headers)),
    ]


def _mirrors(mirrors: Sequence[ExplainedMirror], head: RequestHead) -> list[str]:
    lines: list[str] = []
    for mirror in mirrors:
        copy = mirror.copy
        lines.append(f"mirror {_percent(mirror.percent)} -> {_name(mirror.destination)}")
        lines += _where(mirror.destination, head)
        if mirror.ended is not None:
            # The endpoint's line has said why already.
            reason = "" if mirror.ended is Outcome.NO_ENDPOINT else f": {mirror.reason}"
            lines += _field("no copy", _wrap(f"{mirror.ended}{reason}"))
            continue
        if mirror.sampling:
            among = "; this request is among them" if mirror.settled else ""
            lines += _field("sampled", [f"{mirror.sampling}{among}"])
        lines += _field("Host", [printable(copy.authority)])
        lines += _field("SNI", [_sni(copy.sni, mirror.destination.endpoints, head)])
        if copy.headers:
            lines += _field("headers", ["as the primary's, then", *_operations((copy.headers,))])
        lines += _field("timeout", [] if copy.timeout_s is None else [f"{copy.timeout_s:g} s"])
    drawn = [mirror for mirror in mirrors if mirror.ended is None and not mirror.settled]
    if sum(mirror.percent < 100 for mirror in drawn) > 1:
        lines.append("One draw is for all mirrors: what a smaller share copies, a larger one copies too.")
    return lines


def _name(destination: ExplainedDestination) -> str:
    subset = f", subset {destination.subset}" if destination.subset else ""
    return f"{destination.host}, port {destination.port}{subset}"


def _where(destination: ExplainedDestination, head: RequestHead) -> list[str]:
    endpoints = []
    for share in destination.endpoints:
        percent = f"  {_percent(share.percent)}" if len(destination.endpoints) > 1 else ""
        scheme = share.endpoint.scheme or head.scheme
        ejected = "  ejected" if share.is_ejected else ""
        endpoints.append(f"{scheme}://{share.endpoint.host_port}{percent}{ejected}")
    return [
        *_field("cluster", [destination.cluster]),
        *_field("endpoint", endpoints or _wrap(f"none: {destination.problem}")),
        *_field("chosen by", [destination.chosen_by] if destination.chosen_by else []),
        *_field("policy", [line for bound in destination.bounds for line in _wrap(bound)]),
    ]


def _sni(name: str, endpoints: Sequence[EndpointShare], head: RequestHead) -> str:
    if any((share.endpoint.scheme or head.scheme) == "https" for share in endpoints):
        return printable(name)
    return "none, as there is no TLS to the endpoint"


def _operations(operations: Iterable[HeaderOperations]) -> list[str]:
    lines: list[str] = []
    for operation in operations:
        lines += [f"remove {printable(name)}" for name in sorted(operation.remove)]
        lines += [f"set {_header(field)}" for field in operation.set]
        lines += [f"add {_header(field)}" for field in operation.add]
    return lines


def _header(field: tuple[bytes, bytes]) -> str:
    name, value = field
    return f"{printable(name)}: {printable(value)}"


def _field(label: str, values: Sequence[str]) -> list[str]:
    """The values below each other, the label before the first; nothing where there is none."""
    return [f"    {label if not i else '':{_LABEL_WIDTH}}{value}" for i, value in enumerate(values)]


def _wrap(sentence: str) -> list[str]:
    """A value that is prose, in lines that fit beside a label."""
    return textwrap.wrap(sentence, _WIDTH - 4 - _LABEL_WIDTH, break_long_words=False, break_on_hyphens=False)


def _percent(percent: float) -> str:
    # Four digits: a mirror's percentage counts in millionths.
    return f"{round(percent, 4):g} %"

"""Rules in lines for people, as `mirror.rules` shows them."""

from collections.abc import Mapping

from mitm_mirror.resources.virtual_service import HTTPMatchRequest, StringMatch
from mitm_mirror.routing.actions import Action, DirectResponseAction, ForwardAction, RedirectAction
from mitm_mirror.routing.describe_cluster import describe_policy
from mitm_mirror.routing.destinations import ResolvedDestination
from mitm_mirror.routing.fault import Fault
from mitm_mirror.routing.matchers import is_presence, match_kind
from mitm_mirror.routing.redirect import Redirect
from mitm_mirror.routing.sending import RouteSending


def describe_action(action: Action) -> list[str]:
    """What a route does, with its destinations, endpoints and mirrors."""
    if isinstance(action, RedirectAction):
        return [_describe_redirect(action.redirect)]
    if isinstance(action, DirectResponseAction):
        return [f"answer {action.status} with {len(action.body)} bytes"]
    lines: list[str] = []
    if isinstance(action, ForwardAction):
        destinations = action.destinations
        for weight, chosen in zip(destinations.weights, destinations.items, strict=True):
            share = f"weight {weight} " if len(destinations.items) > 1 else ""
            lines += _describe_destination(f"to {share}", chosen.destination, is_primary=True)
        for policy in action.mirrors.policies if action.mirrors is not None else ():
            lines += _describe_destination(
                f"mirror {policy.millionths / 10_000:g}% ", policy.destination, is_primary=False
            )
        if action.fault is not None:
            lines += describe_fault(action.fault)
        if action.cors is not None:
            lines.append("answers CORS preflights")
        if action.sending is not None:
            lines += [f"{label} {text}" for label, text in describe_sending(action.sending)]
    return lines


def describe_fault(fault: Fault) -> list[str]:
    """What a fault does, with its shares: a line for the delay, a line for the abort."""
    lines = []
    if fault.delay is not None:
        lines.append(f"delay {fault.delay.millionths / 10_000:g}% by {fault.delay.delay_s:g} s")
    if fault.abort is not None:
        grpc = "" if fault.abort.grpc_status is None else f", gRPC status {fault.abort.grpc_status}"
        lines.append(f"abort {fault.abort.millionths / 10_000:g}% with {fault.abort.status}{grpc}")
    return lines


def describe_sending(sending: RouteSending) -> list[tuple[str, str]]:
    """(`timeout` or `retries`, in words) of a route that has either."""
    lines = [] if sending.timeout_s is None else [("timeout", f"{sending.timeout_s:g} s")]
    retry = sending.retry
    if retry is None:
        return [*lines, ("retries", "none")]
    parts = [
        f"up to {retry.attempts} on {', '.join(sorted(retry.conditions | set(map(str, retry.statuses))))}"
    ]
    if retry.per_try_timeout_s is not None:
        parts.append(f"{retry.per_try_timeout_s:g} s for each attempt's head")
    parts.append(f"pauses from {retry.backoff_s * 1000:g} ms")
    if retry.ignore_previous_hosts is False:
        parts.append("same endpoint allowed")
    return [*lines, ("retries", "; ".join(parts))]


def _describe_redirect(redirect: Redirect) -> str:
    parts = {
        "scheme": redirect.scheme,
        "authority": redirect.authority,
        "port": {None: "", 0: "of the request"}.get(redirect.port, str(redirect.port)),
        "uri": redirect.uri.decode(),
    }
    changes = [f"{what} {value}" for what, value in parts.items() if value]
    if redirect.prefix is not None:
        changes.append("another prefix")
    return f"redirect {redirect.status}: {', '.join(changes) or 'to itself'}"


def _describe_destination(prefix: str, destination: ResolvedDestination, *, is_primary: bool) -> list[str]:
    port = "any port" if destination.port is None else f"port {destination.port}"
    subset = f" subset {destination.subset}" if destination.subset else ""
    lines = [f"{prefix}{destination.host} {port}{subset}"]
    for number, found in destination.by_port.items():
        if destination.port not in (None, number):
            continue
        for weight, target in zip(found.targets.weights, found.targets.items, strict=True):
            share = f" weight {weight}" if len(found.targets.items) > 1 else ""
            endpoint = target.endpoint
            scheme = f"{endpoint.scheme}://" if endpoint.scheme and not endpoint.lookup else ""
            lines.append(f"  endpoint {scheme}{endpoint.host_port}{share}")
        if is_primary:
            lines += [f"  {line}" for line in describe_policy(found)]
    return lines if len(lines) > 1 else [*lines, "  no endpoint"]


def describe_match(spec: HTTPMatchRequest) -> str:
    """The match in one line for people: `uri prefix /x, header end-user exact jason`."""
    parts = [f"port {spec.port}"] if spec.port else []
    for field in ("uri", "scheme", "method", "authority"):
        value = getattr(spec, field)
        if value is not None:
            parts.append(f"{field} {_describe_value(value)}")
    if spec.ignore_uri_case:
        parts.append("ignoring the case of uri")
    named: tuple[tuple[str, Mapping[str, StringMatch]], ...] = (
        ("header", spec.headers),
        ("without header", spec.without_headers),
        ("query parameter", spec.query_params),
    )
    for what, values in named:
        parts += [f"{what} {name} {_describe_value(value)}" for name, value in values.items()]
    return ", ".join(parts) or "any request"


def _describe_value(spec: StringMatch) -> str:
    if is_presence(spec):
        return "present"
    return " ".join(match_kind(spec))

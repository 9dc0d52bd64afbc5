"""What a route and its delegate's route match together.

Source throughout: istio pilot/pkg/model/virtualservice.go, mergeHTTPMatchRequests and hasConflict.
"""

from collections.abc import Mapping

from mitm_mirror.resources.virtual_service import HTTPMatchRequest, StringMatch

Matches = tuple[HTTPMatchRequest, ...]


def merge_matches(root: Matches, delegate: Matches) -> Matches | None:
    """Every pair of matches that do not contradict each other, merged; None where it is no valid pair.

    Each match of the delegate has to narrow one of the root's. Istio compares text: what two regular
    expressions have in common it does not know, so they always contradict each other.
    """
    if not root or not delegate:
        return delegate or root
    merged: list[HTTPMatchRequest] = []
    for narrow in delegate:
        wider = [wide for wide in root if not _contradict(wide, narrow)]
        if not wider:
            return None
        merged += [_merge(wide, narrow) for wide in wider]
    return tuple(merged)


def _merge(root: HTTPMatchRequest, delegate: HTTPMatchRequest) -> HTTPMatchRequest:
    changes: dict[str, object] = {
        "name": "-".join(name for name in (root.name, delegate.name) if name),
        "headers": {**root.headers, **delegate.headers},
        "without_headers": {**root.without_headers, **delegate.without_headers},
        "query_params": {**root.query_params, **delegate.query_params},
        "source_labels": {**root.source_labels, **delegate.source_labels},
        "port": delegate.port or root.port,
        "source_namespace": delegate.source_namespace or root.source_namespace,
        "gateways": delegate.gateways or root.gateways,
        "stat_prefix": delegate.stat_prefix or root.stat_prefix,
    }
    for name in ("uri", "scheme", "method", "authority"):
        if getattr(delegate, name) is None:
            changes[name] = getattr(root, name)
    return delegate.model_copy(update=changes)


def _contradict(root: HTTPMatchRequest, delegate: HTTPMatchRequest) -> bool:
    """Whether the delegate's match is no part of the root's."""
    values = [
        (getattr(root, name), getattr(delegate, name)) for name in ("uri", "scheme", "method", "authority")
    ]
    named: tuple[tuple[Mapping[str, StringMatch], Mapping[str, StringMatch]], ...] = (
        (root.headers, delegate.headers),
        (root.without_headers, delegate.without_headers),
        (root.query_params, delegate.query_params),
    )
    for of_root, of_delegate in named:
        values += [(of_root.get(name), value) for name, value in of_delegate.items()]
    return (
        any(_strings_contradict(wide, narrow) for wide, narrow in values)
        or root.ignore_uri_case != delegate.ignore_uri_case
        or bool(root.port and delegate.port and root.port != delegate.port)
        or bool(root.source_namespace and root.source_namespace != delegate.source_namespace)
        or any(root.source_labels.get(name, value) != value for name, value in delegate.source_labels.items())
        or bool(root.gateways and not set(delegate.gateways) <= set(root.gateways))
    )


def _strings_contradict(root: StringMatch | None, delegate: StringMatch | None) -> bool:
    """Source: stringMatchConflict. An empty text counts as none, and two that only ask for presence as
    contradicting, as there."""
    if root is None or delegate is None:
        return False
    if root.regex and (delegate.regex or delegate.prefix or delegate.exact):
        return True
    if delegate.regex and (root.prefix or root.exact):
        return True
    if root.exact:
        return bool(delegate.prefix) or delegate.exact != root.exact
    if root.prefix:
        narrow = delegate.prefix or delegate.exact
        return not narrow or not narrow.startswith(root.prefix)
    return True

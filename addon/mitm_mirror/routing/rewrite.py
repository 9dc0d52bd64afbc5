"""The raw target after a rewrite. Everything is bytes: nothing is decoded or normalised."""

from collections.abc import Callable

from mitm_mirror.resources.virtual_service import HTTPRewrite
from mitm_mirror.routing.regex import replace_all

PathRewrite = Callable[[bytes, int | None], bytes]
"""(target, length of the matched prefix or None for the whole path) -> new target."""


def path_end(target: bytes) -> int:
    """Where the path ends and the query, or a fragment, begins (Envoy's removeQueryAndFragment)."""
    query = target.find(b"?")
    fragment = target.find(b"#")
    if fragment >= 0 and (query < 0 or fragment < query):
        return fragment
    return query if query >= 0 else len(target)


def compile_rewrite(spec: HTTPRewrite | None) -> PathRewrite | None:
    """The path rewrite that `rewrite` asks for; None where it asks for none.

    `uriRegexRewrite` goes before `uri`. ValueError for a bad regex or substitution.
    Source: istio pilot/pkg/networking/core/route/route.go, applyHTTPRouteDestination.
    """
    if spec is None:
        return None
    if spec.uri_regex_rewrite is not None:
        return regex_rewrite(spec.uri_regex_rewrite.match, spec.uri_regex_rewrite.rewrite)
    return prefix_rewrite(spec.uri) if spec.uri else None


def prefix_rewrite(replacement: str) -> PathRewrite:
    """Puts `replacement` where the matched part of the path was; the rest and the query stay.

    Textual: `/bare` -> `/` makes `//x` of `/bare/x`. A route without a `uri` match counts as prefix
    `/`, an exact or regex match as the whole path. Source: Envoy's rewritePathByPrefixOrRegex.
    """
    new = replacement.encode()

    def rewrite(target: bytes, prefix_length: int | None) -> bytes:
        if not target.startswith(b"/"):
            return target  # `*` of OPTIONS, or an authority: no path that could be rewritten
        return new + target[path_end(target) if prefix_length is None else prefix_length :]

    return rewrite


def regex_rewrite(pattern: str, substitution: str) -> PathRewrite:
    """Replaces every match in the path, whatever part of it was matched; the query stays.

    A rewrite that leaves nothing is not made. Source: Envoy's rewritePathByPrefixOrRegex.
    """
    replace = replace_all(pattern, substitution)

    def rewrite(target: bytes, _prefix_length: int | None) -> bytes:
        end = path_end(target)
        new = replace(target[:end])
        return new + target[end:] if new else target

    return rewrite

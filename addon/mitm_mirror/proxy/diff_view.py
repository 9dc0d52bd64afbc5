"""The content view "Mirror diff", on either leg of a pair.

mitmproxy has one API for content views up to 11 (`contentviews.View`) and another from 12 on
(`contentviews.Contentview`). Both look at names only, so one class has both of them.
"""

from collections.abc import Iterator
from typing import Any

from mitmproxy import contentviews, http

from mitm_mirror.observe.inspect import Line, plain_text
from mitm_mirror.proxy.legs import find_pairs, lay_out, why_no_pair


class MirrorDiff:
    """Shows a pair side by side. The body that it is given does not matter: the flow does."""

    name = "Mirror diff"
    syntax_highlight = "none"
    """mitmproxy 12 colours by languages only, and this is none of them."""

    def register(self) -> None:
        """Offers the view in all UIs."""
        contentviews.add(self)  # type: ignore[arg-type]  # see above

    def unregister(self) -> None:
        """Takes it back, where mitmproxy can: from 12 on a view stays until another takes its name."""
        if self in getattr(contentviews, "views", ()):
            contentviews.remove(self)  # type: ignore[arg-type]

    def __call__(self, data: bytes, **metadata: Any) -> tuple[str, Iterator[Line]]:  # noqa: ARG002
        """mitmproxy 11's."""
        return self.name, iter(_render(metadata.get("flow")))

    def prettify(self, data: bytes, metadata: Any) -> str:  # noqa: ARG002
        """mitmproxy 12's."""
        return plain_text(_render(metadata.flow))

    def render_priority(self, data: bytes, *args: object, **metadata: object) -> float:  # noqa: ARG002 - both APIs'
        """Below every other view's: it is shown only where a person asks for it."""
        return -1.0

    def __lt__(self, other: Any) -> bool:
        return bool(self.name < other.name)


def _render(flow: object) -> list[Line]:
    if not isinstance(flow, http.HTTPFlow):
        return [[("text", "Only HTTP flows are mirrored.")]]
    pairs = find_pairs(flow)
    if not pairs:
        return [[("text", why_no_pair(flow))]]
    return [line for pair in pairs for line in lay_out(*pair)]

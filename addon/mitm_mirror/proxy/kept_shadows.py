"""The shadows that the view keeps: a bounded number, and bounded bytes. The oldest leave first."""

import weakref
from collections import deque

from mitmproxy import flow, http
from mitmproxy.addons.view import View

from mitm_mirror.proxy.pairs import is_a_persons

_OVERHEAD_BYTES = 8 * 1024
"""What a flow costs beside its bodies: objects, headers, metadata, its places in the view. Measured."""


class KeptShadows:
    """Removes shadows from the view once there are more than `limit`, or hold more than `limit_bytes`."""

    def __init__(self) -> None:
        self.limit = 0
        self.limit_bytes = 0
        self._kept: deque[tuple[weakref.ref[flow.Flow], int]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        """Shadows that were added and not yet given up, those that a person removed included."""
        return len(self._kept)

    def add(self, shadow: http.HTTPFlow, view: View) -> None:
        """Puts one into the view, and takes the oldest out of it where there are too many."""
        view.add([shadow])
        size = _OVERHEAD_BYTES + len((shadow.response and shadow.response.raw_content) or b"")
        self._kept.append((weakref.ref(shadow), size))
        self._bytes += size
        # At most once around: whoever is looked at goes to the young end.
        for _ in range(len(self._kept) - 1):
            if len(self._kept) <= self.limit and self._bytes <= self.limit_bytes:
                break
            self._give_up_oldest(view)

    def _give_up_oldest(self, view: View) -> None:
        reference, size = self._kept.popleft()
        oldest = reference()
        if oldest is not None and oldest is view.focus.flow:
            self._kept.append((reference, size))
            return
        self._bytes -= size
        if isinstance(oldest, http.HTTPFlow) and not is_a_persons(oldest):
            view.remove([oldest])

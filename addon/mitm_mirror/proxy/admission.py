"""Which requests are mirrored at all: why a shadow that is due is not even handed to the pool."""

from collections.abc import Callable
from functools import lru_cache

from mitmproxy import connection

from mitm_mirror.outcome import Outcome
from mitm_mirror.proxy.flows import RoutedRequest, asks_to_upgrade
from mitm_mirror.proxy.loops import LoopGuard
from mitm_mirror.routing.authority import server_name
from mitm_mirror.routing.decision import MirrorCopy
from mitm_mirror.routing.request import RequestHead
from mitm_mirror.shadow.governor import Governor

Refusal = tuple[Outcome, str]
"""How the shadow ends, and in which words; those are empty where the outcome says it all."""


@lru_cache(maxsize=256)
def has_suffix(authority: str, suffix: str) -> bool:
    """Whether the Host of a request shows that it is a shadow of ours; never where there is no suffix.

    Few are remembered: a client may send a name of any length.
    """
    return bool(suffix) and server_name(authority).endswith(suffix)


class Admission:
    """What a person, the options, the governor and the rule against loops allow."""

    def __init__(self, is_own_address: Callable[[str, int], bool], draw: Callable[[], float]) -> None:
        """`draw` gives numbers in [0, 1), for the governor's share."""
        self.paused = False
        self.governor: Governor | None = None
        """None where it is off."""
        self.host_suffix = ""
        self.body_limit_bytes = 0
        self.loops = LoopGuard()
        self._is_own_address = is_own_address
        self._draw = draw

    def refusal(
        self,
        client: connection.Client,
        head: RequestHead,
        request: RoutedRequest,
        body_bytes: int | None,
        *,
        forced: bool,
    ) -> Refusal | None:
        """Why no shadow of this request is sent at all; None where it may be.

        `head` is the request as it came from `client`, `request` as it went to its primary. `body_bytes` is
        None where the body went past us; `forced` where a person asks for this shadow.
        """
        if self.paused and not forced:
            return Outcome.PAUSED, ""
        if self.governor is not None and not forced and not self.governor.admits(self._draw()):
            return Outcome.PAUSED, f"held back by mirror_governor: {self.governor.reason}"
        if has_suffix(head.authority, self.host_suffix):
            # Under which name or through how many proxies it came back does not matter here.
            return Outcome.LOOP, f"the request is a shadow already: its Host ends in {self.host_suffix}"
        if reason := self._came_back(client, head):
            return Outcome.LOOP, reason
        if body_bytes is None:
            return Outcome.BODY_TOO_LARGE, "streamed without a copy"
        if body_bytes > self.body_limit_bytes:
            return Outcome.BODY_TOO_LARGE, f"{body_bytes} bytes, mirror_body_limit is {self.body_limit_bytes}"
        if asks_to_upgrade(request.headers):
            return Outcome.PROTOCOL_ERROR, "a request to upgrade the connection is not mirrored"
        return None

    def refusal_of_copy(self, copy: MirrorCopy) -> Refusal | None:
        """The same for one mirror of a request that may be mirrored."""
        if copy.target is None:
            return Outcome.NO_ENDPOINT, ""
        endpoint = copy.target.endpoint
        if self._is_own_address(endpoint.address, endpoint.port):
            return Outcome.LOOP, f"{endpoint.host_port} is this proxy itself"
        return None

    def _came_back(self, client: connection.Client, head: RequestHead) -> str:
        """How it is known that a request is a shadow of ours, where its Host does not say so; else empty."""
        if self.loops.has_mark(head.headers):
            return "the request is a shadow of this proxy: its Via says so"
        meant = (head.original_host, head.original_port)
        if self.loops.is_own_connection(client.peername[:2], client.sockname[:2], meant):
            return "the request came over a connection of this proxy's own shadow worker"
        return ""

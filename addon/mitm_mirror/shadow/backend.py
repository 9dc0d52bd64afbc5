"""What sends shadows for the pool, and how it talks back. Types only."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mitm_mirror.client.request import Fields, OutgoingRequest
from mitm_mirror.observe.compare import Comparison
from mitm_mirror.shadow.answer import PrimaryAnswer, Want
from mitm_mirror.shadow.message import ShadowResult, SocketPair


@dataclass(frozen=True, slots=True)
class WaitingFile:
    """A file descriptor that has something to do once poll reports `events` on it."""

    fd: int
    events: int
    handle: Callable[[], None]


class BackendOwner(Protocol):
    """Who hears from a backend; all calls come from the event loop's thread."""

    def backend_ready(self) -> None:
        """It takes shadows from now on."""

    def backend_results(self, results: list[ShadowResult]) -> None:
        """Shadows that ended, in any order."""

    def backend_taken(self, taken: list[tuple[int, int]]) -> None:
        """(number, bytes): so much of these uploads has gone to the mirrors' sockets since the last call."""

    def backend_compared(self, results: list[tuple[int, Comparison]]) -> None:
        """What shadows' answers differ in from their primaries'; each after its ShadowResult."""

    def backend_connected(self, connections: list[SocketPair]) -> None:
        """See `FromWorker.CONNECTED`."""

    def backend_gone(self, how: str, last_words: str) -> None:
        """It ended and what it held is lost. `last_words`: its stderr, where it ended before it was ready."""


class Backend(Protocol):
    """One sender of shadows: a worker process, or the event loop itself."""

    @property
    def pid(self) -> int | None:
        """None where it is no process of its own."""

    def want(self, number: int, want: Want) -> None:
        """Keep so much of the answer to the request that is sent or opened next, under this number."""

    def send(self, number: int, request: OutgoingRequest, body: bytes, timeout_s: float) -> None:
        """Take one shadow. Raises only what msgspec raises for a request that cannot be encoded."""

    def open(self, number: int, request: OutgoingRequest, timeout_s: float) -> None:
        """Take one shadow whose body follows; `timeout_s` counts from its end. Raises as `send`."""

    def put(self, number: int, data: bytes) -> None:
        """The next piece of such a body. Here and below a number that has ended is passed over."""

    def end(self, number: int, trailers: Fields) -> None:
        """Such a body is complete, and followed by these."""

    def primary(self, number: int, answer: PrimaryAnswer, body: bytes) -> None:
        """What the primary was answered, for the comparison that its Want asked for. Here and below a number
        that is not to be compared (any more) is passed over."""

    def forget(self, number: int) -> None:
        """Do not compare this one; it is sent all the same."""

    def abort(self, number: int) -> None:
        """Stop sending this shadow; no result follows."""

    def waiting_files(self) -> list[WaitingFile]:
        """What to poll for where the event loop does not run; empty where it cannot go on without one."""

    def kill(self) -> None:
        """End it the hard way; `backend_gone` follows."""

    def close(self) -> None:
        """Ask it to end. No call to the owner follows."""

    def join(self, timeout_s: float) -> None:
        """Wait for its end after `close`, then kill it; nothing of it is left afterwards."""


StartBackend = Callable[[BackendOwner], Backend]
"""Starts one. Raises OSError where the system refuses."""

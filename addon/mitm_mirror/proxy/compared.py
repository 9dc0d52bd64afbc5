"""What is to be compared of one request. State, without any decision."""

from dataclasses import dataclass, field
from typing import Protocol

from mitm_mirror.observe.compare import Comparison
from mitm_mirror.routing.request import HeaderFields


class ComparedCopy(Protocol):
    """A copy that is compared with its primary: a shadow, or a noise copy."""

    number: int
    """The pool's."""
    is_third: bool
    """Whether it went to the primary's own version, so that what differs is noise."""


@dataclass(slots=True)
class ComparedRequest:
    """One request whose shadows are compared with its primary."""

    route: str
    """What noise is learned by."""
    primary_authorities: tuple[str, ...]
    """See `Response.authorities`."""
    received: HeaderFields = ()
    """The primary's header lines as its destination sent them, before the rules changed them."""
    streamed: "BodyKeeper | None" = None
    """Set where mitmproxy streams the primary's body."""
    status: int = 0
    """The primary's, once its answer was handed over."""
    waiting: dict[int, ComparedCopy] = field(default_factory=dict)
    """By number: sent, and neither compared nor failed yet."""
    thirds: int = 0
    """Third copies among them."""
    held: list[tuple[ComparedCopy, Comparison]] = field(default_factory=list)
    """Compared, but what is noise is not known before the third copies are."""


class BodyKeeper:
    """Keeps a body that is streamed, as long as it is not above its limit."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._size = 0
        self._pieces: list[bytes] = []

    def add(self, data: bytes) -> None:
        """The next piece."""
        self._size += len(data)
        if self._size <= self._limit_bytes:
            self._pieces.append(data)
        else:
            self._pieces.clear()

    def body(self) -> bytes | None:
        """All of it; None where it was above the limit."""
        return b"".join(self._pieces) if self._size <= self._limit_bytes else None

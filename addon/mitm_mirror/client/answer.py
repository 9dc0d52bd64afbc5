"""One answer, as it is handed on while it comes. Types only."""

from typing import Any, NamedTuple, Protocol


class UnwantedAnswerError(Exception):
    """The sink has seen enough: the connection is closed, and that is no failure."""


class HasAddresses(Protocol):
    """What an answer came over."""

    def get_extra_info(self, info: str) -> Any:
        """As httpcore's streams: for `client_addr` and `server_addr` what sockets have, or None."""


class AnswerHead(NamedTuple):
    """The head of an answer."""

    status: int
    reason: bytes
    http_version: bytes
    """`HTTP/1.1`, `HTTP/1.0` or `HTTP/2.0`."""
    headers: tuple[tuple[bytes, bytes], ...]
    """In order, with case and duplicates."""
    stream: HasAddresses | None = None
    """What it came over."""

    def server(self) -> tuple[str, int] | None:
        """Address and port that it came from. To be asked before the answer is complete."""
        found = self.stream.get_extra_info("server_addr") if self.stream is not None else None
        return (str(found[0]), int(found[1])) if found else None


class AnswerSink(Protocol):
    """Who takes one answer, as it comes. May raise UnwantedAnswerError, and nothing else."""

    def head(self, head: AnswerHead) -> None:
        """The final head."""

    def chunk(self, data: bytes) -> None:
        """A piece of the body as it came, before any content decoding."""

"""Finding the end of an HTTP/1.1 message in bytes. Nothing here performs I/O."""

from dataclasses import dataclass

Fields = tuple[tuple[bytes, bytes], ...]


class WireError(ValueError):
    """Bytes that are not the HTTP/1.1 that this laboratory expects."""


@dataclass(frozen=True, slots=True)
class Message:
    """One whole message, exactly as it came."""

    start_line: bytes
    fields: Fields
    """Header lines as (name, value), names as they came, values stripped."""
    head: bytes
    """Start line and header lines, with their line ends and the empty line."""
    raw_body: bytes
    """The body as framed: with chunk sizes where it came chunked."""
    body: bytes
    """The body without its framing."""

    @property
    def raw(self) -> bytes:
        return self.head + self.raw_body

    def values(self, name: bytes) -> list[bytes]:
        """All values of a header, the name without regard to case."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    @property
    def method(self) -> bytes:
        return self.start_line.split(b" ", 1)[0]

    @property
    def target(self) -> bytes:
        return self.start_line.split(b" ", 1)[1].rpartition(b" ")[0]

    @property
    def status(self) -> int:
        return int(self.start_line.split(b" ")[1])

    @property
    def keeps_alive(self) -> bool:
        return b"close" not in b",".join(self.values(b"connection")).lower()


def take_message(
    buffer: bytes | bytearray, *, has_body: bool = True, until_close: bool = False
) -> tuple[Message, int] | None:
    """The message at the front of `buffer` and the number of bytes that it takes; None if not whole yet.

    `has_body` is False for an answer to HEAD. `until_close` says that the other end has hung up,
    which ends a response without a length.
    """
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(buffer[: end + 4])
    start_line, *lines = head[:-4].split(b"\r\n")
    fields = tuple(_split_field(line) for line in lines)
    framing = {name.lower(): value for name, value in fields}
    start = end + 4
    taken: tuple[bytes, int] | None
    if not has_body or _is_bodiless(start_line):
        taken = b"", start
    elif b"chunked" in framing.get(b"transfer-encoding", b"").lower():
        taken = _take_chunks(buffer, start)
    elif b"content-length" in framing:
        taken = _take_length(buffer, start, int(framing[b"content-length"]))
    elif not start_line.startswith(b"HTTP/"):
        taken = b"", start
    else:
        taken = (bytes(buffer[start:]), len(buffer)) if until_close else None
    if taken is None:
        return None
    body, stop = taken
    return Message(start_line, fields, head, bytes(buffer[start:stop]), body), stop


def _split_field(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon:
        raise WireError(f"a header line without a colon: {line!r}")
    return name, value.strip(b" \t")


def _is_bodiless(start_line: bytes) -> bool:
    status = start_line.split(b" ")[1] if start_line.startswith(b"HTTP/") else b""
    return status in {b"204", b"304"} or status.startswith(b"1")


def _take_length(buffer: bytes | bytearray, start: int, size: int) -> tuple[bytes, int] | None:
    stop = start + size
    return (bytes(buffer[start:stop]), stop) if len(buffer) >= stop else None


def _take_chunks(buffer: bytes | bytearray, position: int) -> tuple[bytes, int] | None:
    parts = []
    while True:
        end = buffer.find(b"\r\n", position)
        if end < 0:
            return None
        size = int(bytes(buffer[position:end]).partition(b";")[0], 16)
        position = end + 2
        if size == 0:
            break
        if len(buffer) < position + size + 2:
            return None
        parts.append(bytes(buffer[position : position + size]))
        position += size + 2
    # Trailers: lines up to an empty one.
    while True:
        end = buffer.find(b"\r\n", position)
        if end < 0:
            return None
        if end == position:
            return b"".join(parts), position + 2
        position = end + 2

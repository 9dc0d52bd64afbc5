"""Frames on the pipes between the proxy and a shadow worker. Nothing here knows asyncio.

A frame is a prefix of 29 bytes, big endian, then a msgpack message, then raw bytes:

    u8 kind | u32 message length | u64 body length | u64 number | f64 timeout in seconds | message | body

What the kinds are is said in `message`. The number and the body stand outside the message: a worker can
answer for a message that it cannot read, and a large request body goes to the pipe from where it lies,
without a copy.
"""

import os
import struct
from collections import deque
from itertools import islice
from typing import NamedTuple

import msgspec

_PREFIX = struct.Struct(">BIQQd")
_NO_PREFIX = bytes(_PREFIX.size)

GATHER_S = 0.01
"""How long both ends gather frames before they write them. A write for each, and with it waking the other
process, was a fifth of what a shadow cost the proxy under load; a shadow is in no hurry."""

_INLINE_BODY_BYTES = 16 * 1024
"""A body up to this is copied behind its message: cheaper than one more entry for writev."""

_PIECES_PER_WRITE = 64
"""Well below the 1024 buffers that Linux and macOS take in one writev; a pipe is full before that."""


class Frame(NamedTuple):
    """One frame as it was read. `message` is still msgpack, and empty where there is none."""

    kind: int
    number: int
    timeout_s: float
    message: bytes
    body: bytes


class FrameBuffer:
    """Frames on their way to a pipe. Holds large bodies by reference until they are written."""

    def __init__(self) -> None:
        self._sealed: deque[memoryview] = deque()
        self._open = bytearray()
        self._encoder = msgspec.msgpack.Encoder()

    def __bool__(self) -> bool:
        return bool(self._open or self._sealed)

    @property
    def size(self) -> int:
        """Bytes that are not written yet."""
        return len(self._open) + sum(map(len, self._sealed))

    def add(
        self, message: object, number: int = 0, timeout_s: float = 0.0, body: bytes = b"", kind: int = 0
    ) -> None:
        """Append one frame. Adds nothing and raises what msgspec does where `message` cannot be encoded."""
        start = len(self._open)
        self._open += _NO_PREFIX
        try:
            self._encoder.encode_into(message, self._open, -1)
        except Exception:
            del self._open[start:]
            raise
        message_bytes = len(self._open) - start - _PREFIX.size
        _PREFIX.pack_into(self._open, start, kind, message_bytes, len(body), number, timeout_s)
        if body:
            self._add_body(body)

    def add_bare(self, kind: int, number: int, body: bytes = b"") -> None:
        """Append one frame without a message."""
        self._open += _PREFIX.pack(kind, 0, len(body), number, 0.0)
        if body:
            self._add_body(body)

    def _add_body(self, body: bytes) -> None:
        if len(body) <= _INLINE_BODY_BYTES:
            self._open += body
        else:
            self._seal()
            self._sealed.append(memoryview(body))

    def write_to(self, fd: int) -> bool:
        """Write what a non-blocking `fd` takes. True when all is written, False when the pipe is full.

        Raises OSError (BrokenPipeError where the reader is gone).
        """
        self._seal()
        while self._sealed:
            try:
                written = os.writev(fd, list(islice(self._sealed, _PIECES_PER_WRITE)))
            except BlockingIOError:
                return False
            while written:
                piece = self._sealed[0]
                if written < len(piece):
                    self._sealed[0] = piece[written:]
                    break
                written -= len(piece)
                self._sealed.popleft()
        return True

    def _seal(self) -> None:
        if self._open:
            self._sealed.append(memoryview(self._open))
            self._open = bytearray()


class FrameDecoder:
    """Cuts a byte stream back into frames, whatever the sizes of the pieces that arrive."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes, in order."""
        self._buffer += data
        frames: list[Frame] = []
        position = 0
        available = len(self._buffer)
        with memoryview(self._buffer) as view:
            while available - position >= _PREFIX.size:
                kind, message_bytes, body_bytes, number, timeout_s = _PREFIX.unpack_from(view, position)
                message_start = position + _PREFIX.size
                body_start = message_start + message_bytes
                end = body_start + body_bytes
                if end > available:
                    break
                message = bytes(view[message_start:body_start])
                frames.append(Frame(kind, number, timeout_s, message, bytes(view[body_start:end])))
                position = end
        del self._buffer[:position]
        return frames

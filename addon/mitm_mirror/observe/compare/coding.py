"""Undoes the content codings of a body, up to a size. Pure."""

import io
import zlib
from collections.abc import Callable, Mapping, Sequence

import brotli
import zstandard

_BROTLI_PIECE_BYTES = 16
"""Brotli before 1.2 knows no limit for its output, and one block may be 16 MiB. A block takes some
five bytes at least, so that a piece of this size unfolds to some 64 MiB at most before we look."""
_ZSTD_WINDOW_BYTES = 8 * 1024 * 1024
"""What RFC 8878 asks a decoder to support; a stream that wants more is refused."""


class BodyTooLargeError(ValueError):
    """The decoded body is above the limit."""


class BrokenCodingError(ValueError):
    """The body is not what its Content-Encoding says, or the coding is not known."""


def decode_body(body: bytes, codings: Sequence[str], limit_bytes: int) -> bytes:
    """`body` without its content codings, which are given in the order in which they were applied.

    Raises BodyTooLargeError, also for a body without codings, and BrokenCodingError with the cause.
    """
    for coding in reversed(codings):
        if not body:  # an answer to HEAD carries the codings of a body that it does not have
            break
        decoder = _DECODERS.get(coding)
        if decoder is None:
            raise BrokenCodingError(f"{coding} is not known here")
        try:
            body = decoder(body, limit_bytes)
        except (zlib.error, brotli.error, zstandard.ZstdError, EOFError) as error:
            raise BrokenCodingError(f"not {coding}: {error}") from error
    if len(body) > limit_bytes:
        raise BodyTooLargeError(f"above {limit_bytes} bytes")
    return body


def _gunzip(body: bytes, limit_bytes: int) -> bytes:
    parts, size = [], 0
    while body:  # several members may follow each other (RFC 1952, 2.2)
        member = zlib.decompressobj(wbits=31)
        parts.append(_inflate(member, body, limit_bytes - size))
        size += len(parts[-1])
        body = member.unused_data.lstrip(b"\0")
    return b"".join(parts)


def _deflate(body: bytes, limit_bytes: int) -> bytes:
    # RFC 9110, 8.4.1.2: zlib's format is meant, and some servers send bare deflate.
    zlib_header = len(body) >= 2 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
    return _inflate(zlib.decompressobj(wbits=15 if zlib_header else -15), body, limit_bytes)


def _inflate(stream: "zlib._Decompress", body: bytes, limit_bytes: int) -> bytes:
    data = stream.decompress(body, limit_bytes + 1)
    if len(data) > limit_bytes:
        raise BodyTooLargeError(f"above {limit_bytes} bytes")
    if not stream.eof:
        raise EOFError("it ends too early")
    return data


def _unbrotli(body: bytes, limit_bytes: int) -> bytes:
    stream = brotli.Decompressor()
    parts, size = [], 0
    for start in range(0, len(body), _BROTLI_PIECE_BYTES):
        parts.append(stream.process(body[start : start + _BROTLI_PIECE_BYTES]))
        size += len(parts[-1])
        if size > limit_bytes:
            raise BodyTooLargeError(f"above {limit_bytes} bytes")
    if not stream.is_finished():
        raise EOFError("it ends too early")
    return b"".join(parts)


def _unzstd(body: bytes, limit_bytes: int) -> bytes:
    stream = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES).stream_reader(
        io.BytesIO(body), read_across_frames=True
    )
    data = stream.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise BodyTooLargeError(f"above {limit_bytes} bytes")
    return data


_DECODERS: Mapping[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gunzip,
    "x-gzip": _gunzip,
    "deflate": _deflate,
    "br": _unbrotli,
    "zstd": _unzstd,
    "identity": lambda body, _limit: body,
}

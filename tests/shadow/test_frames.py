"""Frames survive any cut of the stream, a full pipe, and messages that cannot be encoded."""

import os

import msgspec
import pytest

from mitm_mirror.shadow.frames import Frame, FrameBuffer, FrameDecoder

FRAMES = [
    pytest.param([], 0, 0.0, b"", id="empty"),
    pytest.param(["head", 7], 2**63, 14.5, b"", id="no body"),
    pytest.param([b"\x00\xff"], 1, 0.25, b"body", id="small body, copied"),
    pytest.param("x" * 300, 3, 1e-9, bytes(range(256)) * 1000, id="large body, by reference"),
]


def drain(buffer: FrameBuffer) -> bytes:
    """All that `buffer` writes, through a pipe that is much smaller than it."""
    out, into = os.pipe()
    os.set_blocking(out, False)
    os.set_blocking(into, False)
    data = b""
    try:
        done = False
        while not done:
            done = buffer.write_to(into)
            while True:
                try:
                    data += os.read(out, 65536)
                except BlockingIOError:
                    break
    finally:
        os.close(out)
        os.close(into)
    return data


@pytest.mark.parametrize(("message", "number", "timeout_s", "body"), FRAMES)
def test_a_frame_comes_out_as_it_went_in(message: object, number: int, timeout_s: float, body: bytes) -> None:
    buffer = FrameBuffer()
    buffer.add(message, number, timeout_s, body)

    assert FrameDecoder().feed(drain(buffer)) == [
        Frame(0, number, timeout_s, msgspec.msgpack.encode(message), body)
    ]


@pytest.mark.parametrize("body", [b"", b"small", b"x" * 100_000], ids=["no body", "copied", "by reference"])
def test_a_frame_without_a_message(body: bytes) -> None:
    buffer = FrameBuffer()
    buffer.add(["before"], 6)
    buffer.add_bare(2, 7, body)
    buffer.add(["after"], 8, kind=1)

    frames = FrameDecoder().feed(drain(buffer))

    assert [(frame.kind, frame.number) for frame in frames] == [(0, 6), (2, 7), (1, 8)]
    assert frames[1] == Frame(2, 7, 0.0, b"", body)


@pytest.mark.parametrize("size", [1, 7, 29, 1000, 65536])
def test_frames_come_out_whatever_the_sizes_of_the_pieces(size: int) -> None:
    buffer = FrameBuffer()
    for number in range(20):
        buffer.add([number], number, 1.0, b"b" * number * 30)
    data = drain(buffer)
    decoder = FrameDecoder()
    frames = [frame for at in range(0, len(data), size) for frame in decoder.feed(data[at : at + size])]

    assert [(frame.number, len(frame.body)) for frame in frames] == [(n, n * 30) for n in range(20)]


def test_more_pieces_than_one_write_takes_and_more_than_the_pipe_holds() -> None:
    buffer = FrameBuffer()
    bodies = [bytes([number % 256]) * 20_000 for number in range(200)]
    for number, body in enumerate(bodies):
        buffer.add([], number, 1.0, body)

    frames = FrameDecoder().feed(drain(buffer))

    assert [frame.body for frame in frames] == bodies
    assert not buffer


def test_a_message_that_cannot_be_encoded_leaves_the_buffer_as_it_was() -> None:
    buffer = FrameBuffer()
    buffer.add(["first"], 1)
    with pytest.raises(UnicodeEncodeError):
        buffer.add(["fine", "\udc80"], 2)
    buffer.add(["third"], 3)

    assert [frame.number for frame in FrameDecoder().feed(drain(buffer))] == [1, 3]


def test_a_reader_that_is_gone_is_a_broken_pipe() -> None:
    out, into = os.pipe()
    os.close(out)
    buffer = FrameBuffer()
    buffer.add([])
    with pytest.raises(BrokenPipeError):
        buffer.write_to(into)
    os.close(into)

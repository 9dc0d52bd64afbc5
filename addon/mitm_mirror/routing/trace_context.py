"""The sampling decision that a request carries for distributed tracing. Pure.

W3C Trace Context (https://www.w3.org/TR/trace-context/#sampled-flag) and B3
(https://github.com/openzipkin/b3-propagation), in one header or in several.
"""

import re
from collections.abc import Callable, Mapping

from mitm_mirror.routing.request import HeaderFields

_TRACEPARENT = re.compile(rb"(\s*[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-)([0-9a-f]{2})(.*)", re.DOTALL)
"""Later versions may have more after the flags, and keep what is before them."""

_B3 = re.compile(rb"(\s*(?:[0-9a-fA-F]{16,32}-[0-9a-fA-F]{16}-)?)[1d]((?:-[0-9a-fA-F]{16})?\s*)")
"""Ids, then `1` for sampled or `d` for debug, then maybe the parent; or the decision alone."""


def unsample(fields: HeaderFields) -> HeaderFields:
    """The header lines with every decision to sample taken back; ids stay, so that logs still tell a trace.

    What is not sampled, defers the decision, or is malformed, stays as it is; so do other headers.
    """
    if not any(name.lower() in _UNSAMPLED for name, _ in fields):
        return fields
    return tuple(
        (name, _UNSAMPLED[name.lower()](value)) if name.lower() in _UNSAMPLED else (name, value)
        for name, value in fields
    )


def _traceparent(value: bytes) -> bytes:
    match = _TRACEPARENT.fullmatch(value)
    if match is None:
        return value
    # The other flags say other things: 0x02 that the id is random.
    return b"%s%02x%s" % (match[1], int(match[2], 16) & ~1, match[3])


def _b3(value: bytes) -> bytes:
    match = _B3.fullmatch(value)
    return value if match is None else match[1] + b"0" + match[2]


def _b3_sampled(value: bytes) -> bytes:
    # `true` is what older senders wrote.
    return b"0" if value.strip().lower() in (b"1", b"true", b"d") else value


def _b3_flags(value: bytes) -> bytes:
    # 1 is debug, which means sampled whatever X-B3-Sampled says.
    return b"0" if value.strip() == b"1" else value


_UNSAMPLED: Mapping[bytes, Callable[[bytes], bytes]] = {
    b"traceparent": _traceparent,
    b"b3": _b3,
    b"x-b3-sampled": _b3_sampled,
    b"x-b3-flags": _b3_flags,
}

"""Taking back the decision to sample."""

import pytest

from mitm_mirror.routing.trace_context import unsample

TRACE = b"4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = b"00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        pytest.param("traceparent", "00-{t}-{s}-01", "00-{t}-{s}-00", id="traceparent, sampled"),
        pytest.param("Traceparent", "00-{t}-{s}-01", "00-{t}-{s}-00", id="names have no case"),
        pytest.param("traceparent", "00-{t}-{s}-03", "00-{t}-{s}-02", id="other flags stay"),
        pytest.param("traceparent", "00-{t}-{s}-00", "00-{t}-{s}-00", id="traceparent, not sampled"),
        pytest.param("traceparent", "01-{t}-{s}-ff-x", "01-{t}-{s}-fe-x", id="a later version"),
        pytest.param("traceparent", "00-{t}-01", "00-{t}-01", id="malformed"),
        pytest.param("tracestate", "rojo={s}", "rojo={s}", id="tracestate"),
        pytest.param("b3", "{t}-{s}-1", "{t}-{s}-0", id="b3, sampled"),
        pytest.param("b3", "{t}-{s}-d", "{t}-{s}-0", id="b3, debug"),
        pytest.param("b3", "{t}-{s}-1-{s}", "{t}-{s}-0-{s}", id="b3 with a parent"),
        pytest.param("b3", "{s}-{s}-1", "{s}-{s}-0", id="b3, short trace id"),
        pytest.param("b3", "{t}-{s}-0", "{t}-{s}-0", id="b3, not sampled"),
        pytest.param("b3", "{t}-{s}", "{t}-{s}", id="b3, deferred"),
        pytest.param("b3", "1", "0", id="b3, the decision alone"),
        pytest.param("b3", "d", "0", id="b3, debug alone"),
        pytest.param("b3", "1d", "1d", id="b3, malformed"),
        pytest.param("X-B3-Sampled", "1", "0", id="x-b3-sampled"),
        pytest.param("X-B3-Sampled", "true", "0", id="x-b3-sampled as of old"),
        pytest.param("X-B3-Sampled", "0", "0", id="x-b3-sampled, not"),
        pytest.param("X-B3-Flags", "1", "0", id="x-b3-flags, debug"),
        pytest.param("X-B3-TraceId", "{t}", "{t}", id="ids stay"),
        pytest.param("X-Sampled", "1", "1", id="another header"),
    ],
)
def test_header(name: str, value: str, expected: str) -> None:
    def fields(text: str) -> tuple[tuple[bytes, bytes], ...]:
        filled = text.format(t=TRACE.decode(), s=SPAN.decode()).encode()
        return ((b"Host", b"x"), (name.encode(), filled), (b"Accept", b"1"))

    assert fields(expected) == unsample(fields(value))


def test_without_such_a_header_nothing_is_copied() -> None:
    fields = ((b"Host", b"x"), (b"Accept", b"*/*"))

    assert unsample(fields) is fields

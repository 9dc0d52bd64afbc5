"""Every way in which httpx fails has an outcome, and no message of a library is passed on."""

import errno
import ssl

import h11
import httpx
import pytest

from mitm_mirror.client.errors import TABLE, FailureKind, classify, is_blameless
from mitm_mirror.client.outgoing import BadAddressError, UnsendableRequestError
from mitm_mirror.client.tls import TlsFilesError
from mitm_mirror.outcome import Outcome

SECRET = "Bearer s3cret"


def transport_errors() -> list[type[Exception]]:
    found: list[type[Exception]] = [httpx.TransportError]
    for kind in found:
        found += kind.__subclasses__()
    return found


def test_the_table_names_every_transport_error_of_httpx() -> None:
    assert {kind.__name__ for kind in transport_errors()} - {kind.__name__ for kind in TABLE} == set()


@pytest.mark.parametrize("kind", transport_errors(), ids=lambda kind: kind.__name__)
def test_no_text_of_the_exception_is_passed_on(kind: type[Exception]) -> None:
    found = classify(kind(SECRET))

    assert found is not None
    assert SECRET not in found[1]
    assert "\n" not in found[1]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        pytest.param(TimeoutError(), Outcome.TIMEOUT, id="our deadline"),
        pytest.param(httpx.ReadTimeout(""), Outcome.TIMEOUT, id="read timeout"),
        pytest.param(httpx.ConnectError(""), Outcome.CONNECT_ERROR, id="connect"),
        pytest.param(BadAddressError(), Outcome.CONNECT_ERROR, id="bad address"),
        pytest.param(ssl.SSLError(1, SECRET), Outcome.TLS_ERROR, id="bare TLS error after the handshake"),
        pytest.param(httpx.ReadError(""), Outcome.PROTOCOL_ERROR, id="reset"),
        pytest.param(h11.LocalProtocolError(SECRET), Outcome.PROTOCOL_ERROR, id="h11 refuses the request"),
        pytest.param(UnsendableRequestError("why"), Outcome.PROTOCOL_ERROR, id="we refuse the request"),
        pytest.param(OSError(errno.EIO, SECRET), Outcome.PROTOCOL_ERROR, id="bare OSError"),
    ],
)
def test_outcome(error: Exception, outcome: Outcome) -> None:
    found = classify(error)

    assert found is not None
    assert found[0] == outcome
    assert SECRET not in found[1]


def test_a_subclass_that_httpx_may_add_gets_its_base_outcome() -> None:
    class StrangeTimeout(httpx.TimeoutException):
        pass

    assert classify(StrangeTimeout("")) == TABLE[httpx.TimeoutException]


def test_a_bug_is_not_called_a_server_fault() -> None:
    assert classify(KeyError(SECRET)) is None


def chained(outer: Exception, inner: BaseException) -> Exception:
    outer.__context__ = inner
    outer.__suppress_context__ = True  # as httpcore's `raise exc from None` leaves it
    return outer


@pytest.mark.parametrize(
    ("inner", "outcome", "text"),
    [
        pytest.param(
            OSError(errno.ECONNREFUSED, SECRET),
            Outcome.CONNECT_ERROR,
            "no connection: Connection refused",
            id="refused",
        ),
        pytest.param(
            ExceptionGroup(SECRET, [OSError(SECRET), OSError(errno.EHOSTUNREACH, "")]),
            Outcome.CONNECT_ERROR,
            "no connection: No route to host",
            id="several addresses tried",
        ),
        pytest.param(
            ssl.SSLError(1, SECRET),
            Outcome.TLS_ERROR,
            "the TLS handshake failed: unknown reason",
            id="TLS error without a reason",
        ),
        pytest.param(
            chained(ConnectionResetError(errno.ECONNRESET, ""), ssl.SSLWantReadError()),
            Outcome.TLS_ERROR,
            "the server hung up during the TLS handshake",
            id="reset in the handshake",
        ),
        pytest.param(
            RuntimeError(SECRET), Outcome.CONNECT_ERROR, "no connection", id="nothing known behind it"
        ),
    ],
)
def test_what_a_connect_error_hides(inner: BaseException, outcome: Outcome, text: str) -> None:
    assert classify(chained(httpx.ConnectError(SECRET), inner)) == (outcome, text, FailureKind.CONNECT)


def test_running_out_of_time_in_a_handshake_is_a_timeout() -> None:
    assert classify(chained(TimeoutError(), ssl.SSLWantReadError())) == TABLE[TimeoutError]


@pytest.mark.parametrize(
    ("error", "blameless"),
    [
        pytest.param(UnsendableRequestError("x"), True, id="a request that cannot be sent"),
        pytest.param(httpx.LocalProtocolError("x"), True, id="a request that h11 does not write"),
        pytest.param(h11.LocalProtocolError("x"), True, id="a request that h11 does not write, bare"),
        pytest.param(httpx.UnsupportedProtocol("x"), True, id="no scheme of ours"),
        pytest.param(TlsFilesError("x"), True, id="our certificate files are gone"),
        pytest.param(
            chained(httpx.ConnectError("x"), OSError(errno.EMFILE, "")), True, id="no descriptors left"
        ),
        pytest.param(
            chained(httpx.ConnectError("x"), ExceptionGroup("x", [OSError(errno.EADDRNOTAVAIL, "")])),
            True,
            id="no local ports left",
        ),
        pytest.param(LookupError("x"), True, id="a bug of ours"),
        pytest.param(chained(httpx.ConnectError("x"), OSError(errno.ECONNREFUSED, "")), False, id="refused"),
        pytest.param(httpx.RemoteProtocolError("x"), False, id="no HTTP"),
        pytest.param(TimeoutError(), False, id="late"),
        pytest.param(BadAddressError("x"), False, id="an address that is none: nothing gets there ever"),
        pytest.param(chained(httpx.ConnectError("x"), ssl.SSLError(1, "x")), False, id="TLS"),
    ],
)
def test_what_the_server_is_not_to_blame_for(error: Exception, blameless: bool) -> None:
    assert is_blameless(error) is blameless


def test_a_descriptor_that_is_not_to_be_had_is_named_whatever_wanted_it() -> None:
    found = classify(OSError(errno.EMFILE, "Too many open files", SECRET))

    text = "no connection: Too many open files"
    assert found == (Outcome.CONNECT_ERROR, text, FailureKind.CONNECT)

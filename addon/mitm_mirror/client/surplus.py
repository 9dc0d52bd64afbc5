"""Whether a server said more than its answer, after which its connection cannot be used again.

HTTP/1.1 tells answers apart by their order only. What is left over of one answer would be taken for the
next one: httpcore looks at the socket before it uses a connection again, but not at what was read already.
"""

import ssl

import httpx

from mitm_mirror.client.connections import protocols


def has_surplus(transport: httpx.AsyncBaseTransport, response: httpx.Response) -> bool:
    """Whether more has come on the connection of `transport` than `response`, which was read to its end.

    What comes later is httpcore's to notice: it finds the socket readable, and opens a new connection.
    """
    if response.extensions.get("http_version") == b"HTTP/2":
        return False  # its frames say to which answer they belong
    return _is_in_parser(transport) or _is_in_tls(response)


def _is_in_parser(transport: httpx.AsyncBaseTransport) -> bool:
    # Private: nothing public leads to h11's `trailing_data`.
    return any(http1._h11_state.trailing_data[0] for http1 in protocols(transport))  # noqa: SLF001


def _is_in_tls(response: httpx.Response) -> bool:
    """A record that was received but not decrypted is neither in the parser nor in the socket."""
    stream = response.extensions.get("network_stream")
    tls = stream.get_extra_info("ssl_object") if stream is not None else None
    if tls is None:
        return False
    try:
        tls.read(1)
    except ssl.SSLWantReadError:
        return False
    except ssl.SSLError:
        return True
    # Also where it is empty: the server has closed the connection.
    return True

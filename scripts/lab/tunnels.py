"""The ways in which clients reach a proxy: what they send before their first request."""

import socket
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from lab.client import TIMEOUT_S
from lab.wire import WireError

_SOCKS_VERSION = b"\x05"
_SOCKS_DOMAIN_NAME = 3


def connect_tunnel(port: int, authority: str) -> socket.socket:
    """A tunnel that an HTTP proxy on a loopback port opened to `authority`."""
    tunnel = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
    tunnel.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        # Byte by byte: what follows the head is the tunnel's.
        byte = tunnel.recv(1)
        if not byte:
            raise WireError(f"the proxy hung up after {head!r}")
        head += byte
    if head.split(b" ")[1] != b"200":
        raise WireError(f"the proxy opened no tunnel: {head!r}")
    return tunnel


def socks5_tunnel(port: int, host: str, host_port: int) -> socket.socket:
    """A tunnel that a SOCKS 5 proxy on a loopback port opened to `host`, a name to it (RFC 1928)."""
    tunnel = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
    tunnel.sendall(_SOCKS_VERSION + b"\x01\x00")
    _expect(tunnel, _SOCKS_VERSION + b"\x00")
    name = host.encode()
    tunnel.sendall(
        _SOCKS_VERSION + bytes([1, 0, _SOCKS_DOMAIN_NAME, len(name)]) + name + host_port.to_bytes(2, "big")
    )
    # Version, success, reserved, an IPv4 address and a port, which nobody reads.
    _expect(tunnel, _SOCKS_VERSION + b"\x00\x00\x01" + bytes(6))
    return tunnel


def start_tls(plain: socket.socket, authority: Path, name: str) -> ssl.SSLSocket:
    """TLS over a connected socket: `name` is asked for and verified against the PEM file `authority`."""
    return ssl.create_default_context(cafile=authority).wrap_socket(plain, server_hostname=name)


class Http2Context(ssl.SSLContext):
    """For httpx: offers HTTP/2 and nothing else. httpx offers HTTP/1.1 first, which mitmproxy then takes."""

    def __new__(cls, authority: Path) -> Self:
        context = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(authority)
        return context

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:  # noqa: ARG002 - that is the point
        super().set_alpn_protocols(["h2"])


def _expect(tunnel: socket.socket, answer: bytes) -> None:
    received = b""
    while len(received) < len(answer):
        data = tunnel.recv(len(answer) - len(received))
        if not data:
            break
        received += data
    if received != answer:
        raise WireError(f"expected {answer!r} from the SOCKS proxy, got {received!r}")

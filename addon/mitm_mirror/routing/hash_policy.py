"""What of a request decides its endpoint, where a DestinationRule asks for `consistentHash`.

Source: istio pilot/pkg/networking/core/route/route.go, ConsistentHashToHashPolicy, and Envoy's
source/common/http/hash_policy.cc.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from mitm_mirror.resources.destination_rule import ConsistentHashLB, HTTPCookie
from mitm_mirror.routing.view import RequestView
from mitm_mirror.text import encode


class HashKey(NamedTuple):
    """`key` is None where the request has none, so that chance decides."""

    key: bytes | None
    set_cookie: bytes = b""
    """A Set-Cookie for the response; empty where none is due."""


HashPolicy = Callable[[RequestView, Callable[[], float]], HashKey]
"""From a request and a source of numbers in [0, 1), asked only for a new cookie."""


def compile_hash_policy(spec: ConsistentHashLB) -> HashPolicy | None:
    """None where no hash key is named."""
    if spec.http_header_name:
        return _Header(encode(spec.http_header_name.lower()))
    if spec.http_cookie is not None:
        return _Cookie(spec.http_cookie)
    if spec.use_source_ip:
        return lambda view, _draw: HashKey(encode(view.head.client))
    if spec.http_query_parameter_name:
        name = encode(spec.http_query_parameter_name)
        return lambda view, _draw: HashKey(view.query_parameter(name))
    return None


@dataclass(frozen=True, slots=True)
class _Header:
    name: bytes
    """Lower case."""

    def __call__(self, view: RequestView, _draw: Callable[[], float]) -> HashKey:
        """Several lines count whatever their order, as in Envoy."""
        values = view.header(self.name)
        return HashKey(b"\0".join(sorted(values)) if values else None)


class _Cookie:
    __slots__ = ("_name", "_ttl", "_written")

    def __init__(self, spec: HTTPCookie) -> None:
        self._name = encode(spec.name)
        self._ttl = spec.ttl
        # Envoy's Utility::makeSetCookieValue: Max-Age in whole seconds, left out for 0 (a session cookie).
        parts = [f"Max-Age={int(spec.ttl)}"] if spec.ttl and int(spec.ttl) else []
        parts += [f"Path={spec.path}"] if spec.path else []
        parts += [f"{part.name}={part.value}" if part.value else part.name for part in spec.attributes]
        self._written = encode("".join(f"; {part}" for part in [*parts, "HttpOnly"]))

    def __call__(self, view: RequestView, draw: Callable[[], float]) -> HashKey:
        """The cookie; a new one where it is missing and has a `ttl`."""
        # We quote the value, as Envoy does, and not every client takes the quotes off.
        value = (view.cookie(self._name) or b"").strip(b'"')
        if value:
            return HashKey(value)
        if self._ttl is None:
            return HashKey(None)
        # Envoy makes it of both ends' addresses; behind another proxy all clients would have the same.
        value = b"%016x" % int(draw() * 2**64)
        return HashKey(value, b'%b="%b"%b' % (self._name, value, self._written))

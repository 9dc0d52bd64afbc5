"""A service `uploads.example` whose two versions choose their HTTP version in TLS."""

import ssl
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from lab.backend import Backend
from lab.certificates import Authority
from lab.http2 import Fields, Http2Backend

_RULES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: uploads}}
spec:
  hosts: [uploads.example]
  http:
  - match: [{{uri: {{prefix: /alone}}}}]
    route: [{{destination: {{host: uploads.example, subset: v1}}}}]
  - match: [{{uri: {{prefix: /timed}}}}]
    route: [{{destination: {{host: uploads.example, subset: v1}}}}]
    timeout: 60s
    mirror: {{host: uploads.example, subset: v2}}
  - route: [{{destination: {{host: uploads.example, subset: v1}}}}]
    mirror: {{host: uploads.example, subset: v2}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: uploads}}
spec:
  host: uploads.example
  trafficPolicy: {{tls: {{{tls}}}}}
  subsets:
  - {{name: v1, labels: {{version: v1}}}}
  - {{name: v2, labels: {{version: v2}}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: uploads}}
spec:
  hosts: [uploads.example]
  ports: [{{number: 443, name: https, protocol: HTTPS}}]
  resolution: STATIC
  endpoints:
  - {{address: 127.0.0.1, ports: {{https: {v1}}}, labels: {{version: v1}}}}
  - {{address: 127.0.0.1, ports: {{https: {v2}}}, labels: {{version: v2}}}}
"""
"""Paths below `/alone` are not mirrored; those below `/timed` are not sent by mitmproxy."""

TLS = "mode: SIMPLE, insecureSkipVerify: true"
CLEAR = "mode: DISABLE"


def pseudo(method: str, path: str, host: str = "uploads.example") -> Fields:
    """The pseudo headers of a request."""
    written = {":method": method, ":scheme": "https", ":authority": host, ":path": path}
    return [(name.encode(), value.encode()) for name, value in written.items()]


@dataclass
class Place:
    """Where the servers of a test are made."""

    rules: Path
    """A folder, for `write`."""
    issuer: Authority
    stack: ExitStack
    """Stops the servers."""

    def http1(self, label: str, alpn: str) -> Backend:
        """A server that chooses HTTP/1.1, by name or without a word."""
        return self.stack.enter_context(Backend(label, tls=self._context(alpn)))

    def http2(self, label: str) -> Http2Backend:
        """A server that chooses HTTP/2."""
        return self.stack.enter_context(Http2Backend(label, tls=self._context("h2")))

    def server(self, label: str, alpn: str) -> Backend | Http2Backend:
        """The one of the two that chooses `alpn`; empty says nothing, which means HTTP/1.1."""
        return self.http2(label) if alpn == "h2" else self.http1(label, alpn)

    def write(self, v1: Backend | Http2Backend, v2: Backend | Http2Backend, tls: str = TLS) -> None:
        """The rules, with the primary and its mirror."""
        text = _RULES.format(tls=tls, v1=v1.port, v2=v2.port)
        (self.rules / "rules.yaml").write_text(text, encoding="utf-8")

    def _context(self, alpn: str) -> ssl.SSLContext:
        context = self.issuer.server_context(self.issuer.issue("uploads.example"), [], mutual=False)
        if alpn:
            context.set_alpn_protocols([alpn])
        return context

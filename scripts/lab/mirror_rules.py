"""Rules for one primary and any number of hosts, each with a mirror of its own."""

PRIMARY = "primary.example"
"""The service that a `route` goes to."""


def route(host: str, mirror: str, *, name: str, timeout_s: float = 0, primary: str = PRIMARY) -> str:
    """A VirtualService for `host`, mirrored to the service `mirror`, to none where that is empty.

    `timeout_s` is the shadows'; 0 leaves it to `mirror_timeout`.
    """
    timeout = f", annotations: {{mitm-mirror/timeout: {timeout_s}s}}" if timeout_s else ""
    mirrored = f"\n    mirror: {{host: {mirror}}}" if mirror else ""
    return f"""\
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}{timeout}}}
spec:
  hosts: [{host}]
  http:
  - route: [{{destination: {{host: {primary}}}}}]{mirrored}
"""


def service(host: str, port: int, address: str = "127.0.0.1") -> str:
    """A ServiceEntry with one endpoint: an IP address, or a name to resolve."""
    resolution = "DNS" if any(char.isalpha() for char in address) else "STATIC"
    return f"""\
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {host.split(".", maxsplit=1)[0]}}}
spec:
  hosts: [{host}]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: {resolution}
  endpoints: [{{address: {address}, ports: {{http: {port}}}}}]
"""


def policy(host: str, *, tls: str = "") -> str:
    """A DestinationRule without a circuit breaker, so that every shadow is sent; `tls` is its settings."""
    settings = f"\n    tls: {{{tls}}}" if tls else ""
    return f"""\
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {host.split(".", maxsplit=1)[0]}}}
spec:
  host: {host}
  trafficPolicy:
    outlierDetection: {{consecutive5xxErrors: 0}}{settings}
"""

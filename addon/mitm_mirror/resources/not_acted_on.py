"""The fields that are valid in a cluster but that this addon does not act on, or differently: one table.

A field leaves the table when it is acted on. Nothing here is an error: the file stays usable as it is.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from mitm_mirror.resources.base import attribute_name
from mitm_mirror.resources.destination_rule import TLSmode
from mitm_mirror.resources.finding import Finding, warning
from mitm_mirror.resources.resource import FieldPath


def _commands(value: str) -> bool:
    return "%" in value


def _is(wanted: StrEnum) -> Callable[[Any], bool]:
    return lambda value: value is wanted


class _Row(NamedTuple):
    path: str
    """Below spec, as YAML spells it; `*` stands for every item or key."""
    message: str
    applies: Callable[[Any], bool] = bool
    """Asked for values that are given only: absent, empty and zero are one case here."""


_LATER = "not acted on yet"
_HEADER_VALUE = "%-commands are not interpreted: the value is sent as written"
_HEADER_ROWS = tuple(
    _Row(f"http.*.{part}headers.{side}.{operation}.*", _HEADER_VALUE, _commands)
    for part in ("", "route.*.")
    for side in ("request", "response")
    for operation in ("set", "add")
)

_POLICIES = tuple(
    f"{at}trafficPolicy{port}" for at in ("", "subsets.*.") for port in ("", ".portLevelSettings.*")
)
_POLICY_ROWS = (
    _Row("loadBalancer.localityLbSetting", f"{_LATER}: endpoints have no locality here"),
    _Row("loadBalancer.zoneAwareLbSetting", f"{_LATER}: endpoints have no locality here"),
    _Row("loadBalancer.warmup", f"{_LATER}: a new endpoint has its full share at once"),
    _Row("loadBalancer.warmupDurationSecs", f"{_LATER}: a new endpoint has its full share at once"),
    *(
        _Row(f"connectionPool.{field}", f"not acted on: {instead}")
        for field, instead in {
            "tcp.connectTimeout": "the operating system decides how long a connection attempt may take",
            "tcp.tcpKeepalive": "mitmproxy's own settings hold",
            "tcp.maxConnectionDuration": "a connection lasts as long as mitmproxy uses it",
            "tcp.idleTimeout": "a connection is closed with its client's",
            "http.idleTimeout": "a connection is closed with its client's",
            "http.maxRequestsPerConnection": "a connection is closed with its client's",
            "http.maxRetries": "the number of retries under way is not limited",
            "http.maxConcurrentStreams": "what the endpoint allows holds",
            "http.http2KeepAlive": "mitmproxy's option http2_ping_keepalive holds",
        }.items()
    ),
    _Row(
        "tls.mode",
        "ISTIO_MUTUAL needs a mesh's certificates: treated as if there were no tls",
        _is(TLSmode.ISTIO_MUTUAL),
    ),
    _Row(
        "tls.credentialName",
        "Kubernetes secrets are not read: no client certificate is presented, and the authorities that the "
        "proxy trusts anyway are trusted",
    ),
    _Row("tls.caCrl", "not acted on: a revoked certificate is accepted"),
)
_WHOLE_POLICY_ROWS = (
    _Row("tunnel", "not acted on: it is for TCP and TLS routes"),
    _Row("proxyProtocol", _LATER),
    _Row("retryBudget", _LATER),
)


def _below(policies: Iterable[str], rows: Iterable[_Row]) -> Iterator[_Row]:
    return (row._replace(path=f"{policy}.{row.path}") for policy in policies for row in rows)


_WORKLOAD_ROWS = (
    _Row("network", "not applicable: whoever runs this proxy has to reach the address itself"),
    _Row("locality", "not applicable: endpoints have no locality here"),
    _Row("serviceAccount", "not applicable: there are no identities of a mesh here"),
)

ROWS: Mapping[str, tuple[_Row, ...]] = {
    "VirtualService": (
        _Row("tcp", "TCP routes are not acted on"),
        _Row("tls", "TLS routes are not acted on"),
        _Row(
            "http.*.retries.retryRemoteLocalities",
            "not acted on: endpoints have no locality here, a retry goes to any of them",
        ),
        _Row("http.*.mirrorPercent", "deprecated, use mirrorPercentage"),
        *_HEADER_ROWS,
    ),
    "DestinationRule": (
        *_below(_POLICIES, _POLICY_ROWS),
        *_below(("trafficPolicy", "subsets.*.trafficPolicy"), _WHOLE_POLICY_ROWS),
    ),
    "ServiceEntry": tuple(_below(("endpoints.*",), _WORKLOAD_ROWS)),
    "WorkloadEntry": _WORKLOAD_ROWS,
}


class _Branch:
    """The rows by path, so that one walk over a spec serves all."""

    def __init__(self) -> None:
        self.rows: list[_Row] = []
        self.below: dict[str, _Branch] = {}

    def add(self, row: _Row) -> None:
        branch = self
        for name in row.path.split("."):
            branch = branch.below.setdefault(name, _Branch())
        branch.rows.append(row)

    def walk(self, value: Any, path: FieldPath, found: list[Finding]) -> None:
        # One list, and no call for what is absent: this runs over every field of 10,000 rules.
        found.extend(warning(path, row.message) for row in self.rows if row.applies(value))
        for name, below in self.below.items():
            if name != "*":
                if item := getattr(value, attribute_name(name)):
                    below.walk(item, (*path, name), found)
                continue
            for key, item in value.items() if isinstance(value, dict) else enumerate(value):
                if item:
                    below.walk(item, (*path, key), found)


def _branch(rows: tuple[_Row, ...]) -> _Branch:
    branch = _Branch()
    for row in rows:
        branch.add(row)
    return branch


_BRANCHES = {kind: _branch(rows) for kind, rows in ROWS.items()}


def not_acted_on(kind: str, spec: Any) -> list[Finding]:
    """A warning for each field of the spec that the table names; paths begin with "spec"."""
    found: list[Finding] = []
    _BRANCHES[kind].walk(spec, ("spec",), found)
    return found

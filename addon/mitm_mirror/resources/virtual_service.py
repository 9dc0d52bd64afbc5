"""VirtualService's spec, message for message.

Source: istio/api networking/v1alpha3/virtual_service.proto, which v1 and v1beta1 share.
"""

from enum import StrEnum

from pydantic import AliasChoices, Field

from mitm_mirror.resources.base import Message
from mitm_mirror.resources.scalars import Bool, Bytes, Double, Duration, Int32, Str, UInt32


class PortSelector(Message):
    number: UInt32 = 0


class Percent(Message):
    """Of 100. An empty message is 0; "all of it" is the absent message."""

    value: Double = 0.0


class Destination(Message):
    host: Str = ""
    subset: Str = ""
    port: PortSelector | None = None


class StringMatch(Message):
    """Exactly one is set, which validation checks: the empty string is set, None is not."""

    exact: Str | None = None
    prefix: Str | None = None
    regex: Str | None = None


class HTTPMatchRequest(Message):
    name: Str = ""
    uri: StringMatch | None = None
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: dict[Str, StringMatch] = Field(default_factory=dict)
    """An empty StringMatch here means that the header is present."""
    port: UInt32 = 0
    source_labels: dict[Str, Str] = Field(default_factory=dict)
    gateways: tuple[Str, ...] = ()
    query_params: dict[Str, StringMatch] = Field(default_factory=dict)
    ignore_uri_case: Bool = False
    without_headers: dict[Str, StringMatch] = Field(default_factory=dict)
    source_namespace: Str = ""
    stat_prefix: Str = ""


class HeaderOperations(Message):
    set: dict[Str, Str] = Field(default_factory=dict)
    add: dict[Str, Str] = Field(default_factory=dict)
    remove: tuple[Str, ...] = ()


class Headers(Message):
    request: HeaderOperations | None = None
    response: HeaderOperations | None = None


class HTTPRouteDestination(Message):
    destination: Destination | None = None
    weight: Int32 = 0
    headers: Headers | None = None


class RedirectPortSelection(StrEnum):
    FROM_PROTOCOL_DEFAULT = "FROM_PROTOCOL_DEFAULT"
    FROM_REQUEST_PORT = "FROM_REQUEST_PORT"


class HTTPRedirect(Message):
    uri: Str = ""
    authority: Str = ""
    port: UInt32 | None = None
    derive_port: RedirectPortSelection | None = None
    scheme: Str = ""
    redirect_code: UInt32 = 0
    """0 means 301."""
    prefix_rewrite: Str = ""


class HTTPBody(Message):
    string: Str | None = None
    bytes: Bytes | None = None


class HTTPDirectResponse(Message):
    status: UInt32 = 0
    body: HTTPBody | None = None


class Delegate(Message):
    name: Str = ""
    namespace: Str = ""


class RegexRewrite(Message):
    match: Str = ""
    rewrite: Str = ""


class HTTPRewrite(Message):
    uri: Str = ""
    authority: Str = ""
    uri_regex_rewrite: RegexRewrite | None = None


class HTTPRetry(Message):
    attempts: Int32 = 0
    per_try_timeout: Duration | None = None
    retry_on: Str = ""
    retry_remote_localities: Bool | None = None
    retry_ignore_previous_hosts: Bool | None = None
    backoff: Duration | None = None


class Delay(Message):
    percent: Int32 = 0
    fixed_delay: Duration | None = None
    exponential_delay: Duration | None = None
    percentage: Percent | None = None


class Abort(Message):
    http_status: Int32 | None = None
    grpc_status: Str | None = None
    http2_error: Str | None = None
    percentage: Percent | None = None


class HTTPFaultInjection(Message):
    delay: Delay | None = None
    abort: Abort | None = None


class HTTPMirrorPolicy(Message):
    destination: Destination | None = None
    percentage: Percent | None = None


class UnmatchedPreflights(StrEnum):
    UNSPECIFIED = "UNSPECIFIED"
    FORWARD = "FORWARD"
    IGNORE = "IGNORE"


class CorsPolicy(Message):
    allow_origin: tuple[Str, ...] = ()
    allow_origins: tuple[StringMatch, ...] = ()
    allow_methods: tuple[Str, ...] = ()
    allow_headers: tuple[Str, ...] = ()
    expose_headers: tuple[Str, ...] = ()
    max_age: Duration | None = None
    allow_credentials: Bool | None = None
    unmatched_preflights: UnmatchedPreflights = UnmatchedPreflights.UNSPECIFIED


class HTTPRoute(Message):
    name: Str = ""
    match: tuple[HTTPMatchRequest, ...] = ()
    route: tuple[HTTPRouteDestination, ...] = ()
    redirect: HTTPRedirect | None = None
    direct_response: HTTPDirectResponse | None = None
    delegate: Delegate | None = None
    rewrite: HTTPRewrite | None = None
    timeout: Duration | None = None
    retries: HTTPRetry | None = None
    fault: HTTPFaultInjection | None = None
    mirror: Destination | None = None
    mirrors: tuple[HTTPMirrorPolicy, ...] = ()
    mirror_percent: UInt32 | None = Field(
        default=None, validation_alias=AliasChoices("mirrorPercent", "mirror_percent")
    )
    """Deprecated; `mirror_percentage` goes before it where both are there.

    Of all fields this alone may be spelled as in the proto file: the CRDs have it twice
    (`+kubebuilder:altName`).
    """
    mirror_percentage: Percent | None = None
    cors_policy: CorsPolicy | None = None
    headers: Headers | None = None


class RouteDestination(Message):
    destination: Destination | None = None
    weight: Int32 = 0


class L4MatchAttributes(Message):
    destination_subnets: tuple[Str, ...] = ()
    port: UInt32 = 0
    source_subnet: Str = ""
    source_labels: dict[Str, Str] = Field(default_factory=dict)
    gateways: tuple[Str, ...] = ()
    source_namespace: Str = ""


class TCPRoute(Message):
    match: tuple[L4MatchAttributes, ...] = ()
    route: tuple[RouteDestination, ...] = ()


class TLSMatchAttributes(Message):
    sni_hosts: tuple[Str, ...] = ()
    destination_subnets: tuple[Str, ...] = ()
    port: UInt32 = 0
    source_labels: dict[Str, Str] = Field(default_factory=dict)
    gateways: tuple[Str, ...] = ()
    source_namespace: Str = ""


class TLSRoute(Message):
    match: tuple[TLSMatchAttributes, ...] = ()
    route: tuple[RouteDestination, ...] = ()


class VirtualService(Message):
    hosts: tuple[Str, ...] = ()
    gateways: tuple[Str, ...] = ()
    http: tuple[HTTPRoute, ...] = ()
    tls: tuple[TLSRoute, ...] = ()
    tcp: tuple[TCPRoute, ...] = ()
    export_to: tuple[Str, ...] = ()

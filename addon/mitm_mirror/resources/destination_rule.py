"""DestinationRule's spec, message for message.

Source: istio/api networking/v1alpha3/destination_rule.proto and type/v1beta1/selector.proto
(WorkloadSelector), which v1 and v1beta1 share.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from mitm_mirror.resources.base import Message
from mitm_mirror.resources.scalars import Bool, Double, Duration, Int32, Str, UInt32, UInt64
from mitm_mirror.resources.virtual_service import PortSelector


class SimpleLB(StrEnum):
    UNSPECIFIED = "UNSPECIFIED"
    LEAST_CONN = "LEAST_CONN"
    RANDOM = "RANDOM"
    PASSTHROUGH = "PASSTHROUGH"
    ROUND_ROBIN = "ROUND_ROBIN"
    LEAST_REQUEST = "LEAST_REQUEST"


class RingHash(Message):
    minimum_ring_size: UInt64 = 0


class MagLev(Message):
    table_size: UInt64 = 0


class Attribute(Message):
    name: Str = ""
    value: Str = ""


class HTTPCookie(Message):
    name: Str = ""
    path: Str = ""
    ttl: Duration | None = None
    attributes: tuple[Attribute, ...] = ()


class ConsistentHashLB(Message):
    http_header_name: Str | None = None
    http_cookie: HTTPCookie | None = None
    use_source_ip: Bool | None = None
    http_query_parameter_name: Str | None = None
    ring_hash: RingHash | None = None
    maglev: MagLev | None = None
    minimum_ring_size: UInt64 = 0


class Distribute(Message):
    from_: Str = ""
    to: dict[Str, UInt32] = Field(default_factory=dict)


class Failover(Message):
    from_: Str = ""
    to: Str = ""


class LocalityLoadBalancerSetting(Message):
    distribute: tuple[Distribute, ...] = ()
    failover: tuple[Failover, ...] = ()
    failover_priority: tuple[Str, ...] = ()
    enabled: Bool | None = None


class ZoneAwareLoadBalancerSetting(Message):
    enabled: Bool | None = None
    failover: tuple[Failover, ...] = ()
    failover_priority: tuple[Str, ...] = ()
    min_cluster_size: UInt64 | None = None


class WarmupConfiguration(Message):
    duration: Duration | None = None
    minimum_percent: Double | None = None
    aggression: Double | None = None


class LoadBalancerSettings(Message):
    simple: SimpleLB | None = None
    consistent_hash: ConsistentHashLB | None = None
    locality_lb_setting: LocalityLoadBalancerSetting | None = None
    zone_aware_lb_setting: ZoneAwareLoadBalancerSetting | None = None
    warmup_duration_secs: Duration | None = None
    warmup: WarmupConfiguration | None = None


class TcpKeepalive(Message):
    probes: UInt32 = 0
    time: Duration | None = None
    interval: Duration | None = None


class TCPSettings(Message):
    max_connections: Int32 = 0
    connect_timeout: Duration | None = None
    tcp_keepalive: TcpKeepalive | None = None
    max_connection_duration: Duration | None = None
    idle_timeout: Duration | None = None


class H2UpgradePolicy(StrEnum):
    DEFAULT = "DEFAULT"
    DO_NOT_UPGRADE = "DO_NOT_UPGRADE"
    UPGRADE = "UPGRADE"


class ConnectionKeepalive(Message):
    interval: Duration | None = None
    timeout: Duration | None = None


class HTTPSettings(Message):
    http1_max_pending_requests: Int32 = 0
    http2_max_requests: Int32 = 0
    max_requests_per_connection: Int32 = 0
    max_retries: Int32 = 0
    idle_timeout: Duration | None = None
    h2_upgrade_policy: H2UpgradePolicy = H2UpgradePolicy.DEFAULT
    use_client_protocol: Bool = False
    max_concurrent_streams: Int32 = 0
    http2_keep_alive: ConnectionKeepalive | None = None


class ConnectionPoolSettings(Message):
    tcp: TCPSettings | None = None
    http: HTTPSettings | None = None


class OutlierDetection(Message):
    consecutive_errors: Int32 = 0
    split_external_local_origin_errors: Bool = False
    consecutive_local_origin_failures: UInt32 | None = None
    consecutive_gateway_errors: UInt32 | None = None
    consecutive_5xx_errors: UInt32 | None = None
    interval: Duration | None = None
    base_ejection_time: Duration | None = None
    max_ejection_percent: Int32 = 0
    min_health_percent: Int32 = 0
    outlier_detection_http_error_codes: tuple[UInt32, ...] = ()


class TLSmode(StrEnum):
    DISABLE = "DISABLE"
    SIMPLE = "SIMPLE"
    MUTUAL = "MUTUAL"
    ISTIO_MUTUAL = "ISTIO_MUTUAL"


class ClientTLSSettings(Message):
    mode: TLSmode = TLSmode.DISABLE
    client_certificate: Str = ""
    private_key: Str = ""
    ca_certificates: Str = ""
    credential_name: Str = ""
    subject_alt_names: tuple[Str, ...] = ()
    sni: Str = ""
    insecure_skip_verify: Bool | None = None
    ca_crl: Str = ""


class PortTrafficPolicy(Message):
    port: PortSelector | None = None
    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLSSettings | None = None


class TunnelSettings(Message):
    protocol: Str = ""
    target_host: Str = ""
    target_port: UInt32 = 0


class ProxyProtocolVersion(StrEnum):
    V1 = "V1"
    V2 = "V2"


class ProxyProtocol(Message):
    version: ProxyProtocolVersion = ProxyProtocolVersion.V1


class RetryBudget(Message):
    percent: Double | None = None
    min_retry_concurrency: UInt32 = 0
    budget_interval: Duration | None = None


class TrafficPolicy(Message):
    load_balancer: LoadBalancerSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTLSSettings | None = None
    port_level_settings: Annotated[tuple[PortTrafficPolicy, ...], Field(max_length=4096)] = ()
    tunnel: TunnelSettings | None = None
    proxy_protocol: ProxyProtocol | None = None
    retry_budget: RetryBudget | None = None


class Subset(Message):
    name: Str = ""
    labels: dict[Str, Str] = Field(default_factory=dict)
    traffic_policy: TrafficPolicy | None = None


_LabelValue = Annotated[Str, Field(max_length=63)]


class WorkloadSelector(Message):
    match_labels: Annotated[dict[Str, _LabelValue], Field(max_length=4096)] = Field(default_factory=dict)


class DestinationRule(Message):
    host: Str = ""
    traffic_policy: TrafficPolicy | None = None
    subsets: tuple[Subset, ...] = ()
    export_to: tuple[Str, ...] = ()
    workload_selector: WorkloadSelector | None = None

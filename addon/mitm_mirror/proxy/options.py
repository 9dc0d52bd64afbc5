"""The addon's mitmproxy options: names, defaults, help, and their values as one typed settings value.

The names are promises, see README.md. Nothing here touches `ctx`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mitmproxy import addonmanager, optmanager
from mitmproxy.utils import human

from mitm_mirror.observe.formats import FORMATS
from mitm_mirror.routing.authority import server_name, written_port
from mitm_mirror.routing.hosts import DEFAULT_NAMESPACE
from mitm_mirror.routing.vantage import MESH, Vantage, VantageError, parse_vantage
from mitm_mirror.rule_set import default_rules
from mitm_mirror.shadow.governor import GovernorBounds

OPTION_PREFIX = "mirror_"
FLOW_CHOICES = ("on", "off", "auto")

_SWITCH = ("auto", "on", "off")


@dataclass(frozen=True, slots=True)
class MirrorSettings:
    """The options' values, parsed. Sizes in bytes, durations in seconds."""

    rules: tuple[str, ...]
    host_suffix: str
    vantage: Vantage
    access_log: str
    access_log_format: str
    workers: int
    timeout_s: float
    max_inflight: int
    queue_bytes: int
    body_limit_bytes: int
    flows: str
    flows_kept: int
    flows_bytes: int
    drain_timeout_s: float
    compare: str
    """`on`, `off` or `auto`."""
    noise_share: float
    """Of safe requests, from 0 to 1."""
    governor: GovernorBounds | None
    """None where it is off."""
    metrics: tuple[str, int] | None
    """Host (IPv6 without brackets) and port of the endpoint; None without one."""
    unsample_traces: bool


def add_options(loader: addonmanager.Loader) -> None:
    """Declares every option of the addon."""
    loader.add_option(
        "mirror_rules",
        Sequence[str],
        [],
        "Istio rules: files, folders (their *.yaml and *.yml, not recursive) or globs. Reloaded when they "
        "change. Empty: the folder rules/ next to addon/, or in the working directory where the package "
        "is installed.",
    )
    loader.add_option(
        "mirror_host_suffix",
        str,
        "-shadow",
        "Put into a shadow's Host before the port. Empty leaves the Host as it is, as Istio does since 1.28.",
    )
    loader.add_option(
        "mirror_gateways",
        Sequence[str],
        [MESH],
        "The proxy of a mesh that this one plays: mesh for a sidecar, NAME or NAMESPACE/NAME for a Gateway. "
        "Rules that are bound to other gateways are left out.",
    )
    loader.add_option(
        "mirror_namespace",
        str,
        DEFAULT_NAMESPACE,
        "That proxy's namespace, for sourceNamespace, exportTo and the order of DestinationRules.",
    )
    loader.add_option(
        "mirror_labels",
        str,
        "",
        "That proxy's labels, for sourceLabels and workloadSelector: app=sleep,version=v1.",
    )
    loader.add_option(
        "mirror_access_log",
        str,
        "",
        "File to which a line for every primary and every shadow is appended; - is standard output.",
    )
    loader.add_option(
        "mirror_access_log_format",
        str,
        "common",
        "common (NCSA combined, as gunicorn prints it), envoy (Istio's default line) or json.",
        choices=tuple(FORMATS),
    )
    loader.add_option(
        "mirror_workers",
        int,
        1,
        "Processes that send shadows; 0 sends from mitmproxy's own event loop (for debugging).",
    )
    loader.add_option(
        "mirror_timeout",
        str,
        "15",
        "Seconds until a shadow is given up, waiting included, where no rule says otherwise.",
    )
    loader.add_option("mirror_max_inflight", int, 1024, "Shadows in flight per worker; the excess waits.")
    loader.add_option(
        "mirror_queue_bytes",
        str,
        "64m",
        "Memory that shadows may hold until they end; past it new ones are dropped and counted.",
    )
    loader.add_option(
        "mirror_body_limit", str, "10m", "A request body above this size is not copied, and counted."
    )
    loader.add_option(
        "mirror_flows",
        str,
        "auto",
        "Show shadows as flows: on, off, or auto, which is on where a UI, or a flow or HAR file, is there "
        "to hold them.",
        choices=FLOW_CHOICES,
    )
    loader.add_option(
        "mirror_flows_kept",
        int,
        5000,
        "Shadows that the UI's list keeps; past it the oldest leave, except for those that a person marked, "
        "commented, edited or replayed.",
    )
    loader.add_option(
        "mirror_flows_bytes",
        str,
        "256m",
        "Memory that those shadows may hold; past it the oldest leave.",
    )
    loader.add_option("mirror_drain_timeout", str, "5", "Seconds that shutdown waits for shadows in flight.")
    loader.add_option(
        "mirror_compare",
        str,
        "auto",
        "Compare each shadow's answer with the primary's: on, off, or auto (on where a UI, or a flow or HAR "
        "file, is there to hold them).",
        choices=_SWITCH,
    )
    loader.add_option(
        "mirror_noise_share",
        str,
        "0",
        "Share of GET, HEAD and OPTIONS requests that are sent to their primary once more, to learn what "
        "differs by nature: 0.01. Only where shadows are compared.",
    )
    loader.add_option(
        "mirror_governor",
        str,
        "",
        "Mirror less while the proxy or primaries are slow: lag=SECONDS (how late its event loop may be), "
        "primary=SECONDS (until an answer begins), or both with a comma. Empty: off.",
    )
    loader.add_option(
        "mirror_metrics",
        str,
        "",
        "HOST:PORT where Prometheus finds metrics, such as 127.0.0.1:9464. Empty: nowhere.",
    )
    loader.add_option(
        "mirror_unsample_traces",
        bool,
        False,
        "Clear the sampled flag of traceparent and B3 headers on shadows, so that tracing leaves them out.",
    )


def parse_settings(options: optmanager.OptManager) -> MirrorSettings:
    """The settings that mitmproxy's options say.

    Raises ValueError that names the option, its value and what would be accepted.
    """
    return MirrorSettings(
        rules=tuple(options.mirror_rules) or (default_rules(),),
        host_suffix=_parse_suffix(options.mirror_host_suffix),
        vantage=_parse_vantage(options.mirror_gateways, options.mirror_namespace, options.mirror_labels),
        access_log=options.mirror_access_log,
        access_log_format=_parse_format(options.mirror_access_log_format),
        workers=_at_least("mirror_workers", options.mirror_workers, 0),
        timeout_s=_parse_seconds("mirror_timeout", options.mirror_timeout),
        max_inflight=_at_least("mirror_max_inflight", options.mirror_max_inflight, 1),
        queue_bytes=_parse_bytes("mirror_queue_bytes", options.mirror_queue_bytes),
        body_limit_bytes=_parse_bytes("mirror_body_limit", options.mirror_body_limit),
        flows=_parse_flows(options.mirror_flows),
        flows_kept=_at_least("mirror_flows_kept", options.mirror_flows_kept, 0),
        flows_bytes=_parse_bytes("mirror_flows_bytes", options.mirror_flows_bytes),
        drain_timeout_s=_parse_seconds("mirror_drain_timeout", options.mirror_drain_timeout, zero_ok=True),
        compare=_parse_switch("mirror_compare", options.mirror_compare),
        noise_share=_parse_share("mirror_noise_share", options.mirror_noise_share),
        governor=_parse_governor(options.mirror_governor),
        metrics=_parse_metrics(options.mirror_metrics),
        unsample_traces=options.mirror_unsample_traces,
    )


def _parse_suffix(value: str) -> str:
    if not all(c.isascii() and (c.isalnum() or c in "-._") for c in value):
        raise ValueError(
            f"mirror_host_suffix: {value!r}, expected letters, digits, '-', '.' and '_' only, or nothing"
        )
    return value


def _parse_vantage(gateways: Sequence[str], namespace: str, labels: str) -> Vantage:
    try:
        return parse_vantage(gateways, namespace, labels)
    except VantageError as error:
        raise ValueError(f"mirror_{error.part}: {error}") from error


def _parse_flows(value: str) -> str:
    if value not in FLOW_CHOICES:
        raise ValueError(f"mirror_flows: {value!r}, expected {', '.join(FLOW_CHOICES)}")
    return value


def _parse_format(value: str) -> str:
    # mitmproxy's `choices` are for completion only, it takes any other value too.
    if value not in FORMATS:
        raise ValueError(f"mirror_access_log_format: {value!r}, expected {', '.join(FORMATS)}")
    return value


def _parse_switch(option: str, value: str) -> str:
    if value not in _SWITCH:
        raise ValueError(f"{option}: {value!r}, expected {', '.join(_SWITCH)}")
    return value


def _parse_share(option: str, value: str) -> float:
    try:
        share = float(value)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ValueError(f"{option}: {value!r}, expected a number from 0 to 1 such as 0.01")
    return share


def _parse_seconds(option: str, value: str, *, zero_ok: bool = False) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not (0 < seconds < float("inf") or (zero_ok and seconds == 0)):
        raise ValueError(f"{option}: {value!r}, expected a number of seconds such as 5 or 0.5")
    return seconds


def _parse_governor(value: str) -> GovernorBounds | None:
    if not value.strip():
        return None
    bounds: dict[str, float] = {}
    for part in value.split(","):
        name, _, seconds = part.strip().partition("=")
        if name not in ("lag", "primary") or name in bounds:
            raise ValueError(
                f"mirror_governor: {value!r}, expected lag=SECONDS, primary=SECONDS or both with a comma"
            )
        bounds[name] = _parse_seconds(f"mirror_governor: {name}", seconds)
    return GovernorBounds(bounds.get("lag"), bounds.get("primary"))


def _parse_metrics(value: str) -> tuple[str, int] | None:
    if not value:
        return None
    host, port = server_name(value), written_port(value)
    # A port that the system chose would be one that nobody can be told to scrape.
    if not host or not port or "/" in value:
        raise ValueError(
            f"mirror_metrics: {value!r}, expected HOST:PORT such as 127.0.0.1:9464, port 1 to 65535"
        )
    return host, port


def _parse_bytes(option: str, value: str) -> int:
    try:
        size = human.parse_size(value)
    except ValueError:
        size = None
    if size is None or size < 0:
        raise ValueError(f"{option}: {value!r}, expected a size such as 65536, 512k or 64m")
    return size


def _at_least(option: str, value: int, least: int) -> int:
    if value < least:
        raise ValueError(f"{option}: {value}, expected {least} or more")
    return value

"""mitmproxy's options as settings."""

import pytest
from mitmproxy import addonmanager, optmanager

from mitm_mirror.proxy.options import MirrorSettings, add_options, parse_settings
from mitm_mirror.routing.vantage import Vantage
from mitm_mirror.rule_set import default_rules
from mitm_mirror.shadow.governor import GovernorBounds


class Master:
    def __init__(self) -> None:
        self.options = optmanager.OptManager()


def parse(**values: object) -> MirrorSettings:
    master = Master()
    add_options(addonmanager.Loader(master))
    master.options.update(**values)
    return parse_settings(master.options)


def test_defaults_are_those_of_the_contract() -> None:
    settings = parse()

    assert (
        MirrorSettings(
            rules=(default_rules(),),
            host_suffix="-shadow",
            vantage=Vantage(("mesh",), "default", {}),
            access_log="",
            access_log_format="common",
            workers=1,
            timeout_s=15.0,
            max_inflight=1024,
            queue_bytes=64 * 1024 * 1024,
            body_limit_bytes=10 * 1024 * 1024,
            flows="auto",
            flows_kept=5000,
            flows_bytes=256 * 1024 * 1024,
            drain_timeout_s=5.0,
            compare="auto",
            noise_share=0.0,
            governor=None,
            metrics=None,
            unsample_traces=False,
        )
        == settings
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        pytest.param("mirror_workers", -1, id="negative count"),
        pytest.param("mirror_max_inflight", 0, id="nothing in flight"),
        pytest.param("mirror_timeout", "0", id="no time at all"),
        pytest.param("mirror_timeout", "soon", id="no number"),
        pytest.param("mirror_timeout", "nan", id="not a number"),
        pytest.param("mirror_timeout", "inf", id="endless"),
        pytest.param("mirror_drain_timeout", "-1", id="negative time"),
        pytest.param("mirror_queue_bytes", "many", id="no size"),
        pytest.param("mirror_body_limit", "", id="empty size"),
        pytest.param("mirror_access_log_format", "apache", id="no such format"),
        pytest.param("mirror_host_suffix", "-sha dow", id="space in a Host"),
        pytest.param("mirror_governor", "on", id="no bound"),
        pytest.param("mirror_metrics", "127.0.0.1:0", id="a port that nobody knows"),
        pytest.param("mirror_metrics", "127.0.0.1", id="no port"),
        pytest.param("mirror_metrics", ":9464", id="no host"),
        pytest.param("mirror_metrics", "127.0.0.1:65536", id="no such port"),
        pytest.param("mirror_metrics", "http://127.0.0.1:9464", id="a URL"),
        pytest.param("mirror_metrics", "127.0.0.1:9464/metrics", id="a path"),
        pytest.param("mirror_governor", "lag=0", id="no lag is never so"),
        pytest.param("mirror_governor", "lag=1,lag=2", id="a bound twice"),
        pytest.param("mirror_governor", "primary=soon", id="a bound that is no number"),
        pytest.param("mirror_compare", "yes", id="no switch"),
        pytest.param("mirror_noise_share", "2", id="more than all"),
        pytest.param("mirror_noise_share", "1%", id="a percentage"),
        pytest.param("mirror_host_suffix", "\r\nX: y", id="header injection"),
        pytest.param("mirror_gateways", ["a/b/c"], id="no gateway"),
        pytest.param("mirror_namespace", "", id="no namespace"),
        pytest.param("mirror_labels", "app", id="no label"),
        pytest.param("mirror_flows", "yes", id="neither on nor off"),
        pytest.param("mirror_flows_kept", -1, id="less than none"),
        pytest.param("mirror_flows_bytes", "much", id="no size for flows"),
    ],
)
def test_a_wrong_value_is_refused_with_option_value_and_what_would_do(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^{option}: .*expected "):
        parse(**{option: value})


@pytest.mark.parametrize(
    ("option", "value", "attribute", "expected"),
    [
        pytest.param("mirror_timeout", "0.5", "timeout_s", 0.5, id="half a second"),
        pytest.param("mirror_drain_timeout", "0", "drain_timeout_s", 0.0, id="no draining"),
        pytest.param("mirror_queue_bytes", "512k", "queue_bytes", 512 * 1024, id="kibibytes"),
        pytest.param("mirror_body_limit", "0", "body_limit_bytes", 0, id="bodies never"),
        pytest.param("mirror_host_suffix", "", "host_suffix", "", id="no suffix"),
        pytest.param("mirror_compare", "off", "compare", "off", id="no comparison"),
        pytest.param("mirror_noise_share", "0.01", "noise_share", 0.01, id="a share"),
        pytest.param("mirror_governor", "lag=0.1", "governor", GovernorBounds(lag_s=0.1), id="lag"),
        pytest.param(
            "mirror_governor", "primary=2, lag=0.1", "governor", GovernorBounds(0.1, 2.0), id="both bounds"
        ),
        pytest.param("mirror_metrics", "[::1]:9464", "metrics", ("::1", 9464), id="IPv6"),
        pytest.param("mirror_metrics", "localhost:1", "metrics", ("localhost", 1), id="a name"),
        pytest.param(
            "mirror_gateways", ["gw"], "vantage", Vantage(("default/gw",), "default", {}), id="a gateway"
        ),
        pytest.param(
            "mirror_labels", "a=b", "vantage", Vantage(("mesh",), "default", {"a": "b"}), id="labels"
        ),
    ],
)
def test_values_are_parsed(option: str, value: object, attribute: str, expected: object) -> None:
    assert expected == getattr(parse(**{option: value}), attribute)

"""What a loadBalancer may not say although its types are right.

Source: istio pkg/config/validation/validation.go (validateLoadBalancer), and the oneofs of the proto file.
"""

from collections.abc import Iterator

from mitm_mirror.resources import names
from mitm_mirror.resources.annotations import TOKEN
from mitm_mirror.resources.check_locality import check_locality, check_zone_aware
from mitm_mirror.resources.destination_rule import (
    ConsistentHashLB,
    HTTPCookie,
    LoadBalancerSettings,
    WarmupConfiguration,
)
from mitm_mirror.resources.finding import Finding, error, show, warning
from mitm_mirror.resources.resource import FieldPath

_MAX_TABLE_SIZE = 5_000_011


def check_load_balancer(spec: LoadBalancerSettings, path: FieldPath, *, ejects: bool) -> Iterator[Finding]:
    """All errors and warnings. `ejects`: whether there is an outlierDetection beside it."""
    if spec.simple is not None and spec.consistent_hash is not None:
        yield error((*path, "consistentHash"), "not allowed beside simple")
    if spec.locality_lb_setting is not None and spec.zone_aware_lb_setting is not None:
        yield error((*path, "zoneAwareLbSetting"), "not allowed beside localityLbSetting")
    if spec.locality_lb_setting is not None:
        yield from check_locality(spec.locality_lb_setting, (*path, "localityLbSetting"), ejects=ejects)
    if spec.zone_aware_lb_setting is not None:
        yield from check_zone_aware(spec.zone_aware_lb_setting, (*path, "zoneAwareLbSetting"), ejects=ejects)
    if spec.warmup is not None:
        yield from _check_warmup(spec.warmup, (*path, "warmup"))
    if spec.warmup_duration_secs is not None:
        yield from names.at(
            (*path, "warmupDurationSecs"), names.whole_milliseconds(spec.warmup_duration_secs)
        )
    if spec.consistent_hash is not None:
        yield from _check_hash(spec.consistent_hash, (*path, "consistentHash"))


def _check_warmup(spec: WarmupConfiguration, path: FieldPath) -> Iterator[Finding]:
    message = "missing" if spec.duration is None else names.whole_milliseconds(spec.duration)
    yield from names.at((*path, "duration"), message)
    if spec.minimum_percent is not None and not 0 <= spec.minimum_percent <= 100:
        yield error((*path, "minimumPercent"), f"{show(spec.minimum_percent)}, expected 0 to 100")
    if spec.aggression is not None and spec.aggression <= 0:
        yield error((*path, "aggression"), f"{show(spec.aggression)}, expected more than 0")


def _check_hash(spec: ConsistentHashLB, path: FieldPath) -> Iterator[Finding]:
    keys = {
        "httpHeaderName": spec.http_header_name,
        "httpCookie": spec.http_cookie,
        "useSourceIp": spec.use_source_ip,
        "httpQueryParameterName": spec.http_query_parameter_name,
    }
    given = [name for name, value in keys.items() if value is not None]
    for name in given[1:]:
        yield error((*path, name), f"not allowed beside {given[0]}")
    if not any(keys.values()):
        yield warning(path, f"no key: chance decides; expected one of {', '.join(keys)}")
    if spec.http_header_name:
        yield from names.at((*path, "httpHeaderName"), names.matched_header(spec.http_header_name))
    if spec.http_cookie is not None:
        yield from _check_cookie(spec.http_cookie, (*path, "httpCookie"))
    if spec.maglev is not None and spec.ring_hash is not None:
        yield error((*path, "maglev"), "not allowed beside ringHash")
    if spec.minimum_ring_size:
        yield warning((*path, "minimumRingSize"), "deprecated, use ringHash")
        if spec.maglev is not None or spec.ring_hash is not None:
            yield error((*path, "minimumRingSize"), "not allowed beside ringHash or maglev")
    if spec.maglev is not None and not _is_table_size(spec.maglev.table_size):
        message = f"{spec.maglev.table_size}, expected a prime number below {_MAX_TABLE_SIZE}"
        yield error((*path, "maglev", "tableSize"), message)


def _is_table_size(size: int) -> bool:
    if not 2 <= size < _MAX_TABLE_SIZE:
        return False
    return all(size % divisor for divisor in range(2, int(size**0.5) + 1))


def _check_cookie(spec: HTTPCookie, path: FieldPath) -> Iterator[Finding]:
    # A cookie is a line that we write: a name or path that ends it early would inject another.
    if not spec.name:
        yield error((*path, "name"), "missing")
    elif not TOKEN.fullmatch(spec.name):
        yield error((*path, "name"), f"{show(spec.name)} is not a cookie name")
    if not _is_cookie_text(spec.path):
        yield error((*path, "path"), f"{show(spec.path)}, expected a path without ';' or control characters")
    seen: set[str] = set()
    for index, attribute in enumerate(spec.attributes):
        at = (*path, "attributes", index)
        if not attribute.name:
            yield error((*at, "name"), "missing")
        elif attribute.name in seen:
            yield error((*at, "name"), f"{show(attribute.name)}, another attribute has this name")
        elif not TOKEN.fullmatch(attribute.name):
            yield error((*at, "name"), f"{show(attribute.name)} is not an attribute name")
        seen.add(attribute.name)
        if not _is_cookie_text(attribute.value):
            yield error((*at, "value"), f"{show(attribute.value)}, expected no ';' or control characters")


def _is_cookie_text(text: str) -> bool:
    return ";" not in text and names.header_value(text) is None

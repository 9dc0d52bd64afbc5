"""Hosts as rules write them, and the index that finds the rules of a request's host."""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import Generic, TypeVar

from mitm_mirror.routing.authority import server_name

Entry = TypeVar("Entry")

_CLUSTER_DOMAIN = ".svc.cluster.local"
DEFAULT_NAMESPACE = "default"


@lru_cache(maxsize=256)
def host_key(authority: str) -> str:
    """What an authority or a rule's host is looked up by: no port, brackets, case or trailing dot.

    Few are remembered: a client may send a name of any length.
    """
    return server_name(authority).lower()


def is_address(host: str) -> bool:
    """Whether the host (no brackets, no port) is an IP address."""
    # Cheap rejection first: raising ValueError for each of 10,000 names costs more than compiling them.
    if ":" not in host and not (host[:1].isdigit() and host[-1:].isdigit()):
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def qualify_host(host: str, namespace: str) -> str:
    """The fully qualified, lower-case name of a host in a rule.

    A name without a dot is a service of the rule's own namespace; a wildcard, an address and a name
    with a dot stay as they are. Source: istio pilot/pkg/model/config.go, ResolveShortnameToFQDN.
    """
    key = host_key(host)
    if not key or "." in key or key == "*" or is_address(key):
        return key
    return f"{key}.{namespace or DEFAULT_NAMESPACE}{_CLUSTER_DOMAIN}"


def short_names(host: str) -> tuple[str, ...]:
    """The shorter names by which a client may call `NAME.NAMESPACE.svc.cluster.local`; else nothing.

    Istio gives the bare NAME to clients of the same namespace only. A proxy outside a cluster has no
    namespace, so here every service may be called by its bare name, the first one in the files first.
    Source: istio pilot/pkg/networking/core/httproute.go, generateAltVirtualHostsForKubernetesService.
    """
    name, _, namespace = host.removesuffix(_CLUSTER_DOMAIN).partition(".")
    if not host.endswith(_CLUSTER_DOMAIN) or not namespace or "." in namespace or name.startswith("*"):
        return ()
    return (name, f"{name}.{namespace}", f"{name}.{namespace}.svc")


class HostIndex(Generic[Entry]):
    """Entries by host: an exact one first, else the longest wildcard, else `*`.

    One dict look-up for exact hosts. For wildcards one more for each *length* of suffix that a rule
    has (a DNS name bounds them at 253), as Envoy does it: Istio also allows `*-prod.example.com`,
    which a walk along the labels would miss. A wildcard stands for at least one character.
    Source: Envoy's source/common/router/config_impl.cc, RouteMatcher::findWildcardVirtualHost.
    """

    __slots__ = ("_exact", "_lengths", "_suffixes")

    def __init__(self, entries: Iterable[tuple[str, Entry]]) -> None:
        """`entries` are (host as `qualify_host` gives it, entry); of two for one host the first wins."""
        self._exact: dict[str, Entry] = {}
        self._suffixes: dict[str, Entry] = {}
        for host, entry in entries:
            if host.startswith("*"):
                self._suffixes.setdefault(host[1:], entry)
            else:
                self._exact.setdefault(host, entry)
        self._lengths = tuple(sorted({len(suffix) for suffix in self._suffixes}, reverse=True))

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every host that has an entry, wildcards last."""
        return (*self._exact, *(f"*{suffix}" for suffix in self._suffixes))

    def find(self, host: str) -> Entry | None:
        """The entry for a host as `host_key` gives it. It may itself be a wildcard: `*.a.b` finds `*.b`."""
        found = self._exact.get(host)
        if found is None and self._suffixes:
            if host.startswith("*"):
                found = self._suffixes.get(host[1:])
            for length in self._lengths:
                if found is not None:
                    break
                # An empty host (no Host header) is met by `*` alone.
                if length < len(host) or not length:
                    found = self._suffixes.get(host[len(host) - length :])
        return found

"""Names of the two copies' servers within answers: `http://httpbin:8080/x` and `http://httpbin-shadow:8080/x`."""

import re
from functools import lru_cache

_AUTHORITY = re.compile(r"(?P<host>\[[^\]]*\](?P<suffix>[^:]*)|[^:]*)(?::(?P<port>[0-9]+))?")


class Hosts:
    """Tells whether two texts are equal but for the names under which the two servers were asked.

    `authorities` are the Host and the endpoint of both copies. A name counts with its port, with any
    of the other ports, or without one, as a whole word. Which of the names it is does not count: in
    `httpbin at httpbin:8080` the first word is the same on both sides.
    """

    __slots__ = ("_authorities",)

    def __init__(self, authorities: tuple[str, ...]) -> None:
        self._authorities = authorities

    def same(self, primary: str, shadow: str) -> bool:
        """Whether the texts are equal, names of the servers aside."""
        if primary == shadow:
            return True
        if not self._authorities:
            return False
        pattern = _pattern(self._authorities)
        return pattern is not None and pattern.sub("\0", primary) == pattern.sub("\0", shadow)


# Clients choose the Host, so the expressions are made late, for answers that differ, and few are kept.
@lru_cache(maxsize=256)
def _pattern(authorities: tuple[str, ...]) -> re.Pattern[str] | None:
    hosts, ports = set(), set()
    for authority in authorities:
        match = _AUTHORITY.fullmatch(authority)
        if match and match["host"]:
            hosts.add(match["host"])
            ports.add(match["port"])
    if not hosts:
        return None
    # longest first: an alternation takes the first that fits
    host = "|".join(re.escape(name) for name in sorted(hosts, key=lambda name: (-len(name), name)))
    port = "|".join(sorted(filter(None, ports)))
    tail = rf"(?:(?::|%3A)(?:{port})(?![0-9]))?" if port else ""
    # %2F: a URL within a query
    return re.compile(rf"(?:(?<![\w.-])|(?<=%2F))(?:{host}){tail}(?![\w-]|\.\w)", re.ASCII | re.IGNORECASE)

"""One request as matchers see it: what they need is parsed once, and only if one asks."""

import msgspec

from mitm_mirror.routing.request import RequestHead
from mitm_mirror.routing.rewrite import path_end
from mitm_mirror.text import encode


class RequestView(msgspec.Struct):
    """Lazily parsed parts of a request's head. It lives as long as one decision."""

    head: RequestHead
    _path: bytes | None = None
    _headers: dict[bytes, list[bytes]] | None = None
    _query: dict[bytes, bytes] | None = None

    @property
    def path(self) -> bytes:
        """The target without its query."""
        if self._path is None:
            self._path = self.head.target[: path_end(self.head.target)]
        return self._path

    def header(self, name: bytes) -> list[bytes]:
        """The values of all lines of a header; `name` is lower case.

        Pseudo headers are the request's own parts, and `host` is the authority, as in Envoy.
        """
        if self._headers is None:
            self._headers = _parse_headers(self.head)
        return self._headers.get(name, [])

    def query_parameter(self, name: bytes) -> bytes | None:
        """The value of the first query parameter of that name, both undecoded; empty where it has no `=`.

        Source: Envoy's Utility::QueryParamsMulti::parseQueryString.
        """
        if self._query is None:
            _, _, query = self.head.target.partition(b"?")
            self._query = {}
            for parameter in query.split(b"&"):
                key, _, value = parameter.partition(b"=")
                self._query.setdefault(key, value)
        return self._query.get(name)

    def cookie(self, name: bytes) -> bytes | None:
        """The value of the first cookie of that name."""
        for line in self.header(b"cookie"):
            for pair in line.split(b";"):
                key, equals, value = pair.strip().partition(b"=")
                if equals and key == name:
                    return value
        return None


def _parse_headers(head: RequestHead) -> dict[bytes, list[bytes]]:
    headers: dict[bytes, list[bytes]] = {}
    for name, value in head.headers:
        headers.setdefault(name.lower(), []).append(value)
    headers[b":method"] = [encode(head.method)]
    headers[b":scheme"] = [encode(head.scheme)]
    headers[b":path"] = [head.target]
    if head.authority:
        headers[b":authority"] = headers[b"host"] = [encode(head.authority)]
    return headers

"""A request that nobody sent, from a command line in curl's manner."""

from collections.abc import Sequence

from mitm_mirror.resources.annotations import TOKEN
from mitm_mirror.routing.authority import DEFAULT_PORTS, server_name, split_authority, written_port
from mitm_mirror.routing.request import RequestHead
from mitm_mirror.text import encode


def imagine_request(
    url: str, *, method: str = "GET", headers: Sequence[str] = (), client: str = ""
) -> RequestHead:
    """The head of the request that a client would send for the URL; `headers` are lines `name: value`.

    As clients do it: the fragment is not sent, Host has no default port, and the path goes as it is. A
    `Host` line takes the place of the URL's, and its port, where it has one, is the one addressed.
    ValueError says what is wrong.
    """
    if not TOKEN.fullmatch(method):
        raise ValueError(f"-X {method!r}: expected a method such as GET")
    scheme, authority, target = _split_url(url)
    fields = [_parse_header(line) for line in headers]
    hosts = [value for name, value in fields if name.lower() == "host"]
    if len(hosts) > 1:
        raise ValueError("-H: Host is given twice, expected one")
    port = _port_of(authority, url) or DEFAULT_PORTS[scheme]
    addressed, addressed_port = server_name(authority), port
    if hosts:
        authority = hosts[0]
        port = _port_of(authority, f"Host: {authority}") or port
    else:
        if port == DEFAULT_PORTS[scheme]:
            authority = split_authority(authority)[0]
        fields.insert(0, ("Host", authority))
    raw = tuple((name.encode(), encode(value)) for name, value in fields)
    return RequestHead(method, scheme, authority, target, raw, port, client, addressed, addressed_port)


def _split_url(url: str) -> tuple[str, str, bytes]:
    """(scheme, authority, target). Not urllib's split, which drops some characters and keeps others."""
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator:
        raise ValueError(f"{url!r}: expected a URL with its scheme, such as http://{url.lstrip('/')}")
    if scheme not in DEFAULT_PORTS:
        raise ValueError(f"{url!r}: expected http:// or https://")
    if any(character <= " " or character == "\x7f" for character in url):
        raise ValueError(f"{url!r}: no URL has a space or control character, write it as %20 and the like")
    rest = rest.partition("#")[0]
    end = min((at for at in map(rest.find, "/?") if at >= 0), default=len(rest))
    authority, target = rest[:end], rest[end:]
    if "@" in authority:
        raise ValueError(f"{url!r}: expected no user name, give -H 'Authorization: ...' instead")
    if not server_name(authority):
        raise ValueError(f"{url!r}: expected a host, such as {scheme}://httpbin{target}")
    if not authority.isascii():
        raise ValueError(f"{url!r}: expected the host as clients send it, in ASCII (xn--...)")
    if not target.startswith("/"):
        target = f"/{target}"
    return scheme, authority, encode(target)


def _port_of(authority: str, where: str) -> int | None:
    """None where the authority has none, also where it ends in a bare colon."""
    if len(split_authority(authority)[1]) < 2:
        return None
    port = written_port(authority)
    if not port:
        raise ValueError(f"{where!r}: expected a port from 1 to 65535 after the colon")
    return port


def _parse_header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not TOKEN.fullmatch(name):
        raise ValueError(f"-H {line!r}: expected 'name: value'")
    value = value.strip(" \t")
    if any(character in value for character in "\r\n\0"):
        raise ValueError(f"-H {line!r}: expected a value on one line")
    return name, value

"""Host and port of a Host header or `:authority`. Pure text; nothing is resolved.

A request asks for the parts of the same few names some ten times. The caches are small: a client may send a
name of any length.
"""

from functools import lru_cache

DEFAULT_PORTS = {"http": 80, "https": 443}
"""By scheme: the port of an authority that names none."""


@lru_cache(maxsize=256)
def split_authority(authority: str) -> tuple[str, str]:
    """(host, port) of an authority, both as written: brackets stay, the port keeps its colon.

    `httpbin:8080` -> (`httpbin`, `:8080`), `[::1]:80` -> (`[::1]`, `:80`), `re.example`
    has no port.
    An IPv6 address without brackets is no valid authority; it is taken as a host without a port.
    Source: Envoy's HeaderUtility::getPortStart, which looks for the last colon behind any bracket.
    """
    colon = authority.find(":", authority.rfind("]") + 1)
    if colon < 0 or (not authority.startswith("[") and authority.find(":", colon + 1) >= 0):
        return authority, ""
    return authority[:colon], authority[colon:]


@lru_cache(maxsize=256)
def written_port(authority: str) -> int | None:
    """The port that the authority names; None where it names none, or none that exists."""
    text = split_authority(authority)[1].removeprefix(":")
    # isdecimal alone would take digits of other scripts, which int() reads too.
    return int(text) if text.isascii() and text.isdecimal() and int(text) < 65536 else None


def bracketed(address: str) -> str:
    """An address as an authority or a URL has it: IPv6 in brackets."""
    return f"[{address}]" if ":" in address else address


@lru_cache(maxsize=256)
def server_name(authority: str) -> str:
    """The host alone, as TLS names it: no port, no brackets, and no trailing dot (RFC 6066, section 3)."""
    return split_authority(authority)[0].removeprefix("[").removesuffix("]").removesuffix(".")


def suffix_authority(authority: str, suffix: str) -> str:
    """The authority with `suffix` before its port: `httpbin:8080` -> `httpbin-shadow:8080`.

    Source: Envoy's source/common/router/shadow_writer_impl.cc, shadowAppendedHost.
    """
    host, port = split_authority(authority)
    return f"{host}{suffix}{port}"

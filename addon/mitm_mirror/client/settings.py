"""What a client is told once. Values only."""

import msgspec


class ClientSettings(msgspec.Struct, frozen=True):
    """How requests are sent. Goes to each shadow worker as its first frame."""

    tls_verify: bool = True
    """Whether a server's certificate is checked against `ca_file` and its name."""
    ca_file: str = ""
    """PEM file of the authorities to trust; empty means certifi's."""
    max_idle_connections: int = 256
    """Over all endpoints; past it the one that has been idle longest is closed."""
    idle_expiry_s: float = 1.0
    """A connection idle for longer is not used again. Short on purpose: half of gunicorn's keep-alive
    of 2 s, the shortest default in wide use, so that we do not send just as the server hangs up. A
    request that meets that moment is not sent again (it might be a second write) but lost, unless
    a rule's `retries` say otherwise."""

"""The closed list of ways in which a (matched request, mirror policy) pair ends."""

from enum import StrEnum


class Outcome(StrEnum):
    """How one shadow ended. Every pair gets exactly one; each value is a counter and a log field."""

    OK = "ok"
    """The mirror answered, whatever the status."""
    TIMEOUT = "timeout"
    """Given up after its deadline, waiting for a free slot included."""
    CONNECT_ERROR = "connect_error"
    """No connection: refused, unreachable, or the name did not resolve."""
    TLS_ERROR = "tls_error"
    """The connection stood, but TLS on it did not: certificate, name or handshake."""
    PROTOCOL_ERROR = "protocol_error"
    """What the mirror answered is not HTTP, it hung up early, or the request cannot be written."""
    LOST = "lost"
    """The worker process that held it died."""
    CANCELLED = "cancelled"
    """The proxy shut down before it ended, or a body that was streamed did not come to its end."""
    NOT_SAMPLED = "not_sampled"
    """The mirror's percentage left this request out."""
    NO_ENDPOINT = "no_endpoint"
    """The mirror's destination is unknown or has no endpoint."""
    METHOD_GUARDED = "method_guarded"
    """`mitm-mirror/methods` does not list the request's method."""
    BODY_TOO_LARGE = "body_too_large"
    """The request's body is above `mirror_body_limit`, or was streamed past us."""
    QUEUE_FULL = "queue_full"
    """The shadows that have not ended yet hold `mirror_queue_bytes` already, or its destination its share."""
    CIRCUIT_OPEN = "circuit_open"
    """The endpoint failed so often that it is left alone for a while, or one more would pass a limit of its
    DestinationRule's `connectionPool`."""
    PAUSED = "paused"
    """`mirror.pause` is in force, or `mirror_governor` holds this one back."""
    LOOP = "loop"
    """The shadow would have come back to this proxy."""

"""What the shadow room is told once. Values only."""

from dataclasses import dataclass, field

import msgspec


class SenderSettings(msgspec.Struct, frozen=True):
    """How shadows are sent. Goes to each worker as its first frame."""

    tls_verify: bool = True
    """Whether a mirror's certificate is checked against `ca_file` and its name."""
    ca_file: str = ""
    """PEM file of the authorities to trust; empty means certifi's."""
    max_idle_connections: int = 256
    """Over all endpoints; past it the one that has been idle longest is closed."""
    idle_expiry_s: float = 1.0
    """A connection idle for longer is not used again. Short on purpose: half of gunicorn's keep-alive
    of 2 s, the shortest default in wide use, so that we do not send just as the mirror hangs up. A
    shadow that meets that moment is not sent again (it might be a second write) but lost."""


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Limits of a `ShadowPool`, and how its workers send."""

    workers: int = 1
    """Worker processes; 0 sends from the running event loop."""
    max_inflight: int = 1024
    """Shadows sent to one worker and not yet answered; the excess waits here."""
    queue_bytes: int = 64 * 1024 * 1024
    """Memory that all shadows which have not ended may hold, waiting or in flight."""
    unresponsive_s: float = 2.0
    """A worker silent for so long, while it holds a shadow so long past its deadline, is replaced."""
    sender: SenderSettings = field(default_factory=SenderSettings)

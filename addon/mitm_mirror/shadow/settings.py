"""What the shadow room is told once. Values only."""

from dataclasses import dataclass, field

from mitm_mirror.client.settings import ClientSettings


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
    client: ClientSettings = field(default_factory=ClientSettings)

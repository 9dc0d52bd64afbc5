"""When recorded requests are due. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_FACTOR = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)x?")


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast to send. At most one of the two is set; with neither, as fast as they are answered."""

    speed: float | None = None
    """The recorded times, so many times as fast."""
    rate: float | None = None
    """So many requests a second, whatever was recorded."""

    def due_times(self, recorded: Sequence[float]) -> list[float]:
        """Seconds from the beginning, for each of the recorded times (UNIX seconds, ascending)."""
        if self.rate is not None:
            return [number / self.rate for number in range(len(recorded))]
        if self.speed is not None:
            return [(time - recorded[0]) / self.speed for time in recorded]
        return [0.0] * len(recorded)


def parse_speed(text: str) -> Pace:
    """`2x`, `0.5`, or `max` for no waiting at all. Raises ValueError with what is expected."""
    if text == "max":
        return Pace()
    match = _FACTOR.fullmatch(text)
    speed = float(match[1]) if match else 0.0
    if not speed:
        raise ValueError(f"{text!r}: expected a factor such as 2x or 0.5x, or max")
    return Pace(speed=speed)


def parse_rate(text: str) -> Pace:
    """Requests a second: `50`, `0.5`. Raises ValueError with what is expected."""
    match = _FACTOR.fullmatch(text)
    rate = float(match[1]) if match and not text.endswith("x") else 0.0
    if not rate:
        raise ValueError(f"{text!r}: expected requests a second, such as 50 or 0.5")
    return Pace(rate=rate)

"""A progress bar for people who wait; nothing for anybody else."""

import time
from collections.abc import Callable
from typing import TextIO

_REDRAW_S = 0.2
_BAR = 30


class Progress:
    """Draws on `stream` where that is a terminal, as a share of `total`, which is `whole` in words."""

    def __init__(
        self, total: int, whole: str, stream: TextIO, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total = total
        self._whole = whole
        self._stream = stream if stream.isatty() else None
        self._clock = clock
        self._drawn = clock()

    def show(self, before: int, done: int) -> None:
        """Draws, at most five times a second: `before`, and `done` since."""
        if self._stream is None or not self._total or self._clock() - self._drawn < _REDRAW_S:
            return
        self._drawn = self._clock()
        share = min(1.0, (before + done) / self._total)
        bar = "#" * int(_BAR * share)
        self._stream.write(f"\r[{bar:<{_BAR}}] {share:4.0%} of {self._whole}")
        self._stream.flush()

    def clear(self) -> None:
        """Takes the bar away, before other text."""
        if self._stream is not None:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

"""How late mitmproxy's loop is: a timer in it that sees how late it is itself."""

import asyncio
from collections.abc import Callable


class LoopLag:
    """Tells `on_sample` from `start` to `stop`, every `interval_s`, how many seconds it was late."""

    def __init__(
        self, on_sample: Callable[[float], None], loop: asyncio.AbstractEventLoop, interval_s: float
    ) -> None:
        self._on_sample = on_sample
        self._interval_s = interval_s
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def start(self) -> None:
        """Begin; call it once."""
        self._due = self._loop.time() + self._interval_s
        self._timer = self._loop.call_at(self._due, self._sample)

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sample(self) -> None:
        late_s = self._loop.time() - self._due
        self.start()
        self._on_sample(late_s)

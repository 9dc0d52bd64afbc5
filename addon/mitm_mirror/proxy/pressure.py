"""Feeds the governor with how late mitmproxy's loop is."""

import asyncio
import logging

from mitm_mirror.proxy.loop_lag import LoopLag
from mitm_mirror.shadow.governor import PERIOD_S, Governor

logger = logging.getLogger(__name__)

_SAMPLES_A_PERIOD = 3
"""A period is as many samples, however late they are: so one that is alone is never most of them."""


class PressureGauge:
    """Measures the loop's lag from `start` to `stop`, and says when the governor begins and ceases to act."""

    def __init__(self, governor: Governor, loop: asyncio.AbstractEventLoop) -> None:
        self._governor = governor
        self._lag = LoopLag(self._sample, loop, PERIOD_S / _SAMPLES_A_PERIOD)
        self._samples = 0

    def start(self) -> None:
        """Begin; call it once."""
        self._lag.start()

    def stop(self) -> None:
        """Measure no more."""
        self._lag.stop()

    def _sample(self, late_s: float) -> None:
        self._governor.saw_lag(late_s)
        self._samples += 1
        if self._samples == _SAMPLES_A_PERIOD:
            self._samples = 0
            self._end_period()

    def _end_period(self) -> None:
        governor = self._governor
        before = governor.share
        governor.end_period()
        if before == 1 and governor.share < 1:
            logger.warning("mirror: %s: less is mirrored until that is over.", governor.reason)
        elif before < 1 and governor.share == 1:
            logger.info("mirror: everything is mirrored again; %d requests were not.", governor.held_back)

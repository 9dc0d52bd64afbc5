"""A loop that is late is noticed by its own timer."""

from collections.abc import Callable
from typing import Any

import pytest

from mitm_mirror.proxy.pressure import PressureGauge
from mitm_mirror.shadow.governor import Governor, GovernorBounds


class Loop:
    """A loop whose time the test moves; it has one timer."""

    def __init__(self) -> None:
        self.now = 50.0
        self.timer: tuple[float, Callable[[], None]] | None = None

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> "Loop":
        self.timer = (when, callback)
        return self

    def cancel(self) -> None:
        self.timer = None

    def run(self, *lags: float) -> None:
        """Fire the timer so much too late each time."""
        for lag in lags:
            assert self.timer is not None
            when, callback = self.timer
            self.now = when + lag
            callback()


def make(bounds: GovernorBounds) -> tuple[Loop, Governor, PressureGauge]:
    loop, governor = Loop(), Governor(bounds)
    fake: Any = loop
    gauge = PressureGauge(governor, fake)
    gauge.start()
    return loop, governor, gauge


def test_lag_is_what_the_timer_is_late_and_three_samples_make_a_period() -> None:
    loop, governor, gauge = make(GovernorBounds(lag_s=0.1))
    loop.run(0.2, 0.2)
    assert governor.share == 1.0
    loop.run(0.2)
    assert governor.share == 0.5
    loop.run(0.05, 0.05, 9.0)
    assert governor.share > 0.5
    gauge.stop()
    assert loop.timer is None


def test_what_begins_and_what_is_over_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    loop, governor, _ = make(GovernorBounds(lag_s=0.1))
    loop.run(*[0.2] * 9)
    governor.admits(0.99)
    loop.run(*[0.0] * 300)
    loop.run(*[0.0] * 300)
    assert caplog.messages == [
        "mirror: the proxy's event loop lags: less is mirrored until that is over.",
        "mirror: everything is mirrored again; 1 requests were not.",
    ]


def test_a_gauge_that_never_started_can_be_stopped() -> None:
    loop: Any = Loop()
    PressureGauge(Governor(GovernorBounds(lag_s=1.0)), loop).stop()
    assert loop.timer is None

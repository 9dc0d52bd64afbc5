"""An exception of our own in a hook."""

import logging

import pytest

from mitm_mirror.proxy.bugs import BugCounter, guarded


class Addon:
    def __init__(self) -> None:
        self.bugs = BugCounter()

    @guarded
    def request(self, error: Exception | None) -> None:
        if error:
            raise error


def test_a_bug_does_not_get_out_of_a_hook_and_is_counted_by_kind() -> None:
    addon = Addon()

    for error in (KeyError("a"), KeyError("b"), TypeError("c"), None):
        addon.request(error)

    assert {"KeyError in request": 2, "TypeError in request": 1} == addon.bugs.counts


def test_a_bug_is_logged_once_a_kind_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    addon = Addon()

    with caplog.at_level(logging.ERROR):
        addon.request(KeyError("a"))
        addon.request(KeyError("b"))

    assert ["KeyError in request"] == [str(record.args[0]) for record in caplog.records if record.args]
    assert caplog.records[0].exc_info

"""What the page shows, and that nothing that a server chose can act in it."""

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest

from mitm_mirror.observe.compare import Difference, Kind
from mitm_mirror.observe.report.page import render_page
from mitm_mirror.observe.report.summary import summarise
from mitm_mirror.outcome import Outcome

_VOID = {"meta"}


class Page(HTMLParser):
    """The page as a browser would take it: tags with their attributes, and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.text += data + " "


def page(log: Any, *, logs: tuple[str, ...] = ("a.log",), bad_lines: int = 0) -> tuple[str, Page]:
    made_at = datetime(2026, 11, 22, tzinfo=UTC)
    report = summarise(log.tally(), logs=logs, bad_lines=bad_lines, made_at=made_at, version="0")
    text = render_page(report)
    return text, Page(text)


def words(found: Page) -> str:
    return " ".join(found.text.split())


def test_the_page_names_what_differs_and_sets_noise_apart(log: Any) -> None:
    for i in range(4):
        log.primary(str(i), after_s=i)
        log.compared(
            Difference("json.items[3].price", Kind.VALUE, "1", "2"),
            Difference("json.id", Kind.VALUE, '"x"', '"y"', noise="differs between two copies"),
            id_=str(i),
            after_s=i,
        )
    log.failed(Outcome.TIMEOUT, "9")

    text, found = page(log, bad_lines=2)

    told = words(found)
    assert "json.items[*].price 4 answers · 100 %" in told
    assert told.index("json.items[*].price") < told.index("1 field of noise") < told.index("json.id")
    assert "Answers that differ 100 % 4 of 4 compared" in told
    assert "timeout 1 20.0 %" in told
    assert "2 lines could not be read" in told
    assert "default/httpbin http[0] → v2 httpbin.default.svc.cluster.local:8080" in told
    assert text.count("<svg") == 2
    assert "primary p50: " in text


def test_a_field_that_might_be_noise_says_why(log: Any) -> None:
    for i in range(3):
        log.compared(Difference("json.at", Kind.VALUE, f"179536161{i}", f"179536162{i}"), id_=str(i))

    assert "Might be noise: all values look like points in time" in words(page(log)[1])


@pytest.mark.parametrize("shadows", [False, True], ids=["empty", "nothing answered"])
def test_a_log_with_little_in_it_has_a_page(log: Any, shadows: bool) -> None:
    if shadows:
        log.failed(Outcome.PAUSED)

    told = words(page(log)[1])

    assert "no answer was compared" in told
    assert ("The logs have no shadow." in told) is not shadows


def test_nothing_is_fetched_and_nothing_runs(log: Any) -> None:
    log.primary()
    log.compared(Difference("status", Kind.VALUE, "200", "503"))

    text, found = page(log)

    assert {tag for tag, _ in found.tags} & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "form",
        "a",
    } == set()
    assert not re.search(r"https?:|url\(|@import", text)
    assert "default-src 'none'" in text


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</code></style></title><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "\u202egnp.exe\x1b[2J\0",
]


@pytest.mark.parametrize("nasty", HOSTILE)
def test_no_value_can_act_in_the_page(log: Any, nasty: str) -> None:
    def build(text: str) -> str:
        log.lines.clear()
        log.primary(text, virtual_service=text, route=text, destination=text)
        log.shadow(text, virtual_service=text, route=text, destination=text)
        log.compared(Difference(f"json.{text}", Kind.VALUE, text, text + "2"), id_=text)
        log.compared(Difference("json.a", Kind.VALUE, text, None, noise=text), id_=text)
        return page(log, logs=(text,))[0]

    plain, hostile = Page(build("harmless")), Page(build(nasty))

    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain.tags]
    for (_, ours), (_, theirs) in zip(plain.tags, hostile.tags, strict=True):
        assert ours.keys() == theirs.keys()
    assert "49" not in hostile.text.replace(nasty, "")
    assert not re.search("[\x00-\x08\x1b\u202e\ud800-\udfff]", hostile.text)

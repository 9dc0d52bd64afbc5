"""Renders a report as one HTML page that needs nothing else. Pure.

Everything that a client or a server chose goes through the template's automatic escaping; the page has
no script, and a policy that allows none.
"""

import re
from functools import cache
from importlib import resources

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from mitm_mirror.observe.report.charts import latency_chart, timeline_chart
from mitm_mirror.observe.report.summary import Report

_NONE = "\N{EN DASH}"
_CLUSTER = re.compile(r"outbound\|(\d+)\|([^|]*)\|(.*)", re.DOTALL)
# What would change how the text around it is read, or not be seen.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]"
)


def render_page(report: Report) -> str:
    """The page's text, to be written as UTF-8."""
    return _template().render(report=report, style=Markup(_read("page.css")))  # noqa: S704 - a file of ours


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(share=_share, number=_number, ms=_ms, seen=_seen, subset=_subset, host=_host)
    environment.globals.update(latency_chart=latency_chart, timeline_chart=timeline_chart)
    return environment.from_string(_read("page.html.j2"))


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _share(value: float | None) -> str:
    """`0.12 %`: never `0 %` or `100 %` of what is not quite none or all."""
    if value is None:
        return _NONE
    if value in (0, 1):
        return f"{value:.0%}".replace("%", " %")
    percent = 100 * value
    if percent < 0.01:
        return "< 0.01 %"
    if percent > 99.99:
        return "> 99.99 %"
    return f"{percent:.2f} %" if percent < 1 or percent > 99 else f"{percent:.1f} %"


def _number(value: int) -> str:
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _ms(value: float | None) -> str:
    return _NONE if value is None else f"{value:.3g} ms" if value < 1000 else f"{value / 1000:.3g} s"


def _seen(text: str) -> str:
    return _UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _subset(destination: str) -> str:
    match = _CLUSTER.fullmatch(destination)
    return match[2] if match else ""


def _host(destination: str) -> str:
    match = _CLUSTER.fullmatch(destination)
    return f"{match[3]}:{match[1]}" if match else destination or "no destination"

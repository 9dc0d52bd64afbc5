"""Pictures for the page, as inline SVG. Pure; colours come from the page's style sheet."""

import math
from collections.abc import Iterator, Sequence
from datetime import datetime

from markupsafe import Markup

from mitm_mirror.observe.report.summary import Latency, TimeSlot

_WIDTH = 600
_HEIGHT = 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 12, 12, 24
_PLOT_WIDTH = _WIDTH - _LEFT - _RIGHT
_PLOT_HEIGHT = _HEIGHT - _TOP - _BOTTOM
_BASE = _TOP + _PLOT_HEIGHT
_BINS = 60


def latency_chart(primary: Latency, shadow: Latency) -> Markup:
    """Both distributions over one logarithmic axis, each as shares of its own answers, with p50 and p99.
    Empty without any answer."""
    buckets = (*primary.buckets, *shadow.buckets)
    if not buckets:
        return Markup("")
    low, high = min(ms for ms, _ in buckets), max(ms for ms, _ in buckets)
    # at least from half to double, so that a single bucket is not as wide as the picture
    start, end = math.log(min(low, high / 1.5) / 1.2), math.log(max(high, low * 1.5) * 1.2)

    def x(ms: float) -> float:
        return _LEFT + _PLOT_WIDTH * (math.log(ms) - start) / (end - start)

    curves = {"primary": _bins(primary, start, end), "shadow": _bins(shadow, start, end)}
    top = max(max(bins) for bins in curves.values())
    parts = [_grid_line(x(ms), _duration(ms)) for ms in _round_durations(math.exp(start), math.exp(end))]
    for name, bins in curves.items():
        if any(bins):
            parts.append(Markup('<path class="area {}" d="{}"/>').format(name, _area(bins, top)))
    for name, latency in (("primary", primary), ("shadow", shadow)):
        for label, value in (("p50", latency.p50_ms), ("p99", latency.p99_ms)):
            if value is not None:
                parts.append(
                    Markup(
                        '<line class="mark {name} {label}" x1="{x}" x2="{x}" y1="{top}" y2="{base}">'
                        "<title>{title}</title></line>"
                    ).format(
                        name=name,
                        label=label,
                        x=round(x(value), 1),
                        top=_TOP,
                        base=_BASE,
                        title=f"{name} {label}: {_duration(value)}",
                    )
                )
    return _picture("Latency of both copies, logarithmic", parts)


def timeline_chart(slots: Sequence[TimeSlot], slot_s: int) -> Markup:
    """Over time: which share of the compared answers differ, and which share of the shadows failed. Empty
    without any slot."""
    if not slots:
        return Markup("")
    times = [datetime.fromisoformat(slot.start_time).timestamp() for slot in slots]
    start, span = times[0], times[-1] - times[0] + slot_s
    shares = [
        (slot.differing / slot.compared if slot.compared else 0.0, slot.failed / slot.shadows)
        for slot in slots
    ]
    top = next(
        limit for limit in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if limit >= max(map(max, shares), default=0)
    )
    parts = [_level(_BASE - _PLOT_HEIGHT * level, f"{100 * top * level:g} %") for level in (0.0, 0.5, 1.0)]
    width = max(1.0, _PLOT_WIDTH * slot_s / span - 0.6)
    for time, slot, (differing, failed) in zip(times, slots, shares, strict=True):
        x = round(_LEFT + _PLOT_WIDTH * (time - start) / span, 1)
        title = (
            f"{slot.start_time[:19]}Z: {slot.shadows} shadows, {slot.compared} compared, "
            f"{slot.differing} differ, {slot.failed} failed"
        )
        bars = [
            Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(
                name, x + offset, round(_BASE - height, 1), round(bar, 1), round(height, 1)
            )
            for name, height, offset, bar in (
                ("differing", _PLOT_HEIGHT * differing / top, 0, width),
                ("failed", _PLOT_HEIGHT * failed / top, width / 4, width / 2),
            )
            if height
        ]
        # invisible, and as high as the picture: something to point at where nothing went wrong
        bars.append(
            Markup(
                '<rect class="touch" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>'
            ).format(x, _TOP, round(width, 1), _PLOT_HEIGHT, title)
        )
        parts.extend(bars)
    form = slice(11, 19) if span < 86400 else slice(5, 16)
    for place, anchor in ((0, "start"), (len(slots) - 1, "end")):
        x = _LEFT if anchor == "start" else _WIDTH - _RIGHT
        text = slots[place].start_time[form].replace("T", " ")
        parts.append(_text(x, _HEIGHT - 8, anchor, text))
    return _picture("Differing and failed shadows over time", parts)


def _bins(latency: Latency, start: float, end: float) -> list[float]:
    """The share of the answers in each of the picture's bins."""
    bins = [0.0] * _BINS
    for ms, count in latency.buckets:
        bins[min(_BINS - 1, int(_BINS * (math.log(ms) - start) / (end - start)))] += count / latency.count
    # Bins and buckets are not of one width; unsmoothed, every few bins would be empty or double.
    padded = [0.0, *bins, 0.0]
    return [(padded[i] + 2 * padded[i + 1] + padded[i + 2]) / 4 for i in range(_BINS)]


def _area(bins: Sequence[float], top: float) -> str:
    width = _PLOT_WIDTH / _BINS
    points = [
        f"{_LEFT + (i + 0.5) * width:.1f} {_BASE - _PLOT_HEIGHT * share / top:.1f}"
        for i, share in enumerate(bins)
    ]
    return f"M{_LEFT} {_BASE}L{'L'.join(points)}L{_LEFT + _PLOT_WIDTH} {_BASE}Z"


def _round_durations(low_ms: float, high_ms: float) -> Iterator[float]:
    decade = 10.0 ** math.floor(math.log10(low_ms))
    steps = (1, 2, 5) if high_ms / low_ms < 100 else (1,)
    while decade < high_ms:
        yield from (decade * step for step in steps if low_ms < decade * step < high_ms)
        decade *= 10


def _duration(ms: float) -> str:
    if ms >= 1000:
        return f"{ms / 1000:.3g} s"
    return f"{ms:.3g} ms" if ms >= 0.1 else f"{1000 * ms:.3g} µs"


def _grid_line(x: float, text: str) -> Markup:
    line = Markup('<line class="grid" x1="{x}" x2="{x}" y1="{}" y2="{}"/>').format(_TOP, _BASE, x=round(x, 1))
    # 34: half a label; one at the edge would be cut off
    return line + _text(min(x, _WIDTH - 34), _HEIGHT - 8, "middle", text)


def _level(y: float, text: str) -> Markup:
    line = Markup('<line class="grid" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(
        _LEFT, _WIDTH - _RIGHT, y=round(y, 1)
    )
    return line + _text(_LEFT - 6, y + 4, "end", text)


def _text(x: float, y: float, anchor: str, text: str) -> Markup:
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(
        round(x, 1), round(y, 1), anchor, text
    )


def _picture(title: str, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}" preserveAspectRatio="xMidYMid meet">{}</svg>'
    ).format(_WIDTH, _HEIGHT, title, Markup("").join(parts))

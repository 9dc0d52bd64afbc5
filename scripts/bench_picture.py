"""The bench's throughput ratios as a picture that is readable on light and on dark pages."""

from collections.abc import Sequence
from html import escape

from bench_mirroring import MIRRORS, Row, Scenario

_LEFT, _BAR, _HEIGHT, _GAP = 190, 300, 16, 22
_COLOURS = {"healthy": "#2a78d6", "slow": "#1baf7a", "silent": "#eda100", "refusing": "#e34948"}

_TITLE = "Throughput with 100 % mirrored, divided by the same proxy's without a mirror"
_STYLE = """\
  <style>
    text { font: 12px system-ui, sans-serif; fill: #1f2328 }
    .small { font-size: 11px; fill: #59636e }
    line { stroke: #59636e; stroke-dasharray: 3 3 }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc }
      .small { fill: #9198a1 }
      line { stroke: #9198a1 }
    }
  </style>
"""


def picture(rows: Sequence[Row], caption: str) -> str:
    """An SVG: for each contender a bar a state of the mirror, at 16 connections and without bodies."""
    shown = [row for row in rows if row.scenario in {Scenario(mirror) for mirror in MIRRORS}]
    names = list(dict.fromkeys(row.contender for row in shown))
    parts: list[str] = []
    y = 46
    for name in names:
        parts.append(f'  <text x="{_LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>')
        for row in (row for row in shown if row.contender == name):
            ratio = row.throughput.middle
            width = min(ratio, 1.2) * _BAR
            colour = _COLOURS[row.scenario.mirror]
            size = f'width="{width:.1f}" height="{_HEIGHT - 3}"'
            parts.append(f'  <rect x="{_LEFT}" y="{y}" {size} rx="2" fill="{colour}"/>')
            label = f"{ratio:.2f} {row.scenario.mirror}"
            x = _LEFT + max(width, _BAR) + 8
            parts.append(f'  <text class="small" x="{x:.1f}" y="{y + 11}">{label}</text>')
            y += _HEIGHT
        y += _GAP - _HEIGHT + 4
    one = _LEFT + _BAR
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 {y + 10}" role="img">',
            _STYLE.rstrip(),
            f'  <text x="8" y="18">{_TITLE}</text>',
            f'  <text class="small" x="8" y="34">{escape(caption)}</text>',
            f'  <line x1="{one}" y1="40" x2="{one}" y2="{y}"/>',
            *parts,
            "</svg>",
            "",
        ]
    )

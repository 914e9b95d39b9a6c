"""Bars as SVG, in colours that can be read on a light and on a dark page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from benchmarks.speed.tables import median

_WIDTH, _LABELS, _ROW, _BAR, _TITLE, _GAP = 760, 170, 34, 12, 30, 18
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 } .figure { font-size: 11px }
.wall { fill: #8c959f } .cpu { fill: #c5cbd1 } .ours .wall { fill: #0969da } .ours .cpu { fill: #80b4f5 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .wall { fill: #6e7681 } .cpu { fill: #484f58 } .ours .wall { fill: #4493f8 } .ours .cpu { fill: #1f4f8f }
}
"""


def write_chart(path: Path, cases: Sequence[Mapping[str, Any]]) -> None:
    """For each case a block with two bars for each contestant, wall and processor time, from zero."""
    body: list[str] = []
    top = _GAP
    for case in cases:
        entries = [entry for entry in case["contestants"] if entry["runs"]]
        figures = [(median(entry, "wall_seconds"), median(entry, "cpu_seconds")) for entry in entries]
        most = max((max(pair) for pair in figures), default=1.0)
        body.append(f'<text class="title" x="0" y="{top}">{escape(case["title"])}</text>')
        top += _TITLE - _GAP
        for entry, (wall_seconds, cpu_seconds) in zip(entries, figures, strict=True):
            ours = ' class="ours"' if is_ours(entry) else ""
            body.append(f'<g{ours}><text x="0" y="{top + _BAR + 4}">{escape(entry["label"])}</text>')
            for number, (kind, seconds) in enumerate((("wall", wall_seconds), ("cpu", cpu_seconds))):
                y = top + number * (_BAR + 1)
                width = (_WIDTH - _LABELS - 110) * seconds / most
                figure = f'x="{_LABELS + width + 6:.1f}" y="{y + _BAR - 2}">{seconds:.2f} s {kind}'
                body.append(
                    f'<rect class="{kind}" x="{_LABELS}" y="{y}" width="{width:.1f}" height="{_BAR}"/>'
                    f'<text class="figure" {figure}</text>'
                )
            body.append("</g>")
            top += _ROW
        top += _GAP + 6
    _write(path, top, body)


def write_glance(path: Path, cases: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> None:
    """For each case a block of two columns with one bar, wall time from zero, for each contestant that is named."""
    blocks: list[list[str]] = []
    width, labels_width, row = (_WIDTH - _GAP) / 2, 60, _BAR + 6
    for case in cases:
        entries = [entry for entry in case["contestants"] if entry["runs"] and entry["label"] in labels]
        seconds = [median(entry, "wall_seconds") for entry in entries]
        most = max(seconds, default=1.0)
        body = [f'<text class="title" x="0" y="{_GAP}">{escape(case["title"])}</text>']
        for number, (entry, one) in enumerate(zip(entries, seconds, strict=True)):
            y = _TITLE + number * row
            long = (width - labels_width - 60) * one / most
            ours = ' class="ours"' if is_ours(entry) else ""
            body.append(
                f'<g{ours}><text x="0" y="{y + _BAR - 1}">{escape(entry["label"])}</text>'
                f'<rect class="wall" x="{labels_width}" y="{y}" width="{long:.1f}" height="{_BAR}"/>'
                f'<text class="figure" x="{labels_width + long + 6:.1f}" y="{y + _BAR - 2}">{one:.2f} s</text></g>'
            )
        blocks.append(body)
    height = _TITLE + len(labels) * row + _GAP
    body = [
        f'<g transform="translate({(number % 2) * (width + _GAP):.0f},{number // 2 * height})">\n'
        + "\n".join(block)
        + "\n</g>"
        for number, block in enumerate(blocks)
    ]
    _write(path, (len(blocks) + 1) // 2 * height, body)


def _write(path: Path, height: int, body: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}">\n'
        f"<style>{_STYLE}</style>\n" + "\n".join(body) + "\n</svg>\n"
    )


def is_ours(entry: Mapping[str, Any]) -> bool:
    label = str(entry["label"])
    return label == "import pos3" or (label.startswith("pos3") and label != "pos3 0.4.0")

"""Bar charts as SVG: small enough to be written by hand, and to be read in a light page and in a dark one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from xml.sax.saxutils import escape

TEXT = "#808890"
"""A grey that is read on white and on black."""

OURS, PEER, PLAIN = "#2f8f6b", "#b07030", "#8090a0"
"""Of the bars: txmembio's, a peer's, and plain TCP's or the limit's."""

WIDTH, NAMES, FIGURES = 800, 330, 60
"""Pixels: of a picture, of the names at its left, of the figures at its right."""

BAR, GAP, TITLE = 16, 6, 34
"""Pixels: the height of a bar, what is between two, the height of a group's title."""


class Bar(NamedTuple):
    """A figure of somebody's; *shown* is what stands beside it."""

    name: str
    figure: float
    shown: str
    colour: str


class Group(NamedTuple):
    """Bars on a scale of their own."""

    title: str
    bars: tuple[Bar, ...]


def _text(x: float, y: float, words: str, anchor: str = "start", weight: str = "normal") -> str:
    place = f'x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-weight="{weight}"'
    return f'<text {place} fill="{TEXT}">{escape(words)}</text>'


def chart(title: str, groups: Iterable[Group]) -> str:
    """A picture of *groups*, one below the other; what is shorter has cost less."""
    parts = [f"<title>{escape(title)}</title>"]
    y = 0
    for group in groups:
        y += TITLE
        parts.append(_text(0, y - 10, group.title, weight="bold"))
        most = max((bar.figure for bar in group.bars), default=0.0) or 1.0
        for bar in group.bars:
            width = max(bar.figure, 0.0) / most * (WIDTH - NAMES - FIGURES)
            parts.append(_text(NAMES - 8, y + BAR - 4, bar.name, anchor="end"))
            parts.append(f'<rect x="{NAMES}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{bar.colour}"/>')
            parts.append(_text(NAMES + width + 6, y + BAR - 4, bar.shown))
            y += BAR + GAP
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" role="img"'
    return "\n".join([f'{head} font-family="sans-serif" font-size="12">', *parts, "</svg>\n"])

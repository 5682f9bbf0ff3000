"""A drawn figure as an element of the page: its ids, its inks, its size and its description."""

from __future__ import annotations

import re
from typing import Any

from fne.report.figures.style import FALSE, GRID, HARD, INK, MUTED, PAPER, POSITIVE

INKS = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    PAPER: "paper",
    POSITIVE: "positive",
    HARD: "hard",
    FALSE: "false",
}
"""Colours of the figures that become variables of the page, so that they turn with it in the dark."""


def inline_svg(svg: str, identity: str, alt: str) -> Any:
    """An SVG file of matplotlib as an element of the page.

    Its ids get a prefix (a page holds several figures), the inks become the page's variables, the size gives
    way to the width of the page, and the description stands on the root. The file's style sheet goes: it holds
    rules for line ends alone, which the page's own style sheet repeats, and as written would apply to the whole page.

    Args:
        svg: Content of a file that :meth:`fne.report.figures.figure.Picture.save` wrote.
        identity: The figure's id.
        alt: Its description.
    """
    from markupsafe import Markup, escape

    body = svg[svg.index("<svg") :]
    for tag in ("metadata", "style"):
        body = re.sub(rf"<{tag}\b[^>]*>.*?</{tag}>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="([^"]*)"', rf'id="{identity}-\1"', body)
    body = re.sub(r'xlink:href="#([^"]*)"', rf'href="#{identity}-\1"', body)
    body = re.sub(r"url\(#([^)]*)\)", rf"url(#{identity}-\1)", body)
    for ink, name in INKS.items():
        body = re.sub(rf"(?<=[\s:])({re.escape(ink.lower())})\b", f"var(--{name})", body)
    root = re.match(r"<svg[^>]*>", body)
    assert root is not None
    view = re.search(r'viewBox="([^"]*)"', root.group())
    assert view is not None
    words = f'viewBox="{view.group(1)}" role="img" aria-label="{escape(alt)}"'
    opening = f'<svg {words} xmlns="http://www.w3.org/2000/svg">'
    return Markup(opening + body[root.end() :].strip())

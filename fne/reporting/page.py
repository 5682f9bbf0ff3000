"""The report as one HTML file that needs nothing else: styles, script, figures and pictures are inside."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources
from typing import Any

from fne.reporting import render
from fne.reporting.style import FALSE, GRID, HARD, INK, MUTED, PAPER, POSITIVE

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


def build(content: dict[str, Any]) -> str:
    """Fill the template; everything that is not marked safe by the code below is escaped.

    Args:
        content: What the template asks for; ``tables`` are :class:`fne.reporting.cells.Table`.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FunctionLoader(text),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["table"] = lambda table: Markup(render.to_html(table))
    environment.filters["notes"] = lambda table: Markup(render.notes_html(table))
    environment.filters["number"] = lambda value, digits=2: f"{value:.{digits}f}".replace("-", "−")
    script = text("page.js")
    return environment.get_template("page.html.j2").render(
        style=Markup(text("page.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        **content,
    )


def text(name: str) -> str:
    """A file of this package's templates."""
    return (resources.files("fne.reporting") / "template" / name).read_text(encoding="utf-8")


def inline_svg(svg: str, identity: str, alt: str) -> Any:
    """An SVG file of matplotlib as an element of the page.

    Its ids get a prefix (a page holds several figures), the inks become the page's variables, the size gives
    way to the width of the page, and the description stands on the root.

    Args:
        svg: Content of a file that :meth:`fne.reporting.figure.Picture.save` wrote.
        identity: The figure's id.
        alt: Its description.
    """
    from markupsafe import Markup, escape

    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
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

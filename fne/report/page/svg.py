"""A drawn figure as an element of the page: its ids, its inks, its size and its description."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from fne.report.figures.registry import WORDS
from fne.report.figures.style import FALSE, GRID, HARD, INK, MUTED, PAPER, POSITIVE
from fne.utils.errors import bad_input
from fne.utils.files import read_bytes, read_record, reading

INKS = {INK: "ink", MUTED: "muted", GRID: "grid", PAPER: "paper", POSITIVE: "positive", HARD: "hard", FALSE: "false"}
"""Colours of the figures that become variables of the page, so that they turn with it in the dark."""


CAPTIONS = [{**dict.fromkeys(("id", "title", "question", "caption", "alt"), str), "empty": bool}]
"""What is read of the words beside the drawn figures."""
ACTIVE = re.compile(r"<!ENTITY|<(?:\w+:)?(?:script|foreignObject|iframe|a)\b|\son\w+\s*=", re.IGNORECASE)
"""What no figure of matplotlib holds, and could act on its own or lead somewhere."""


def read_figures(folder: Path, names: Sequence[str], study: str) -> dict[str, dict[str, Any]]:
    """The drawn figures by name: their words and their ``svg``.

    Raises:
        UserError: One was not drawn, or is damaged.
    """
    hint = f"run `fne figures --study {study}` again"
    words = {entry["id"]: entry for entry in read_record(folder / WORDS, None, CAPTIONS, hint)}
    if missing := [name for name in names if name not in words]:
        raise bad_input("a figure has no words", file=folder / WORDS, key=missing[0], hint=hint)
    drawings = {name: read_svg(folder / f"{name}.svg", hint) for name in names}
    return {name: {**words[name], "svg": inline_svg(svg, name, words[name]["alt"])} for name, svg in drawings.items()}


def read_svg(file: Path, hint: str) -> str:
    """The text of a figure.

    Raises:
        UserError: It is missing, cut short or damaged, or does more than show something.
    """
    content = read_bytes(file, hint)
    with reading(file, hint):
        text = content.decode()
    if ACTIVE.search(text):
        raise bad_input("holds more than a drawing", file=file, hint=hint)
    try:
        root = ElementTree.fromstring(content, ElementTree.XMLParser(encoding="utf-8"))
    except ElementTree.ParseError as error:
        raise bad_input(f"damaged or cut short ({error})", file=file, hint=hint) from None
    if root.tag != "{http://www.w3.org/2000/svg}svg" or not re.match(r'<svg[^>]*viewBox="', text[text.find("<svg") :]):
        raise bad_input("is no drawing as `fne figures` writes them", file=file, hint=hint)
    return text


def inline_svg(svg: str, identity: str, alt: str) -> Any:
    """An SVG file of matplotlib as an element of the page.

    Its ids get a prefix (a page holds several figures), the inks become the page's variables, the size gives
    way to the width of the page, and the description stands on the root. The file's style sheet goes: it holds
    rules for line ends alone, which the page's own style sheet repeats, and as written would apply to the whole page.

    Args:
        svg: What :func:`read_svg` gave.
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

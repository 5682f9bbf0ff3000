"""The report as one HTML file that needs nothing else: styles, scripts, figures and pictures are inside."""

from __future__ import annotations

from typing import Any

from fne.reporting import render
from fne.reporting.page.assets import LICENCE, hash_of, scripts, style_sheets, text


def build(content: dict[str, Any]) -> str:
    """Fill the template; everything that is not marked safe by the code below is escaped.

    Args:
        content: What the template asks for, see :func:`fne.reporting.page.content.content`.
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
    links = content["links"]
    environment.filters["table"] = lambda table: Markup(render.to_html(table, links))
    environment.filters["notes"] = lambda table: Markup(render.notes_html(table))
    code, styles = scripts(), style_sheets()
    return environment.get_template("page.html.j2").render(
        styles=[Markup(style) for style in styles],
        scripts=[Markup(script) for script in code],
        script_hashes=[hash_of(script) for script in code],
        style_hashes=[hash_of(style) for style in styles],
        licence=Markup(LICENCE),
        viewer_data=Markup(content["picks"].data or ""),
        **content,
    )

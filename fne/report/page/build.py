"""The report as one HTML file that needs nothing else: styles, scripts, figures and pictures are inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fne.report.page.assets import LICENCE, hash_of, scripts, style_sheets, text
from fne.report.tables import render


def build(content: dict[str, Any]) -> str:
    """The page of a study.

    Args:
        content: What the template asks for, see :func:`fne.report.page.content.content`.
    """
    from markupsafe import Markup

    viewer_data = Markup(content["picks"].data or "")
    return fill("page.html.j2", {**content, "viewer_data": viewer_data}, scripts(), content["links"])


def fill(template: str, content: dict[str, Any], code: Sequence[str], links: Mapping[str, str] | None = None) -> str:
    """Fill a template; everything that is not marked safe by the code below is escaped.

    Args:
        template: A file of this package's templates.
        content: What it asks for.
        code: Scripts of the page, in the order they run.
        links: As in :func:`fne.report.tables.render.to_html`.
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
    environment.filters["table"] = lambda table: Markup(render.to_html(table, links))
    environment.filters["notes"] = lambda table: Markup(render.notes_html(table))
    styles = style_sheets()
    return environment.get_template(template).render(
        styles=[Markup(style) for style in styles],
        scripts=[Markup(script) for script in code],
        script_hashes=[hash_of(script) for script in code],
        style_hashes=[hash_of(style) for style in styles],
        licence=Markup(LICENCE),
        **content,
    )

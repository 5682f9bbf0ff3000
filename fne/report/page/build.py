"""The report as one HTML file that needs nothing else: styles, scripts, figures and images are inside."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import fne
from fne.report.page.assets import LICENCE, hash_of, scripts, style_sheets, text
from fne.report.page.parts import Page
from fne.report.picks.book import Viewer
from fne.report.tables import render
from fne.report.tables.cells import Table
from fne.utils.text import clean


def build(page: Page) -> str:
    """The page of a study or a series."""
    return fill("page.html.j2", scripts(), page=page, version=fne.__version__)


@dataclass(frozen=True)
class ViewerPage:
    """A viewer as a page of its own, which a notebook shows in a frame that can reach nothing outside it."""

    page: str
    title: str

    def _repr_html_(self) -> str:
        style = "width:100%;height:52rem;border:0;resize:vertical;overflow:auto"
        title, page = html.escape(self.title), html.escape(self.page)
        return f'<iframe title="{title}" sandbox="allow-scripts" style="{style}" srcdoc="{page}"></iframe>'


def viewer_page(title: str, shown: Viewer, table: Table | None = None) -> ViewerPage:
    """A viewer as a page of its own: one HTML file that needs nothing else (its text is ``page``).

    Args:
        title: Heading.
        shown: What it shows.
        table: What stands above it.
    """
    return ViewerPage(
        fill("viewer_page.html.j2", [text("viewer.js")], title=clean(title), shown=shown, table=table), clean(title)
    )


def fill(template: str, code: Sequence[str], **content: Any) -> str:
    """Fill a template; everything that is not marked safe by the code below is escaped.

    Args:
        template: A file of this package's templates.
        code: Scripts of the page, in the order they run.
        content: What the template needs.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FunctionLoader(text), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["table"] = lambda table: Markup(render.to_html(table))
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

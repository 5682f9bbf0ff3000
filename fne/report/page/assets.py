"""Styles and scripts of the page: its own, and those of the library that sorts, filters and pages its tables."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import re
from functools import cache
from importlib import resources
from pathlib import Path

from fne.utils.errors import bad_input

LICENCE = "<!-- The tables use DataTables and jQuery (both MIT licence), as bundled by itables (MIT licence). -->"
_INSTALL = "pip install -e '.[dev]' -c constraints.txt"
_EXPORT = re.compile(r"\bexport\s*\{([^{}]*)\};?\s*$")


def text(name: str) -> str:
    """A file of the page's templates."""
    return (resources.files("fne.report.page") / "template" / name).read_text(encoding="utf-8")


def hash_of(content: str) -> str:
    """The content-security-policy source of an inline script or style: its SHA-256."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode("ascii")


def style_sheets() -> tuple[str, ...]:
    """The contents of the page's ``<style>`` elements; the library's own sheet knows neither the inks nor the dark."""
    return ("\n".join(text(name) for name in ("page.css", "tables.css", "viewer.css")),)


def scripts() -> tuple[str, ...]:
    """The contents of the page's ``<script type="module">`` elements, in the order they run."""
    return (table_library(), text("page.js"), text("tables.js"), text("viewer.js"))


@cache
def table_library() -> str:
    """The library's module as an inline script: its class stands in ``globalThis.tableLibrary``.

    A module within a page exports to nobody, so the export clause gives way to an assignment; and no string or
    pattern of the module may look like markup to the parser of the page.

    Raises:
        UserError: The installed ``itables`` does not have the form that this function knows.
    """
    code = _bundle("dt_bundle.js")
    licence = code.rfind("/*! Bundled license information:")
    code, comment = (code[:licence], code[licence:]) if licence >= 0 else (code, "")
    clause = _EXPORT.search(code)
    names = dict(part.split(" as ")[::-1] for part in clause.group(1).split(",")) if clause else {}
    if clause is None or "default" not in names or "</script" in code + comment:
        raise bad_input("the table library of this itables is not known", key="itables", hint=_INSTALL)
    code = code[: clause.start()] + f";globalThis.tableLibrary={{DataTable:{names['default']}}};\n" + comment
    return code.replace("<!--", r"\x3c!--").replace("<script", r"\x3cscript")


@cache
def _bundle(name: str) -> str:
    """A file of itables, read without importing it (its import takes pandas along)."""
    spec = importlib.util.find_spec("itables")
    if spec is None or spec.origin is None:
        raise bad_input("itables is not installed: it brings the library of the page's tables", hint=_INSTALL)
    file = Path(spec.origin).parent / "html" / name
    if not file.is_file():
        raise bad_input("itables lacks this file", file=file, hint=_INSTALL)
    return file.read_text(encoding="utf-8").strip()

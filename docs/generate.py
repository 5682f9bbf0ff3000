"""The pages of the site that are generated from the code, and links that lead out of ``docs/`` (a hook of mkdocs).

On GitHub a page links to a file of the repository; the site has a copy of that file.
"""

from __future__ import annotations

import argparse
import ast
import os
import posixpath
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from griffe import Extension

if TYPE_CHECKING:
    from griffe import Class, Object, Parameter
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import File, Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the code beside these documents, whatever is installed
LINK = re.compile(r"(\]\()([^)#\s:]+)((?:#[^)\s]*)?\))")
PAGES = {"CONTRIBUTING.md": "project/contributing.md", "CHANGELOG.md": "project/changelog.md"}
"""Files of the repository that are pages of the site."""
API = {
    "loop": ("Library for training loops", ["fne.loop"]),
    "negatives": ("Rules for choosing negatives", ["fne.negatives"]),
    "losses": ("Losses", ["fne.losses"]),
    "memory": ("Memories and densities", ["fne.negatives.memory", "fne.negatives.densities"]),
    "results": ("Results in a notebook", ["fne.study_results", "fne.report.notebook", "fne.results.study"]),
    "analysis": ("Statistics", ["fne.analysis"]),
    "evaluation": ("Protocols and metrics", ["fne.protocols", "fne.evaluation"]),
}
WITHOUT = {"negatives": ["memory", "densities", "catalog", "registry", "signature"]}
"""Modules that have a page of their own, or are no part of what a rule sees."""


# pages from the code


def commands() -> str:
    """Every verb with its arguments, from the parser."""
    os.environ["COLUMNS"] = "100"
    from fne.cli import build_parser

    (verbs,) = [action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)]
    lines = [
        "# Commands",
        "",
        "`fne VERB --help` prints the same. Exit status: 0, 2 (bad input), 130 (interrupted).",
        "",
    ]
    for name, parser in verbs.choices.items():
        help_text = re.sub(r"(?m)^.*show this help message and exit\n", "", parser.format_help())
        help_text = re.sub(r"\(default: (\d+)\)", "", help_text) if name else help_text
        lines += [f"## fne {name}", "", "```text", help_text.strip(), "```", ""]
    return "\n".join(lines)


def configuration() -> str:
    """Every key with its meaning, range, default and when it is read."""
    from fne.negatives.registry import registered
    from fne.steps.schema import meanings
    from fne.study.library import Library
    from fne.study.plugins import EVERY_KEY
    from fne.study.validate import in_words
    from fne.utils.fields import CHOOSERS
    from fne.utils.names import show
    from fne.utils.text import markdown

    words, base = meanings(ROOT), Library(ROOT).base
    readers = [entry for section in CHOOSERS for entry in registered(section).values()]
    lines = [
        "# Configuration keys",
        "",
        "`fne describe KEY` prints the same. Defaults of shared keys stand in `ablations/base.yaml`, of one rule's "
        "options in the signature of its class. *Release*: the authors' code; *Head*: a value of this "
        "project's regime `head`.",
        "",
    ]
    section = ""
    for key, one in EVERY_KEY.items():
        if key.partition(".")[0] != section:
            section = key.partition(".")[0]
            lines += ["", f"## {section}", "", "| key | default | allowed | meaning | read |", "|---|---|---|---|---|"]
        allowed = one.allowed() if isinstance(one.allowed(), str) else ", ".join(one.allowed())
        by = [entry.name for entry in readers if key in (*entry.keys, *entry.shares)]
        when = [" and ".join(f"`{other}` is {in_words(given)}" for other, given in each.items()) for each in one.when]
        read = " or ".join(when) or (f"by {', '.join(by)}" if by and key not in CHOOSERS.values() else "")
        default = f"`{show(base[key])}`" if key in base else ""
        cells = [f"`{key.partition('.')[2]}`", default, markdown(allowed), markdown(words.get(key, "")), read]
        escaped = (cell.replace("\\<", "&lt;").replace("\\>", "&gt;").replace("|", "\\|") for cell in cells)
        lines.append("| " + " | ".join(escaped) + " |")
    return "\n".join(lines) + "\n"


def files() -> str:
    """Every table of results, column by column."""
    from fne.results.schema import TABLES
    from fne.utils.text import markdown

    lines = [
        "# Files and columns",
        "",
        "Tables of `results/<study>/` and of every bundle. Recalls are fractions here and percent in reports. A file "
        "that was cut or edited is refused.",
        "",
    ]
    for name, (row, columns) in TABLES.items():
        lines += [f"## {name}", "", row, "", "| column | type | unit | meaning |", "|---|---|---|---|"]
        lines += [f"| `{key}` | {one.kind} | {one.unit} | {markdown(one.meaning)} |" for key, one in columns.items()]
        lines.append("")
    return "\n".join(lines)


def api(name: str) -> str:
    """The docstrings of some modules."""
    title, modules = API[name]
    left_out = "".join(f', "!^{module}$"' for module in WITHOUT.get(name, []))
    options = f'    options:\n      filters: ["!^_"{left_out}]\n'
    return f"# {title}\n\n" + "\n".join(f"::: {module}\n{options}" for module in modules)


GENERATED = {"commands": commands, "configuration": configuration, "files": files}


# hooks


def on_config(config: MkDocsConfig) -> None:
    """Fenced blocks of the language ``math``, which GitHub shows as formulas, are formulas here too."""
    fence = {"name": "math", "class": "math", "format": formula}
    config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [fence]}


def on_files(pages: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and every file of the repository to which a page links."""
    from mkdocs.structure.files import File

    def add(place: str, text: str) -> None:
        pages.append(File.generated(config, place, content=text))

    for name, page in GENERATED.items():
        add(f"reference/{name}.md", page())
    for name in API:
        add(f"reference/api/{name}.md", api(name))
    for name, place in PAGES.items():
        add(place, (ROOT / name).read_text(encoding="utf-8"))
    for page in pages.documentation_pages():
        for target in outside(page):
            if target not in PAGES and pages.get_file_from_path(f"source/{target}") is None:
                pages.append(File.generated(config, f"source/{target}", abs_src_path=str(ROOT / target)))
    return pages


def origin(page: File) -> str:
    """Where a page lies in the repository."""
    return next((name for name, place in PAGES.items() if place == page.src_uri), f"docs/{page.src_uri}")


def resolved(page: File, link: str) -> str:
    """Where a link of a page leads, seen from the repository's root."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(origin(page)), link))


def outside(page: File) -> list[str]:
    """Files of the repository out of ``docs/`` to which a page links."""
    targets = {resolved(page, found[2]) for found in LINK.finditer(page.content_string)}
    return sorted(target for target in targets if not target.startswith("docs/") and (ROOT / target).is_file())


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as they lead within the site."""

    def moved(found: re.Match[str]) -> str:
        target = resolved(page.file, found[2])
        if target.startswith("docs/"):
            place = target.removeprefix("docs/")
        elif (ROOT / target).is_file():
            place = PAGES.get(target, f"source/{target}")
        else:
            return found[0]
        return found[1] + posixpath.relpath(place, posixpath.dirname(page.file.src_uri) or ".") + found[3]

    return LINK.sub(moved, markdown)


# what docstrings and formulas look like


ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):`~?([\w.]+)`")
RULE = re.compile(r"(?m)^( *)=+(?: +=+)+$")


class Docstrings(Extension):
    """Docstrings as Markdown: roles become links, tables of equals signs tables."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)

    def on_class_members(self, *, cls: Class, **kwargs: Any) -> None:
        """The reasons of a rule's options stand below its docstring, and not within its signature."""
        start = cls.members.get("__init__")
        reasons = [] if start is None or start.is_alias else list(filter(None, map(_reason, start.parameters)))
        if reasons and cls.docstring is not None:
            cls.docstring.value += "\n\nOptions and the reasons for their defaults:\n\n" + "\n".join(reasons)


def _reason(parameter: Parameter) -> str | None:
    """An option with its default and the reason for it; its annotation keeps the type alone."""
    annotation = parameter.annotation
    if getattr(annotation, "canonical_name", "") != "Annotated":
        return None
    kind, *rest = annotation.slice.elements
    parameter.annotation = kind
    words = " ".join(ast.literal_eval(str(part)) for part in rest if str(part)[0] in "'\"")
    return f"* `{parameter.name}` (`{parameter.default}`): {words}"


def _link(found: re.Match[str]) -> str:
    name = f"`{found[1].rpartition('.')[2]}`"
    return f'<autoref identifier="{found[1]}" optional>{name}</autoref>' if "." in found[1].strip(".") else name


def as_markdown(text: str) -> str:
    """A docstring as Markdown."""
    text = ROLE.sub(_link, text)
    lines, made, inside = text.split("\n"), [], False
    for line in lines:
        if RULE.fullmatch(line):
            starts = [match.start() for match in re.finditer(r"=+", line)]
            if not inside:
                made += ["", "| " + " | ".join("" for _ in starts) + " |", "|" + "---|" * len(starts)]
            else:
                made.append("")
            inside = not inside
        elif inside and line.strip():
            edges = [*starts, None]
            cells = [line[start:end].strip().replace("|", "\\|") for start, end in zip(edges, edges[1:], strict=False)]
            if cells[0]:
                made.append("| " + " | ".join(cells) + " |")
            else:
                made[-1] = made[-1].removesuffix(" |") + " " + cells[-1] + " |"
        else:
            made.append(line)
    return "\n".join(made)


def formula(source: str, language: str, css_class: str, options: object, md: object, **rest: object) -> str:
    """A formula as MathML, which browsers show without a script."""
    from latex2mathml.converter import convert

    return f'<div class="{css_class}">{convert(source.strip(), display="block")}</div>'

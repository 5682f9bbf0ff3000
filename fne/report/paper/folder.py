"""The folder of a paper: a two-column document that compiles, and all that it includes."""

from __future__ import annotations

from pathlib import Path

from fne.report.figures import registry as figures
from fne.report.figures.figure import Picture
from fne.report.paper.data_statement import statement
from fne.report.paper.methods import Paragraph, paragraphs, to_latex, to_markdown
from fne.report.paper.references import bibtex, cited
from fne.report.tables import registry as tables
from fne.results.study import StudyResults, load
from fne.study import paths
from fne.study.api import Series, Study
from fne.utils.errors import bad_input
from fne.utils.files import write_text
from fne.utils.latex import latex

WIDE = ("curves", "picks", "risk_hardness", "distributions_all", "sensitivity", "agreement")
"""Figures that are drawn for two columns: those of many panels."""
FIRST = ("main", "contrasts")
"""Tables that carry the verdict: before every figure."""
PREAMBLE = r"""% Written by `fne paper`. pdflatex main; bibtex main; pdflatex main; pdflatex main
\documentclass[10pt,twocolumn]{article}
\usepackage[utf8]{inputenc}
\usepackage[letterpaper,textwidth=6.9in,textheight=9in,columnsep=0.3in]{geometry}
\usepackage{array,booktabs,graphicx,textcomp}
\setcounter{totalnumber}{4}
\sloppy
"""


def run(study: str | Study | Series, root: str | Path = ".", into: str | Path | None = None) -> list[Path]:
    """Write the folder, ``reports/<study>/paper`` unless another one is named.

    Args:
        study: Id of the study, or the study itself where the command line changed something of it.
        root: Root of the project.
        into: The folder, relative to the root.

    Returns:
        The files written.

    Raises:
        UserError: It is a series, whose members have papers of their own; or ``into`` is a file.
    """
    if isinstance(study, Series):
        members = [member.name for member in study.members]
        problem = "is a series: a paper folder is made of one of its studies"
        raise bad_input(problem, file="command line", key="STUDY", value=study.name, allowed=members)
    results = load(study, root)
    folder = Path(root) / (into or Path(paths.reports_folder(results.definition)) / "paper")
    if folder.exists() and not folder.is_dir():
        raise bad_input("is no folder", file="command line", key="--into", value=str(into))
    written = tables.run_for_paper(results, "double", folder / "tables")
    drawn: list[tuple[Picture, str]] = []
    for name in figures.FIGURES:
        column = "double" if name in WIDE else "single"
        if not (picture := figures.draw(results, name, column)).empty:
            written += picture.save(folder / "figures", ["pdf"])
            drawn.append((picture, column))
    methods = paragraphs(results)
    texts = {
        "methods.tex": to_latex(methods),
        "methods.md": to_markdown(methods),
        "references.bib": bibtex(key for _, text in methods for key in cited(text)),
        "data_statement.md": statement(results),
        "main.tex": document(results, methods, [path.stem for path in written if path.suffix == ".tex"], drawn),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [*written, *(folder / name for name in texts)]


def document(study: StudyResults, methods: list[Paragraph], names: list[str], drawn: list[tuple[Picture, str]]) -> str:
    """The document that includes all: methods, figures, tables, references."""
    lines = [
        PREAMBLE + rf"\title{{{latex(study.title)}}}",
        r"\author{}",
        r"\date{}",
        r"\begin{document}",
        r"\maketitle",
    ]
    lines += [r"\section{Methods}", r"\input{methods}", r"\section{Results}"]
    first = [name for name in FIRST if name in names]
    lines += [rf"\input{{tables/{name}}}" for name in first]
    for place, (picture, column) in enumerate(drawn):
        environment = "figure*" if column == "double" else "figure"
        lines += [
            rf"\begin{{{environment}}}[tbp]\centering\includegraphics{{figures/{picture.id}.pdf}}",
            rf"\caption[{latex(picture.title)}]{{\protect\raggedright\fontsize{{8}}{{9.6}}\selectfont "
            rf"{latex(picture.caption)}}}\label{{fig:{picture.id}}}",
            rf"\end{{{environment}}}",
            *([r"\clearpage"] if place % 4 == 3 else []),
        ]
    for place, name in enumerate(name for name in names if name not in first):
        lines += [*([] if place % 3 else [r"\clearpage"]), rf"\input{{tables/{name}}}"]  # few floats wait at a time
    lines += [r"\clearpage", r"\bibliographystyle{plain}", r"\bibliography{references}", r"\end{document}"]
    return "\n".join(lines) + "\n"

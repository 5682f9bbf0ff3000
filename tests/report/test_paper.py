"""Tables and figures of a paper: as wide as they should be, no letter below 7 points, nothing that collides."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from fne.negatives.catalog import DENSITIES, MEMORIES
from fne.report.figures import registry as figures
from fne.report.figures.style import COLUMNS, TALLEST
from fne.report.paper import folder as paper_folder
from fne.report.paper.data_statement import statement
from fne.report.paper.methods import paragraphs
from fne.report.paper.references import bibtex, cited, references, sources_of, with_citations
from fne.report.tables import registry as tables
from fne.report.tables.cells import Cell, Column, Table
from fne.report.tables.latex import to_latex
from fne.results.study import StudyResults, load
from fne.steps import audit
from fne.study.api import load as load_any
from fne.study.library import Library
from fne.utils.errors import UserError
from tests.report.conftest import Made
from tests.report.synthetic import HOSTILE, write_study
from tests.report.test_many import crowd

ODD = "Ωμέγα τ ≈ 10⁻³ & a_b 😀 中文 " + "a very long title that goes on " * 6
NEEDS_LATEX = pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="pdflatex: not installed (apt-get install texlive)"
)


@pytest.fixture(scope="module")
def sixty(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    """Sixty variants of two seeds, the first with an odd title of 200 letters."""
    folder = tmp_path_factory.mktemp("sixty")
    first, *others = crowd(60)
    study = write_study(folder, fakes=(replace(first, title=ODD), *others), seeds=(0, 1), name="sixty", resources=False)
    audit.run(study, folder)
    return load(study, folder)


def texts(figure: Figure) -> list[Text]:
    """What is to be read in a figure that was drawn: nothing of hidden axes, no number beyond the ends of an axis."""
    hidden = {id(text) for axes in figure.axes if not axes.get_visible() for text in axes.findobj(Text)}
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        drawn = {id(tick) for tick in axis._update_ticks()}
        ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        hidden |= {id(text) for tick in ticks if id(tick) not in drawn for text in (tick.label1, tick.label2)}
    return [text for text in figure.findobj(Text)
            if text.get_visible() and text.get_text().strip() and id(text) not in hidden]  # fmt: skip


def problems(figure: Figure, column: str) -> list[str]:
    """What keeps a figure from being as wide as the column, with letters of 7 to 9 points that stand clear."""
    width, height = figure.get_size_inches()
    result = [] if width == COLUMNS[column] and height <= TALLEST + 1e-6 else [f"{width} x {height} in"]
    figure.draw_without_rendering()
    boxes = [(text, Text.get_window_extent(text)) for text in texts(figure)]
    result += [f"{text.get_size()} pt: {text.get_text()}" for text, _ in boxes if not 7 <= text.get_size() <= 9]
    page = figure.bbox.padded(3)
    off = (text for text, box in boxes if box.x0 < page.x0 or box.x1 > page.x1 or box.y0 < page.y0 or box.y1 > page.y1)
    result += [f"off the page: {text.get_text()}" for text in off]
    upright = [(text, box) for text, box in boxes if text.get_rotation() % 90 == 0]
    return result + [
        f"collide: {text.get_text()} / {other.get_text()}"
        for (text, a), (other, b) in itertools.combinations(upright, 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1.5 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1.5
    ]


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("name", figures.FIGURES)
def test_figures_are_as_wide_as_their_column_and_legible(paper: Made, name: str, column: str) -> None:
    picture = figures.draw(paper.results, name, column)
    if not picture.empty:
        assert problems(picture.drawing, column) == []


@pytest.mark.parametrize("name", ["scores", "contrasts", "picks", "curves"])
def test_figures_of_sixty_variants_stay_legible_and_on_a_page(sixty: StudyResults, name: str) -> None:
    picture = figures.draw(sixty, name, "single")
    assert problems(picture.drawing, "single") == []
    assert "more are in the tables" in picture.caption or name == "curves"


def test_figures_of_one_variant(lonely: Made) -> None:
    for name in ("scores", "curves"):
        assert problems(figures.draw(lonely.results, name, "single").drawing, "single") == []


def compiled(folder: Path, document: str = "main.tex") -> str:
    """The log of pdflatex."""
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", document]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-3000:]
    return (folder / document).with_suffix(".log").read_text("utf-8", errors="replace")


def check_log(log: str) -> None:
    """No box sticks out by more than a point, no float is higher than the page, no letter has another size."""
    wide = [float(points) for points in re.findall(r"Overfull \\[hv]box \(([\d.]+)pt too", log)]
    assert [points for points in wide if points > 1] == [] and "Float too large" not in log


def set_tables(study: StudyResults, folder: Path) -> str:
    """Compile a document of all tables of a study, for one column and for two, and return the log."""
    lines = [paper_folder.PREAMBLE, r"\begin{document}"]
    for column in COLUMNS:
        for path in tables.run_for_paper(study, column, folder / column):
            lines += [rf"\input{{{column}/{path.stem}}}", r"\clearpage"]
    (folder / "all.tex").write_text("\n".join([*lines, r"\end{document}"]), "utf-8")
    return compiled(folder, "all.tex")


def least_letters(pdf: Path) -> float:
    """Points of the smallest letters of a document; of bitmap fonts, which have no prefix, no size is known."""
    command = ["pdftohtml", "-xml", "-i", "-stdout", "-zoom", "3", str(pdf)]
    summary = subprocess.run(command, capture_output=True, text=True)
    return (
        min(float(size) for size in re.findall(r'<fontspec [^>]*size="(\d+)" family="[A-Z]{6}\+', summary.stdout)) / 3
    )


@NEEDS_LATEX
@pytest.mark.parametrize("which", ["paper", "searched", "hostile", "lonely"])
def test_every_table_fits_one_column_and_two(which: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    check_log(set_tables(request.getfixturevalue(which).results, tmp_path))
    if shutil.which("pdftohtml"):
        assert least_letters(tmp_path / "all.pdf") >= 6.9


@NEEDS_LATEX
def test_tables_of_sixty_variants_and_odd_titles_are_set_in_parts(sixty: StudyResults, tmp_path: Path) -> None:
    check_log(set_tables(sixty, tmp_path))
    text = (tmp_path / "double/main.tex").read_text("utf-8").replace(r"\allowbreak{}", "").replace("~", " ")
    assert "continued." in text and "grinning face" in text and r"\tau" in text
    body = re.sub(r"\\label\{.*?\}", "", text)
    assert not re.search(r"fne\\_no\\_cutdown|hardest\\_buffer", body), "no identifiers"


@NEEDS_LATEX
def test_the_folder_of_a_paper_compiles_with_its_references(hostile: Made, tmp_path: Path) -> None:
    written = paper_folder.run(hostile.study, hostile.root, tmp_path / "paper")
    folder = tmp_path / "paper"
    assert {path.name for path in written if path.parent == folder} == {
        "main.tex", "methods.tex", "methods.md", "references.bib", "data_statement.md"}  # fmt: skip
    assert all(path.stat().st_size for path in written)
    check_log(compiled(folder))
    if shutil.which("bibtex"):
        done = subprocess.run(["bibtex", "main"], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0 and "Warning--I didn't find" not in done.stdout, done.stdout
        compiled(folder)
        assert "undefined" not in compiled(folder).lower()


def test_methods_say_what_was_done_and_cite_what_was_used(paper: Made) -> None:
    summary = dict(paragraphs(paper.results))
    assert "scenes" in summary["Data"] and "known exactly" in summary["Data"]
    assert "batch size 128" in summary["Training"] and "seeds 0 to 4" in summary["Training"]
    assert "negatives.strategy fne [@li2023fne]" in summary["Compared variants"]
    assert "memory.kind momentum [@he2020moco]" in summary["Compared variants"]
    assert "95 % interval" in summary["Statistics"] and "@holm1979simple" in summary["Statistics"]
    assert "torch" in summary["Software and hardware"]
    keys = [key for text in summary.values() for key in cited(text)]
    assert set(re.findall(r"@\w+\{(\w+),", bibtex(keys))) == set(keys)
    assert summary["Question"].endswith("The method under study is FNE (released rule) [@li2023fne].")
    other = StudyResults(replace(paper.study, method="infonce"), paper.root)
    assert dict(paragraphs(other))["Question"].endswith("The method under study is InfoNCE.")


def test_the_data_statement_names_sizes_digests_terms_and_truth(paper: Made, lonely: Made) -> None:
    text = statement(paper.results)
    assert "| train | 40 | 200 |" in text and "every relevant pair is known exactly" in text
    assert paper.results.manifest is not None and paper.results.manifest.sha256["images"] in text
    assert "MIT licence" in text and "What may not be shared" in text
    assert "not known here" in statement(lonely.results)


def test_every_rule_of_the_package_has_its_references() -> None:
    values, entries = references()["values"], references()["entries"]
    rules = {key: set() for key in ("negatives.strategy", "loss.kind")}
    for file in sorted((Path(paper_folder.__file__).parents[2]).glob("*/*.py")):
        section = {"negatives": "negatives.strategy", "losses": "loss.kind"}.get(file.parent.name)
        if section:
            rules[section] |= set(re.findall(r'^    name = "(\w+)"', file.read_text("utf-8"), re.MULTILINE))
    assert {key: set(values[key]) for key in rules} == rules
    assert set(values["memory.kind"]) == set(MEMORIES) and set(values["negatives.density"]) == set(DENSITIES)
    sections = (*values.values(), references()["evaluation"], references()["statistics"])
    used = {key for section in sections for keys in section.values() for key in keys}
    assert used == set(entries)
    for entry in entries.values():
        assert {"type", "author", "title"} <= set(entry) and None not in entry.values()


def test_a_study_cites_what_its_variants_are_made_of(root: Path) -> None:
    library = Library(root)
    result = {value: works for _, value, works in sources_of([library.merged("infonce_multi_positive")])}
    assert result["infonce"] == ["vandenoord2018cpc", "radford2021clip"] and result["True"] == ["khosla2020supcon"]
    assert with_citations(r"[@li2023fne] [@nobody] 5 %") == r"~\cite{li2023fne} [@nobody] 5 \%"


def test_a_series_has_no_paper_of_its_own(root: Path) -> None:
    series = load_any("prevalence", root=root, complete=False)
    with pytest.raises(UserError, match="is a series.*prevalence--data_prevalence"):
        paper_folder.run(series, root)


def numbers(table: Table, column: str) -> list[str]:
    """The rows of a table's LaTeX."""
    return [line for line in to_latex(table, column).splitlines() if line.startswith("v")]


def test_a_long_table_has_parts_and_no_row_is_lost() -> None:
    columns = (Column("Variant", numeric=False), Column("rsum"), Column("Kind", numeric=False))
    rows = tuple((Cell(f"v{place}", note="an_id", code=True), Cell(f"{place}.0"), Cell("same")) for place in range(200))
    table = Table("t", "Title", HOSTILE, columns, rows)
    text = to_latex(table, "single")
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") > 2 and text.count(r"\label{tab:t}") == 1
    assert text.count("continued.") == text.count(r"\addtocounter{table}{-1}") == text.count(r"\begin{table}") - 1
    assert [line.split(" & ")[0] for line in numbers(table, "single")] == [f"v{place}" for place in range(200)]
    assert "Kind & " not in text and "In every row: Kind: same." in text and "an" not in numbers(table, "single")[0]


def test_a_wide_table_repeats_what_its_rows_are_called() -> None:
    columns = (Column("Variant", numeric=False), *(Column(f"c{place}", f"Group {place // 5}") for place in range(60)))
    rows = tuple((Cell(f"v{row}"), *(Cell(f"{row}{place}.5") for place in range(60))) for row in range(3))
    table = Table("t", "Title", "Caption.", columns, rows)
    shown = numbers(table, "double")
    parts = to_latex(table, "double").count(r"\begin{tabular}")
    assert parts > 1 and len(shown) == 3 * parts
    cells = [cell for line in shown if line.startswith("v1") for cell in line.split(r" \\")[0].split(" & ")[1:]]
    assert cells == [f"1{place}.5" for place in range(60)]


def test_a_table_without_rows_is_no_table() -> None:
    text = to_latex(Table("t", "Title", "Nothing:\nno run.", (Column("a"),), ()))
    assert text == "% No table: Nothing: no run.\n"

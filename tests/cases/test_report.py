"""Tables that pdflatex can set, whatever letters a title holds."""

from __future__ import annotations

import pytest

from fne.report.tables.cells import Cell, Column, Table
from fne.report.tables.render import to_latex


@pytest.mark.parametrize(
    ("title", "wanted"),
    [("FNE (τ = 5)", r"\tau"), ("λ→0", r"\lambda"), ("m ≈ 10⁻³", r"$-$3}}$"), ("α_β & 50 %", r"\alpha")],
)
def test_a_title_with_greek_letters_is_set_by_pdflatex(title: str, wanted: str) -> None:
    """No character above U+00FF is left raw, or the file says that it needs another engine."""
    table = Table("main", "Main", "Recall.", (Column("Variant", numeric=False), Column("rsum")),
                  ((Cell(title), Cell("1.0")),))  # fmt: skip
    text = to_latex(table)
    if "xelatex" in text.lower() or "lualatex" in text.lower():
        return
    assert not {letter for letter in text if ord(letter) > 0xFF}
    assert wanted in text

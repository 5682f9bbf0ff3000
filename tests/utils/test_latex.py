"""Text for LaTeX: nothing raw that stops pdflatex, nothing with a meaning, nothing lost where there is a command."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from fne.utils.latex import EXPONENT, latex, spelled

HARD = (
    "τ λ Λ Ω ο Α ά ϵ ε", "m ≈ 10⁻³ x₁₂ᵢ", "a & b % c $ d # e_f {g} ~ ^ \\ < > | \"", "ā ő ş ž ł œ ı q̂ x̄ ỗ ñ",
    "中文 Привет עברית 😀", "a--b---c ?` !`", "½ ² µ ° © ℝ 𝛼 ﬁ", "∀x ∈ A ∪ B ⇒ ‖x‖ ≤ √2", "[x] * y",
    "\x1b[31m \u202e \u200b", "−1 ± 2 → ∞",
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("FNE (τ = 5)", r"FNE ($\tau$ = 5)"),
        ("10⁻³ and x₁₂", f"10{EXPONENT % ('^', '$-$3')} and x{EXPONENT % ('_', '12')}"),
        ("λ→0", r"$\lambda$$\rightarrow$0"),
        ("Λ Α ο", r"$\Lambda$ A o"),
        ("ā ő", "a o"),
        ("a--b", "a-{}-b"),
        ("a_b & 50 % of {x}^2 ~ \\", r"a\_b \& 50 \% of \{x\}\textasciicircum{}2 \textasciitilde{} \textbackslash{}"),
        ("ﬁt 𝛼", r"fit $\alpha$"),
        ("naïve café", "naïve café"),
        ("中 25°", r"[U+4E2D] 25\textdegree{}"),
        ("ok 👍🏽 ❤️", "ok [thumbs up sign] [heavy black heart]"),
        ("a\n\tb  c", "a b c"),
        ("\x1b[31mred", " [31mred"),
    ],
)
def test_what_a_text_becomes(text: str, wanted: str) -> None:
    assert latex(text) == wanted


@pytest.mark.parametrize("text", HARD)
def test_what_is_spelled_out_is_what_is_set(text: str) -> None:
    assert latex(spelled(text)) == latex(text)


def test_no_letter_of_all_of_unicode_is_left_raw() -> None:
    for number in range(sys.maxunicode + 1):
        letter = chr(number)
        if unicodedata.category(letter) in ("Cn", "Co", "Lo") and number > 0x3100:  # thousands of the same kind
            continue
        text = latex(f"a{letter}b")
        assert max(map(ord, text)) <= 0xFF and text.isprintable(), (hex(number), text)
        without = re.sub(r"\$[\^_]\{\\mbox\{.*?\}\}\$|\\[A-Za-z]+(\{\})?|\\.|\$[^$]*\$", "", text)
        assert not set(without.replace("{", "").replace("}", "")) & set("\\&%$#_^~"), (hex(number), text)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex: not installed (apt-get install texlive)")
def test_pdflatex_sets_all_of_it(tmp_path: Path) -> None:
    body = "\n\n".join(map(latex, HARD))
    document = "\\documentclass{article}\n\\begin{document}\n" + body + "\n\\end{document}\n"
    (tmp_path / "a.tex").write_text(document, encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "a.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]

"""Any text as LaTeX that ``pdflatex`` sets: no letter above U+00FF is left, and no sign with a meaning."""

from __future__ import annotations

import itertools
import re
import unicodedata


def _pairs(text: str) -> dict[str, str]:
    """A sign and what stands for it, again and again."""
    words = text.split()
    return dict(zip(words[::2], words[1::2], strict=True))


SIGNS = _pairs(r"""
    \ \textbackslash{} & \& % \% $ \$ # \# _ \_ { \{ } \} ~ \textasciitilde{} ^ \textasciicircum{} < \textless{}
    > \textgreater{} | \textbar{} " '' – \textendash{} — \textemdash{} … \ldots{} “ `` ” '' „ '' ‘ ` ’ '
    • \textbullet{} € \texteuro{} ł \l{} Ł \L{} œ \oe{} Œ \OE{} ı \i{} ⁄ / ‐ - ‑ - ­ \- ° \textdegree{} ′ '
    Α A Β B Ε E Ζ Z Η H Ι I Κ K Μ M Ν N Ο O Ρ P Τ T Χ X ο o
""")
"""In text."""
MATHS = _pairs(r"""
    − - × \times ÷ \div ± \pm ∓ \mp · \cdot ⋅ \cdot ∗ * ¬ \neg µ \mu ≤ \leq ≥ \geq ≪ \ll ≫ \gg ≠ \neq
    ≈ \approx ≡ \equiv ∼ \sim ≃ \simeq ∝ \propto ∞ \infty → \rightarrow ← \leftarrow ↑ \uparrow ↓ \downarrow
    ↔ \leftrightarrow ⇒ \Rightarrow ⇔ \Leftrightarrow ↦ \mapsto ∈ \in ∉ \notin ∅ \emptyset ⊂ \subset ⊆ \subseteq
    ∩ \cap ∪ \cup ∖ \setminus ∧ \wedge ∨ \vee ∀ \forall ∃ \exists ∑ \sum ∏ \prod ∫ \int √ \surd ∂ \partial
    ∇ \nabla ℓ \ell « \ll » \gg ⟨ \langle ⟩ \rangle ‖ \| ⊕ \oplus ⊗ \otimes † \dagger ‡ \ddagger ★ \star ✓ \surd
    ϵ \epsilon ϑ \vartheta ϕ \phi ς \varsigma ϱ \varrho ϖ \varpi ε \varepsilon φ \varphi
""")
"""In mathematics."""
GREEK = re.compile(r"GREEK (SMALL|CAPITAL) LETTER ([A-Z]+)")
EXPONENT = r"$%s{\mbox{\fontsize{7}{7}\selectfont %s}}$"
"""What stands above or below the line, which in mathematics would be set in 5 points."""


def latex(text: str) -> str:
    r"""One line of text for LaTeX; what ``pdflatex`` cannot set is replaced as :func:`spelled` replaces it.

    >>> print(latex("τ ≈ 10 & 50 %"))
    $\tau$ $\approx$ 10 \& 50 \%
    """
    line = " ".join(unicodedata.normalize("NFC", text).split())
    parts = []
    for sign, letters in itertools.groupby(line, _raised):  # one exponent of all its digits
        group = "".join(letters)
        plain = "".join(map(_letter, unicodedata.normalize("NFKD", group) if sign else group))
        parts.append(EXPONENT % (sign, plain) if sign else plain)
    return re.sub("-(?=-)", "-{}", "".join(parts))  # two hyphens are no dash


def spelled(text: str) -> str:
    """The same text in which what ``pdflatex`` cannot set is spelled out: a sign by its name, a letter by its number.

    >>> spelled("τ 😀 中")
    'τ [grinning face] [U+4E2D]'
    """
    letters = unicodedata.normalize("NFC", text)
    return "".join(made if (made := _letter(letter)).startswith("[") else letter for letter in letters)


def _raised(letter: str) -> str:
    """``^`` and ``_`` for a letter above and below the line, else nothing."""
    return {"<super>": "^", "<sub>": "_"}.get(unicodedata.decomposition(letter).partition(" ")[0], "")


def _letter(letter: str) -> str:
    if letter in SIGNS:
        return SIGNS[letter]
    if letter in MATHS:
        return f"${MATHS[letter]}$"
    if letter <= "\u00ff":
        return letter if letter.isprintable() else " "
    name, category = unicodedata.name(letter, ""), unicodedata.category(letter)
    if greek := GREEK.fullmatch(name):
        command = greek[2].lower().replace("lamda", "lambda")
        return rf"$\{command if greek[1] == 'SMALL' else command.capitalize()}$"
    simpler = unicodedata.normalize("NFKD", letter)
    if simpler != letter:
        return "".join(map(_letter, simpler))
    if category in ("Cf", "Mn", "Me", "Cc") or name.startswith("EMOJI MODIFIER"):
        return ""
    return f"[{name.lower()}]" if category == "So" and name else f"[U+{ord(letter):04X}]"

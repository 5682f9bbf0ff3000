"""Any text as LaTeX that ``pdflatex`` sets: no letter above U+00FF is left, and no sign with a meaning."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable


def _pairs(text: str) -> dict[str, str]:
    """A sign and what stands for it, again and again."""
    words = text.split()
    return dict(zip(words[::2], words[1::2], strict=True))


SIGNS = _pairs(r"""
    \ \textbackslash{} & \& % \% $ \$ # \# _ \_ { \{ } \} ~ \textasciitilde{} ^ \textasciicircum{} < \textless{}
    > \textgreater{} | \textbar{} " '' – \textendash{} — \textemdash{} … \ldots{} “ `` ” '' „ '' ‘ ` ’ '
    • \textbullet{} € \texteuro{} ł \l{} Ł \L{} œ \oe{} Œ \OE{} ı \i{} ⁄ / ‐ - ‑ - ­ \- ° \textdegree{} ′ '
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
ACCENTS = dict(zip("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0323\u0327\u0331",
                   "`'^~=u.\"rHvdcb", strict=True))  # fmt: skip
"""Commands of marks above and below a letter."""
LATIN = dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΧο", "ABEZHIKMNOPTXo", strict=True))
"""Greek letters that have no command, as they look like Latin ones."""
CLUSTER = re.compile("(?s).[\u0300-\u036f]*")
"""A letter with its marks."""
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
    for sign, clusters in itertools.groupby(re.findall(CLUSTER, line), _raised):  # one exponent of all its digits
        group = "".join(clusters)
        plain = _set(re.findall(CLUSTER, unicodedata.normalize("NFKD", group) if sign else group))
        parts.append(EXPONENT % (sign, plain) if sign else plain)
    return re.sub("-(?=-)", "-{}", "".join(parts))  # two hyphens are no dash


def spelled(text: str) -> str:
    """The same text in which what ``pdflatex`` cannot set is spelled out: a sign by its name, a letter by its number.

    >>> spelled("τ 😀 中")
    'τ [grinning face] [U+4E2D]'
    """
    clusters = re.findall(CLUSTER, unicodedata.normalize("NFC", text))
    return "".join(_letter(letter) if (letter := cluster[0]) and _unknown(letter) else cluster for cluster in clusters)


def _unknown(letter: str) -> bool:
    return letter != "[" and _letter(letter).startswith("[")


def _raised(letter: str) -> str:
    """``^`` and ``_`` for a letter above and below the line, else nothing."""
    return {"<super>": "^", "<sub>": "_"}.get(unicodedata.decomposition(letter[0]).partition(" ")[0], "")


def _set(clusters: Iterable[str]) -> str:
    return "".join(_letter(cluster[0], cluster[1:]) for cluster in clusters)


def _letter(letter: str, marks: str = "") -> str:
    """A letter with the marks that stand above and below it."""
    for mark in marks:
        if mark in ACCENTS:
            return rf"\{ACCENTS[mark]}{{{_letter(letter, marks.replace(mark, '', 1))}}}"
    if letter in SIGNS:
        return SIGNS[letter]
    if letter in MATHS:
        return f"${MATHS[letter]}$"
    if letter in LATIN:
        return LATIN[letter]
    if letter.isascii():
        return letter if letter.isprintable() else " "
    if greek := GREEK.fullmatch(unicodedata.name(letter, "")):
        name = greek[2].lower().replace("lamda", "lambda")
        return rf"$\{name if greek[1] == 'SMALL' else name.capitalize()}$"
    if letter <= "\u00ff" and letter.isprintable():
        return letter
    simpler = unicodedata.normalize("NFKD", letter)
    if simpler != letter:
        return _set(re.findall(CLUSTER, simpler))
    category, name = unicodedata.category(letter), unicodedata.name(letter, "").lower()
    if category in ("Cf", "Mn", "Me", "Cc") or name.startswith("emoji modifier"):
        return ""
    return f"[{name}]" if category == "So" and name else f"[U+{ord(letter):04X}]"

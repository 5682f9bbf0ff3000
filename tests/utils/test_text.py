"""Text for a terminal, a page, a document, a table."""

from __future__ import annotations

import pytest

from fne.utils.errors import bad_input
from fne.utils.text import clean, guarded, harmless, markdown, markup, unguarded

HOSTILE = '=x\x1b[2J<script>alert(1)</script>\u202e[a](javascript:x)\n# h | `c` *b* $y$ \ud800 & "q"'


def test_no_output_gets_control_characters_halves_of_letters_or_markup() -> None:
    for made in (clean, harmless, markup, markdown):
        shown = made(HOSTILE)
        assert not {"\x1b", "\u202e", "\ud800"} & {*shown} and shown.encode()
        assert made("Größe 雪 é 😀") == "Größe 雪 é 😀"
    assert "<" not in markup(HOSTILE) and '"' not in markup(HOSTILE) and "&lt;script&gt;" in markup(HOSTILE)
    assert markup("a\u00a0b\n c") == "a\u00a0b\n c".replace("\n", " "), "blanks stay what they are"
    assert r"\<script\>" in markdown(HOSTILE) and r"\[a\](javascript:x) \# h \| \`c\` \*b\*" in markdown(HOSTILE)
    assert "\n" not in markdown(HOSTILE) and "\n" in harmless(HOSTILE)


def test_an_error_is_one_line_of_bounded_length() -> None:
    forged = "x\nerror: forged\x1b[2J\u2028"
    for part in ("problem", "file", "key", "allowed", "hint"):
        text = str(bad_input(**{"problem": "is wrong", part: forged * 20_000}))
        assert text.isprintable() and len(text) < 15_000, part
    text = str(bad_input("unknown", value="ab" * 50_000, allowed=["ba" * 50_000, *map(str, range(1000))]))
    assert len(text) < 6_000 and text.endswith("298, 701 more")


UNSEEN = ["", " ", "\u3000", "\xa0", "\n", "\x00", "\u200b", "\u200b \u2060", "\ufeff", "\xad", "\u202e", "'\u200b"]


@pytest.mark.parametrize("sign", "=+-@＝＋－＠﹢")  # noqa: RUF001
@pytest.mark.parametrize("before", UNSEEN)
def test_no_sign_of_a_formula_hides_behind_what_is_not_seen_or_wide(before: str, sign: str) -> None:
    text = f"{before}{sign}1+1"
    assert guarded(text) == f"'{text}" and unguarded(guarded(text)) == text
    for other in (f"{before}x{sign}1", f"1{text}", f"'{before}"):
        assert unguarded(guarded(other)) == guarded(other) == other

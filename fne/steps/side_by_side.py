"""``compare A B``: two bundles or studies side by side: what differs, scores, A - B; orders across data sets too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fne.analysis.rank_correlation import agreements
from fne.protocols import require_same
from fne.report.text.side_by_side import (
    LONGEST,
    PAIRED,
    SIDE,
    SideBySide,
    csv_text,
    difference_lines,
    heading,
    markdown_text,
    names_of,
    note,
    text,
)
from fne.report.text.wording import short
from fne.results.bundle import FACTS, Bundle, read
from fne.results.configs import diff
from fne.results.made_from import DATA, Difference, differences
from fne.results.paired import Scores, pairs
from fne.results.study import load
from fne.steps.export import build
from fne.study.api import list_studies
from fne.study.model import KEPT_ONLY
from fne.utils.errors import bad_input
from fne.utils.files import write_text
from fne.utils.text import clean

DEFINITION = ("protocol", "folds", "tie_rule", "precision", "relevance")
"""What of a protocol's fingerprint defines its metrics, whatever the data set."""
OWNED = ("data.", "encoders.", "evaluation.", KEPT_ONLY)
"""Parts of a config that belong to the study, or to what a run keeps of its picks, and not to a variant."""


def run(first: str, second: str, root: Path, out: Path | None = None, orderings: bool = False) -> str:
    """Set two bundles (folders, zip files) or studies side by side and return the text for a terminal.

    Args:
        first, second: Places of bundles, or ids of studies of this project.
        root: The project's folder.
        out: A ``.csv`` or ``.md`` file to be written too.
        orderings: Compare only the order of the variants, also where data or protocol differ.

    Raises:
        UserError: They are under different protocols or share no variant; a bundle is damaged; or ``out`` has another
            ending.
    """
    if out is not None and out.suffix not in (".csv", ".md"):
        raise bad_input("must end in .csv or .md", key="--out", value=str(out))
    made = put(open_results(first, root), open_results(second, root), orderings)
    if out is not None:
        write_text(out, csv_text(made) if out.suffix == ".csv" else markdown_text(made))
    return text(made)


def open_results(name: str, root: Path) -> Bundle:
    """A bundle by its place, or that of a study of this project by its id."""
    place = Path(name)
    if (place.is_dir() and (place / FACTS).is_file()) or place.is_file():
        return read(place)
    if name in list_studies(root):
        return build(load(name, root))
    hint = f"`fne export STUDY` writes a bundle; studies here: {', '.join(list_studies(root))}"
    raise bad_input("is neither a bundle nor a study", value=name, hint=hint)


def put(a: Bundle, b: Bundle, orderings: bool) -> SideBySide:
    """The comparison itself."""
    only_order = _check(a, b, orderings)
    sides = [Scores.of(bundle) for bundle in (a, b)]
    scored = [[variant for variant in bundle.facts["variants"] if variant in side.variants]
              for bundle, side in zip((a, b), sides, strict=True)]  # fmt: skip
    common = [variant for variant in scored[0] if variant in scored[1]]
    if not common:
        raise bad_input("share no variant with a result", file=a.source, value=b.source)
    stacks = [side.stack(common) for side in sides]
    same_images = not only_order and stacks[0].shape[1] == stacks[1].shape[1]
    differ, equal = differences(a.facts, b.facts, common)
    apart = _why_no_difference(a, b, differ, orderings)
    lines = [heading(letter, bundle.facts) for letter, bundle in zip("AB", (a, b), strict=True)]
    lines += difference_lines(differ, equal, common)
    if apart:
        lines.append(f"{'Orders only' if only_order else 'Scores only'}, no difference A − B: {'; '.join(apart)}")
    for letter, mine in zip("AB", scored, strict=True):
        if alone := [variant for variant in mine if variant not in common]:
            lines.append(f"With a result in {letter} alone: {names_of(alone)}")
    rows = [
        {"variant": variant, "title": clean(a.facts["variants"][variant]["title"]),
         **_side("a", sides[0], variant, common), **_side("b", sides[1], variant, common),
         "config_differs": ", ".join(_differs(a, b, variant))}
        for variant in common
    ]  # fmt: skip
    left_out = [bundle.facts["left_out"] for bundle in (a, b)]
    paired = {} if apart else pairs(sides[0], sides[1], common)
    for row in rows:
        cells = (np.nan, np.nan, np.nan, 0, f"none: {'; '.join(apart)}")
        if pair := paired.get(row["variant"]):
            cells = (*pair.cells, len(pair.seeds), note(pair, left_out))
        row |= dict(zip(PAIRED, cells, strict=True))
    names = (clean(a.facts["study"]), clean(b.facts["study"]))
    result = tuple(agreements(*stacks, same_images=same_images))
    return SideBySide(tuple(lines), tuple(rows), not apart, result, names, a.facts["primary"]["metric"])


def _side(letter: str, scores: Scores, variant: str, common: Sequence[str]) -> dict[str, float]:
    """The cells of one side: score, difference to its baseline, rank among the variants that both have."""
    means = np.array([scores.means[name][0] for name in common])
    score = scores.means[variant][0]
    rank = 1 + (means > score).sum() + ((means == score).sum() - 1) / 2
    cells = (*scores.means[variant], *scores.contrasts.get(variant, [np.nan] * 3), float(rank))
    return {f"{letter}_{key}": value for key, value in zip(SIDE, cells, strict=True)}


def _check(a: Bundle, b: Bundle, orderings: bool) -> bool:
    """Refuse what may not be compared; return whether only the order of the variants may be compared."""
    mine, its = (dict(bundle.facts["primary"]) for bundle in (a, b))
    if mine != its:
        raise bad_input("their primary metrics differ", file=b.source, value=its, allowed=[mine])
    for bundle in (a, b):
        if mine["protocol"] not in bundle.facts["protocols"]:
            raise bad_input("has no fingerprint of its protocol", file=bundle.source, value=mine["protocol"])
        require_same({bundle.source: _print(bundle)})
    prints = [_print(bundle) for bundle in (a, b)]
    if apart := [key for key in DEFINITION if prints[0].get(key) != prints[1].get(key)]:
        words = "; ".join(f"{key} {prints[0].get(key)!r} and {prints[1].get(key)!r}" for key in apart)
        hint = f"neither numbers nor orders are comparable: they differ in {words}"
        raise bad_input("another definition of the metrics than in " + a.source, file=b.source, hint=hint)
    if orderings or prints[0]["dataset"] != prints[1]["dataset"]:
        return True
    try:
        require_same({a.source: prints[0], b.source: prints[1]})
    except Exception as error:
        raise type(error)(f"{error}; --orderings compares the order of the variants alone") from None
    regimes = [bundle.facts["regime"] for bundle in (a, b)]
    if regimes[0] != regimes[1]:
        hint = "numbers of different regimes are never mixed; --orderings compares the order of the variants alone"
        raise bad_input("another regime", file=b.source, key="regime", value=regimes[1], allowed=regimes[:1], hint=hint)
    return False


def _print(bundle: Bundle) -> Mapping[str, Any]:
    """The fingerprint of the primary metric's protocol."""
    return bundle.facts["protocols"][bundle.facts["primary"]["protocol"]]


def _why_no_difference(a: Bundle, b: Bundle, differ: Sequence[Difference], orderings: bool) -> list[str]:
    """What forbids a difference A - B of whatever variant."""
    prints = [_print(bundle) for bundle in (a, b)]
    reasons = []
    if keys := [key for key in sorted({*prints[0], *prints[1]} - {"id"}) if prints[0].get(key) != prints[1].get(key)]:
        reasons.append(f"the two were not scored alike: {short(a.facts['primary']['protocol'], LONGEST)} differs in "
                       f"{short(', '.join(keys), 4 * LONGEST)}")  # fmt: skip
    if data := [item for item in differ if item.group == DATA and item.values != (None, None)]:
        known = all(None not in item.values for item in data)
        names = names_of([item.name for item in data])
        reasons.append(f"their data {'differ' if known else 'are not known to be the same'} ({names})")
    if a.facts["regime"] != b.facts["regime"]:
        reasons.append("their regimes differ")
    return reasons or ["--orderings compares the order of the variants alone"] * orderings


def _differs(a: Bundle, b: Bundle, variant: str) -> list[str]:
    """The keys, of those that are the variant's own, in which its two configs differ."""
    configs = [bundle.facts["variants"][variant]["config"] for bundle in (a, b)]
    return [key for key in diff(*configs) if not key.startswith(OWNED)]

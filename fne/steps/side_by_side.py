"""``compare A B``: two bundles or studies side by side: numbers under one protocol, orders across data sets too."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fne.analysis.rank_correlation import Agreement, agreements
from fne.protocols import metric_of, require_same
from fne.report.text.wording import percent, signed, span
from fne.results.bundle import FACTS, Bundle, read
from fne.results.study import load
from fne.steps.export import build
from fne.study.api import diff, list_studies
from fne.study.schema import KEPT_ONLY
from fne.utils.errors import bad_input
from fne.utils.files import write_text
from fne.utils.text import clean

DEFINITION = ("protocol", "folds", "tie_rule", "precision", "relevance")
"""What of a protocol's fingerprint defines its metrics, whatever the data set."""
OWNED = ("data.", "encoders.", "evaluation.", KEPT_ONLY)
"""Parts of a config that belong to the study, or to what a run keeps of its picks, and not to a variant."""
SIDE = ("score", "low", "high", "difference", "difference_low", "difference_high", "rank")
COLUMNS = ["variant", "title", *(f"{side}_{key}" for side in ("a", "b") for key in SIDE), "config_differs"]
NAN = float("nan")


@dataclass(frozen=True)
class SideBySide:
    """Two sets of results.

    Args:
        lines: What is said above the table.
        rows: One per variant that both have, by :data:`COLUMNS`; scores are fractions.
        found: Rank correlations.
        names: What the two are called.
    """

    lines: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    found: tuple[Agreement, ...]
    names: tuple[str, str]


def run(first: str, second: str, root: Path, out: Path | None = None, orderings: bool = False) -> str:
    """Set two bundles (folders, zip files) or studies side by side and return the text for a terminal.

    Args:
        first, second: Places of bundles, or ids of studies of this project.
        root: The project's folder.
        out: A ``.csv`` or ``.md`` file to be written too.
        orderings: Compare only the order of the variants, also where data or protocol differ.

    Raises:
        UserError: They are under different protocols or share no variant; or ``out`` has another ending.
    """
    if out is not None and out.suffix not in (".csv", ".md"):
        raise bad_input("must end in .csv or .md", key="--out", value=str(out))
    made = put(open_results(first, root), open_results(second, root), orderings)
    if out is not None:
        write_text(out, _csv(made) if out.suffix == ".csv" else _markdown(made))
    return _text(made)


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
    common = [variant for variant in _with_scores(a) if variant in _with_scores(b)]
    if not common:
        raise bad_input("share no variant with a result", file=a.source, value=b.source)
    rows: list[dict[str, Any]] = [
        {"variant": variant, "title": clean(a.facts["variants"][variant]["title"]),
         "config_differs": ", ".join(_differs(a, b, variant))}
        for variant in common
    ]  # fmt: skip
    for side, bundle in (("a", a), ("b", b)):
        means = np.array([_cell(bundle, "intervals", variant, "mean") for variant in common])
        for row, mean in zip(rows, means, strict=True):
            variant = row["variant"]
            told = [_cell(bundle, "intervals", variant, key) for key in ("mean", "low", "high")]
            told += [_cell(bundle, "contrasts", variant, key) for key in ("difference", "low", "high")]
            told.append(1 + float((means > mean).sum() + ((means == mean).sum() - 1) / 2))
            row |= {f"{side}_{key}": value for key, value in zip(SIDE, told, strict=True)}
    values = [_values(bundle, common) for bundle in (a, b)]
    same_images = not only_order and values[0].shape[1] == values[1].shape[1]
    found = agreements(*values, same_images=same_images)
    names = (clean(a.facts["study"]), clean(b.facts["study"]))
    return SideBySide(tuple(_lines(a, b, only_order, common)), tuple(rows), tuple(found), names)


def _check(a: Bundle, b: Bundle, orderings: bool) -> bool:
    """Refuse what may not stand side by side; tell whether only the order of the variants may be compared."""
    mine, its = (dict(bundle.facts["primary"]) for bundle in (a, b))
    if mine != its:
        raise bad_input("their primary metrics differ", file=b.source, value=its, allowed=[mine])
    prints = []
    for bundle in (a, b):
        if mine["protocol"] not in bundle.facts["protocols"]:
            raise bad_input("has no fingerprint of its protocol", file=bundle.source, key=mine["protocol"])
        prints.append(bundle.facts["protocols"][mine["protocol"]])
    for bundle, found in zip((a, b), prints, strict=True):
        require_same({bundle.source: found})
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


def _lines(a: Bundle, b: Bundle, only_order: bool, common: Sequence[str]) -> list[str]:
    lines = []
    for letter, bundle in (("A", a), ("B", b)):
        facts = bundle.facts
        found = facts["protocols"][facts["primary"]["protocol"]]
        lines.append(
            f"{letter}: {clean(facts['study'])}, {clean(facts['title'])} ({found['name']}, fingerprint {found['id']}; "
            f"regime {facts['regime']}; {len(facts['seeds'])} seeds; baseline {facts['baseline']})"
        )
    primary = a.facts["primary"]
    metric = metric_of(primary["metric"]).label
    if only_order:
        lines.append(f"Orders only: the two were not scored alike, so no {metric} of A may be set beside one of B")
    else:
        lines.append(f"One protocol: each {metric} of A may be set beside that of B")
    for letter, bundle in (("A", a), ("B", b)):
        if alone := [variant for variant in _with_scores(bundle) if variant not in common]:
            lines.append(f"Only in {letter}: {', '.join(alone)}")
    return lines


def _with_scores(bundle: Bundle) -> list[str]:
    return [variant for variant in bundle.facts["variants"] if np.isfinite(_cell(bundle, "intervals", variant, "mean"))]


def _cell(bundle: Bundle, table: str, variant: str, column: str) -> float:
    """A value of the primary metric's row of a variant; NaN where there is none."""
    data, primary = bundle.tables[table].data, bundle.facts["primary"]
    keys = zip(data["variant"], data["protocol"], data["direction"], data["metric"], data[column], strict=True)
    wanted = (variant, primary["protocol"], primary["direction"], primary["metric"])
    value = next((value for *key, value in keys if tuple(key) == wanted), None)
    return NAN if value is None else float(value)


def _values(bundle: Bundle, variants: Sequence[str]) -> np.ndarray:
    """(n, N, V) of the seeds that all these variants have; N = 1 where single images are not at hand."""
    primary = bundle.facts["primary"]
    found: dict[str, dict[int, list[float]]] = {variant: {} for variant in variants}
    if "images" in bundle.tables:
        data = bundle.tables["images"].data
        for variant, seed, value in zip(data["variant"], data["seed"], data["influence"], strict=True):
            if variant in found:
                found[variant].setdefault(seed, []).append(value)
    else:
        data = bundle.tables["runs"].data
        names = ("variant", "split", "protocol", "direction", "metric", "seed", "value")
        wanted = ("test", primary["protocol"], primary["direction"], primary["metric"])
        for variant, *key, seed, value in zip(*(data[name] for name in names), strict=True):
            if variant in found and tuple(key) == wanted and value is not None:
                found[variant][seed] = [value]
    seeds = sorted(set.intersection(*(set(by_seed) for by_seed in found.values())))
    if not seeds:
        raise bad_input("no seed has a result of all the variants that are compared", file=bundle.source)
    return np.stack([[found[variant][seed] for seed in seeds] for variant in variants], axis=-1).astype(float)


def _differs(a: Bundle, b: Bundle, variant: str) -> list[str]:
    """The keys, of those that are the variant's own, in which its two configs differ."""
    configs = [bundle.facts["variants"][variant]["config"] for bundle in (a, b)]
    return [key for key in diff(*configs) if not key.startswith(OWNED)]


def _told(row: Mapping[str, Any], side: str) -> tuple[str, str, str]:
    """Score, difference and rank of one side in words."""
    score = f"{percent(row[f'{side}_score'])} {span(row[f'{side}_low'], row[f'{side}_high'])}".rstrip()
    ends = span(row[f"{side}_difference_low"], row[f"{side}_difference_high"], sign=True)
    difference = f"{signed(row[f'{side}_difference'])} {ends}".rstrip()
    return score, difference, f"{row[f'{side}_rank']:g}"


def _agreement_lines(made: SideBySide) -> list[str]:
    count = len(made.rows)
    lines = []
    for one in made.found:
        value = f"{one.value:.2f}" if np.isfinite(one.value) else "none"
        ends = f" [{one.low:.2f}, {one.high:.2f}]" if np.isfinite(one.low) else ""
        how = f"95 % interval by {one.method}" if ends else one.method.removeprefix("none: ")
        lines.append(f"{one.name}'s rank correlation of the {count} variants in both: {value}{ends}; {how}")
    return lines


def _cells(made: SideBySide) -> list[list[str]]:
    head = ["Variant"] + [f"{letter}: {word}" for letter in "AB" for word in ("score", "Δ baseline", "rank")]
    return [[*head, "Config differs in"]] + [
        [row["variant"], *_told(row, "a"), *_told(row, "b"), row["config_differs"] or "nothing"] for row in made.rows
    ]


def _text(made: SideBySide) -> str:
    cells = _cells(made)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([*made.lines, "", *table, "", *_agreement_lines(made)])


def _markdown(made: SideBySide) -> str:
    cells = [[cell.replace("|", "\\|").replace("[", "\\[").replace("]", "\\]") for cell in row] for row in _cells(made)]
    rows = [f"| {' | '.join(row)} |" for row in cells]
    rows.insert(1, "|" + " --- |" * len(cells[0]))
    said = [f"{line}  " for line in (*made.lines, *_agreement_lines(made))]
    return "\n".join([f"# {' beside '.join(made.names)}", "", *said, "", *rows]) + "\n"


def _csv(made: SideBySide) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in made.rows:
        writer.writerow({key: "" if isinstance(v, float) and np.isnan(v) else v for key, v in row.items()})
    return text.getvalue()

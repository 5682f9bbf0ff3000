"""Odd results: one seed, numbers that are none, metrics that some variant lacks. The page says so and stays right."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fne.report.notebook import load
from fne.report.tables.registry import build as table
from fne.report.text.headline import headline
from fne.report.text.summary import paired_interval, ranked
from fne.results.study import StudyResults
from fne.study.api import Study
from fne.utils.text import clean
from tests.report.conftest import Made, build
from tests.report.synthetic import PAPER, write_study
from tests.tables import edit

BEST, BASE = "fne_abstract", "hardest_in_batch"
FAKES = tuple(fake for fake in PAPER if fake.id in (BEST, BASE, "fne", "infonce"))
TABLES = ("runs", "intervals", "contrasts")
ENDS = ("low", "high", "sd_seeds")


def spoil(folder: Path, variant: str, seeds: tuple[int, ...]) -> None:
    """What a collapsed run leaves where nothing stopped it: no number in tables, curves and sums per image."""
    numbers = {"runs": ("value",), "intervals": ("mean", *ENDS)}
    numbers["contrasts"] = ("difference", *ENDS[:2], "p_query", "p_query_holm", "p_seed")

    def blank(name: str, row: dict[str, str]) -> None:
        if row["variant"] == variant and ("seed" not in row or int(row["seed"]) in seeds):
            row.update(dict.fromkeys(numbers[name], ""))

    edit(folder / "runs.csv", lambda row: blank("runs", row))
    if len(seeds) == 3:  # of fewer the means are of what is left
        for name in ("intervals", "contrasts"):
            edit(folder / f"{name}.csv", lambda row, name=name: blank(name, row))

    def fall(row: dict[str, str]) -> None:
        if row["variant"] == variant and int(row["seed"]) in seeds and int(row["epoch"]) > 5:
            kept = ("variant", "seed", "epoch", "step", "phase")
            row.update({key: "" for key in row if key not in kept} | {"collapsed": "1"})

    edit(folder / "curves.csv", fall)
    file = folder / variant / "0-4" / "queries.test.npz"
    file = file if file.is_file() else next((folder / variant).glob("*/queries.test.npz"))
    with np.load(file) as stored:
        arrays = {name: stored[name] for name in stored.files}
    for name in arrays:
        if name != "seeds" and not name.endswith("/count"):
            arrays[name] = np.where(np.isin(arrays["seeds"], seeds)[:, None], np.nan, arrays[name])
    np.savez(file, **arrays)


def made(root: Path, change: Callable[[Path, Study], None] | None = None, **options: object) -> Made:
    """A made-up study, changed and reported."""
    options = {"fakes": FAKES, "seeds": (0, 1, 2), "resources": False} | options
    study = write_study(root, name="odd", **options)
    if change is not None:
        change(root / "results/odd", study)
    return build(study, root)


def cells(study: StudyResults, variant: str) -> dict[str, str]:
    result = table(study, "main")
    at = [item.id for item in study.variants].index(variant)
    return {column.name: cell.text for column, cell in zip(result.columns, result.rows[at], strict=True)}


@pytest.fixture(scope="module")
def clean_run(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(tmp_path_factory.mktemp("clean"))


def test_a_collapsed_seed_of_the_best_variant_is_said_and_left_out(tmp_path: Path, clean_run: Made) -> None:
    odd = made(tmp_path, lambda folder, _: spoil(folder, BEST, (1,)))
    study, whole = odd.results, clean_run.results
    assert ranked(study)[0][0] == BEST and sorted(study.values(BEST)) == [0, 2]
    assert study.layout(BEST).seeds == (0, 2)
    low, high = paired_interval(study, BEST, "fne")
    item, two = (whole.layout(name) for name in (BEST, "fne"))
    at = item.keys.index(study.key())
    requested = (item.influence[item.rows([0, 2]), :, at] - two.influence[two.rows([0, 2]), :, at]).mean()
    assert (math.isnan(low) and math.isnan(high)) or low <= requested <= high
    assert cells(study, BEST)["Seeds"] == "2 of 3"
    note = next(note for note in table(study, "main").notes if note.startswith("Missing runs (1)"))
    assert f"{study[BEST].title}, seed 1: own both rsum has no finite value (evaluate)" in note
    assert any("1 of 12 runs" in sentence for sentence in headline(study))
    for variant in ("fne", BASE, "infonce"):  # nobody else's numbers move
        assert cells(study, variant)["rsum"] == cells(whole, variant)["rsum"]
        assert repr(study.estimate(variant)) == repr(whole.estimate(variant)), "nan counts as equal to nan"
        assert repr(study.contrast(variant)) == repr(whole.contrast(variant))
    words = re.sub(r"<(script|style)\b.*?</\1>", "", odd.page(), flags=re.DOTALL)
    assert not re.search(r"\bnan\b", words, re.IGNORECASE)


def test_a_variant_whose_every_run_collapsed_never_wins(tmp_path: Path, clean_run: Made) -> None:
    odd = made(tmp_path, lambda folder, _: spoil(folder, BEST, (0, 1, 2)))
    study = odd.results
    assert BEST not in dict(ranked(study)) and study.layout(BEST) is None
    assert study.estimate(BEST) is None and study.contrast(BEST) is None
    row = cells(study, BEST)
    assert row["Seeds"] == "0 of 3" and row["rsum"] == row["R@1"] == row["Δ baseline"] == "—"
    others = [cells(study, variant) for variant in ("fne", BASE, "infonce")]
    assert others == [cells(clean_run.results, variant) for variant in ("fne", BASE, "infonce")]
    assert not any(clean(study[BEST].title) in sentence for sentence in headline(study))
    for name in ("scores", "contrasts"):
        summary = [text.get_text() for text in study.figure(name).drawing.axes[0].texts]
        assert "no result: own both rsum has no finite value (evaluate)" in summary, "and not that it was not run"


def test_a_baseline_whose_every_run_collapsed_leaves_scores_without_differences(tmp_path: Path) -> None:
    def change(folder: Path, study: Study) -> None:
        spoil(folder, BASE, (0, 1, 2))
        blank = dict.fromkeys(("difference", "low", "high", "p_query", "p_query_holm", "p_seed"), "")
        edit(folder / "contrasts.csv", lambda row: row.update(blank))

    study = made(tmp_path, change).results
    assert {cells(study, variant)["Δ baseline"] for variant in (BEST, "fne", "infonce")} == {"—"}
    assert any("cannot be said" in sentence for sentence in headline(study))
    assert study.figure("contrasts").empty and not study.figure("scores").empty


def test_one_seed_gives_means_without_intervals_and_no_verdict(tmp_path: Path) -> None:
    def change(folder: Path, _: Study) -> None:  # as `compare` writes them of one seed
        empty = dict.fromkeys(ENDS, "") | {"method": "none: 1 seed cannot show how much a mean varies"}
        edit(folder / "intervals.csv", lambda row, empty=empty: row.update(empty))
        empty = {"low": "", "high": "", "p_seed": "1.0", "p_seed_floor": "1.0"}
        edit(folder / "contrasts.csv", lambda row, empty=empty: row.update(empty))

    odd = made(tmp_path, change, seeds=(3,))
    study = odd.results
    main = table(study, "main")
    assert not any(cell.strong for row in main.rows for cell in row), "nothing is best by one seed"
    summary = " ".join(headline(study))
    assert "1 seed cannot show whether that is chance" in summary and "beats the baseline" not in summary
    assert "interval" not in summary
    assert "No bars: 1 seed in common cannot show whether a difference is chance." in study.figure("contrasts").caption
    assert "nan" not in (odd.reports / "tables/main.md").read_text("utf-8").lower()


def test_thousands_of_missing_runs_are_counted_and_some_named(
    paper: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from fne.report.tables import main as table_main

    monkeypatch.setattr(table_main, "MOST_NAMED", 2)
    missing = tuple((BEST, seed, "train", f"reason {seed}") for seed in (0, 1, 2))
    study = write_study(tmp_path, fakes=FAKES, seeds=(0, 1, 2), missing=missing, resources=False)
    results = load(study, tmp_path)
    note = table(results, "main").notes[-1]
    title = results[BEST].title
    assert note == f"Missing runs (3): {title}, seed 0: reason 0 (train), {title}, seed 1: reason 1 (train) and 1 more."
    row = next(row for row in table(results, "main").records if row["variant"] == BEST)
    assert row["missing"].count("reason") == 3, "the file leaves out none"

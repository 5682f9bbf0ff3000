"""Two bundles side by side: numbers under one protocol only, orders across data sets, the rest refused."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fne import cli
from fne.analysis.rank_correlation import kendall, spearman
from fne.results.bundle import Bundle
from fne.results.study import StudyResults, load
from fne.steps.export import run as export
from fne.steps.side_by_side import open_results, put, run
from fne.utils.errors import UserError
from fne.utils.files import read_json, write_json
from tests.report.synthetic import PAPER, study_of
from tests.results.made import SMALL, make


def bundle(folder: Path, name: str = "four", **changes: object) -> Path:
    return export(make(folder / "project", name, **changes), folder / "project", folder / f"{name}.zip", "csv")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle(tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another study under the same protocol: a variant more, one fewer, and other scores."""
    fakes = [replace(fake, rsum=fake.rsum + 7 * place) for place, fake in enumerate(PAPER) if fake.id != "random"]
    return bundle(tmp_path_factory.mktemp("second"), "other", fakes=tuple(fakes))


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle(tmp_path_factory.mktemp("elsewhere"), dataset="flickr8k", name="there")


def opened(*places: Path) -> list[Bundle]:
    return [open_results(str(place), Path("nowhere")) for place in places]


def test_the_rows_are_what_each_bundle_says(first: Path, second: Path) -> None:
    a, b = opened(first, second)
    made = put(a, b, orderings=False)
    shared = [fake.id for fake in SMALL if fake.id != "random"]
    assert [row["variant"] for row in made.rows] == shared
    for side, name in (("a", first), ("b", second)):
        results = load_from(name)
        means = {variant: np.mean(list(results.values(variant).values())) for variant in shared}
        for row in made.rows:
            variant, estimate = row["variant"], results.estimate(row["variant"])
            assert row[f"{side}_score"] == pytest.approx(means[variant])
            assert (row[f"{side}_low"], row[f"{side}_high"]) == (estimate.low, estimate.high)
            assert row[f"{side}_rank"] == 1 + sum(mean > means[variant] for mean in means.values())
            contrast = results.contrast(variant)
            wanted = contrast.difference if contrast else np.nan
            assert row[f"{side}_difference"] == pytest.approx(wanted, nan_ok=True)
    scores = [np.array([row[f"{side}_score"] for row in made.rows]) for side in ("a", "b")]
    values = {one.name: one.value for one in made.found}
    assert values["Kendall"] == pytest.approx(float(kendall(*scores)))
    assert values["Spearman"] == pytest.approx(float(spearman(*scores)))
    assert all("seeds and images" in one.method and one.low <= one.value <= one.high for one in made.found)
    words = "\n".join(made.lines)
    assert "One protocol" in words and "Only in A: random" in words and "Only in B:" in words


def load_from(place: Path) -> StudyResults:
    """The results that a bundle of this file was made from."""
    variants = open_results(str(place), Path("nowhere")).facts["variants"]
    fakes = tuple(fake for fake in PAPER if fake.id in variants)
    return load(study_of(place.stem, fakes, (0, 1, 2, 3, 4), "hardest_in_batch"), place.parent / "project")


def test_other_data_are_compared_by_their_order_only(first: Path, elsewhere: Path) -> None:
    text = run(str(first), str(elsewhere), Path("nowhere"))
    assert "Orders only: the two were not scored alike" in text and "One protocol" not in text
    assert "Spearman's rank correlation of the 4 variants in both: 1.00 [" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ids_sha256": "ff"}, "they differ in ids_sha256"),
        ({"gallery": {"i2t": 5, "t2i": 1}}, "differ in gallery"),
        ({"split": "val"}, "differ in split"),
        ({"tie_rule": "pessimistic"}, "tie_rule 'expected' and 'pessimistic'"),
        ({"precision": "float16"}, "neither numbers nor orders"),
    ],
)
def test_numbers_of_one_data_set_under_two_protocols_are_refused(
    first: Path, tmp_path: Path, change: dict, words: str
) -> None:
    a, b = opened(first, bundle(tmp_path, "apart", **change))
    with pytest.raises(UserError, match=words):
        put(a, b, orderings=False)
    if "ids" in words or "gallery" in words or "split" in words:
        assert put(a, b, orderings=True).lines[2].startswith("Orders only")
    else:
        with pytest.raises(UserError, match="neither numbers nor orders"):
            put(a, b, orderings=True)


def test_metric_definitions_must_agree_across_data_sets_too(first: Path, tmp_path: Path) -> None:
    a, b = opened(first, bundle(tmp_path, "apart", dataset="flickr8k", tie_rule="pessimistic"))
    with pytest.raises(UserError, match="another definition of the metrics"):
        put(a, b, orderings=False)


def altered(place: Path, **facts: object) -> Bundle:
    made = open_results(str(place), Path("nowhere"))
    return replace(made, facts={**made.facts, **facts})


def test_regimes_metrics_and_strangers(first: Path, second: Path) -> None:
    a = opened(first)[0]
    with pytest.raises(UserError, match="another regime"):
        put(a, altered(second, regime="finetune"), orderings=False)
    assert put(a, altered(second, regime="finetune"), orderings=True).rows
    with pytest.raises(UserError, match="primary metrics differ"):
        put(a, altered(second, primary={**a.facts["primary"], "metric": "r1"}), orderings=True)
    with pytest.raises(UserError, match="no fingerprint"):
        put(a, altered(second, protocols={}), orderings=True)
    facts = altered(second).facts
    forged = {**facts["protocols"]["own"], "tie_rule": "none"}
    with pytest.raises(UserError, match="does not belong to its content"):
        put(a, altered(second, protocols={"own": forged}), orderings=True)
    strangers = {f"x{name}": value for name, value in facts["variants"].items()}
    with pytest.raises(UserError, match="share no variant"):
        put(a, altered(second, variants=strangers), orderings=False)


def test_configs_that_differ_are_told(first: Path, second: Path) -> None:
    a, b = opened(first, second)
    variants = {name: {**entry, "config": {**entry["config"], "train": {"learning_rate": 9.0},
                                           "data": {"dataset": "other"}, "audit": {"picks": "none"}}}
                for name, entry in b.facts["variants"].items()}  # fmt: skip
    rows = put(a, replace(b, facts={**b.facts, "variants": variants}), orderings=False).rows
    assert all("train.learning_rate" in row["config_differs"] and "data" not in row["config_differs"] for row in rows)
    assert not any("audit" in row["config_differs"] for row in rows), "what a run keeps of its picks"
    assert all(row["config_differs"] == "" for row in put(a, b, orderings=False).rows)


def test_without_single_images_only_seeds_are_drawn(first: Path, second: Path) -> None:
    a, b = opened(first, second)
    tables = {name: table for name, table in a.tables.items() if name != "images"}
    found = put(replace(a, tables=tables), b, orderings=False).found
    assert all("bootstrap over seeds (" in one.method and np.isfinite(one.low) for one in found)


def test_the_verb_and_its_files(
    first: Path, second: Path, tmp_path: Path, root: Path, capsys: pytest.CaptureFixture
) -> None:
    for suffix in ("csv", "md"):
        argv = ["compare", str(first), str(second), "--out", str(tmp_path / f"x.{suffix}"), "--root", str(root)]
        assert cli.main(argv) == 0
    shown = capsys.readouterr().out
    assert "Kendall's rank correlation of the 3 variants" in shown
    assert "95 % interval by conservative bootstrap" in shown
    with open(tmp_path / "x.csv", newline="") as handle:
        assert len(list(csv.DictReader(handle))) == 3
    assert (tmp_path / "x.md").read_text().startswith("# four beside other\n")
    for argv, words in (
        ([str(first)], "cannot be compared so"),
        ([str(first), str(second), "--study", "paper"], "cannot be compared so"),
        ([str(first), "no_such"], "neither a bundle nor a study"),
        ([str(first), str(second), "--out", "x.txt"], ".csv or .md"),
        ([], "--study"),
    ):
        assert cli.main(["compare", *argv, "--root", str(root)]) == 2
        assert words in capsys.readouterr().err


def test_a_study_of_the_project_is_a_bundle_too(first: Path, tmp_path: Path) -> None:
    (tmp_path / "ablations").mkdir()
    shutil.copytree(Path(__file__).resolve().parents[2] / "ablations", tmp_path / "ablations", dirs_exist_ok=True)
    with pytest.raises(UserError, match="no results of this study yet"):
        run(str(first), "paper", tmp_path)


def test_a_damaged_bundle_names_its_place(first: Path, tmp_path: Path) -> None:
    folder = export(make(tmp_path / "p"), tmp_path / "p", tmp_path / "bundle", "csv")
    write_json(folder / "bundle.json", read_json(folder / "bundle.json") | {"schema": 2})
    with pytest.raises(UserError, match="another schema"):
        run(str(first), str(folder), tmp_path)

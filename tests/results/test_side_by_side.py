"""Two bundles side by side: what differs, A - B where seeds and queries are the same, orders across data sets."""

from __future__ import annotations

import csv
import json
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fne import cli
from fne.analysis.intervals import RESAMPLES, batched_intervals
from fne.analysis.rank_correlation import kendall, spearman
from fne.protocols import finish
from fne.report.text.side_by_side import SideBySide, csv_text, markdown_text, text
from fne.results import bundle as bundles
from fne.results.bundle import Bundle
from fne.results.code import Code
from fne.results.study import StudyResults, load
from fne.steps import aggregate, compare
from fne.steps.export import build
from fne.steps.export import run as export
from fne.steps.side_by_side import open_results, put, run
from fne.utils.errors import UserError
from fne.utils.files import write_json
from tests.analysis import stats_study
from tests.report.synthetic import N_TEST, PAPER, study_of
from tests.results.made import SMALL, make

CODE = "c0de" * 16
READ = ("runs", "intervals", "contrasts", "images")


@pytest.fixture(scope="module", autouse=True)
def one_code() -> Iterator[None]:
    """As if one digest were that of the code of every variant."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Code, "training", lambda self, config: CODE)
        yield


def bundle(folder: Path, name: str = "four", **changes: object) -> Path:
    study = make(folder / "project", name, **changes)
    return export(study, folder / "project", folder / f"{name}.zip")


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
            requested = contrast.difference if contrast else np.nan
            assert row[f"{side}_difference"] == pytest.approx(requested, nan_ok=True)
    scores = [np.array([row[f"{side}_score"] for row in made.rows]) for side in ("a", "b")]
    values = {item.name: item.value for item in made.found}
    assert values["Kendall"] == pytest.approx(float(kendall(*scores)))
    assert values["Spearman"] == pytest.approx(float(spearman(*scores)))
    assert all("seeds and images" in item.method and item.low <= item.value <= item.high for item in made.found)
    words = "\n".join(made.lines)
    assert "With a result in A alone: random" in words and "With a result in B alone: fne_abstract, " in words


def load_from(place: Path) -> StudyResults:
    """The results that a bundle of this file was made from."""
    variants = open_results(str(place), Path("nowhere")).facts["variants"]
    fakes = tuple(fake for fake in PAPER if fake.id in variants)
    return load(study_of(place.stem, fakes, (0, 1, 2, 3, 4), "hardest_in_batch"), place.parent / "project")


def test_other_data_are_compared_by_their_order_only(first: Path, elsewhere: Path) -> None:
    text = run(str(first), str(elsewhere), Path("nowhere"))
    text = " ".join(text.split())
    assert "Orders only, no difference A − B: the two were not scored alike: own differs in dataset" in text
    assert "Spearman's rank correlation of the 4 variants in both: 1.00 [" in text and "A − B: seeds" not in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ids_sha256": "ff"}, "they differ in ids_sha256"),
        ({"tie_rule": "pessimistic"}, "neither numbers nor orders.*tie_rule 'expected' and 'pessimistic'"),
        ({"dataset": "flickr8k", "tie_rule": "pessimistic"}, "another definition of the metrics"),
    ],
)
def test_numbers_of_one_data_set_under_two_protocols_are_refused(
    first: Path, tmp_path: Path, change: dict, words: str
) -> None:
    a, b = opened(first, bundle(tmp_path, "apart", **change))
    with pytest.raises(UserError, match=words):
        put(a, b, orderings=False)
    if "tie_rule" not in change:
        made = put(a, b, orderings=True)
        assert f"Orders only, no difference A − B: the two were not scored alike: own differs in {[*change][0]}" in (
            made.lines
        )
        assert not made.paired and all(np.isnan(row["a_minus_b"]) for row in made.rows)
    else:
        with pytest.raises(UserError, match="neither numbers nor orders"):
            put(a, b, orderings=True)


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
    result = put(without_images(a), b, orderings=False).found
    assert all("bootstrap over seeds (" in item.method and np.isfinite(item.low) for item in result)


def test_the_verb_and_its_files(
    first: Path, second: Path, tmp_path: Path, root: Path, capsys: pytest.CaptureFixture
) -> None:
    for suffix in ("csv", "md"):
        argv = ["compare", str(first), str(second), "--out", str(tmp_path / f"x.{suffix}"), "--root", str(root)]
        assert cli.main(argv) == 0
    shown = capsys.readouterr().out
    assert "Kendall's rank correlation of the 3 variants" in shown
    assert "95 % interval by conservative bootstrap" in " ".join(shown.split())
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


def said(made: SideBySide) -> dict[str, list[str]]:
    """The lines of what differs, by group."""
    result: dict[str, list[str]] = {}
    for line in made.lines:
        if line.startswith("  "):
            result.setdefault(line[2:11].rstrip(), []).append(line[12:])
    return result


def with_config(facts: dict[str, Any], variant: str, **sections: object) -> dict[str, Any]:
    entry = facts["variants"][variant]
    changed = {**entry, "config": {**entry["config"], **sections}}
    return {"variants": {**facts["variants"], variant: changed}}


def test_equal_bundles_differ_in_nothing(first: Path) -> None:
    a, b = opened(first, first)
    made = put(a, b, orderings=False)
    assert "Nothing differs: data, features, code, versions, config and protocol are equal" in made.lines
    assert not said(made) and "Differs" not in text(made)
    assert all((row["a_minus_b"], row["a_minus_b_low"], row["a_minus_b_high"]) == (0, 0, 0) for row in made.rows)
    assert all(row["a_minus_b_seeds"] == 5 for row in made.rows)


ALONE = {
    "data": (
        lambda facts: {"fingerprints": {**facts["fingerprints"], "data.image": "ab" * 32}},
        f"data.image: A {'9f' * 6}, B {'ab' * 6}",
    ),
    "features": (
        lambda facts: {"fingerprints": {**facts["fingerprints"], "features.text": "ab" * 32}},
        f"features.text: A {'2d' * 6}, B {'ab' * 6}",
    ),
    "code": (
        lambda facts: {"variants": {**facts["variants"], "fne": {**facts["variants"]["fne"], "code": "ab" * 32}}},
        f"fne: A {CODE[:12]}, B {'ab' * 6}",
    ),
    "versions": (
        lambda facts: {"packages": {**facts["packages"], "torch": "2.14.0, 2.15.0"}},
        "torch: A 2.13.0, B 2.14.0, 2.15.0",
    ),
    "config": (
        lambda facts: with_config(facts, "fne", regime="head", train={"learning_rate": 9.0}),
        "train.learning_rate of fne: A 0.001, B 9.0",
    ),
    "protocol": (
        lambda facts: {"protocols": {**facts["protocols"], "truth": finish({**facts["protocols"]["truth"], "folds": 3},
                                                                           "expected")}},
        "truth: A ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("group", ALONE)
def test_each_fingerprint_that_differs_alone_is_said(first: Path, group: str) -> None:
    change, words = ALONE[group]
    a = opened(first)[0]
    made = put(a, altered(first, **change(a.facts)), orderings=False)
    result = said(made)
    assert set(result) == {group} and any(line.startswith(words) for line in result[group])
    others = [name for name in ALONE if name != group]
    assert made.lines[2] == "Differs:" or group == "config"
    assert f"Equal: {', '.join(others)}" in made.lines
    shown = " ".join(text(made).split())
    assert "differs in nothing" not in shown and "Nothing differs" not in shown and "One protocol" not in shown
    assert made.paired == (group != "data") == ("A − B: seeds" in shown)
    if group == "data":
        assert "Scores only, no difference A − B: their data differ (data.image)" in made.lines
        assert all(np.isfinite(row["a_score"]) and np.isnan(row["a_minus_b"]) for row in made.rows)
        assert all(row["a_minus_b_note"] == "none: their data differ (data.image)" for row in made.rows)


def test_what_is_not_recorded_is_never_called_equal(first: Path) -> None:
    a = opened(first)[0]
    variants = {name: {key: value for key, value in entry.items() if key != "code"}
                for name, entry in a.facts["variants"].items()}  # fmt: skip
    older = altered(first, variants=variants, fingerprints={}, packages={})
    made = put(a, older, orderings=False)
    assert made.lines[2] == "Differs, or is not recorded:" and "Equal: config, protocol" in made.lines
    assert said(made)["code"] == [f"all 4 variants: A {CODE[:12]}, B not recorded"]
    assert said(made)["data"] == [f"data.image: A {'9f' * 6}, B not recorded"] and not made.paired
    assert any("their data are not known to be the same (data.image)" in line for line in made.lines)
    both = put(older, older, orderings=False)
    assert "Equal: config, protocol" in both.lines and both.paired
    assert said(both)["code"] == ["all 4 variants: A not recorded, B not recorded"]


def test_orderings_show_no_difference(first: Path, second: Path) -> None:
    a, b = opened(first, second)
    made = put(a, b, orderings=True)
    why = "Orders only, no difference A − B: --orderings compares the order of the variants alone"
    assert why in made.lines and not made.paired
    assert not put(a, altered(first, regime="finetune"), orderings=True).paired


def test_a_minus_b_is_that_of_plain_numpy(first: Path, second: Path) -> None:
    a, b = opened(first, second)
    influence, level = {}, 0.0
    for row in put(a, b, orderings=False).rows:
        sides = [load_from(place) for place in (first, second)]
        scores = [side.values(row["variant"]) for side in sides]
        assert row["a_minus_b"] == pytest.approx(np.mean([scores[0][s] - scores[1][s] for s in range(5)]), abs=1e-12)
        layouts = [side.layout(row["variant"]) for side in sides]
        column = layouts[0].keys.index(sides[0].key())
        influence[row["variant"]] = (layouts[0].influence - layouts[1].influence)[:, :, [column]]
        level += row["a_minus_b"]
        assert f"{N_TEST} test images" in row["a_minus_b_note"] and "seeds 0 to 4" in row["a_minus_b_note"]
    requested = batched_intervals(influence, RESAMPLES)
    for row in put(a, b, orderings=False).rows:
        ends = (float(requested[row["variant"]].low[0]), float(requested[row["variant"]].high[0]))
        assert (row["a_minus_b_low"], row["a_minus_b_high"]) == pytest.approx(ends, abs=1e-12)
    swapped = {row["variant"]: row for row in put(b, a, orderings=False).rows}
    for row in put(a, b, orderings=False).rows:
        other = swapped[row["variant"]]
        assert (row["a_minus_b"], row["a_minus_b_low"]) == pytest.approx(
            (-other["a_minus_b"], -other["a_minus_b_high"])
        )
    assert level < 0


def test_a_minus_b_is_what_compare_of_a_study_says_of_a_variant_and_its_baseline(tmp_path: Path) -> None:
    """B is A with the baseline under the variant's name: what differs is their contrast, uneven captions included."""
    study = stats_study.study()
    stats_study.write(tmp_path, study)
    aggregate.run(study, tmp_path)
    compare.run(study, tmp_path)
    a = build(load(study, tmp_path))
    names = {"fne": study.baseline, study.baseline: "fne"}
    b = changed(a, lambda rows: rows.assign(variant=rows["variant"].replace(names)), *READ)
    rows = {row["variant"]: row for row in put(a, b, orderings=False).rows}
    contrast = load(study, tmp_path).contrast("fne")
    result = [rows["fne"][key] for key in ("a_minus_b", "a_minus_b_low", "a_minus_b_high")]
    assert result == pytest.approx([contrast.difference, contrast.low, contrast.high], abs=1e-12)
    assert result[1] < result[0] < result[2] and rows["infonce"]["a_minus_b"] == 0


def changed(made: Bundle, change: Callable[[pd.DataFrame], pd.DataFrame], *names: str) -> Bundle:
    """A bundle with another content of some tables, or of all."""
    tables = {name: change(made.table(name)).to_csv(index=False).encode() for name in names or made.tables}
    return replace(made, tables={**made.tables, **tables})


def without_images(made: Bundle, **facts: object) -> Bundle:
    tables = {name: table for name, table in made.tables.items() if name != "images"}
    return replace(made, tables=tables, facts={**made.facts, **facts})


def by_variant(made: SideBySide) -> dict[str, dict[str, Any]]:
    return {row["variant"]: row for row in made.rows}


def test_seeds_that_only_one_side_has_are_left_out_and_named(first: Path, second: Path) -> None:
    a, b = opened(first, second)
    part = changed(b, lambda rows: rows[(rows["seed"] < 3) | (rows["variant"] != "infonce")], "runs", "images")
    row = by_variant(put(a, part, orderings=False))["infonce"]
    whole = by_variant(put(a, b, orderings=False))["infonce"]
    assert row["a_minus_b_seeds"] == 3 and "seeds 0 to 2; 3 to 4 in A alone; 20 test images" in row["a_minus_b_note"]
    scores = [load_from(place).values("infonce") for place in (first, second)]
    assert row["a_minus_b"] == pytest.approx(np.mean([scores[0][s] - scores[1][s] for s in (0, 1, 2)]))
    assert np.isfinite(row["a_minus_b_low"]) and row["a_minus_b"] != whole["a_minus_b"]
    shown = " ".join(text(put(a, part, orderings=False)).split())
    assert (
        "A − B of fne, hardest_in_batch: seeds 0 to 4;" in shown and "A − B of infonce: seeds 0 to 2; 3 to 4" in shown
    )


def test_two_common_seeds_give_a_difference_without_an_interval(first: Path, second: Path) -> None:
    a, b = opened(first, second)
    made = put(a, changed(b, lambda rows: rows[rows["seed"] < 2], "runs", "images"), orderings=False)
    for row in made.rows:
        assert np.isfinite(row["a_minus_b"]) and np.isnan(row["a_minus_b_low"]) and row["a_minus_b_seeds"] == 2
        assert row["a_minus_b_note"].endswith("no interval: 2 seeds cannot show how much a mean varies")


def test_no_common_seed_gives_no_difference_and_says_so(first: Path, second: Path) -> None:
    a, b = opened(first, second)
    other = changed(b, lambda rows: rows.assign(seed=rows["seed"] + 5), "runs", "images")
    for row in put(a, other, orderings=False).rows:
        assert np.isnan(row["a_minus_b"]) and row["a_minus_b_seeds"] == 0 and np.isfinite(row["b_score"])
        assert row["a_minus_b_note"] == "none: no seed has a result of both; 0 to 4 in A alone; 5 to 9 in B alone"


def test_an_older_bundle_counts_seeds_alone_and_says_why(first: Path, second: Path) -> None:
    a, b = opened(first, second)
    why = "images: 2,000,000 rows, more than 1,000,000"
    older = without_images(b, left_out=[why])
    for row in put(a, older, orderings=False).rows:
        scores = [load_from(place).values(row["variant"]) for place in (first, second)]
        differences = np.array([scores[0][seed] - scores[1][seed] for seed in range(5)])
        half = stats.t.ppf(0.975, 4) * differences.std(ddof=1) / np.sqrt(5)
        ends = (differences.mean() - half, differences.mean() + half)
        result = [row[key] for key in ("a_minus_b", "a_minus_b_low", "a_minus_b_high")]
        assert result == pytest.approx([differences.mean(), *ends])
        assert row["a_minus_b_note"] == (
            f"seeds 0 to 4; B holds no values of single images ({why}); 95 % interval by Student's t over seeds alone, "
            "given these test images"
        )
    few = changed(older, lambda rows: rows[rows["seed"] < 2], "runs")
    note = put(few, a, orderings=False).rows[0]["a_minus_b_note"]
    assert "A holds no values" in note and note.endswith("no interval: 2 seeds cannot show how much a mean varies")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_collapsed_seed_is_left_out(first: Path, second: Path, value: float) -> None:
    a, b = opened(first, second)

    def collapse(rows: pd.DataFrame) -> pd.DataFrame:
        column = "influence" if "influence" in rows else "value"
        return rows.assign(**{column: rows[column].where((rows["variant"] != "fne") | (rows["seed"] != 3), value)})

    for names in (("images",), ("images", "runs")):
        made = put(a, changed(b, collapse, *names), orderings=False)
        row = by_variant(made)["fne"]
        assert np.isfinite([row["a_minus_b"], row["a_minus_b_low"], row["a_minus_b_high"]]).all()
        assert row["a_minus_b_seeds"] == 4 and "seeds 0 to 2 and 4; 3 in A alone" in row["a_minus_b_note"]
        assert by_variant(made)["infonce"]["a_minus_b_seeds"] == 5 and "nan" not in text(made)
    row = by_variant(put(a, changed(without_images(b), collapse, "runs"), orderings=False))["fne"]
    assert row["a_minus_b_seeds"] == 4 and np.isfinite(row["a_minus_b_low"])


DAMAGE = {
    "a row less": (lambda rows: rows[:-1], "not one value for each image, in order"),
    "out of order": (lambda rows: rows[::-1], "not one value for each image"),
    "half a seed": (lambda rows: rows.assign(seed=rows["seed"] + 0.5), "images.csv: seed: holds something else"),
    "words": (lambda rows: rows.assign(influence="x"), "images.csv: influence: holds something else; allowed: float"),
    "no column": (lambda rows: rows.drop(columns="influence"), "images.csv: influence: column is missing"),
    "fewer images": (lambda rows: rows[rows["image"] < N_TEST - 1], "values of 19 images, where .* has those of 20"),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_damaged_values_of_images_are_one_clear_error(first: Path, second: Path, tmp_path: Path, how: str) -> None:
    change, words = DAMAGE[how]
    bundles.write(changed(bundles.read(second), change, "images"), tmp_path / "b.zip", "")
    with pytest.raises(UserError, match=words) as caught:
        run(str(first), str(tmp_path / "b.zip"), tmp_path)
    assert "b.zip" in str(caught.value)


def test_a_bundle_without_a_table_that_is_needed(first: Path) -> None:
    a = opened(first)[0]
    with pytest.raises(UserError, match="runs: table is missing"):
        put(a, replace(a, tables={}), orderings=False)


EVIL = "\x1b[2J\u202eevil\nA: fake|<b>[x](y)*`"


def hostile(made: Bundle, name: str) -> Bundle:
    """The same bundle whose every name and word is one that no terminal should see."""
    facts = json.loads(json.dumps(made.facts))
    facts |= dict.fromkeys(("study", "title", "regime"), EVIL) | {"baseline": name, "left_out": [f"images: {EVIL}"]}
    facts["variants"]["fne"]["config"] |= {"train": {EVIL: [EVIL] * 50}, EVIL: {EVIL: None}}
    facts["variants"]["fne"] |= {"code": EVIL, "title": EVIL}
    facts["variants"] = {name if key == "fne" else key: value for key, value in facts["variants"].items()}
    facts |= {"fingerprints": {EVIL: EVIL, "data.image": EVIL}, "packages": {EVIL: EVIL, "torch": EVIL * 50}}
    facts["protocols"] |= {EVIL: facts["protocols"]["truth"]}
    facts["protocols"]["own"] = finish(
        {**facts["protocols"]["own"], "name": EVIL, "dataset": EVIL, EVIL: 1}, "expected"
    )
    return renamed(replace(made, facts=facts), name)


def renamed(made: Bundle, name: str) -> Bundle:
    """A bundle whose tables call the method by another name."""
    return changed(made, lambda rows: rows.replace({"variant": {"fne": name}}))


@pytest.mark.parametrize("name", [EVIL, "a" * 40 + EVIL, "雪" * 70])
def test_hostile_words_reach_no_terminal(first: Path, tmp_path: Path, name: str) -> None:
    a = hostile(opened(first)[0], name)
    b = replace(a, facts={**a.facts, "packages": {"torch": "1"}, "fingerprints": {}})
    for pair in ((a, a), (a, b), (opened(first)[0], a), (a, without_images(b))):
        made = put(*pair, orderings=pair[0] is not a)
        for shown in (text(made), markdown_text(made)):
            assert not {unicodedata.category(letter) for letter in shown} & {"Cs"} and "\u202e" not in shown
            assert not [letter for letter in shown if unicodedata.category(letter) == "Cc" and letter != "\n"]
            assert "\nA: fake" not in shown
            shown.encode()
        assert max(map(len, text(made).splitlines())) <= 80
        assert not [line for line in markdown_text(made).splitlines() if "<b>" in line.replace("\\<", "")]
        csv_text(made).encode()


def test_a_hostile_error_reaches_no_terminal_either(
    first: Path, tmp_path: Path, root: Path, capsys: pytest.CaptureFixture
) -> None:
    facts = json.loads(json.dumps(opened(first)[0].facts)) | {"schema": 1, "tables": {}}
    facts["fingerprints"]["\x1b[2J"] = 3
    (tmp_path / "b").mkdir()
    write_json(tmp_path / "b" / "bundle.json", facts)
    assert cli.main(["compare", str(first), str(tmp_path / "b"), "--root", str(root)]) == 2
    shown = capsys.readouterr().err
    assert "wrong kind" in shown and "\x1b" not in shown


def test_long_names_stand_above_their_row(first: Path, second: Path) -> None:
    a, b = opened(first, second)
    long = "a_variant_whose_name_is_as_long_as_a_line_of_a_page"

    def rename(made: Bundle) -> Bundle:
        facts = {**made.facts, "variants": {long if key == "fne" else key: value
                                            for key, value in made.facts["variants"].items()}}  # fmt: skip
        return renamed(replace(made, facts=facts), long)

    lines = text(put(rename(a), rename(b), orderings=False)).splitlines()
    assert max(map(len, lines)) <= 80
    place = lines.index(long)
    assert lines[place + 1].startswith("  4") and "[" in lines[place + 1]

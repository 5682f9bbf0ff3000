"""A study's first sentence answers its question, whatever kind of study it is, from its numbers and intervals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fne.report.text import contrast_text
from fne.report.text.contrast_text import answer, attainable, change, oracle_pairs, truth_sentences
from fne.report.text.headline import headline
from fne.report.text.summary import paired_interval
from fne.report.text.wording import signed, span
from fne.results.study import StudyResults, load
from fne.study.api import Study, load_study
from fne.utils.errors import UserError
from tests.report.synthetic import PAPER, Fake, study_of, write_study

SEEDS = (0, 1, 2, 3, 4)
BY_ID = {fake.id: fake for fake in PAPER}
BASE = BY_ID["hardest_in_batch"]
FEW = "in common cannot show whether that is chance)"


def made(
    root: Path, fakes: list[Fake], configs: dict[str, dict[str, Any]], swept: dict[str, dict[str, Any]] | None = None,
    baseline: str = "hardest_in_batch", seeds: tuple[int, ...] = SEEDS,
) -> StudyResults:  # fmt: skip
    """A study of these variants, their configs changed and their sweeps named."""
    study = study_of("kind", tuple(fakes), seeds, baseline)
    changed = {name: {**flat, **configs.get(name, {})} for name, flat in study.configs.items()}
    library = dict(study.library)
    for name, values in (swept or {}).items():
        library[name] = library[name].model_copy(update={"parent": baseline, "swept": values})
    study = replace(study, configs=changed, library=library)
    write_study(root, fakes=tuple(fakes), study=study, resources=False)
    return load(study, root)


def difference(study: StudyResults, variant: str, base: str, *key: str) -> str:
    """With its interval, from plain values."""
    mine, its = (study.values(name, *key) for name in (variant, base))
    value = sum(mine[seed] - its[seed] for seed in mine) / len(mine)
    return f"{signed(value)}{'' if key else ' rsum'} {span(*paired_interval(study, variant, base, *key), sign=True)}"


def ceiling(root: Path, gain: float = 60.0, seeds: tuple[int, ...] = SEEDS) -> StudyResults:
    fakes = [BASE, replace(BASE, id="b_remove", title="B, oracle", rsum=BASE.rsum + gain),
             replace(BASE, id="b_only", title="B, floor", rsum=BASE.rsum - gain)]  # fmt: skip
    oracles = {"b_remove": {"negatives.oracle": "remove"}, "b_only": {"negatives.oracle": "only"}}
    return made(root, fakes, {BASE.id: {"negatives.oracle": "none"}} | oracles, seeds=seeds)


def test_a_ceiling_says_what_oracles_gain_and_lose(tmp_path: Path) -> None:
    study = ceiling(tmp_path)
    up, down = (difference(study, name, BASE.id) for name in ("b_remove", "b_only"))
    assert up[0] == "+" and down[0] == "−"
    assert headline(study)[0] == (
        f"The ceiling, never picking a false negative, changes {BASE.title} by {up} (a gain); the floor, always "
        f"picking one where there is one, changes {BASE.title} by {down} (a loss)."
    )
    pairs = {("b_remove", BASE.id, "remove"), ("b_only", BASE.id, "only")}
    assert set(oracle_pairs(study)) == pairs and [name for name, _ in attainable(study)] == [BASE.id]
    configs = {**study.definition.configs}
    configs["b_only"] = {**configs["b_only"], "train.learning_rate": 0.5}
    apart = StudyResults(replace(study.definition, configs=configs), tmp_path)
    assert oracle_pairs(apart) == [("b_remove", BASE.id, "remove")], "tuned apart it says nothing of the truth"


@pytest.mark.parametrize("kind", ["exact", "equal_captions"])
def test_a_ceiling_says_what_all_true_matches_say_where_all_are_known(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = ceiling(tmp_path)
    monkeypatch.setattr(contrast_text, "truth_kind", lambda study, split: kind)
    whole, brief = truth_sentences(study)[1:], answer(study)[1:]
    if kind != "exact":
        assert not whole and not brief
        return
    assert "the ceiling" in brief[0] and "the floor" not in brief[0], "the answer is short; the page has the rest"
    for variant in ("b_remove", "b_only"):
        each = [difference(study, variant, BASE.id, "map_at_r", way, "truth") for way in ("i2t", "t2i")]
        assert f"changes {BASE.title} by {' / '.join(each)}" in whole[0]


def test_an_interval_that_includes_zero_and_too_few_seeds_claim_nothing(tmp_path: Path) -> None:
    assert headline(ceiling(tmp_path / "a", 0.0))[0].count("(no difference is shown)") == 2
    first = headline(ceiling(tmp_path / "b", seeds=(0, 1)))[0]
    assert first.count(f"(2 seeds {FEW}") == 2 and "[" not in first


@pytest.mark.parametrize("name", ["ceiling", "literature"])
def test_the_oracles_of_the_studies_have_their_bases(name: str, root: Path) -> None:
    """Tuned values are those of the base, so that what the two differ in is what the truth is worth."""
    study: Study = load_study(name, root=root)
    result = {(variant, base) for variant, base, _ in oracle_pairs(StudyResults(study, root))}
    oracles = {variant for variant in study.variants if study.configs[variant]["negatives.oracle"] != "none"}
    assert {variant for variant, _ in result} == oracles
    assert all(variant.rpartition("_oracle_")[0] == base for variant, base in result)


def rivals(root: Path, fne: float, seeds: tuple[int, ...] = SEEDS) -> StudyResults:
    names = (BASE.id, "random", "infonce", "sum_of_hinges", "fne")
    fakes = [replace(BY_ID[name], rsum=fne if name == "fne" else 400 + 20 * place) for place, name in enumerate(names)]
    rules = dict(zip(names, ("semi_hard", "random", "simans", "gist"), strict=False))
    configs = {name: {"negatives.strategy": rule} for name, rule in rules.items()}
    return made(root, fakes, configs, seeds=seeds)


def test_rivals_are_ranked(tmp_path: Path) -> None:
    study = rivals(tmp_path / "a", 430)
    first = headline(study)[0]
    mean = sum(study.values("sum_of_hinges").values()) * 20
    assert first.startswith(f"Of 5 rules, {BY_ID['sum_of_hinges'].title} has the best mean rsum, {mean:.1f} [")
    second = study.definition.library[attainable(study)[1][0]].title
    assert f"; against the runner-up, {second}: +" in first
    rank = [name for name, _ in attainable(study)].index("fne") + 1
    behind = change(study, "fne", "sum_of_hinges")
    assert (
        first.endswith(f"; FNE (released rule) ranks {rank} of 5, against the best: {behind}.") and "(a loss" in behind
    )
    first = headline(rivals(tmp_path / "b", 560))[0]
    assert first.startswith("Of 5 rules, FNE (released rule) has the best mean") and "ranks" not in first
    first = headline(rivals(tmp_path / "c", 430, seeds=(0,)))[0]
    assert first.endswith(f"(1 seed {FEW}.") and "no difference" not in first and "nan" not in first


def sweep(root: Path, top: float, axes: dict[str, list[float]]) -> StudyResults:
    base, fakes, swept = BY_ID["fne"], [BY_ID["fne"]], {}
    for stem, scores in axes.items():
        for place, score in enumerate(scores):
            name = f"{stem}--x-{place}"
            keys = ("memory.size", "memory.momentum") if stem == "grid" else (f"negatives.{stem}",)
            swept[name] = {key: place for key in keys}
            fakes.append(replace(base, id=name, title=f"{stem} {place}", rsum=base.rsum + score + top * (place == 2)))
    return made(root, fakes, swept, swept, baseline="fne")


def test_a_sweep_says_its_strongest_axis_and_whether_a_point_beats_the_default(tmp_path: Path) -> None:
    study = sweep(tmp_path / "a", 0.0, {"tau": [-90.0, -10.0, -2.0], "prior": [-8.0, -4.0, -3.0]})
    first = headline(study)[0]
    best = max(("fne", "tau--x-1", "tau--x-2"), key=lambda name: sum(study.values(name).values()))
    assert first.startswith(
        f"Of 2 axes, negatives.tau spreads the score most: {difference(study, best, 'tau--x-0')} (a"
    )
    title = study.definition.library[best].title
    assert f" from tau 0 to {title}, the ends of 4 points, picked by these scores; after Holm, no point is" in first
    study = sweep(tmp_path / "b", 70.0, {"tau": [-9.0, 0.0, 0.0], "prior": [-8.0, -4.0, -60.0]})
    contrast = study.contrast("tau--x-2")
    assert contrast.low > 0 and contrast.p_holm < 0.05
    assert "points beat FNE (released rule), most tau 2: +" in headline(study)[0]


def test_a_grid_says_its_best_point_and_how_many_are_worse(tmp_path: Path) -> None:
    study = sweep(tmp_path, 0.0, {"grid": [-40.0, -3.0, -20.0]})
    first = answer(study)[0]
    assert first.startswith("memory.size x memory.momentum spreads the score: +") and "best point, grid 1: −" in first
    result = [study.contrast(f"grid--x-{place}") for place in range(3)]
    behind = sum(item.high < 0 and item.p_holm < 0.05 for item in result)
    assert behind and f", and {behind} of 3 are shown to be worse;" in first


def test_a_sweep_that_moves_nothing_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contrast_text, "paired_interval", lambda *which: (-0.01, 0.02))
    assert "[−1.0, +2.0] (no difference is shown) from " in answer(sweep(tmp_path, 0.0, {"grid": [0.0, 0.1]}))[0]


def test_an_ablation_keeps_its_own_first_sentence(tmp_path: Path) -> None:
    study = made(tmp_path, list(PAPER), {})
    assert answer(study) == [] and headline(study)[0].startswith("FNE (released rule) beats")


def test_numbers_of_another_config_are_refused_before_anything_is_said(tmp_path: Path) -> None:
    study = rivals(tmp_path, 430)
    changed = {**study.definition.configs}
    changed["fne"] = {**changed["fne"], "negatives.tau": 7.0}
    other = StudyResults(replace(study.definition, configs=changed), tmp_path)
    with pytest.raises(UserError, match=r"runs\.csv: digest: the numbers of variant 'fne' are of another config"):
        headline(other)

"""A study's first sentence answers its question, whatever kind of study it is, from its numbers and intervals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fne.report.text import contrast_text
from fne.report.text.contrast_text import answer, attainable, oracle_pairs, truth_sentences
from fne.report.text.headline import headline
from fne.report.text.summary import paired_interval
from fne.report.text.wording import signed, span
from fne.results.study import StudyResults, load
from fne.study.api import Study, load_study
from fne.utils.errors import UserError
from tests.report.synthetic import PAPER, Fake, study_of, write_study

SEEDS = (0, 1, 2, 3, 4)
BY_ID = {fake.id: fake for fake in PAPER}


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


def numbers(study: StudyResults, variant: str, base: str) -> str:
    mine, its = study.values(variant), study.values(base)
    value = 100 * sum(mine[seed] - its[seed] for seed in mine) / len(mine)
    return f"{'+' if value > 0 else '−'}{abs(value):.1f} rsum ["


def ceiling(root: Path, gain: float = 60.0, seeds: tuple[int, ...] = SEEDS) -> StudyResults:
    base = BY_ID["hardest_in_batch"]
    fakes = [base, replace(base, id="b_remove", title="B, oracle", rsum=base.rsum + gain),
             replace(base, id="b_only", title="B, floor", rsum=base.rsum - gain)]  # fmt: skip
    oracles = {"b_remove": {"negatives.oracle": "remove"}, "b_only": {"negatives.oracle": "only"}}
    return made(root, fakes, {"hardest_in_batch": {"negatives.oracle": "none"}} | oracles, seeds=seeds)


def test_a_ceiling_tells_what_oracles_gain_and_lose(tmp_path: Path) -> None:
    study = ceiling(tmp_path)
    first = headline(study)[0]
    title = BY_ID["hardest_in_batch"].title
    up, down = (numbers(study, name, "hardest_in_batch") for name in ("b_remove", "b_only"))
    assert up[0] == "+" and down[0] == "−"
    assert first.startswith(f"The ceiling, never picking a false negative, changes {title} by {up}")
    assert f"] (a gain); the floor, always picking one where there is one, changes {title} by {down}" in first
    assert first.endswith("] (a loss).")
    assert not any("mAP@R" in sentence for sentence in headline(study)), "how truth is known stands with the data"


@pytest.mark.parametrize("kind", ["exact", "equal_captions"])
def test_a_ceiling_tells_what_all_true_matches_say_where_all_are_known(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = ceiling(tmp_path)
    monkeypatch.setattr(contrast_text, "truth_kind", lambda study, split: kind)
    summary = [sentence for sentence in truth_sentences(study) if "mAP@R" in sentence]
    (brief,) = [sentence for sentence in answer(study) if "mAP@R" in sentence] or [""]
    if kind != "exact":
        assert not summary and not brief
        return
    assert "the ceiling" in brief and "the floor" not in brief, "the answer is short; the page has the rest"
    title = BY_ID["hardest_in_batch"].title
    for variant in ("b_remove", "b_only"):
        each = []
        for direction in ("i2t", "t2i"):
            mine, its = (study.values(item, "map_at_r", direction, "truth") for item in (variant, "hardest_in_batch"))
            value = 100 * sum(mine[seed] - its[seed] for seed in mine) / len(mine)
            low, high = paired_interval(study, variant, "hardest_in_batch", "map_at_r", direction, "truth")
            each.append(f"{signed(value / 100)} {span(low, high, sign=True)}")
        assert f"changes {title} by {' / '.join(each)}" in summary[0]


def test_a_ceiling_without_an_effect_claims_none(tmp_path: Path) -> None:
    assert headline(ceiling(tmp_path, 0.0))[0].count("(no difference is shown)") == 2


def test_a_ceiling_of_two_seeds_has_no_interval(tmp_path: Path) -> None:
    first = headline(ceiling(tmp_path, seeds=(0, 1)))[0]
    assert first.count(" seeds in common cannot show whether that is chance)") == 2 and "[" not in first


def test_oracles_are_found_by_their_config_and_are_no_rivals(tmp_path: Path) -> None:
    study = ceiling(tmp_path)
    pairs = {("b_remove", "hardest_in_batch", "remove"), ("b_only", "hardest_in_batch", "only")}
    assert set(oracle_pairs(study)) == pairs
    assert [name for name, _ in attainable(study)] == ["hardest_in_batch"]


@pytest.mark.parametrize("name", ["ceiling", "literature"])
def test_the_oracles_of_the_studies_have_their_bases(name: str, root: Path) -> None:
    """Tuned values are those of the base, so that what the two differ in is what the truth is worth."""
    study: Study = load_study(name, root=root)
    result = {(variant, base) for variant, base, _ in oracle_pairs(StudyResults(study, root))}
    oracles = {variant for variant in study.variants if study.configs[variant]["negatives.oracle"] != "none"}
    assert {variant for variant, _ in result} == oracles
    assert all(variant.rpartition("_oracle_")[0] == base for variant, base in result)


def test_an_oracle_that_was_tuned_apart_says_nothing_of_the_truth(tmp_path: Path) -> None:
    study = ceiling(tmp_path)
    configs = {**study.definition.configs}
    configs["b_only"] = {**configs["b_only"], "train.learning_rate": 0.5}
    apart = StudyResults(replace(study.definition, configs=configs), tmp_path)
    assert oracle_pairs(apart) == [("b_remove", "hardest_in_batch", "remove")]


def rivals(root: Path, fne: float, seeds: tuple[int, ...] = SEEDS) -> StudyResults:
    names = ("hardest_in_batch", "random", "infonce", "sum_of_hinges", "fne")
    fakes = [replace(BY_ID[name], rsum=fne if name == "fne" else 400 + 20 * place) for place, name in enumerate(names)]
    rules = dict(zip(names, ("semi_hard", "random", "simans", "gist"), strict=False))
    configs = {name: {"negatives.strategy": rule} for name, rule in rules.items()}
    return made(root, fakes, configs, seeds=seeds)


def test_rivals_of_one_seed_have_a_gap_without_an_interval_and_no_verdict(tmp_path: Path) -> None:
    first = headline(rivals(tmp_path, 430, seeds=(0,)))[0]
    assert first.endswith(" from the best, 1 seed in common cannot show whether that is chance.")
    assert "no difference" not in first and "nan" not in first


def test_rivals_tell_the_best_and_where_fne_ranks(tmp_path: Path) -> None:
    study = rivals(tmp_path, 430)
    first = headline(study)[0]
    mean = sum(study.values("sum_of_hinges").values()) * 20
    assert first.startswith(f"Of 5 rules, {BY_ID['sum_of_hinges'].title} retrieves best: {mean:.1f} [")
    assert "] rsum, ahead of the runner-up" in first or "] rsum; FNE" in first
    assert "; FNE (released rule) ranks 3 of 5: " in first or "; FNE (released rule) ranks 2 of 5: " in first
    gap = numbers(study, "fne", "sum_of_hinges").replace(" rsum", "")
    assert f", {gap}" in first and first.endswith("from the best.")
    assert not [words for words in headline(study) if words.startswith("Best mean")]


def test_fne_may_be_the_best_rival(tmp_path: Path) -> None:
    first = headline(rivals(tmp_path, 560))[0]
    assert first.startswith("Of 5 rules, FNE (released rule) retrieves best: ") and "ranks" not in first
    assert "ahead of the runner-up" in first and first.endswith("beyond what seeds and images explain.")


def sweep(root: Path, top: float, axes: dict[str, list[float]]) -> StudyResults:
    base, fakes, swept = BY_ID["fne"], [BY_ID["fne"]], {}
    configs = {}
    for stem, scores in axes.items():
        for place, score in enumerate(scores):
            name = f"{stem}--x-{place}"
            keys = ("memory.size", "memory.momentum") if stem == "grid" else (f"negatives.{stem}",)
            swept[name] = {key: place for key in keys}
            configs[name] = {key: place for key in keys}
            fakes.append(replace(base, id=name, title=f"{stem} {place}", rsum=base.rsum + score + top * (place == 2)))
    return made(root, fakes, configs, swept, baseline="fne")


def test_a_sweep_tells_its_strongest_axis_and_whether_a_point_beats_the_default(tmp_path: Path) -> None:
    study = sweep(tmp_path, 0.0, {"tau": [-90.0, -10.0, -2.0], "prior": [-8.0, -4.0, -3.0]})
    first = headline(study)[0]
    best = max(("fne", "tau--x-1", "tau--x-2"), key=lambda name: sum(study.values(name).values()))
    title = study.definition.library[best].title
    assert first.startswith(f"Of 2 axes, negatives.tau moves the score most: {numbers(study, best, 'tau--x-0')}")
    assert f"] from tau 0 to {title}, the ends of 4 points, picked by these scores; no point is shown to beat" in first


def test_a_sweep_with_a_better_point_says_so_after_holm(tmp_path: Path) -> None:
    study = sweep(tmp_path, 70.0, {"tau": [-9.0, 0.0, 0.0], "prior": [-8.0, -4.0, -60.0]})
    first = headline(study)[0]
    contrast = study.contrast("tau--x-2")
    assert contrast.low > 0 and contrast.p_holm < 0.05
    assert "points beat FNE (released rule), most tau 2: +" in first and first.endswith("after Holm.")


def test_a_grid_tells_its_best_point(tmp_path: Path) -> None:
    study = sweep(tmp_path, 0.0, {"grid": [-40.0, -3.0, -20.0]})
    first = answer(study)[0]
    assert first.startswith("memory.size x memory.momentum moves the score: +")
    assert "the best point, grid 1, has" in first
    result = [study.contrast(f"grid--x-{place}") for place in range(3)]
    behind = sum(item.high < 0 and item.p_holm < 0.05 for item in result)
    assert behind and f"after Holm, and {behind} of 3 are shown to be worse; the best" in first


@pytest.mark.parametrize(("axes", "words"), [
    ({"grid": [0.0, 0.1, 0.0]}, "memory.size x memory.momentum is not shown to move the score: +"),
    ({"tau": [0.0, 0.1], "prior": [0.0, 0.0]}, "spreads the score most, but not beyond what seeds and images "),
])  # fmt: skip
def test_a_sweep_that_moves_nothing_says_so(
    axes: dict[str, list[float]], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contrast_text, "paired_interval", lambda *which: (-0.01, 0.02))
    first = answer(sweep(tmp_path, 0.0, axes))[0]
    assert words in first and "[−1.0, +2.0] from " in first and "moves" not in first


def test_an_ablation_keeps_its_own_first_sentence(tmp_path: Path) -> None:
    study = made(tmp_path, list(PAPER), {})
    assert answer(study) == [] and headline(study)[0].startswith("FNE (released rule) beats")


def test_numbers_of_another_config_are_refused_before_anything_is_said(tmp_path: Path) -> None:
    study = rivals(tmp_path, 430)
    changed = {**study.definition.configs}
    changed["fne"] = {**changed["fne"], "negatives.tau": 7.0}
    other = StudyResults(replace(study.definition, configs=changed), tmp_path)
    summary = r"runs\.csv: digest: the numbers of variant 'fne' are of another config .*--set"
    with pytest.raises(UserError, match=summary):
        headline(other)

"""Figures draw what the files say, repeat byte for byte, and say when there is nothing to draw."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fne.report.figures import registry as figures
from fne.report.figures.curves import per_epoch, shaded, window
from fne.report.figures.picks import rates
from fne.report.figures.populations import Populations, drawn, normal, populations, posterior, too_few, usable, visible
from fne.report.figures.style import COLUMNS
from fne.report.text.summary import by_hardness
from fne.utils.errors import UserError
from tests.report.conftest import Made
from tests.report.synthetic import HOSTILE


def points(axes: object) -> np.ndarray:
    """All points of all scatter plots of an axes."""
    result = [collection.get_offsets() for collection in axes.collections if len(collection.get_offsets())]
    return np.concatenate(result)


def test_every_figure_is_there_twice_and_readable(paper: Made) -> None:
    for name in figures.FIGURES:
        root = ElementTree.parse(paper.reports / "figures" / f"{name}.svg").getroot()
        assert root.tag.endswith("svg")
        with Image.open(paper.reports / "figures" / f"{name}.png") as picture:
            assert picture.width == 880 and picture.height > 200


def test_the_same_numbers_give_the_same_bytes(hostile: Made, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in sorted(hostile.reports.rglob("*")) if path.is_file()}
    from tests.report.conftest import build

    build(hostile.study, hostile.root)
    after = {path: path.read_bytes() for path in sorted(hostile.reports.rglob("*")) if path.is_file()}
    assert list(before) == list(after)
    assert [path.name for path in before if before[path] != after[path]] == []


@pytest.mark.parametrize("column", COLUMNS)
def test_figures_for_a_paper_repeat_and_embed_their_fonts(paper: Made, tmp_path: Path, column: str) -> None:
    """Exactly as wide as the column; the same bytes again."""
    (file,) = figures.draw(paper.results, "scores", column).save(tmp_path / "one", ["pdf"])
    (again,) = figures.draw(paper.results, "scores", column).save(tmp_path / "two", ["pdf"])
    content = file.read_bytes()
    assert content == again.read_bytes() and b"CreationDate" not in content and b"Matplotlib" not in content
    assert b"/FontFile2" in content and b"/Type3" not in content
    (left, _, right, _) = map(float, re.search(rb"/MediaBox \[([^]]*)\]", content).group(1).split())
    assert (right - left) / 72 == pytest.approx(COLUMNS[column], abs=1e-4)


def test_captions_tell_question_protocol_seeds_and_interval(paper: Made) -> None:
    words = {entry["id"]: entry for entry in json.loads((paper.reports / "figures/captions.json").read_text("utf-8"))}
    assert list(words) == list(figures.FIGURES)
    for entry in words.values():
        assert entry["question"].endswith("?") and entry["title"] and entry["alt"]
    for name in ("scores", "contrasts"):
        assert "only the image's own captions are right" in words[name]["caption"]
        assert "5 seeds per variant (Hardest in batch and buffer: 4)" in words[name]["caption"]
    assert "95 % interval given this encoder, world and tuning, by hierarchical bootstrap" in words["scores"]["caption"]
    assert "every relevant pair is known exactly" in words["picks"]["caption"]
    assert "0.0001" in words["distributions"]["caption"]


def test_scores_show_every_seed_mean_and_interval(paper: Made) -> None:
    axes = figures.draw(paper.results, "scores").drawing.axes[0]
    drawn = points(axes)[:, 0]
    for variant in paper.results.variants:
        values = [100 * value for value in paper.results.values(variant.id).values()]
        for value in [*values, float(np.mean(values))]:
            assert np.isclose(drawn, value).any()
    assert len(drawn) == 49 + 10
    bars = [
        line.get_xdata()
        for line in axes.lines
        if len(line.get_xdata()) == 2 and line.get_xdata()[0] != line.get_xdata()[1]
    ]
    requested = [paper.results.estimate(variant.id) for variant in paper.results.variants]
    assert np.allclose(sorted(map(tuple, bars))[0], min((100 * item.low, 100 * item.high) for item in requested))
    dashed = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"]
    assert np.allclose(dashed, 100 * np.mean([*paper.results.values(paper.study.baseline).values()]))


def test_hollow_diamonds_where_nothing_is_shown(paper: Made) -> None:
    axes = figures.draw(paper.results, "contrasts").drawing.axes[0]
    hollow = 0
    for collection in axes.collections:
        difference = collection.get_offsets()[0][0] / 100
        result = next(
            c
            for v in paper.results.variants
            if (c := paper.results.contrast(v.id)) and np.isclose(c.difference, difference)
        )
        is_hollow = np.allclose(collection.get_facecolor()[0][:3], 1.0)
        assert is_hollow != result.separated
        hollow += is_hollow
    assert 0 < hollow < 9
    low, high = axes.get_xlim()
    assert low < 0 < high


def test_posterior_is_bayes_rule_over_two_normals() -> None:
    fit = {"pos_mean": 0.6, "pos_var": 0.01, "neg_mean": 0.4, "neg_var": 0.02}
    for x in (-0.2, 0.1, 0.45, 0.6, 0.99):
        plus = np.exp(-((x - 0.6) ** 2) / 0.02) / np.sqrt(2 * np.pi * 0.01)
        minus = np.exp(-((x - 0.4) ** 2) / 0.04) / np.sqrt(2 * np.pi * 0.02)
        assert posterior(np.array([x]), fit, 1e-4)[0] == pytest.approx(plus / (plus + 9999 * minus), rel=1e-9)
        assert normal(np.array([x]), 0.6, 0.01)[0] == pytest.approx(plus, rel=1e-12)


def test_posterior_never_divides_nothing_by_nothing() -> None:
    sharp = {"pos_mean": 0.9, "pos_var": 1e-7, "neg_mean": -0.9, "neg_var": 1e-7}
    with np.errstate(all="raise"):
        result = posterior(np.linspace(-1, 1, 101), sharp, 1e-4)
    assert np.isfinite(result).all() and result[0] < 1e-300 and result[-1] == 1


@pytest.mark.parametrize("fit", [None, {}, {"pos_var": 0.0, "neg_var": 1.0}, {"pos_var": None, "neg_var": 1.0}])
def test_a_fit_without_spread_is_not_drawn(fit: dict | None) -> None:
    assert not usable(fit)


def test_densities_have_area_one(paper: Made) -> None:
    result = populations(paper.results, "fne")
    for kind in result.counts:
        assert (result.density(kind) * np.diff(result.edges)).sum() == pytest.approx(1)
    low, high = visible(result)
    middles = (result.edges[:-1] + result.edges[1:]) / 2
    total = result.counts["hard_negatives"].sum(axis=0)
    assert total[(middles > low) & (middles < high)].sum() >= 0.998 * total.sum()


def test_the_posterior_figure_shows_the_true_share(paper: Made) -> None:
    lower = figures.draw(paper.results, "distributions").drawing.axes[1]
    shown = {
        round(float(line.get_xdata()[0]), 2): float(line.get_ydata()[0])
        for line in lower.lines
        if line.get_marker() == "o"
    }
    result = populations(paper.results, "fne")
    false, others = (result.counts[kind].sum(axis=0) for kind in ("false_negatives", "all_negatives"))
    middles = (result.edges[:-1] + result.edges[1:]) / 2
    assert len(shown) == (false > 0).sum()
    for place in np.flatnonzero(false):
        assert shown[round(float(middles[place]), 2)] == pytest.approx(false[place] / (false + others)[place])


def test_rates_of_picks_equal_a_loop(paper: Made) -> None:
    rows = paper.results.audit
    rows = rows[rows["variant"] == "hardest_buffer"]
    result = dict(rates(by_hardness(paper.results, "hardest_buffer"), "false_negatives", "picks"))
    for low in sorted(set(rows["bin_low"])):
        hits = picks = 0
        for row in rows.itertuples():
            if row.bin_low == low:
                hits, picks = hits + row.false_negatives, picks + row.picks
        near = [item for x, item in result.items() if abs(x - low - 0.025) < 1e-9]
        assert len(near) == (picks >= 30)
        if near:
            assert (near[0].hits, near[0].total) == (hits, picks)


def test_curves_are_means_of_seeds_per_epoch(paper: Made) -> None:
    curves = per_epoch(paper.results.curves)
    axes = figures.draw(paper.results, "curves").drawing.axes
    assert len(axes) == 3
    mine = curves[(curves["variant"] == "fne") & (curves["epoch"] == 7)]
    expected = 100 * mine["val_rsum"].mean()
    assert any(len(line.get_xdata()) == 16 and np.isclose(line.get_ydata()[7], expected) for line in axes[0].lines)
    share = 100 * np.mean([*mine["fn_share_i2t"], *mine["fn_share_t2i"]])
    assert any(len(line.get_xdata()) == 16 and np.isclose(line.get_ydata()[7], share) for line in axes[2].lines)


def test_the_window_leaves_out_collapsed_seeds_and_the_start(paper: Made) -> None:
    curves = per_epoch(paper.results.curves)
    curves.loc[curves.index[-1], ["val_rsum", "collapsed"]] = [0.01, 1]
    low, high = window(curves, 100)
    assert low > 350 and high >= 100 * curves["val_rsum"].max()


def test_a_collapse_is_crossed_and_named(hostile: Made, paper: Made) -> None:
    assert "No seed did." in figures.draw(hostile.results, "curves").caption
    curves = paper.results.curves
    marked = curves.assign(
        collapsed=((curves["variant"] == "random") & (curves["seed"] == 2) & (curves["epoch"] >= 9)).astype(int)
    )
    study = type(paper.results)(paper.study, paper.root)
    study.__dict__["curves"] = marked
    picture = figures.draw(study, "curves")
    assert "Random negative (seed 2, first in epoch 10, not recovered)" in picture.caption
    assert sum(line.get_marker() == "X" for line in picture.drawing.axes[0].lines) == 1


def test_nothing_to_draw_is_said(lonely: Made) -> None:
    words = {entry["id"]: entry for entry in json.loads((lonely.reports / "figures/captions.json").read_text("utf-8"))}
    assert "the study has one variant" in words["contrasts"]["caption"]
    assert "fits a posterior" in words["distributions"]["caption"]
    assert "no false negative of the train split is known" in words["picks"]["caption"]
    assert len(figures.draw(lonely.results, "curves").drawing.axes) == 2


def test_titles_are_words_not_formulas(hostile: Made) -> None:
    svg = (hostile.reports / "figures/scores.svg").read_text("utf-8")
    assert "<script" not in svg
    texts = [element.text for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}text")]
    assert any(text and HOSTILE[:20] in text for text in texts)


def test_unknown_figure(paper: Made) -> None:
    with pytest.raises(UserError, match="did you mean 'scores'"):
        figures.draw(paper.results, "score")


def test_a_handful_of_known_false_negatives_is_no_density(paper: Made, lonely: Made) -> None:
    result = populations(paper.results, "fne")
    few = np.zeros_like(result.counts["false_negatives"])
    few[0, 60] = 29
    sparse = Populations(result.edges, {**result.counts, "false_negatives": few}, result.fits, result.prior)
    assert [kind for kind, _, _ in drawn(result)] == ["positives", "hard_negatives", "false_negatives"]
    assert [kind for kind, _, _ in drawn(sparse)] == ["positives", "hard_negatives"]
    assert too_few([result]) == "" and "(here 29)" in too_few([sparse])
    assert "(here 0)" in figures.draw(lonely.results, "distributions_all").caption


def test_captions_say_whose_warm_up_is_shaded() -> None:
    rows = [
        {"variant": variant, "epoch": epoch, "phase": "warmup" if epoch < length else "main"}
        for variant, length in {"a": 1, "b": 4, "c": 0}.items()
        for epoch in range(6)
    ]
    frame = pd.DataFrame(rows)
    assert shaded(frame) == " Shaded: warm-up of 2 of 3 variants (at most 4 epochs), before their own rule."
    assert shaded(frame[frame["phase"] == "main"]) == ""

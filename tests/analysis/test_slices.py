"""Slices of the test queries against plain loops over seeds, images and captions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fne.analysis.intervals import hierarchical_intervals
from fne.results import per_query
from fne.results.slices import ALL, COLUMNS, UNKNOWN, parts
from fne.results.study import StudyResults, load
from fne.utils.errors import UserError
from tests.report.synthetic import CAPTIONS, N_TEST, PAPER, write_study

SEEDS = (0, 1, 2, 3)
FAKES = tuple(fake for fake in PAPER if fake.id in ("hardest_in_batch", "fne"))
Ranks = dict[str, dict[str, np.ndarray]]


def overwrite(root: Path, variant: str, seeds: tuple[int, ...], ranks: dict[str, np.ndarray]) -> None:
    """Ranks as a run of these seeds would keep them, and the sums that go with them."""
    (file,) = (root / "results" / "paper" / variant).glob("*/queries.test.npz")
    arrays: dict[str, Any] = {"seeds": np.array(seeds)}
    for direction, result in ranks.items():
        image = np.arange(N_TEST).repeat(CAPTIONS if direction == "t2i" else 1)
        arrays[f"own/{direction}/count"] = np.bincount(image).astype(np.int32)
        arrays[f"own/{direction}/rank"] = result.astype(np.float32)
        for k in (1, 5, 10):
            sums = [np.bincount(image, row <= k, N_TEST) for row in result]
            arrays[f"own/{direction}/r{k}"] = np.stack(sums)
    np.savez(file, **arrays)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyResults, Ranks]:
    root = tmp_path_factory.mktemp("slices")
    study = write_study(root, fakes=FAKES, seeds=SEEDS)
    rng = np.random.default_rng(5)
    ranks: Ranks = {}
    for fake in FAKES:
        ranks[fake.id] = {}
        for direction, size in (("i2t", N_TEST), ("t2i", N_TEST * CAPTIONS)):
            hard = np.random.default_rng(size).random(size)
            ranks[fake.id][direction] = 1 + rng.poisson(12 * hard, (len(SEEDS), size))
        overwrite(root, fake.id, SEEDS, ranks[fake.id])
    return load(study, root), ranks


def plain(study: StudyResults, ranks: Ranks, direction: str, k: int, key: Any) -> dict[Any, dict[str, Any]]:
    """Means, differences and influence values of every slice, query by query."""
    view, truth = study.manifest.split("test"), study.manifest.truth("test")
    queries = []  # (image, own captions, matches)
    if direction == "t2i":
        for caption, text in enumerate(view.texts):
            matches = sum(1 for pair in truth.pairs if pair[1] == caption)
            queries.append((int(view.caption_image[caption]), [text], matches))
    else:
        for image in range(len(view.image_ids)):
            texts = [text for text, owner in zip(view.texts, view.caption_image, strict=True) if owner == image]
            queries.append((image, texts, sum(1 for pair in truth.pairs if pair[0] == image)))
    result: dict[Any, dict[str, Any]] = {}
    for name in {key(*query) for query in queries}:
        inside = [q for q, query in enumerate(queries) if key(*query) == name]
        images = sorted({queries[q][0] for q in inside})
        y = np.zeros((len(SEEDS), len(images)))
        means = {"fne": 0.0, "hardest_in_batch": 0.0}
        for s in range(len(SEEDS)):
            for variant in means:
                means[variant] += sum(ranks[variant][direction][s, q] <= k for q in inside) / len(inside) / len(SEEDS)
            gain = {
                q: float(ranks["fne"][direction][s, q] <= k) - float(ranks["hardest_in_batch"][direction][s, q] <= k)
                for q in inside
            }
            theta = sum(gain.values()) / len(inside)
            for place, image in enumerate(images):
                mine = [q for q in inside if queries[q][0] == image]
                weight = len(images) / len(inside)
                y[s, place] = weight * sum(gain[q] for q in mine) + theta * (1 - weight * len(mine))
        result[name] = {"queries": len(inside), "images": images, **means, "y": y, "theta": y.mean()}
    return result


def length(image: int, texts: list[str], matches: int) -> str:
    return f"{sum(len(text.split()) for text in texts) / len(texts):.3g}"


@pytest.mark.parametrize(
    ("direction", "metric", "by", "key"),
    [
        ("t2i", "r5", "caption_length", length),
        ("i2t", "r10", "true_positives", lambda image, texts, matches: str(matches)),
        ("t2i", "r10", lambda queries: queries.image < 11, lambda image, texts, matches: str(image < 11)),
    ],
)
def test_slices_are_those_of_plain_loops(made: tuple[StudyResults, Ranks], direction, metric, by, key) -> None:
    study, ranks = made
    frame = study.slices("fne", by, metric=metric, direction=direction, resamples=500)
    requested = plain(study, ranks, direction, int(metric[1:]), key)
    assert list(frame.columns) == COLUMNS and list(frame["slice"]) == [*sorted(requested), ALL] and len(requested) > 1
    for row in frame.to_dict("records")[:-1]:
        item = requested[row["slice"]]
        assert (row["queries"], row["images"], row["seeds"]) == (item["queries"], len(item["images"]), len(SEEDS))
        assert row["mean"] == pytest.approx(item["fne"], rel=1e-12)
        assert row["mean_against"] == pytest.approx(item["hardest_in_batch"], rel=1e-12)
        assert row["difference"] == pytest.approx(item["theta"], abs=1e-12)
        if len(item["images"]) >= 10:
            interval = hierarchical_intervals(item["y"][:, :, None], resamples=500)
            assert (row["low"], row["high"]) == pytest.approx((interval.low[0], interval.high[0]), rel=1e-9)
        else:
            assert np.isnan(row["low"]) and row["method"].startswith(f"none: {len(item['images'])} images")
    whole = plain(study, ranks, direction, int(metric[1:]), lambda *query: ALL)[ALL]
    assert frame["difference"].iloc[-1] == pytest.approx(whole["theta"], abs=1e-12)
    shares = frame["queries"][:-1] / frame["queries"].iloc[-1]
    assert (shares * frame["difference"][:-1]).sum() == pytest.approx(frame["difference"].iloc[-1], abs=1e-12)


def test_the_interaction_is_the_slice_minus_the_rest(made: tuple[StudyResults, Ranks]) -> None:
    study, ranks = made
    by = lambda queries: ["even" if len(texts[0].split()) == 15 else "odd" for texts in queries.captions]  # noqa: E731
    frame = study.slices("fne", by, metric="r5", resamples=500)
    even, odd, _ = frame.to_dict("records")
    assert even["interaction"] == pytest.approx(even["difference"] - odd["difference"], abs=1e-12)
    assert even["interaction"] == pytest.approx(-odd["interaction"], abs=1e-12)
    assert even["interaction_low"] < even["interaction"] < even["interaction_high"]


def test_intervals_of_slices_and_interactions_cover() -> None:
    """400 made-up studies of five seeds and 80 images; the seeds are 0 to 399. No slice is truly different."""
    from fne.results.slices import _influence, _interval

    inside_of, covered = ("difference", "low", "high", None), np.zeros(2)
    image = np.arange(80).repeat(3)
    every = np.arange(80)
    for trial in range(400):
        rng = np.random.default_rng(trial)
        long = rng.random(240) < 0.3
        both = rng.normal(0, 0.3, (5, 1)) + rng.normal(0, 1, 80)[image] + rng.normal(0, 1, (5, 240))
        images = np.unique(image[long])
        item = _influence(both, image, long, images)
        other = _influence(both, image, long, every) - _influence(both, image, ~long, every)
        for place, y in enumerate((item, other)):
            result = _interval(inside_of, y, len(images), 300)
            covered[place] += result["low"] <= 0 <= result["high"]
    assert np.all(covered / 400 >= 0.92) and np.all(covered / 400 <= 0.985), covered / 400


def test_numbers_are_parted_by_quantiles_and_equal_ones_stay_together() -> None:
    values = [3, 1, 2, 5, 4, 8, 7, 6]
    names, place = parts(values, 4)
    assert names == ["1 to 2", "3 to 4", "5 to 6", "7 to 8"] and place.tolist() == [1, 0, 0, 2, 1, 3, 3, 2]
    assert parts([5] * 90 + [1, 2, 7, 8, 9], 4)[0] == ["1 to 5", "7 to 9"]
    assert parts([5, 6, 5], 4)[0] == ["5", "6"]
    names, place = parts(values, [2, 6])
    assert names == ["1 to 2", "3 to 6", "7 to 8"] and np.bincount(place).tolist() == [2, 4, 2]
    names, place = parts([np.nan, 1.0, 2.0], 4)
    assert names == ["1", "2", UNKNOWN] and place.tolist() == [2, 0, 1]
    names, place = parts(["b", None, "a", "b"], 4)
    assert names == ["a", "b", UNKNOWN] and place.tolist() == [1, 2, 0, 1]
    assert parts([True, False], 4)[0] == ["False", "True"]
    assert parts([None, None], 4)[0] == [UNKNOWN]


def test_of_images_any_metric_and_only_scored_ones(tmp_path: Path) -> None:
    count = np.array([1, 0, 1, 1], np.int32)
    sums = np.array([[0.5, 0.0, 0.25, 1.0]])
    files = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for file, seed in zip(files, (4, 1), strict=True):
        np.savez(file, seeds=[seed], **{"truth/i2t/count": count, "truth/i2t/map_at_r": sums * seed})
    item = per_query.load(files, "truth", "i2t", "map_at_r")
    assert item.seeds == (1, 4) and item.image.tolist() == [0, 2, 3]
    assert item.values.tolist() == [[0.5, 0.25, 1.0], [2.0, 1.0, 4.0]]
    with pytest.raises(UserError, match="no values per query of this metric.*truth/i2t/map_at_r"):
        per_query.load(files, "truth", "t2i", "map_at_r")
    np.savez(files[1], seeds=[2], **{"truth/i2t/count": count[::-1].cumsum(), "truth/i2t/map_at_r": sums})
    with pytest.raises(UserError, match="other images or queries"):
        per_query.load(files, "truth", "i2t", "map_at_r")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"variant": "fnee"}, "did you mean 'fne'"),
        ({"variant": "hardest_in_batch"}, "against itself.*allowed: fne"),
        ({"metric": "rsum", "direction": "both"}, "unknown direction"),
        ({"by": lambda queries: [texts[0] for texts in queries.captions]}, "too many slices"),
        ({"groups": 0}, "wrong slices"),
    ],
)
def test_errors_say_what_is_wrong(made: tuple[StudyResults, Ranks], asked: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        made[0].slices(**{"variant": "fne", **asked})

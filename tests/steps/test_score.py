"""Scores of other people's models: plain loops as oracle, every form of input alike, and what cannot be used said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from scipy import stats

from fne.analysis.intervals import image_intervals
from fne.cli import main
from fne.results.bundle import read
from fne.steps.score import Scored, score
from fne.steps.side_by_side import put
from fne.utils.errors import UserError

COUNTS = [3, 1, 4, 2, 5, 3, 1, 2, 4, 5, 3, 2]
OWNER = np.repeat(np.arange(len(COUNTS)), COUNTS)
IMAGES, CAPTIONS = [f"im{i}.jpg" for i in range(len(COUNTS))], [f"c{c}" for c in range(len(OWNER))]
IDS = {"image": [IMAGES[i] for i in OWNER], "caption": CAPTIONS}


def embeddings(seed: int = 0, noise: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((len(COUNTS), 8))
    sides = images, images[OWNER] + noise * rng.standard_normal((len(OWNER), 8))
    return tuple((side / np.linalg.norm(side, axis=1, keepdims=True)).astype(np.float32) for side in sides)


def values(made: Scored, model: str = "model") -> dict[tuple[str, str, str], float]:
    rows = made.results.runs
    rows = rows[(rows["variant"] == model) & (rows["seed"] == 0)]
    return dict(zip(zip(rows["protocol"], rows["direction"], rows["metric"], strict=True), rows["value"], strict=True))


def by_loops(images: np.ndarray, captions: np.ndarray) -> dict[tuple[str, str, str], float]:
    """Ranks of the best own item, one query after the other."""
    scores = images.astype(np.float64) @ captions.astype(np.float64).T
    ranks = {
        "i2t": [min(1 + int((row > row[c]).sum()) for c in np.flatnonzero(i == OWNER)) for i, row in enumerate(scores)],
        "t2i": [1 + int((column > column[OWNER[c]]).sum()) for c, column in enumerate(scores.T)],
    }
    result = {
        ("own", side, f"r{k}"): float(np.mean(np.array(of) <= k)) for side, of in ranks.items() for k in (1, 5, 10)
    }
    result["own", "both", "rsum"] = sum(result.values())
    return result | {("own", side, "median_rank"): float(np.median(of)) for side, of in ranks.items()}


def test_scores_equal_plain_loops_in_every_form(tmp_path: Path) -> None:
    """Uneven numbers of captions; rows in other orders where they have ids; a table of ids in another order."""
    images, captions = embeddings()
    expected, scores = by_loops(images, captions), (images.astype(np.float64) @ captions.astype(np.float64).T)
    rng = np.random.default_rng(1)
    p, q = rng.permutation(len(images)), rng.permutation(len(captions))
    names, texts = np.array(IMAGES), np.array(CAPTIONS)
    pd.DataFrame(IDS).to_csv(tmp_path / "ids.csv", index=False)
    np.savez(tmp_path / "both.npz", images=images[p], captions=captions[q], image_ids=names[p], caption_ids=texts[q])
    np.savez(tmp_path / "s.npz", similarities=scores[p][:, q], image_ids=names[p], caption_ids=texts[q])
    np.save(tmp_path / "s.npy", scores)
    save_file({"image_embeds": torch.tensor(images), "text_embeds": torch.tensor(captions)}, tmp_path / "b.safetensors")
    for name, ids, array in (("i", names[p], images[p]), ("t", texts[q], captions[q])):
        pa.parquet.write_table(pa.table({"id": ids, "vector": list(array)}), tmp_path / f"{name}.parquet")
    i2t, t2i = np.argsort(-scores, axis=1), np.argsort(-scores.T, axis=1)
    lists = {"i2t": {names[i]: texts[i2t[i]].tolist() for i in p}, "t2i": {texts[c]: names[t2i[c]].tolist() for c in q}}
    (tmp_path / "r.json").write_text(json.dumps(lists))
    models = {
        "arrays": (torch.tensor(images), captions),
        **{name: str(tmp_path / name) for name in ("both.npz", "s.npz", "s.npy", "b.safetensors", "r.json")},
        "parquet": (tmp_path / "i.parquet", tmp_path / "t.parquet"),
        "scaled": (3 * images, np.linspace(1, 2, len(captions))[:, None] * captions),
        "positions": {"i2t": i2t, "t2i": t2i},
    }
    made = score(models, ids=tmp_path / "ids.csv")
    for model in models:
        assert values(made, model) == pytest.approx(expected, abs=1e-12), model
    assert [note for note in made.notes if "not normalised" in note][0].startswith("scaled")
    order = rng.permutation(len(OWNER))  # captions of an image no longer stand together
    shuffled = {key: [column[row] for row in order] for key, column in IDS.items()}
    first = list(dict.fromkeys(shuffled["image"]))
    again = score(images=images[[IMAGES.index(name) for name in first]], captions=captions[order], ids=shuffled)
    assert values(again) == pytest.approx(expected, abs=1e-12)


def test_an_interval_over_images_has_the_width_of_students_t() -> None:
    values = np.random.default_rng(0).standard_normal((2, 400, 3)) + [0.0, 1.0, 5.0]
    made, expected = image_intervals(values), stats.ttest_1samp(values.mean(axis=0), 0.0).confidence_interval()
    np.testing.assert_allclose(made.high - made.low, expected.high - expected.low)
    np.testing.assert_allclose(made.low, expected.low, atol=0.02)


def test_models_are_compared_and_the_bundle_is_read_by_compare(tmp_path: Path) -> None:
    runs = {"a": [embeddings(seed) for seed in range(3)], "<b>": [embeddings(seed, 2.5) for seed in range(3)]}
    made = score(runs, ids=IDS, baseline="a")
    means = {model: np.mean([by_loops(*run)["own", "both", "rsum"] for run in of]) for model, of in runs.items()}
    contrast = made.results.contrast("<b>")
    assert contrast.difference == pytest.approx(means["<b>"] - means["a"])
    assert contrast.low < contrast.difference < contrast.high and contrast.n_seeds == 3
    assert contrast.p_holm <= 1 and contrast.p_floor == 0.25
    made.save(tmp_path / "out")
    files = {file.name for file in (tmp_path / "out" / "tables").iterdir()}
    assert files == {f"{t}.{form}" for t in ("main", "scores", "contrasts") for form in ("html", "md", "tex", "csv")}
    assert "<b>" not in (tmp_path / "out" / "tables" / "main.html").read_text()
    rows = put(read(tmp_path / "out" / "bundle"), made.bundle, False).rows
    assert [(row["variant"], row["a_minus_b"]) for row in rows] == [("a", 0), ("<b>", 0)]
    assert rows[1]["a_score"] == pytest.approx(means["<b>"])


def test_listed_pairs_and_judgements_are_protocol_truth(tmp_path: Path) -> None:
    images, captions = embeddings()
    (tmp_path / "pairs.csv").write_text("image,caption\nim0.jpg,c9\nim0.jpg,c30\nim7.jpg,c2\n")
    result = values(score(images=images, captions=captions, ids=IDS, relevance={"truth": tmp_path / "pairs.csv"}))
    right = {0: [0, 1, 2, 9, 30], 7: [2, *np.flatnonzero(OWNER == 7)]}
    scores, precision = images.astype(np.float64) @ captions.astype(np.float64).T, []
    for image, relevant in right.items():
        first = np.argsort(-scores[image])[: len(relevant)]
        precision.append(np.isin(first, relevant).mean())
    assert result["truth", "i2t", "r_precision"] == pytest.approx(np.mean(precision))
    judged = tmp_path / "crowd.txt"
    judged.write_text("im0.jpg\tim2.jpg#1\t1\t3\t0\nim3.jpg\tim4.jpg#0\t0\t0\t3\n")
    made = score(images=images, captions=captions, ids=IDS, relevance={"crowdflower": judged})
    described = made.results.protocols["truth"]
    assert described["queries"] == {"i2t": 2, "t2i": 2} and described["relevant_pairs"]["i2t"] == 3 + 2 + 1


def test_a_cut_ranking_ties_what_it_does_not_list_and_says_so() -> None:
    lists = {"i2t": np.array([[5, 6, 7, 8]] * 4), "t2i": np.tile(np.arange(4), (20, 1))}
    made = score({"cut": lists}, dataset="custom")
    assert made.results.values("cut", "r10", "i2t")[0] == pytest.approx((1 + 3 * (1 - _miss(5, 16, 6))) / 4)
    assert any("cut" in note for note in made.notes) and any("No ids" in note for note in made.notes)


def _miss(right: int, tied: int, drawn: int) -> float:
    return float(stats.hypergeom(tied, right, drawn).pmf(0))


def bad(which: str) -> dict:
    """Input that cannot be used."""
    images, captions = embeddings()
    other = {"image_ids": [*IMAGES[:-1], "other.jpg"], "caption_ids": CAPTIONS}
    few = {"image_ids": IMAGES[:-1], "caption_ids": CAPTIONS}
    zero, nan = images.copy(), captions.copy()
    zero[3], nan[7, 2] = 0, np.nan
    return {
        "other ids": {"models": {"a": {"images": images, "captions": captions, **other}}},
        "missing query": {"models": {"a": {"images": images[:-1], "captions": captions, **few}}},
        "not (images, captions)": {"similarities": (images @ captions.T).T},
        "another size": {"similarities": (images @ captions.T)[:, 1:]},
        "swapped": {"images": captions, "captions": images},
        "swapped with ids": {"models": {"a": {"images": captions, "captions": images, "image_ids": CAPTIONS,
                                              "caption_ids": IMAGES}}},
        "no ids": {"images": images, "captions": captions, "ids": None},
        "norm zero": {"images": zero, "captions": captions},
        "nan": {"images": images, "captions": nan},
        "no shared space": {"images": images[:, 1:], "captions": captions},
        "primary": {"images": images, "captions": captions, "primary": {"protocol": "eccv"}},
    }[which]  # fmt: skip


@pytest.mark.parametrize(
    ("which", "saying"),
    [
        ("other ids", "'other.jpg'"),
        ("missing query", "'im11.jpg'"),
        ("not (images, captions)", "swapped"),
        ("another size", "12 images, 35 captions"),
        ("swapped", "swapped"),
        ("swapped with ids", "swapped"),
        ("no ids", "--ids"),
        ("norm zero", "row 3"),
        ("nan", "row 7"),
        ("no shared space", "7 dimensions"),
        ("primary", "rsum eccv both"),
    ],
)
def test_input_that_cannot_be_used_is_refused_in_a_sentence(which: str, saying: str) -> None:
    with pytest.raises(UserError) as caught:
        score(**{"ids": IDS, **bad(which)})
    assert saying in str(caught.value) and "\n" not in str(caught.value)


def test_the_verb_calls_the_same_function(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, captions = embeddings()
    for name, array in (("i", images), ("t", captions), ("s", images @ captions.T)):
        np.save(tmp_path / f"{name}.npy", array)
    pd.DataFrame(IDS).to_csv(tmp_path / "ids.csv", index=False)
    words = ["score", "--ids", f"{tmp_path}/ids.csv", "--out", f"{tmp_path}/out.zip", "--primary", "r1", "own", "i2t"]
    both = f"--model=e={tmp_path}/i.npy+{tmp_path}/t.npy", f"--model=s={tmp_path}/s.npy"
    assert main([*words, *both]) == 0
    facts = read(tmp_path / "out.zip").facts
    assert list(facts["variants"]) == ["e", "s"] and facts["primary"]["metric"] == "r1"
    assert "R@1" in capsys.readouterr().out
    assert main(["score", "--images", f"{tmp_path}/i.npy", "--captions", f"{tmp_path}/none.npy"]) == 2


def test_the_gallery_shows_the_images_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in IMAGES:
        Image.new("RGB", (8, 8), (200, 30, 30)).save(folder / name)
    for name, array in zip("it", embeddings(noise=4), strict=True):
        np.save(tmp_path / f"{name}.npy", array)
    pd.DataFrame(IDS).to_csv(tmp_path / "ids.csv", index=False)
    words = ["score", *(f"--{word}={tmp_path}/{file}" for word, file in (("images", "i.npy"), ("captions", "t.npy")))]
    words += [f"--ids={tmp_path}/ids.csv", f"--out={tmp_path}/out"]
    assert main([*words, f"--gallery={folder}"]) == 0
    page = (tmp_path / "out" / "queries.html").read_text("utf-8")
    assert "data:image/" in page and "own pair" in page
    assert main([*words, f"--gallery={tmp_path}/none"]) == 2
    (tmp_path / "empty").mkdir()
    assert main([*words, f"--gallery={tmp_path}/empty"]) == 2

"""COCO's protocols against the package ``eccv_caption``, at full size, on its own relevance files.

The package reads ranked lists of ids. Its traps are kept out of the comparison: the five folds get whole rankings
(lists cut at 50 miss items of the fold); metrics and recalls of ECCV are requested one by one (together, R@5 and R@10
are dropped without a message); and no list is shorter than R (its R-Precision divides by the length of the list).
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fne.data.coco_relevance import read
from fne.steps.rank import relevant_items
from fne.steps.score import score
from tests.evaluation.coco import evaluated, evaluated_as_coco_5k, own_truth, small_view, view_of

eccv_caption = pytest.importorskip("eccv_caption", reason="the reference package eccv_caption is not installed")
DATA = Path(eccv_caption.__file__).parent / "data"
TOP = 50
"""As much of a ranking as the protocols over the whole gallery read: at most 48 positives, and K = 10."""


@pytest.fixture(scope="module")
def package():
    return eccv_caption.Metrics()


@pytest.fixture(scope="module")
def view(package):
    """Karpathy's test split: five captions in a row belong to one image."""
    captions = package.coco_ids.tolist()
    images = [package.coco_gts["t2i"][caption][0] for caption in captions[::5]]
    return view_of(images, captions, np.repeat(np.arange(5000), 5))


def random_embeddings(n_images: int = 5000, noise: float = 1.2) -> tuple[torch.Tensor, torch.Tensor]:
    """Captions that resemble their image somewhat: R@1 of one in four."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(n_images, 16, generator=generator)
    return images, images.repeat_interleave(5, 0) + noise * torch.randn(5 * n_images, 16, generator=generator)


def rankings(view, images: torch.Tensor, texts: torch.Tensor) -> dict[str, dict[int, list[int]]]:
    """The first items of every ranking, as the package reads them: ids by query id."""
    numbers, result = (numbers_of(view), view.sentids), {"i2t": {}, "t2i": {}}
    for direction, ids, queries, gallery in (("i2t", numbers, images, texts), ("t2i", numbers[::-1], texts, images)):
        for part in torch.arange(len(queries)).split(500):
            scores, first = (queries[part].double() @ gallery.double().T).float().topk(TOP)
            assert len(scores[0].unique()) == TOP, "no tie is left to chance"
            result[direction] |= zip([ids[0][q] for q in part], np.array(ids[1])[first].tolist(), strict=True)
    return result


def numbers_of(view) -> list[int]:
    """COCO's ids of the images."""
    return [int(name[-16:-4]) for name in view.image_ids]


def test_full_size_protocols_equal_the_package(package, view) -> None:
    """ECCV has two positives outside the gallery: they count in R on both sides."""
    images, texts = random_embeddings()
    result, _ = evaluated(view, images, texts, (read(DATA, "eccv", view), read(DATA, "cxc", view)))
    ranked = rankings(view, images, texts)
    expected = {("eccv", name): values for name, values in package.eccv_metrics(ranked, "all").items()}
    for k in (1, 5, 10):
        expected["own", f"own_r{k}"] = package.coco_5k_recalls(ranked, "all", K=k)
        expected["cxc", f"cxc_r{k}"] = package.cxc_recalls(ranked, "all", K=k)
    for (protocol, name), values in expected.items():
        metric = name.partition("_")[2].replace("rprecision", "r_precision")
        for direction, value in values.items():
            assert 0.001 < value < 0.999
            assert result[protocol, direction, metric] == pytest.approx(value, abs=1e-9)
    assert len(expected) == 3 + 6


def test_queries_and_positives_are_those_of_the_papers(view) -> None:
    eccv, cxc = read(DATA, "eccv", view), read(DATA, "cxc", view)
    counts = {
        (item.protocol, direction): (len(np.unique(part[:, column])), len(part), len(item.outside[direction]))
        for item in (eccv, cxc)
        for column, (direction, part) in enumerate(item.pairs.items())
    }
    assert counts == {
        ("eccv", "i2t"): (1261, 22_548, 2), ("eccv", "t2i"): (1332, 11_279, 0),
        ("cxc", "i2t"): (5000, 35_585, 0), ("cxc", "t2i"): (24_972, 35_585, 0),
    }  # fmt: skip
    assert len(np.unique(eccv.outside["i2t"])) == 2
    shared = {tuple(pair) for pair in eccv.pairs["i2t"].tolist()} & {tuple(p) for p in eccv.pairs["t2i"].tolist()}
    assert len(shared) == 6089, "two query sets, no transposes"
    described = relevant_items("coco", view, own_truth(view), (eccv, cxc))[1]
    assert [of["name"] for of in described.values()] == ["coco_5k", "coco_1k_5fold", "eccv", "cxc"]
    assert [of["folds"] for of in described.values()] == [1, 5, 1, 1]
    assert described["coco_1k_5fold"]["gallery"] == {"i2t": 5000, "t2i": 1000}
    other = replace(eccv, pairs=eccv.pairs | {"t2i": eccv.pairs["t2i"][:5000]})
    assert relevant_items("coco", view, own_truth(view), (other,))[1]["eccv"]["name"] == "coco_5k_eccv"


@pytest.mark.parametrize("seed", [0, 1])
def test_five_folds_equal_the_package_on_whole_rankings(seed: int) -> None:
    from eccv_caption._metrics import compute_coco1k_r_at_k

    view = small_view(60, seed)
    images, texts = random_embeddings(60, 3.0)
    result, _ = evaluated_as_coco_5k(view, images, texts)
    scores, ids = (images @ texts.T).numpy(), (np.array(numbers_of(view)), np.array(view.sentids))
    whole = {
        side: {int(q): gallery[np.argsort(-row)].tolist() for q, row in zip(queries, of, strict=True)}
        for side, of, queries, gallery in (("i2t", scores, *ids), ("t2i", scores.T, *ids[::-1]))
    }
    for k, side in itertools.product((5, 10), ("i2t", "t2i")):
        values = []
        for fold in range(5):
            i2t = {int(ids[0][i]): ids[1][5 * i : 5 * i + 5].tolist() for i in range(12 * fold, 12 * fold + 12)}
            t2i = {caption: [image] for image, captions in i2t.items() for caption in captions}
            right, gallery = (i2t, t2i) if side == "i2t" else (t2i, i2t)
            values.append(compute_coco1k_r_at_k(whole[side], right, set(gallery), k))
        assert result["coco_1k_5fold", side, f"r{k}"] == pytest.approx(np.mean(values), abs=1e-9)


def scored_lists(view, lists: dict[str, np.ndarray], **options):
    """What ``fne score`` makes of these rankings of the split."""
    ids = {"image": np.repeat(numbers_of(view), 5), "caption": view.sentids}
    places = {"eccv": DATA, "cxc": DATA}
    made = score({"lists": lists}, ids=ids, dataset="coco", relevance=places, **options)
    return {tuple(row): value for *row, value in
            made.results.runs[["protocol", "direction", "metric", "value"]].itertuples(index=False)}  # fmt: skip


def by_package(package, view, lists: dict[str, np.ndarray]) -> dict[tuple[str, str, str], float]:
    ids = {"i2t": (numbers_of(view), np.array(view.sentids)), "t2i": (view.sentids, np.array(numbers_of(view)))}
    ranked = {side: dict(zip(queries, items[lists[side]].tolist(), strict=True))
              for side, (queries, items) in ids.items()}  # fmt: skip
    made = {("eccv", name): values for name, values in package.eccv_metrics(ranked, "all").items()}
    for k in (1, 5, 10):
        made["own", f"own_r{k}"] = package.coco_5k_recalls(ranked, "all", K=k)
        made["cxc", f"cxc_r{k}"] = package.cxc_recalls(ranked, "all", K=k)
    return {
        (protocol, side, name.partition("_")[2].replace("rprecision", "r_precision")): value
        for (protocol, name), values in made.items()
        for side, value in values.items()
    }


def placed(view, rng: np.random.Generator, places: np.ndarray) -> dict[str, np.ndarray]:
    """Rankings of 50 random items, with some relevant ones of every query at these places."""
    result = {}
    relevant = [read(DATA, protocol, view) for protocol in ("eccv", "cxc")]
    for column, (side, n, gallery) in enumerate((("i2t", 5000, 25_000), ("t2i", 25_000, 5000))):
        lists = np.stack([rng.choice(gallery, TOP, replace=False) for _ in range(n)])
        pairs = np.concatenate([item.pairs[side] for item in relevant])
        for query, item in pairs[rng.permutation(len(pairs))][:, [column, 1 - column]]:
            row, place = lists[query], rng.choice(places)
            if item not in row:
                row[place] = item
        result[side] = lists
    return result


@pytest.mark.parametrize("places", [np.arange(TOP), np.array([TOP - 1]), np.arange(9, 12)],
                         ids=["random", "all but last wrong", "beside the cut"])  # fmt: skip
def test_scores_of_rankings_equal_the_package(package, view, places: np.ndarray) -> None:
    lists = placed(view, np.random.default_rng(len(places)), places)
    result, expected = scored_lists(view, lists), by_package(package, view, lists)
    assert {key: result[key] for key in expected} == pytest.approx(expected, abs=1e-9)
    assert len(expected) == 18 and max(expected.values()) > 0


@pytest.mark.parametrize("protocol", ["eccv", "cxc"])
def test_scores_under_ties_equal_the_package_on_the_worst_order(package, view, protocol: str) -> None:
    """Embeddings of few values tie almost everywhere; pessimistic is the order in which relevant items come last."""
    images, texts = (part[:, :6].sign() for part in random_embeddings())
    right = read(DATA, protocol, view)
    lists = {}
    for column, (side, of) in enumerate((("i2t", (images, texts)), ("t2i", (texts, images)))):
        keys = 2 * (of[0] @ of[1].T).to(torch.int16)
        query, item = torch.from_numpy(right.pairs[side][:, [column, 1 - column]].astype(np.int64)).T
        keys[query, item] -= 1
        lists[side] = torch.cat([part.topk(TOP).indices for part in keys.split(500)]).numpy()
    made = score(images=images, captions=texts, similarity="dot", ties="pessimistic", dataset="coco",
                 ids={"image": np.repeat(numbers_of(view), 5), "caption": view.sentids},
                 relevance={protocol: DATA}).results.runs  # fmt: skip
    expected = {key: value for key, value in by_package(package, view, lists).items() if key[0] == protocol}
    result = made[made["protocol"] == protocol].set_index(["protocol", "direction", "metric"])["value"]
    assert {key: result[key] for key in expected} == pytest.approx(expected, abs=1e-9)
    assert len(expected) == 6

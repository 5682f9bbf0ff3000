"""COCO's protocols against the package ``eccv_caption``, at full size, on its own relevance files.

The package reads ranked lists of ids. Its traps are kept out of the comparison: the five folds get whole rankings
(lists cut at 50 lose items of the fold); metrics and recalls of ECCV are requested one by one (together, R@5 and R@10
are dropped without a message); and no list is shorter than R (its R-Precision divides by the length of the list).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fne.data.coco_relevance import read
from fne.steps.rank import relevant_items
from tests.evaluation.coco import (
    CocoManifest,
    evaluated,
    evaluated_as_coco_5k,
    own_truth,
    small_view,
    view_of,
    write_files,
)

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


def tied_embeddings() -> tuple[torch.Tensor, torch.Tensor]:
    """Whole numbers whose similarities S tie by the hundred, and the order within each tie: 25,001 S - image - caption.

    All of it is exact in float32, so that both sides read the very same ranking.
    """
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(-2, 3, (5000, 8), generator=generator)
    texts = (images.repeat_interleave(5, 0) + torch.randint(-1, 2, (25_000, 8), generator=generator)).clamp(-2, 2)
    scores = images @ texts.T
    assert scores[:50].unique(return_counts=True)[1].max() > 10_000 and 25_001 * scores.abs().max() + 30_000 < 2**24
    order, item = torch.arange(5000)[:, None], torch.ones(5000, 1)
    images = torch.cat([25_001.0 * images, -item, order], dim=1)
    return images, torch.cat([texts, torch.arange(25_000)[:, None], -item.repeat(5, 1)], dim=1)


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


@pytest.mark.parametrize("embeddings", [random_embeddings, tied_embeddings])
def test_full_size_protocols_equal_the_package(embeddings, package, view) -> None:
    images, texts = embeddings()
    result, _ = evaluated(view, images, texts, (read(DATA, "eccv", view), read(DATA, "cxc", view)))
    ranked = rankings(view, images, texts)
    expected = {("eccv", name): values for name, values in package.eccv_metrics(ranked, "all").items()}
    for k in (1, 5, 10):
        expected["own", f"own_r{k}"] = package.coco_5k_recalls(ranked, "all", K=k)
        expected["cxc", f"cxc_r{k}"] = package.cxc_recalls(ranked, "all", K=k)
    names = {"rprecision": "r_precision"}
    for (protocol, name), values in expected.items():
        metric = name.partition("_")[2]
        for direction, value in values.items():
            assert 0.001 < value < 0.999
            assert result[protocol, direction, names.get(metric, metric)] == pytest.approx(value, abs=1e-9)
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
    described = relevant_items(CocoManifest, view, own_truth(view), (eccv, cxc))[1]
    assert [of["name"] for of in described.values()] == ["coco_5k", "coco_1k_5fold", "eccv", "cxc"]
    assert [of["folds"] for of in described.values()] == [1, 5, 1, 1]
    assert described["coco_1k_5fold"]["gallery"] == {"i2t": 5000, "t2i": 1000}
    other = replace(eccv, pairs=eccv.pairs | {"t2i": eccv.pairs["t2i"][:5000]})
    assert relevant_items(CocoManifest, view, own_truth(view), (other,))[1]["eccv"]["name"] == "coco_5k_eccv"


def whole_rankings(view, images: torch.Tensor, texts: torch.Tensor) -> dict[str, dict[int, list[int]]]:
    """Every item of a small split, as the package reads them."""
    scores, ids = (images @ texts.T).numpy(), (np.array(numbers_of(view)), np.array(view.sentids))
    return {
        side: {int(q): gallery[np.argsort(-row)].tolist() for q, row in zip(queries, of, strict=True)}
        for side, of, queries, gallery in (("i2t", scores, *ids), ("t2i", scores.T, *ids[::-1]))
    }


@pytest.mark.parametrize("seed", [0, 1])
def test_five_folds_equal_the_package_on_whole_rankings(seed: int) -> None:
    from eccv_caption._metrics import compute_coco1k_r_at_k

    view = small_view(60, seed)
    images, texts = random_embeddings(60, 3.0)
    result, _ = evaluated_as_coco_5k(view, images, texts)
    whole, numbers = whole_rankings(view, images, texts), numbers_of(view)
    own = {i: view.sentids[5 * n : 5 * n + 5] for n, i in enumerate(numbers)}
    folds = [numbers[12 * fold : 12 * fold + 12] for fold in range(5)]
    for k in (5, 10):
        values = {"i2t": [], "t2i": []}
        for images_of in folds:
            i2t = {i: own[i] for i in images_of}
            t2i = {c: [i] for i in images_of for c in own[i]}
            values["i2t"].append(compute_coco1k_r_at_k(whole["i2t"], i2t, set(t2i), k))
            values["t2i"].append(compute_coco1k_r_at_k(whole["t2i"], t2i, set(i2t), k))
        for side, of in values.items():
            assert result["coco_1k_5fold", side, f"r{k}"] == pytest.approx(np.mean(of), abs=1e-9)


def test_positives_that_are_not_in_the_gallery_count_in_r_as_in_the_package(tmp_path: Path) -> None:
    from eccv_caption._metrics import compute_eccv_metrics

    view = small_view(30)
    numbers, rng = numbers_of(view), np.random.default_rng(3)
    i2t = {i: [int(c) for c in rng.choice(view.sentids, 1 + n % 9, False)] for n, i in enumerate(numbers)}
    for image in numbers[:4]:
        i2t[image] += [1, 2, 3][: 1 + image % 3]
    t2i = {c: [int(i) for i in rng.choice(numbers, 1 + c % 4, False)] for c in view.sentids[::3]}
    relevance = read(write_files(tmp_path / "eccv", "eccv", i2t, t2i), "eccv", view)
    assert len(relevance.outside["i2t"]) == sum(1 + image % 3 for image in numbers[:4])
    images, texts = random_embeddings(30, 3.0)
    result, _ = evaluated(view, images, texts, (relevance,))
    for side, ranked in whole_rankings(view, images, texts).items():
        expected = compute_eccv_metrics(ranked, i2t if side == "i2t" else t2i)
        for name, metric in (("map_at_r", "map_at_r"), ("rprecision", "r_precision"), ("r1", "r1")):
            assert result["eccv", side, metric] == pytest.approx(expected[f"eccv_{name}"], abs=1e-9)

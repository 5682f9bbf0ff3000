"""The real Flickr8k, where it lies beside the repository: counts, natural false negatives, equal captions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fne.data import readers
from fne.data.images import verify_images
from fne.data.items import normalise
from fne.data.manifest import Manifest
from fne.steps import prepare

pytestmark = pytest.mark.needs_shared


@pytest.fixture(scope="module")
def manifest(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """All of Flickr8k, its images listed but verified in a test of their own."""
    place = shared / "data" / "flickr8k"
    data = {
        "dataset": "flickr8k",
        "annotations": str(place / "dataset_flickr8k.json"),
        "images": str(place / "images"),
        "judgements": {"crowdflower": str(place / "CrowdFlowerAnnotations.txt"), "expert": None},
        "counts": {"train": 6000, "val": 1000, "test": 1000},
    }
    folder = tmp_path_factory.mktemp("resources") / "flickr8k-1"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "verify_images", lambda root, files, where: [bytes(32)] * len(files))
        prepare.run(data, folder)
    return Manifest.load(folder)


def test_counts_and_galleries(manifest: Manifest) -> None:
    for split, images in (("train", 6000), ("val", 1000), ("test", 1000)):
        view = manifest.split(split)
        assert len(view.image_rows) == images and len(view.texts) == 5 * images
        assert np.bincount(view.caption_image).tolist() == [5] * images


def test_natural_false_negatives_of_the_crowd(manifest: Manifest) -> None:
    view, truth = manifest.split("test"), manifest.truth("test")
    pairs, positive = truth.extra["judged_pairs"], truth.extra["judged_positive"].astype(bool)
    own = view.caption_image[pairs[:, 1]] == pairs[:, 0]
    assert (len(pairs), int(own.sum()), int((~own).sum())) == (47830, 721, 47109)
    assert int((positive & ~own).sum()) == 2004
    assert truth.contains(pairs[positive, 0], pairs[positive, 1]).all()
    assert not truth.contains(pairs[~positive & ~own, 0], pairs[~positive & ~own, 1]).any()
    assert len(truth.image_queries) == len(truth.caption_queries) == 1000


def test_equal_captions_of_train(manifest: Manifest) -> None:
    """143 texts on 302 images, as counted when the corpus was described."""
    view, truth = manifest.split("train"), manifest.truth("train")
    own = view.caption_image[truth.pairs[:, 1]] == truth.pairs[:, 0]
    extra = truth.pairs[~own]
    assert len(np.unique(extra[:, 0])) <= 302
    assert len({normalise(view.texts[caption]) for caption in extra[:, 1]}) == 143
    assert truth.kind == "equal_captions" and len(truth.image_queries) == 0


def test_a_sample_of_the_pictures_decodes(manifest: Manifest) -> None:
    files = manifest.column("file")[::20]
    assert len({*verify_images(manifest.root, files)}) == len(files)

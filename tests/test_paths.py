"""Where things lie: promised names, and a folder of its own for everything that differs."""

from __future__ import annotations

from pathlib import Path

import pytest

from fne import config, paths
from fne.configuration import merge
from fne.configuration.library import Library
from fne.configuration.schema import REGIMES
from tests.projects import ENCODERS, PATHS, Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.parametrize("regime", REGIMES)
def test_unread_keys_are_exactly_those_that_prune_removes(project: Project, regime: str) -> None:
    library = Library(project.root)
    for variant in config.list_variants(project.root):
        flat = library.merged(variant)
        kept, read = merge.prune(flat, regime), merge.keys_read(flat, regime)
        assert set(kept) == read and all(kept[key] == flat[key] for key in kept)
        for key in set(flat) - read:
            assert merge.why_unread(key, flat, regime)
        assert read <= merge.keys_read(flat), "a variant may set what either regime reads"


def test_paths_are_relative_and_named_as_promised(project: Project) -> None:
    study = project.load()
    folder = paths.data_folder(study)
    assert folder.parent == Path("resources") and folder.name.startswith("scenes-") and len(folder.name) == 15
    assert paths.manifest(study) == folder / "manifest.json"
    assert paths.truth(study, "val") == folder / "truth.val.npz"
    assert paths.encoder_folder(study, "text") == folder / "encoders" / "text"
    assert paths.features_folder(study, "image").parent == folder / "features"
    assert paths.features_folder(study, "image").name.startswith("image-scenes-")
    run = Path("results/paper/fne/0-4")
    assert paths.run_folder(study, "fne", "0-4") == run
    assert paths.rankings(study, "fne", "0-4", "test") == run / "rankings.test.npz"
    assert paths.metrics(study, "fne", "0-4", "test") == run / "metrics.test.json"
    assert paths.queries(study, "fne", "0-4", "test") == run / "queries.test.npz"
    assert paths.scratch_folder(study, "fne", "0-4") == Path("scratch/paper/fne/0-4")
    assert paths.reports_folder(study) == Path("reports/paper")
    assert paths.encoder(study, "image", Path("/r"))["checkpoint"] == f"/r/{folder}/encoders/image"
    assert paths.is_pretrained_here(study, "image")


def test_data_and_features_have_their_own_folders_per_content(project: Project) -> None:
    def flickr(**changes: object) -> config.Study:
        return project.load("flickr8k", **(PATHS | ENCODERS | changes))

    one = flickr()
    assert paths.data_id(flickr(**{"data.images": "/elsewhere"})) == paths.data_id(one)
    assert paths.data_id(flickr(**{"data.counts.val": 7})) != paths.data_id(one)
    judged = flickr(**{"data.judgements.crowdflower": "/c"})
    assert paths.data_id(judged) != paths.data_id(one)
    assert paths.data_id(flickr(**{"data.judgements.crowdflower": "/d"})) == paths.data_id(judged)
    assert paths.data_id(project.load(**{"data.prevalence": 0.01})) != paths.data_id(project.load())
    assert paths.data_id(project.load(**{"train.epochs": 5})) == paths.data_id(project.load())
    assert paths.features_folder(one, "text").name.startswith("text-text-")
    assert paths.features_folder(one, "image").name.startswith("image-vision-")
    assert paths.features_folder(
        flickr(**{"encoders.image.pooling": "cls"}), "image"
    ) != paths.features_folder(one, "image")
    assert paths.features_folder(
        flickr(**{"encoders.image.pooling": "cls"}), "text"
    ) == paths.features_folder(one, "text")
    assert paths.encoder(one, "text")["checkpoint"] == "org/text" and not paths.is_pretrained_here(
        one, "text"
    )

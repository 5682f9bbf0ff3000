"""Where things lie: promised names, and a folder of its own for everything that differs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fne.study import api as config
from fne.study import paths, validate
from fne.study.library import Library
from fne.study.model import REGIMES
from fne.utils.errors import UserError
from tests.projects import ENCODERS, PATHS, Project, given


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.parametrize("regime", REGIMES)
def test_unread_keys_are_exactly_those_that_prune_removes(project: Project, regime: str) -> None:
    library = Library(project.root)
    for variant in config.list_variants(project.root):
        flat = library.merged(variant)
        kept, read = validate.prune(flat, regime), validate.keys_read(flat, regime)
        assert set(kept) == read and all(kept[key] == flat[key] for key in kept)
        for key in set(flat) - read:
            assert validate.why_unread(key, flat, regime)
        assert read <= validate.keys_read(flat), "a variant may set what either regime reads"


def test_a_draw_of_the_encoders_is_one_for_all_worlds_and_its_features_have_their_own_folder(project: Project) -> None:
    shipped, drawn = project.load(), project.load(**{"encoders.draw": 3})
    elsewhere = project.load(**{"encoders.draw": 3, "data.seed": 7, "data.prevalence": 0.01, "data.train": 300})
    folder = paths.encoder_folder(drawn, "text")
    assert folder == paths.encoder_folder(elsewhere, "text") == Path("resources/encoders", folder.parts[2], "text")
    assert folder.parts[2].startswith("draw3-") and paths.is_pretrained_here(drawn, "text")
    assert paths.encoder(drawn, "image", Path("/r"))["checkpoint"] == f"/r/{folder.parent}/image"
    assert paths.data_id(shipped) == paths.data_id(drawn) != paths.data_id(elsewhere)
    slugs = {paths.encoder_slug(item, "image") for item in (shipped, drawn, elsewhere)}
    more = project.load(**{"encoders.draw": 3, "data.pretrain": 9000})
    assert len(slugs) == 2 and paths.encoder_slug(more, "image") not in slugs
    assert paths.data_id(more) == paths.data_id(shipped) and paths.encoder_folder(more, "text") != folder


def test_what_only_a_draw_reads_is_refused_without_one(project: Project) -> None:
    with pytest.raises(UserError, match=r"data.pretrain: is read by no variant.*encoders.draw is above 0"):
        project.load(**{"data.pretrain": 9000})
    with pytest.raises(UserError, match="encoders.draw: is read by no variant.*encoders.image.checkpoint is 'scenes'"):
        project.load("flickr8k", **(PATHS | ENCODERS | {"encoders.draw": 1}))


def test_data_and_features_have_their_own_folders_per_content(project: Project, tmp_path: Path) -> None:
    files = given(tmp_path / "given")

    def flickr(**changes: object) -> config.Study:
        return project.load("flickr8k", **(files | changes))

    item = flickr()
    shutil.copytree(tmp_path / "given", tmp_path / "moved")
    assert paths.data_id(flickr(**{"data.images": str(tmp_path / "moved/images")})) == paths.data_id(item)
    assert paths.data_id(flickr(**{"data.counts.val": 7})) != paths.data_id(item)
    annotated = []
    for text in ("a", "b", "a"):
        (tmp_path / "judged.txt").write_text(text)
        annotated.append(paths.data_id(flickr(**{"data.judgements.crowdflower": str(tmp_path / "judged.txt")})))
    assert annotated[0] == annotated[2] and len({*annotated, paths.data_id(item)}) == 3
    assert paths.data_id(project.load(**{"data.prevalence": 0.01})) != paths.data_id(project.load())
    assert paths.data_id(project.load(**{"train.epochs": 5})) == paths.data_id(project.load())
    assert paths.features_folder(item, "text").name.startswith("text-text-")
    assert paths.features_folder(item, "image").name.startswith("image-vision-")
    pooled = flickr(**{"encoders.image.pooling": "cls"})
    assert paths.features_folder(pooled, "image") != paths.features_folder(item, "image")
    assert paths.features_folder(pooled, "text") == paths.features_folder(item, "text")
    assert not paths.is_pretrained_here(item, "text")


def _of(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)


@pytest.mark.parametrize(("edit", "changes"), [
    (lambda files: _of(files, "split.json", (files / "split.json").read_text().replace("train\"", "hello\"", 1)), "d"),
    (lambda files: _of(files, "images/val.png", "22"), "d"),
    (lambda files: _of(files, "images/other.png", "1"), ""),
    (lambda files: _of(files, "vision/model.safetensors", "{ "), "i"),
    (lambda files: _of(files, "text/tokenizer.json", "[]"), "t"),
    (lambda files: _of(files, "text/README.md", "a"), ""),
])  # fmt: skip
def test_a_folder_is_named_by_what_it_was_made_from(
    project: Project, tmp_path: Path, edit: Callable[[Path], None], changes: str
) -> None:
    """Annotations, name and size of each picture, every file of an encoder; files that nothing reads change nothing."""
    files = given(tmp_path / "given")

    def names() -> dict[str, str]:
        study = project.load("flickr8k", **files)
        sides = {side[0]: paths.encoder_slug(study, side) for side in paths.MODALITIES}
        return {"d": paths.data_id(study)} | sides

    before = names()
    edit(tmp_path / "given")
    after = names()
    assert {key for key in before if before[key] != after[key]} == set(changes)


@pytest.mark.parametrize(("lost", "saying"), [
    ("split.json", "split.json: data: no such file"), 
    ("text/model.safetensors", "no safetensors weights"), 
])  # fmt: skip
def test_what_is_not_there_has_no_name(project: Project, tmp_path: Path, lost: str, saying: str) -> None:
    files = given(tmp_path / "given")
    (tmp_path / "given" / lost).unlink()
    study = project.load("flickr8k", **files)
    with pytest.raises(UserError, match=saying):
        _ = [paths.features_folder(study, side) for side in paths.MODALITIES]

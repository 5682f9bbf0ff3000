"""``fne clean``: lists, and deletes if asked to, what no study uses; whatever may be in use stays."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from fne import cli
from fne.study import paths
from fne.study.api import Series, Study, blocks, load
from fne.utils.files import write_json
from tests.projects import Project

DRAWN = "variance--encoders_draw-1--data_seed-0"
STRANGE = {
    "resources/scenes-00000000": "no study reads data of this digest",
    "resources/encoders/draw9-00000000": "no study reads encoders of this draw and recipe",
    "results/gone": "no study or series has this name",
    "results/variance--encoders_draw-9--data_seed-0": "no study or series has this name",
    "results/smoke/old": "study smoke has no such variant",
    "results/smoke/fne/2-3": "study smoke has no such block of seeds, but 0-1",
    "scratch/gone": "no study or series has this name",
    "scratch/smoke/old": "study smoke has no such variant",
    "scratch/smoke/fne/7": "study smoke has no such block of seeds, but 0-1",
}
"""Folders that no study of :func:`project` uses, and why; see :func:`fill`."""
NO_HARNESS = (
    "resources/photos",
    "resources/scenes",
    "resources/encoders/vit",
    "results/smoke/notes/mine",
    "results/.x-1",
)
"""Folders that a person may have put there."""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Two studies of scenes and a series, beside one of COCO that cannot be loaded without its paths."""
    made = Project(tmp_path)
    for file in (tmp_path / "ablations/studies").glob("*.yaml"):
        if file.stem not in ("smoke", "paper", "variance", "coco"):
            file.unlink()
    return made


def studies(project: Project) -> list[Study]:
    made = [load(name, root=project.root) for name in ("smoke", "paper", "variance")]
    return [study for item in made for study in (item.members if isinstance(item, Series) else (item,))]


def used(project: Project) -> set[Path]:
    """The folders of all studies that can be loaded."""
    result: set[Path] = {Path("results/variance")}
    for study in studies(project):
        result.add(paths.data_folder(study))
        for modality in paths.MODALITIES:
            result.add(paths.features_folder(study, modality))
            if paths.is_pretrained_here(study, modality):
                result.add(paths.encoder_folder(study, modality))
        for variant in study.variants:
            for block in blocks(study):
                result |= {place(study, variant, block) for place in (paths.run_folder, paths.scratch_folder)}
    return result


def fill(project: Project, *places: str | Path) -> None:
    """Put 100 bytes into each folder; into that of a variant as a run, of a study as a run of a variant."""
    for place in places:
        folder = project.root / place
        if folder.name == "old":
            folder /= "0-1"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "content").write_bytes(bytes(100))


def clean(project: Project, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    capsys.readouterr()
    assert cli.main(["clean", "--root", str(project.root), *options]) == 0
    return capsys.readouterr().out


def listed(text: str) -> dict[str, str]:
    """Place -> why."""
    lines = [line for line in text.splitlines() if line[:1] == " "]
    return dict(line.split("B  ", 1)[1].split(": ", 1) for line in lines)


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_what_no_study_uses_is_listed_with_its_reason_and_deleted_only_if_asked(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    features = f"{paths.data_folder(load('smoke', root=project.root))}/features"
    fill(project, *used(project), *NO_HARNESS, f"{features}/notes")
    own = files(project.root)
    strange = STRANGE | {
        f"{features}/image-vit-00000000": "no study reads features of these data by this encoder",
        f"{features}/text-vit-00000000": "no study reads features of these data by this encoder",
    }
    fill(project, *strange)
    before = files(project.root)
    said = clean(project, capsys)
    assert listed(said) == strange
    assert said.count("   100 B  ") == 11
    assert said.endswith("11 unused, 1.1 kB: nothing was deleted; to delete them: fne clean --yes\n")
    assert files(project.root) == before
    said = clean(project, capsys, "--yes")
    assert listed(said) == strange and said.endswith("11 unused, 1.1 kB: deleted\n")
    assert files(project.root) == own
    assert clean(project, capsys, "--yes").endswith("\nnothing is unused\n") and files(project.root) == own


def test_features_are_of_no_use_where_whole_encoders_train(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write("studies/whole", project.read("studies/smoke") | {
        "regime": "finetune", "data": {"dataset": "scenes", "train": 350}, "set": {"train": {"batch_size": 64}},
    })  # fmt: skip
    study = load("whole", root=project.root)
    store = paths.features_folder(study, "image")
    fill(project, store)
    assert list(listed(clean(project, capsys))) == [str(store)]


def test_a_study_without_its_paths_keeps_whatever_may_be_its_own(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(project, "resources/coco-00000000/features/image-vit-00000000", "results/coco/old", "results/coco/fne/7",
         "scratch/coco/old", "resources/flickr8k-00000000")  # fmt: skip
    said = clean(project, capsys, "--yes")
    assert list(listed(said)) == ["resources/flickr8k-00000000"]
    assert "kept: whatever may be of study coco, which cannot be loaded: " in said and "data.annotations" in said
    assert len([name for name in files(project.root) if name.endswith("/content")]) == 4


def test_a_study_without_a_checkpoint_keeps_the_encoder_that_it_names(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    encoders = {"draw": 7, "image": {"checkpoint": None}}
    project.write("studies/smoke", project.read("studies/smoke") | {"encoders": encoders})
    pair = paths.encoder_folder(load("smoke", root=project.root, complete=False), "text").parent
    fill(project, pair, "resources/encoders/draw7-00000000")
    said = clean(project, capsys)
    assert list(listed(said)) == ["resources/encoders/draw7-00000000"] and "be of study smoke, which" in said


@pytest.mark.parametrize("damage", ["title: [", "title: x\n"])
@pytest.mark.parametrize("study", ["smoke", "variance"])
def test_a_damaged_study_keeps_all_data_and_what_has_its_name(
    project: Project, capsys: pytest.CaptureFixture[str], study: str, damage: str
) -> None:
    project.write(f"studies/{study}", damage)
    fill(project, f"results/{study}/old", f"results/{study}--data_seed-7/fne/0-2", f"scratch/{study}/old", *STRANGE)
    said = clean(project, capsys)
    other = {place for place in STRANGE if not place.startswith("resources/")}
    assert set(listed(said)) == {place for place in other if study not in place}
    assert f"study {study}, which cannot be loaded: " in said


def test_what_a_study_uses_under_the_overrides_of_its_results_stays(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write("studies/gap", project.read("studies/smoke") | {"encoders": {"image": {"checkpoint": None}}})
    given = {"encoders.image.checkpoint": "scenes", "data.train": 350, "seeds": "0-3",
             "variants": "hardest_in_batch,fne_abstract"}  # fmt: skip
    write_json(project.root / "results/gap/study.json", {"schema": 1, "study": "gap", "overrides": given})
    study = load("gap", given, project.root)
    features = paths.features_folder(study, "image")
    runs = [paths.run_folder(study, variant, block) for variant in study.variants for block in blocks(study)]
    assert len(runs) == 4
    strange = ["resources/scenes-00000000", "results/gap/old", "results/gap/fne/2-3", "results/gap/fne_abstract/9"]
    fill(project, paths.data_folder(study), features, *runs, "results/gap/fne/0-1", *strange)
    said = clean(project, capsys)
    assert set(listed(said)) == set(strange)
    assert "be of study gap" not in said
    (project.root / "results/gap/study.json").unlink()
    said = clean(project, capsys)
    assert (
        listed(said) == {}
        and "be of study gap, which cannot be loaded: " in said
        and "encoders.image.checkpoint" in said
    )


def test_overrides_of_a_member_of_a_series_count(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    study = load(DRAWN, {"data.pretrain": 500, "seeds": "0-5"}, project.root)
    places = [paths.encoder_folder(study, "image").parent, paths.run_folder(study, "fne", "3-5")]
    fill(project, *places)
    assert set(listed(clean(project, capsys))) == set(map(str, places))
    write_json(project.root / "results" / DRAWN / "study.json", {"overrides": dict(study.overrides)})
    assert listed(clean(project, capsys)) == {}


@pytest.mark.parametrize("content", ["{", "[]", '{"overrides": null}', '{"overrides": {"data.nonsense": 1}}'])
def test_damaged_overrides_keep_everything_that_may_be_meant(
    project: Project, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    fill(project, *STRANGE)
    (project.root / "results/smoke/study.json").write_text(content)
    said = clean(project, capsys, "--yes")
    assert set(listed(said)) == {place for place in STRANGE if "resources/" not in place and "smoke" not in place}
    assert "study smoke, which cannot be loaded: " in said
    assert (project.root / "resources/scenes-00000000/content").exists()


def test_links_are_neither_followed_nor_deleted(
    project: Project, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    for name in ("gone", "scenes-11111111", "0-1"):
        (outside / name / "0-1").mkdir(parents=True)
        (outside / name / "0-1/kept").touch()
    fill(project, "results/smoke/old", "resources/scenes-00000000")
    links = {"resources/scenes-11111111": "scenes-11111111", "results/gone": "gone", "results/smoke/fne": ".",
             "resources/scenes-00000000/images": ".", "scratch": "."}  # fmt: skip
    for place, target in links.items():
        (project.root / place).symlink_to(outside / target, target_is_directory=True)
    before = files(outside)
    said = clean(project, capsys, "--yes")
    assert list(listed(said)) == ["resources/scenes-00000000", "results/smoke/old"] and said.count("   100 B") == 2
    assert "not looked into: scratch, which is a link\n" in said
    assert files(outside) == before and len(before) == 3
    assert [place for place in links if os.path.islink(project.root / place)] == [
        place for place in links if place != "resources/scenes-00000000/images"
    ]


def test_a_folder_without_studies_is_refused(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    fill(project, *STRANGE)
    shutil.rmtree(project.root / "ablations/studies")
    assert cli.main(["clean", "--root", str(project.root), "--yes"]) == 2
    assert "no studies: everything would be unused" in capsys.readouterr().err
    assert len(files(project.root / "results")) == 4

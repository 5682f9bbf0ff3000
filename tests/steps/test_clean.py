"""``fne clean``: lists, and deletes on request, what no study uses; whatever may be in use stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from fne import cli
from fne.study import paths
from fne.study.api import Series, Study, blocks, load
from fne.utils.files import write_json
from tests.projects import Project

STRANGE = (
    "resources/scenes-00000000",
    "resources/encoders/draw9-00000000",
    "results/gone",
    "results/variance--encoders_draw-9--data_seed-0",
    "scratch/gone",
    "results/smoke/fne/2-3",
    "results/smoke/old/0-1",
    "scratch/smoke/fne/7",
)
"""Folders that no study of :func:`project` uses, in the order in which they are listed."""
OF_PEOPLE = ("resources/photos", "resources/encoders/vit", "results/smoke/notes/mine", "results/.x-1",
             "resources/flickr8k-00000000")  # fmt: skip
"""Folders that a person may have put there, and data of a corpus that is not on this machine."""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Two studies of scenes and a series, beside one of Flickr8k whose paths only its user knows."""
    made = Project(tmp_path)
    for file in (tmp_path / "ablations/studies").glob("*.yaml"):
        if file.stem not in ("smoke", "paper", "variance", "flickr8k"):
            file.unlink()
    return made


def used(project: Project, *names: str, **overrides: object) -> set[Path]:
    """The folders of studies."""
    result: set[Path] = set()
    made = [load(name, overrides, project.root) for name in names]
    studies: list[Study] = [study for item in made for study in (item.members if isinstance(item, Series) else (item,))]
    for study in studies:
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
    """Put 100 bytes into each folder."""
    for place in places:
        (project.root / place).mkdir(parents=True, exist_ok=True)
        (project.root / place / "content").write_bytes(bytes(100))


def clean(project: Project, capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    """The places that are listed."""
    capsys.readouterr()
    assert cli.main(["clean", "--root", str(project.root), *options]) == 0
    return [line.split()[-1] for line in capsys.readouterr().out.splitlines() if line.startswith("   100 B ")]


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_what_no_study_uses_is_listed_and_deleted_only_on_request(project: Project, capsys) -> None:
    features = f"{paths.data_folder(project.load('smoke'))}/features"
    fill(project, *used(project, "smoke", "paper", "variance"), *OF_PEOPLE, f"{features}/notes")
    own = files(project.root)
    strange = {*STRANGE, f"{features}/image-vit-00000000"}
    fill(project, *strange)
    before = files(project.root)
    listed = clean(project, capsys)
    assert {*listed} == strange and len(listed) == len(strange) and files(project.root) == before
    assert {*clean(project, capsys, "--yes")} == strange and files(project.root) == own
    assert clean(project, capsys) == []


def test_a_study_is_what_its_results_were_made_with_and_what_its_file_says(project: Project, capsys) -> None:
    given = {"seeds": "0-3", "data.prevalence": 0.003}
    write_json(project.root / "results/smoke/study.json", {"schema": 1, "study": "smoke", "overrides": given})
    fill(project, *used(project, "smoke"), *used(project, "smoke", **given))
    assert clean(project, capsys) == []


def test_links_and_what_they_lead_to_stay(project: Project, capsys, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "scenes-00000000").mkdir()
    (project.root / "resources").symlink_to(elsewhere)
    (project.root / "results").mkdir()
    (project.root / "results/gone").symlink_to(elsewhere)
    assert clean(project, capsys, "--yes") == [] and (elsewhere / "scenes-00000000").is_dir()


def test_nothing_is_deleted_where_a_study_cannot_be_read(project: Project, capsys) -> None:
    fill(project, *STRANGE)
    before = files(project.root)
    (project.root / "ablations/studies/smoke.yaml").write_text("title: [")
    assert cli.main(["clean", "--yes", "--root", str(project.root)]) == 2
    assert "smoke.yaml" in capsys.readouterr().err and files(project.root) == before
    for file in (project.root / "ablations/studies").glob("*.yaml"):
        file.unlink()
    assert cli.main(["clean", "--yes", "--root", str(project.root)]) == 2
    assert "no studies" in capsys.readouterr().err and {*STRANGE} <= {str(Path(f).parent) for f in files(project.root)}

"""What the command line set is kept beside the results: all verbs see one study, and no run is dropped in silence."""

from __future__ import annotations

import json
import shutil
import sys
import types
from pathlib import Path

import pytest

from fne import cli
from fne.results import kept
from fne.results.kept import keep, open_any, open_study, tell_left_out
from fne.results.study import load
from fne.study import api as config
from fne.study import paths
from fne.utils.errors import UserError
from fne.utils.fields import flatten
from fne.utils.yaml_file import set_items
from tests.projects import Project, given

SMALL = {"variants": "hardest_in_batch,fne", "seeds": "0-3", "block": 2, "memory.size": 256}
"""Overrides that the results of `smoke` were made with."""
JOB = ("train", "rank", "evaluate", "calibrate")
WHOLE = ("aggregate", "compare", "audit", "tables", "figures", "report", "verify")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


def words(overrides: dict) -> list[str]:
    return [word for item in set_items(overrides) for word in ("--set", item)]


def file_of(project: Project, name: str = "smoke") -> Path:
    return project.root / paths.overrides(name)


def make(project: Project, name: str = "smoke", **overrides: object) -> config.Study:
    """What a study with overrides leaves: the file that keeps them, and a record of each run."""
    study = config.load_study(name, overrides, project.root, complete=False)
    keep(study, project.root)
    for variant in study.variants:
        for block in config.blocks(study):
            write_run(project, study, variant, block)
    return study


def write_run(project: Project, study: config.Study, variant: str, block: str) -> Path:
    file = project.root / paths.run_folder(study, variant, block) / "run.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"config": config.resolve(study, variant)}))
    return file


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[config.Study]:
    """The studies that the rooms are called with, stand-ins in their place."""
    made: list[config.Study] = []
    rooms = [*(f"steps.{verb}" for verb in (*JOB, *WHOLE, "export")), "report.tables.registry",
             "report.figures.registry"]  # fmt: skip
    for name in rooms:
        room = types.ModuleType(f"fne.{name}")
        room.run = lambda study, *more, **options: made.append(study)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, f"fne.{name}", room)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MKL_NUM_THREADS", "1")
    return made


def run(project: Project, verb: str, *more: str) -> int:
    job = ("--variant", "fne", "--block", "0-1", *(() if verb == "evaluate" else ("--device", "cpu")))
    study = ("smoke",) if verb == "export" else ("--study", "smoke")
    return cli.main([verb, *study, "--root", str(project.root), *(job if verb in JOB else ()), *more])


@pytest.mark.parametrize("verb", [*JOB, *WHOLE, "export"])
def test_every_verb_sees_the_study_as_its_results_were_made(
    project: Project, calls: list, verb: str, capsys: pytest.CaptureFixture
) -> None:
    made = make(project, **SMALL)
    assert run(project, verb) == 0 and calls.pop() == made
    note = "note: study smoke: with block=2, memory.size=256, seeds=0-3, variants=hardest_in_batch,fne, as its results"
    assert capsys.readouterr().err.count(note) == 1
    assert run(project, verb, *words(SMALL)) == 0 and calls.pop() == made
    assert "as its results were made" not in capsys.readouterr().err, "all of it was given again"
    assert run(project, verb, "--set", "memory.size=128") == 2 and not calls
    assert "memory.size: made with 256, now 128" in capsys.readouterr().err
    if verb != "export":
        assert run(project, verb, "--replace", "--set", "memory.size=64") == 0
        assert calls.pop() == project.load("smoke", **{"memory.size": 64})


def test_a_notebook_and_a_comparison_open_the_same_study(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from fne.results import study as results

    made = make(project, **SMALL)
    (project.root / "results/smoke/runs.csv").touch()
    assert load("smoke", project.root).definition == made
    assert "memory.size=256" in capsys.readouterr().err
    monkeypatch.setenv("FNE_STUDY", "smoke --set memory.size=256")
    assert results.load(root=project.root).definition == made
    monkeypatch.setenv("FNE_STUDY", "smoke --set memory.size=128")
    with pytest.raises(UserError, match="memory.size: made with 256, now 128"):
        results.load(root=project.root)


@pytest.mark.parametrize("verb", [*JOB, "aggregate"])
def test_verbs_that_make_results_keep_what_was_set_before_any_work(
    project: Project, calls: list, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(project, verb) == 0 and not file_of(project).exists(), "as the file says: nothing to keep"
    given = {"memory.size": 256, "seeds": [0, 1, 2, 3], "data.prevalence": 1e-3}

    def fails(*given: object, **options: object) -> None:
        raise UserError("no work was done")

    monkeypatch.setattr(sys.modules[f"fne.steps.{verb}"], "run", fails)
    assert run(project, verb, *words(given)) == 2
    assert json.loads(file_of(project).read_text()) == {
        "schema": 1,
        "study": "smoke",
        "overrides": {"data.prevalence": 0.001, "memory.size": 256, "seeds": "0,1,2,3"},
    }
    monkeypatch.setattr(kept, "write_json", fails)
    keep(open_study("smoke", {}, project.root), project.root), "what is known is not written again"


@pytest.mark.parametrize("verb", ["compare", "tables", "export"])
def test_verbs_that_only_read_keep_nothing(project: Project, calls: list, verb: str) -> None:
    assert run(project, verb, "--set", "seeds=0-3") == 0 and calls
    assert not file_of(project).exists()


@pytest.mark.parametrize(
    "more",
    [
        {"seeds": "0-5"},
        {"variants": ["hardest_in_batch", "fne", "infonce"], "seeds": "0-7"},
        {"train.epochs": 3},  # as the file says
        {"audit.picks": "full"},
    ],
)
def test_what_drops_nothing_goes_on_and_is_kept(project: Project, more: dict) -> None:
    make(project, **SMALL)
    study = open_study("smoke", more, project.root)
    assert study == project.load("smoke", **(SMALL | flatten(more)))
    keep(study, project.root)
    assert open_study("smoke", {}, project.root) == study


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        ({"variants": "fne,infonce", "baseline": "fne"},
         ["variants: made with hardest_in_batch,fne, now fne,infonce",
          "baseline: made with what its file says, now fne"]),
        ({"block": 1}, ["block: made with 2, now 1"]),
        ({"evaluation.tie_rule": "pessimistic"},
         ["evaluation.tie_rule: made with what its file says, now pessimistic"]),
        ({"memory.size": 128, "seeds": "0"}, ["memory.size: made with 256, now 128", "seeds: made with 0-3, now 0"]),
    ],
)  # fmt: skip
def test_others_are_refused_with_what_differs(project: Project, given: dict, lines: list[str]) -> None:
    make(project, **SMALL)
    before = file_of(project).read_bytes()
    with pytest.raises(UserError) as caught:
        open_study("smoke", given, project.root)
    head, *summary, hint = str(caught.value).splitlines()
    assert head.startswith("results/smoke: ") and {line.strip() for line in summary} == {*lines}
    assert "--replace (snakemake: --config replace=true)" in hint
    assert file_of(project).read_bytes() == before
    replaced = open_study("smoke", given | {"baseline": "fne", "variants": "fne"}, project.root, replace=True)
    keep(replaced, project.root)
    assert open_study("smoke", {}, project.root) == replaced


def test_only_runs_that_the_kept_study_has_bind_anybody(project: Project) -> None:
    given = {"memory.size": 512, "seeds": "0"}
    study = config.load_study("smoke", SMALL, project.root)
    keep(study, project.root)
    assert open_study("smoke", given, project.root).seeds == (0,), "no run yet"
    file = write_run(project, study, "fne", "2-3")
    for content in ("", '{"config": 1}', file.read_text().replace("256", "64")):
        file.write_text(content)
        assert open_study("smoke", given, project.root), "a damaged run, or one of another config"
    write_run(project, study, "fne", "2-3")
    with pytest.raises(UserError, match="memory.size"):
        open_study("smoke", given, project.root)


def test_an_edit_of_the_study_is_no_override(project: Project, capsys: pytest.CaptureFixture) -> None:
    make(project)
    project.edit("studies/smoke", variants=["hardest_in_batch", "fne"], seeds=[0])
    study = open_study("smoke", {}, project.root)
    assert (study.variants, study.seeds) == (("hardest_in_batch", "fne"), (0,))
    tell_left_out(study, project.root)
    summary = capsys.readouterr().err
    assert summary.startswith("note: study smoke: runs in results/smoke are left out (3): fne/0-1, hardest")


CORPUS = {
    "data.annotations": "/old/split.json", "data.images": "/old/images", "encoders.image.checkpoint": "/old/vit",
    "encoders.text.checkpoint": "org/bert", "block": 5,
}  # fmt: skip


def test_paths_are_kept_and_may_change(project: Project) -> None:
    make(project, "flickr8k", **CORPUS)
    assert open_study("flickr8k", {}, project.root).data["images"] == "/old/images"
    moved = {key: value.replace("/old/", "/new/") for key, value in CORPUS.items() if isinstance(value, str)}
    study = open_study("flickr8k", moved, project.root)
    keep(study, project.root)
    assert open_study("flickr8k", {}, project.root) == study and study.data["annotations"] == "/new/split.json"
    with pytest.raises(UserError, match="encoders.image.checkpoint: made with /new/vit, now /new/another"):
        open_study("flickr8k", {"encoders.image.checkpoint": "/new/another"}, project.root)


def test_another_path_is_refused_where_other_data_or_encoders_lie(project: Project, tmp_path: Path) -> None:
    made = given(tmp_path / "old")
    moved = {key: value.replace("/old/", "/new/") for key, value in made.items()}
    make(project, "flickr8k", **made)
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    assert open_study("flickr8k", moved, project.root).data["images"] == moved["data.images"]
    for name, line in (("images/val.png", "data.images: made with"), ("text/tokenizer.json", "encoders.text.checkp")):
        content = (tmp_path / "new" / name).read_text()
        (tmp_path / "new" / name).write_text("other")
        with pytest.raises(UserError, match=line):
            open_study("flickr8k", moved, project.root)
        (tmp_path / "new" / name).write_text(content)


def test_a_study_that_nobody_can_run_as_its_file_says_binds_nobody(project: Project) -> None:
    content = {key: value for key, value in project.read("studies/flickr8k").items() if key != "encoders"}
    project.write("studies/flickr8k", content)
    given = {**CORPUS, "variants": "hardest_in_batch,fne"}
    make(project, "flickr8k", **given)
    assert open_study("flickr8k", {}, project.root).variants == ("hardest_in_batch", "fne")
    file_of(project, "flickr8k").unlink()
    assert open_study("flickr8k", given | {"variants": "fne", "baseline": "fne"}, project.root).variants == ("fne",)


def test_a_block_must_be_one_of_the_study(project: Project, calls: list, capsys: pytest.CaptureFixture) -> None:
    block = ("train", "--study", "smoke", "--root", str(project.root), "--variant", "fne", "--device", "cpu", "--block")
    for name in ("0-3", "0", "2-3"):
        assert cli.main([*block, name]) == 2 and not calls
        summary = capsys.readouterr().err
        assert f"--block: is not a block of study 'smoke'; got '{name}'" in summary and "allowed: 0-1" in summary
        assert not file_of(project).exists()
    make(project, seeds="0-3")
    assert cli.main([*block, "2-3"]) == 0 and calls.pop().seeds == (0, 1, 2, 3), "of the seeds that were kept"


def test_preparing_data_takes_what_was_kept_and_refuses_nothing(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[dict] = []
    room = types.ModuleType("fne.steps.prepare")
    room.run = lambda data, folder: made.append(data)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fne.steps.prepare", room)
    make(project, **{"data.prevalence": 0.02})
    for more, requested in (((), 0.02), (("--set", "data.prevalence=0.01"), 0.01), (("--replace",), 0.003)):
        assert cli.main(["prepare", "--study", "smoke", "--root", str(project.root), *more]) == 0
        assert made.pop()["prevalence"] == requested
    assert json.loads(file_of(project).read_text())["overrides"] == {"data.prevalence": 0.02}


def test_a_series_is_kept_by_its_members(project: Project, capsys: pytest.CaptureFixture) -> None:
    project.edit("studies/smoke", factors={"data.prevalence": [0.0, 0.01]}, method=None)
    names = config.list_studies(project.root)
    first, second = (name for name in names if name.startswith("smoke--"))
    make(project, first, seeds="0-3")
    assert [member.seeds for member in open_any("smoke", {}, project.root).members] == [(0, 1, 2, 3)] * 2
    assert capsys.readouterr().err.count("seeds=0-3, as its results were made") == 1
    make(project, second, seeds="0-5")
    with pytest.raises(UserError) as caught:
        open_any("smoke", {}, project.root)
    assert f"{first}/study.json: made with seeds=0-3, as its results were made, but" in str(caught.value)
    assert f"{second}/study.json with seeds=0-5" in str(caught.value)
    assert open_any("smoke", {"seeds": "0-5"}, project.root).shared.seeds == tuple(range(6))
    with pytest.raises(UserError, match=f"{second}: runs would be left out(.|\n)*seeds: made with 0-5, now 0-4"):
        open_any("smoke", {"seeds": "0-4"}, project.root)
    assert open_any("smoke", {"seeds": "0"}, project.root, replace=True).shared.seeds == (0,)
    with pytest.raises(UserError, match="is a series"):
        open_study("smoke", {"seeds": "0-5"}, project.root)


@pytest.mark.parametrize(
    ("content", "saying"),
    [
        ("{", ["study.json", "not valid JSON", "line 1"]),
        ({"schema": 2}, ["study.json: schema: another schema; got 2; allowed: 1", "--replace"]),
        ({"study": "paper"}, ["study.json: study: is of another study; got 'paper'; allowed: smoke"]),
        ({"overrides": ["seeds"]}, ["study.json: overrides: wrong kind", "a mapping"]),
        ({"overrides": {"memory.sise": 3}}, ["memory.sise", "did you mean 'memory.size'", "results were made"]),
    ],
)
def test_a_damaged_file_is_one_clear_error_and_can_be_replaced(
    project: Project, content: object, saying: list[str], calls: list, capsys: pytest.CaptureFixture
) -> None:
    make(project)
    file_of(project).write_text(
        content if isinstance(content, str) else json.dumps({"schema": 1, "study": "smoke", "overrides": {}} | content)  # type: ignore[operator]
    )
    for verb in ("export", "aggregate", "train"):
        assert run(project, verb) == 2 and not calls
        summary = capsys.readouterr().err
        assert (
            summary.startswith("error: ") and "Traceback" not in summary and all(part in summary for part in saying)
        ), summary
    assert run(project, "aggregate", "--replace") == 0 and len(calls) == 1
    assert json.loads(file_of(project).read_text())["overrides"] == {} and run(project, "export") == 0


def test_runs_that_a_study_leaves_out_are_named(project: Project, capsys: pytest.CaptureFixture) -> None:
    study = make(project)
    tell_left_out(study, project.root)
    assert capsys.readouterr().err == ""
    for name in (".0-1.abc.tmp", "0-1.before", "1-0"):
        folder = project.root / "results/smoke/fne" / name
        folder.mkdir()
        (folder / "run.json").touch()
    tell_left_out(study, project.root)
    assert capsys.readouterr().err == "", "what a killed job left behind, and a copy by another name, are no runs"
    whole = config.load_study(
        "smoke", {"variants": "hardest_in_batch,fne,infonce,random", "seeds": "0-3"}, project.root
    )
    for variant in ("fne", "random"):
        for block in ("2-3", "0-1"):
            write_run(project, whole, variant, block)
    tell_left_out(study, project.root)
    named = "note: study smoke: runs in results/smoke are left out (3): fne/2-3, random/0-1, random/2-3; to include"
    assert capsys.readouterr().err.startswith(named)


def test_aggregate_and_load_name_the_runs_that_they_leave_out(project: Project, capsys: pytest.CaptureFixture) -> None:
    make(project)
    other = config.load_study("smoke", {"variants": "fne,random", "baseline": "fne"}, project.root)
    write_run(project, other, "random", "0-1")
    (project.root / "results/smoke/runs.csv").touch()
    for open_it in (lambda: run(project, "aggregate"), lambda: load("smoke", project.root)):
        open_it()
        assert capsys.readouterr().err.count("runs in results/smoke are left out (1): random/0-1; to include") == 1

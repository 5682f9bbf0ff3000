"""The graph of jobs of every study: nothing declared twice, all where fne.study.paths says, checked before it."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml

from fne.analysis.components import Another, Component, Components
from fne.analysis.retraining import tolerance_of
from fne.results.variance import FILE as VARIANCE
from fne.results.variance import write_variance
from fne.study import paths
from fne.study.api import blocks, load_study
from fne.study.series import Series
from tests.projects import given as write_corpus
from tests.snakemake_project import ROOT, Job, Project

RULES = sorted((ROOT / "workflow/rules").glob("*.smk"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project.copy_of(ROOT, tmp_path_factory.mktemp("dag") / "project")
    write_corpus(project.folder / "corpus")
    return project


FLICKR8K = {
    "study": "flickr8k",
    "images": "corpus/images",
    "annotations": "corpus/split.json",
    "image_encoder": "./corpus/vision",
    "text_encoder": "./corpus/text",
}


def given(options: dict[str, str]) -> list[str]:
    return ["--config", *(f"{key}={value}" for key, value in options.items())]


def check_whole(jobs: list[Job], root: Path, study_name: str, overrides: dict) -> None:
    study = load_study(study_name, overrides, root)
    outputs = Counter(name for job in jobs for name in job.outputs)
    assert not [name for name, times in outputs.items() if times > 1]
    produced = set(outputs)
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()}
    assert {Path(name).parts[0] for name in produced} <= ignored | {"reports"}
    assert not [name for name in produced if name.startswith("scratch/")], "resumable state survives a start"
    expected = {paths.manifest(study), *(paths.truth(study, split) for split in paths.SPLITS)}
    expected |= {paths.features_folder(study, modality) / "values.bin" for modality in paths.MODALITIES}
    for variant in study.variants:
        for block in blocks(study):
            expected |= {paths.run_folder(study, variant, block) / "weights.safetensors"}
            for place in (paths.rankings, paths.metrics, paths.queries):
                expected |= {place(study, variant, block, "test")}
    expected |= {paths.results_folder(study) / "runs.csv", paths.reports_folder(study) / "report.html"}
    assert {str(path) for path in expected} <= produced
    trains = [job for job in jobs if job.rule == "run"]
    assert len(trains) == len(study.variants) * len(blocks(study))
    assert all(job.threads == 1 for job in trains)


@pytest.mark.parametrize("study", ["paper", "smoke"])
def test_embedded_studies(project: Project, study: str) -> None:
    jobs = project.planned("smoke") if study == "smoke" else project.planned()
    check_whole(jobs, project.folder, study, {})
    assert "pretrain" not in {job.rule for job in jobs}, "the pair of encoders is shipped"


def test_corpus(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)
    jobs = project.planned(*given(FLICKR8K))
    overrides = {
        "data.images": "corpus/images",
        "data.annotations": "corpus/split.json",
        "encoders.image.checkpoint": "./corpus/vision",
        "encoders.text.checkpoint": "./corpus/text",
    }
    check_whole(jobs, project.folder, "flickr8k", overrides)
    (prepare,) = [job for job in jobs if job.rule == "prepare_corpus"]
    assert prepare.inputs == ("corpus/split.json",)
    assert "pretrain" not in {job.rule for job in jobs}


def test_extraction_declares_what_it_reads_and_is_divided_among_jobs(project: Project) -> None:
    tokens = "set={encoders.image.level: tokens, encoders.text.level: tokens, model.head: attention}"
    jobs = project.planned(*given(FLICKR8K), "extract_jobs=3", tokens)
    parts = [job for job in jobs if job.rule == "extract_part"]
    assert len(parts) == 2 * 3
    for modality, encoder in (("image", "vision"), ("text", "text")):
        own = [job for job in parts if job.wildcards["modality"] == modality]
        for job in own:
            assert {f"corpus/{encoder}/config.json", f"corpus/{encoder}/model.safetensors"} <= set(job.inputs)
            assert ("corpus/images" in job.inputs) == (modality == "image")
        (whole,) = [job for job in jobs if {output for one in own for output in one.outputs} <= set(job.inputs)]
        assert [Path(output).name for output in whole.outputs] == ["manifest.json", "values.bin", "offsets.npy"]
        assert all(set(whole.outputs) <= set(job.inputs) for job in jobs if job.rule == "run")


def test_recorded_components_of_variance_are_read_where_they_hold(project: Project) -> None:
    file = project.folder / VARIANCE
    study = load_study("paper", root=project.folder)
    factors = {"encoders.draw": (0, 1), "data.seed": (0, 1)}
    sources = {name: Component(1e-4, 0.0, 1e-3) for name in (*factors, "seed", "images")}
    result = Components(sources, Another(2e-4, 1e-4, 2), 3, 15)
    series = Series("draws", "Draws", "How much?", factors, ({name: 0 for name in factors},), (study,))
    write_variance(file, series, {("level", "fne"): result, ("level", ""): result, ("difference", ""): result})
    try:
        assert [job.rule for job in project.planned() if str(VARIANCE) in job.inputs] == ["compare"]
        assert not [job for job in project.planned("smoke") if str(VARIANCE) in job.inputs], "other data"
        file.write_text(file.read_text().replace("low: 0.0", "low: -1.0"))
        project.refused(saying=["low: out of range; got -1.0; allowed: a number >= 0"])
    finally:
        file.unlink()


def reference_of(folder: Path, study: str, **changes: object) -> Path:
    """A made-up reference of a study as a project states it."""
    loaded = load_study(study, root=folder)
    rng = np.random.default_rng(0)
    scores = rng.normal(4.3, 0.01, (len(loaded.variants), 5))
    tolerance = tolerance_of(scores, loaded.variants.index(loaded.baseline))
    content = {
        "schema": 2,
        "study": study,
        "primary": dict(loaded.primary),
        "baseline": loaded.baseline,
        "tolerance": {"rule": "retraining", "score": tolerance.score, "difference": tolerance.difference},
        "seeds": [0, 1, 2, 3, 4],
        "variants": {
            variant: {"scores": list(row), "training": "", "evaluation": "", "code": ""}
            for variant, row in zip(loaded.variants, scores, strict=True)
        },
        "fingerprints": {"data.image": ""},
        "versions": {"python": ""},
        "machine": {"cpu": ""},
        "date": "2026-05-01",
        "commit": "",
    }
    file = folder / paths.reference(loaded)
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content | changes))
    return file


def test_a_study_with_a_reference_is_set_against_it_and_its_report_says_so(project: Project, tmp_path: Path) -> None:
    with_one = Project.copy_of(project.folder, tmp_path / "with_one")
    file = str(reference_of(with_one.folder, "smoke").relative_to(with_one.folder))
    made = tuple(f"results/smoke/{name}" for name in ("verify.csv", "verify.json", "digests.verify.json"))

    def verifying(*options: str) -> list[Job]:
        jobs = with_one.planned("smoke", *options)
        (report,) = [job for job in jobs if job.rule == "make_report" and job.wildcards["study"] == "smoke"]
        result = [job for job in jobs if job.rule == "set_against_reference"]
        assert set(made) <= set(report.inputs) if result else not set(made) & set(report.inputs)
        return result

    (job,) = verifying()
    assert job.outputs == made
    assert {file, "results/smoke/runs.csv", "results/smoke/protocols.json"} <= set(job.inputs)
    study = load_study("smoke", root=with_one.folder)
    runs = {str(paths.run_folder(study, v, b) / "run.json") for v in study.variants for b in blocks(study)}
    assert runs <= set(job.inputs)
    groups = yaml.safe_load((ROOT / "workflow/profiles/slurm/config.yaml").read_text())["groups"]
    grouped = [f"{rule}={group}" for rule, group in groups.items()]
    done = with_one.snakemake("smoke", "--dry-run", "--groups", *grouped)
    assert done.returncode == 0, f"nothing outside a group lies between two jobs of it: {done.stdout}{done.stderr}"
    assert not verifying("--config", "study=smoke", "variants=[hardest_in_batch,fne]"), "not all of its variants"
    reference_of(with_one.folder, "smoke", schema=1)
    with_one.refused("smoke", saying=["smoke.json: schema: another schema; got 1"])


@pytest.mark.parametrize(("how", "rules"), [("run", {"run"}), ("stages", {"train", "rank", "calibrate"})])
def test_gpu_jobs_ask_for_one_only_on_cuda(project: Project, how: str, rules: set[str]) -> None:
    jobs = project.planned("--config", "device=cuda", f"job={how}", "--resources", "gpu=1")
    assert {job.rule for job in jobs if job.resources.get("gpu") == "1"} == {"extract", *rules}
    trains = [job for job in jobs if job.rule == "train"]
    assert not [name for job in trains for name in job.inputs if "truth.test" in name], "training alone sees no test"
    jobs = project.planned("--config", "device=cpu")
    assert not [job for job in jobs if "gpu" in job.resources], (
        "some executors refuse a rule that has any number of them"
    )


@pytest.mark.parametrize("profile", ["local", "ci"])
def test_profiles_are_read_by_path(project: Project, profile: str) -> None:
    folder = f"workflow/profiles/{profile}"
    options = yaml.safe_load((project.folder / folder / "config.yaml").read_text())
    assert options["rerun-incomplete"] is True and options["resources"]["gpu"] in (0, 1)
    done = project.snakemake("smoke", "--profile", folder, "--dry-run", "--quiet", "host")
    assert done.returncode == 0, done.stderr
    shows_commands = "fne job --study smoke --exactly --variant fne" in done.stdout + done.stderr
    assert shows_commands == (profile == "ci"), "a person sees one line of progress"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--config", "study=papier"], ["papier", "did you mean 'paper'?"]),
        (["--config", "device=gpu"], ["device", "'gpu'", "auto, cpu, cuda"]),
        (["--config", "study=flickr8k"], ["images=", "annotations=", "image_encoder=", "text_encoder="]),
        (
            given({**FLICKR8K, "images": "nowhere", "crowdflower": "no.txt", "text_encoder": "./none"}),
            ["3 problems", "'nowhere'; give it", "'no.txt'", "encoders.text.checkpoint: no such folder"],
        ),
    ],
)
def test_bad_config_is_one_clear_message(project: Project, arguments: list[str], expected: list[str]) -> None:
    project.refused(*arguments, saying=expected)


def test_all_bad_variants_are_told_at_once_before_the_dag(project: Project, tmp_path: Path) -> None:
    broken = Project.copy_of(project.folder, tmp_path / "broken")
    broken.edit("ablations/variants/infonce.yaml", "loss: {", "losss: {")
    broken.edit("ablations/variants/fne_no_cutdown.yaml", "isolates: [negatives.cut_down]", "isolates: []")
    broken.refused(saying=["infonce.yaml", "fne_no_cutdown.yaml"])


def test_every_working_rule_has_log_benchmark_and_one_shell_command() -> None:
    text = "\n".join(path.read_text() for path in RULES)
    result = re.split(r"^(?:rule|checkpoint) (\w+):$", text, flags=re.MULTILINE)[1:]
    assert len(result) >= 20
    for name, body in zip(result[::2], result[1::2], strict=True):
        for part in ("log:", "benchmark:", "shell:", "output:"):
            assert f"    {part}" in body, f"rule {name} has no {part}"
        assert not re.search(r"^    (run|script|notebook):", body, flags=re.MULTILINE)
        assert "logged {log} " in body


def test_dry_runs_import_no_torch(project: Project) -> None:
    imports = re.findall(r"^(?:from fne\S* )?import .+$", (ROOT / "workflow/rules/common.smk").read_text(), re.M)
    assert any("fne.report" in line for line in imports)
    heavy = "{'torch', 'pandas', 'scipy', 'matplotlib', 'transformers', 'pyarrow'}"
    done = project.run("python", "-c", "\n".join(imports) + f"\nprint(sorted({heavy} & set(sys.modules)))")
    assert done.stdout.strip() == "[]", done.stdout + done.stderr

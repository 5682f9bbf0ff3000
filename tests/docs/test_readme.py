"""The README's code blocks run, its links lead somewhere, and its pictures of the repository are true."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.projects import checkpoint, given
from tests.snakemake_project import ROOT, Project

README = (ROOT / "README.md").read_text()
FENCE = re.compile(
    r"(?:^ *<!-- test: (?P<how>[^>]+?) -->\n)?"
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
UNTESTED = {
    "skip=installs": "makes an environment; .ci/run does just that",
    "skip=it-is-this-run": "the very command that runs this test",
}


@dataclass(frozen=True)
class Block:
    """A fenced block of the README."""

    language: str
    how: frozenset[str]
    text: str


def blocks() -> list[Block]:
    found = []
    for match in FENCE.finditer(README):
        lines = [line.removeprefix(match["indent"]) for line in match["text"].splitlines()]
        found.append(Block(match["language"], frozenset((match["how"] or "").split()), "\n".join(lines) + "\n"))
    return found


def name_of(block: Block) -> str:
    return f"{block.language}: {block.text.splitlines()[0][:50]}"


BASH = [block for block in blocks() if block.language == "bash"]
PYTHON = [block for block in blocks() if block.language == "python"]


@pytest.fixture(scope="module")
def project(smoke: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the finished smoke study, the README's YAML files in it, and a `snakemake` held back."""
    project = Project.copy_of(smoke.folder, tmp_path_factory.mktemp("readme") / "project", made=True)
    for block in blocks():
        place = re.match(r"# (\S+\.(?:yaml|py))\n", block.text)
        assert place or block.language != "yaml", "a YAML block of the README begins with the name of its file"
        if place:
            (project.folder / place[1]).write_text(block.text)
    corpus = project.folder / "data" / "flickr8k"
    given(corpus)
    (corpus / "split.json").rename(corpus / "dataset_flickr8k.json")
    (corpus / "CrowdFlowerAnnotations.txt").write_text("{}")
    for name in ("mobilenet_v2_1.0_224", "all-MiniLM-L6-v2"):
        checkpoint(project.folder / "data" / "encoders" / name)
    held = project.folder / "held"
    held.mkdir()
    (held / "snakemake").write_text(
        f'#!/bin/sh\ncase " $* " in *" --unlock "*) exec {sys.executable} -m snakemake "$@";; esac\n'
        f'exec {sys.executable} -m snakemake "$@" --dry-run --quiet host\n'
    )
    (held / "snakemake").chmod(0o755)
    return project


@pytest.mark.parametrize("block", BASH, ids=name_of)
def test_bash_block_runs(block: Block, request: pytest.FixtureRequest) -> None:
    skipped = block.how & set(UNTESTED)
    if skipped:
        syntax = subprocess.run(["bash", "-n", "-c", block.text], capture_output=True, text=True, check=False)
        assert syntax.returncode == 0, syntax.stderr
        return
    project = request.getfixturevalue("project")
    assert block.how <= {"dry-run", "data"}
    text = block.text
    if "data" in block.how:
        text = text.replace("/data/", f"{project.folder}/data/")
    if "dry-run" in block.how:
        text = f"PATH={project.folder}/held:$PATH\n{text}"
    done = project.run("bash", "-euo", "pipefail", "-c", text)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    if "dry-run" in block.how and "--config" in text:
        assert "rule train" in done.stdout + done.stderr


@pytest.mark.parametrize("block", PYTHON, ids=name_of)
def test_python_block_runs(block: Block, project: Project) -> None:
    done = project.run("python", "-c", block.text.replace('"paper"', '"smoke"'))
    assert done.returncode == 0, done.stderr


def test_there_are_blocks_of_every_kind() -> None:
    assert len(BASH) >= 8 and PYTHON and any(block.language == "yaml" for block in blocks())
    assert sum(bool(block.how & set(UNTESTED)) for block in BASH) == 2
    opened = [line for line in README.splitlines() if line.strip().startswith("```")]
    assert len(opened) == 2 * len(blocks()), "every fence was found"


def test_one_line_of_the_readme_is_the_test_command_that_ci_runs() -> None:
    assert re.findall(r"^python -m pytest.*$", README, re.MULTILINE) == ["python -m pytest -n 2"]
    assert "grep -m1 -E '^python -m pytest' README.md" in (ROOT / ".ci/run").read_text()


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#\s]+)\)", README)
    local = [target for target in targets if "://" not in target]
    assert local and not [target for target in local if not (ROOT / target).exists()]


def test_the_result_table_is_the_generated_one() -> None:
    shown = re.search(r"<!-- results:begin -->\n(.*)<!-- results:end -->", README, re.DOTALL)
    assert shown[1].strip() == (ROOT / "reports/gallery/paper_table.md").read_text().strip()


def test_files_that_the_tree_names_exist() -> None:
    (tree,) = [block.text for block in blocks() if block.text.startswith("Snakefile")]
    folder = ROOT
    for line in tree.splitlines():
        names = re.split(r"\s{2,}", line.strip())[0]
        if names.startswith("resources/"):
            continue
        folder = ROOT / "fne" if line.startswith(" ") else ROOT
        for name in re.split(r"[,\s]+", names):
            assert (folder / name).exists(), name


def test_verbs_that_the_readme_names_exist() -> None:
    (steps,) = [block.text for block in blocks() if block.text.startswith("prepare")]
    verbs = re.findall(r"^((?:\w+, )*\w+)  ", steps, re.MULTILINE)
    named = {verb for group in verbs for verb in group.split(", ")}
    from fne.cli import build_parser

    (known,) = [action.choices for action in build_parser()._actions if action.choices]
    assert named <= set(known) and set(known) - named == {"describe", "check", "list", "schema", "completion", "help"}


def test_config_keys_that_the_readme_names_exist() -> None:
    from fne.study.paths import FLAT_KEYS
    from fne.study.study_file import STUDY_LEVEL

    known = {"study", "set", "device", "replace", *STUDY_LEVEL, *FLAT_KEYS}
    commands = re.findall(r"--config ((?:[^`\n\\]|\\\n)+)", README)
    keys = {key for command in commands for key in re.findall(r"(?:^|[\s'])([a-z_]+)=", command)}
    assert {"study", "images", "annotations", "image_encoder", "text_encoder", "seeds"} <= keys <= known


def test_the_variants_of_the_readme_are_sound(project: Project) -> None:
    done = project.run("fne", "check")
    assert done.returncode == 0 and "valid: " in done.stdout, done.stderr
    assert "1 rules from outside" in done.stdout
    for block in (block for block in blocks() if block.language == "yaml"):
        assert list(yaml.safe_load(block.text)) == ["title", "asks", "parent", "set", "isolates", "role"]


def test_the_rule_of_the_readme_trains_and_stands_in_the_table(project: Project, tmp_path: Path) -> None:
    """The rule from outside, really trained in the tiny study beside the baseline, which is not trained again."""
    own = Project.copy_of(project.folder, tmp_path / "own", made=True)
    for block in blocks():
        if place := re.match(r"# (\S+\.py)\n", block.text):
            (own.folder / place[1]).write_text(block.text)
    done = own.run("fne", "check", "my_rules:SoftHard", "--set", "options.sharpness=20")
    assert done.returncode == 0 and done.stdout.count("  holds: ") == 10, done.stderr
    done = own.run("fne", "describe", "soft_hard")
    assert done.returncode == 0 and "negatives.options.sharpness: - -> 20.0" in done.stdout, done.stderr
    variants = "hardest_in_batch,fne,infonce,soft_hard"
    done = own.snakemake("--config", "study=smoke", f"variants={variants}", "--cores", "2")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert json.loads((own.folder / "results/smoke/study.json").read_text())["overrides"] == {"variants": variants}
    done = own.snakemake("--config", "study=smoke", "--dry-run")
    assert "Nothing to be done" in done.stdout + done.stderr, "the variants hold without being given again"
    assert [path.name for path in (own.folder / "logs/smoke/train").iterdir()] == ["soft_hard.0-1.log"]
    settings = json.loads((own.folder / "results/smoke/soft_hard/0-1/run.json").read_text())["config"]["negatives"]
    assert settings["options"] == {"sharpness": 20.0}
    table = (own.folder / "reports/smoke/tables/main.md").read_text()
    assert re.search(r"\| Softly hard(<sup>†</sup>)? `soft_hard` \| 2 \| +\d", table), table


def test_readme_shows_no_private_path() -> None:
    assert not re.search(r"/(home|root|work|tmp)/", README)
    assert Path(ROOT / "README.md").stat().st_size < 32_000

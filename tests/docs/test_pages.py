"""Every code block of the documents runs, their links lead somewhere, and the site can be built without a network."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from fne.cli import build_parser
from fne.study.paths import FLAT_KEYS
from fne.study.study_file import STUDY_LEVEL
from tests.conftest import SLOW
from tests.projects import checkpoint, given
from tests.snakemake_project import ROOT, Project

PAGES = [ROOT / name for name in ("README.md", "AGENTS.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted(ROOT.glob("docs/**/*.md"))
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
README = TEXTS["README.md"]
FENCE = re.compile(
    r"(?:^ *<!-- test: (?P<how>[^>]+?) -->\n)?"
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
SHOWN = ("text", "math")
"""Blocks that nobody runs."""
UNTESTED = {
    "skip=installs": "makes an environment; .ci/run does just that",
    "skip=it-is-this-run": "the very command that runs this test",
    "skip=needs-a-cluster": "tests/workflow/slurm and tests/workflow/kubernetes run these profiles",
    "skip=two-nodes": "two nodes of a cluster; tests/training/finetune/test_run.py pretends to have them",
    "skip=needs-a-storage-plugin": "tests/workflow/test_storage.py runs it where the plugin is installed",
    "skip=downloads": "20 GB; tests/data/test_fetch.py downloads from a server of its own",
}
HELD_SNAKEMAKE = """#!/bin/sh
case " $* " in *" --unlock "*) exec {python} -m snakemake "$@";; esac
exec {python} -m snakemake "$@" --dry-run --quiet host
"""
HELD_FNE = """#!/bin/sh
case "$1" in
run) set -- "$@" --dry-run;;
tune | train | rank | evaluate | verify)
    {python} -c 'import sys; from fne.cli import build_parser; build_parser().parse_args(sys.argv[1:])' "$@" || exit
    [ "$1" = tune ] || exit 0
    set -- check "$2";;
esac
exec {python} -m fne.cli "$@"
"""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; ``file`` is the file of the project that it is, where its first line names one."""

    page: str
    language: str
    how: frozenset[str]
    text: str
    file: str | None

    @property
    def needs(self) -> list[str]:
        """Packages of the extra `extras` without which it cannot run; such a block runs by itself."""
        return [word.removeprefix("needs=") for word in self.how if word.startswith("needs=")]

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.needs) or self.text.splitlines()[0][:50]}"


def blocks() -> list[Block]:
    made = []
    for page, text in TEXTS.items():
        for match in FENCE.finditer(text):
            body = "".join(line.removeprefix(match["indent"]) for line in match["text"].splitlines(keepends=True))
            file = re.match(r"# (\S+\.(?:yaml|py))\n", body)
            how = frozenset((match["how"] or "").split())
            made.append(Block(page, match["language"], how, body, file and file[1]))
    return made


BLOCKS = blocks()
FILES = {block.file: block.text for block in BLOCKS if block.file}
BASH = [block for block in BLOCKS if block.language == "bash"]
PYTHON = [block for block in BLOCKS if block.language == "python" and not block.file and not block.needs]
EXTRA = [pytest.param(each, marks=pytest.mark.extra(*each.needs), id=str(each)) for each in BLOCKS if each.needs]


@pytest.fixture(scope="module")
def project(smoke: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the finished smoke study, the files of all pages in it, and a `snakemake` and `fne` held back."""
    project = Project.copy_of(smoke.folder, tmp_path_factory.mktemp("docs") / "project", made=True)
    for name, text in FILES.items():
        (project.folder / name).write_text(text)
    corpora = {name: f"dataset_{name}.json" for name in ("flickr8k", "flickr30k")} | {"my_corpus": "pairs.csv"}
    for corpus, name in corpora.items():
        folder = project.folder / "data" / corpus
        given(folder)
        (folder / "split.json").rename(folder / name)
    pairs = project.folder / "data/my_corpus/pairs.csv"
    rows = [",".join(row[key] for key in ("image", "caption", "split")) for row in json.loads(pairs.read_text())]
    pairs.write_text("\n".join(["image,caption,split", *rows]) + "\n")
    (project.folder / "data/flickr8k/CrowdFlowerAnnotations.txt").write_text("{}")
    for name in (
        "mobilenet_v2_1.0_224",
        "all-MiniLM-L6-v2",
        "image",
        "text",
        "vit-base-patch16-384",
        "bert-base-uncased",
    ):
        checkpoint(project.folder / "data" / "encoders" / name)
    towers = checkpoint(project.folder / "data" / "encoders" / "clip") / "config.json"
    towers.write_text('{"vision_config": {}, "text_config": {}, "projection_dim": 8}')
    held = project.folder / "held"
    held.mkdir()
    for name, script in (("snakemake", HELD_SNAKEMAKE), ("fne", HELD_FNE)):
        (held / name).write_text(script.format(python=sys.executable))
        (held / name).chmod(0o755)
    return project


@pytest.mark.parametrize("page", sorted({block.page for block in BASH}))
def test_bash_blocks_of_a_page_run_in_order(page: str, request: pytest.FixtureRequest) -> None:
    for block in BASH:
        if block.page == page:
            _run(block, request)


def _run(block: Block, request: pytest.FixtureRequest) -> None:
    if block.how & set(UNTESTED):
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
    assert done.returncode == 0, f"{block}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    if "dry-run" in block.how and re.search(r"--config .*(variants|seeds|study=(?!smoke))", text):
        assert re.search(r"^rule run|^run +\d", done.stdout + done.stderr, re.MULTILINE)


@pytest.mark.parametrize("page", sorted({block.page for block in PYTHON}))
def test_python_blocks_of_a_page_run(page: str, project: Project) -> None:
    code = "\n".join(block.text for block in PYTHON if block.page == page)
    done = project.run("python", "-c", code.replace('"paper"', '"smoke"'))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", EXTRA)
def test_python_block_that_needs_a_package_runs(block: Block, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", block.text]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_readme_trains_something() -> None:
    (block,) = [block.text for block in PYTHON if block.page == "README.md"]
    assert len([line for line in block.splitlines() if line]) == 10 + 1
    done = subprocess.run([sys.executable, "-c", block], cwd=ROOT, capture_output=True, text=True, check=True)
    losses = [float(number) for number in done.stdout.split()]
    assert len(losses) > 20 and sum(losses[-5:]) < sum(losses[:5]) / 4


def test_every_block_says_what_it_is() -> None:
    for page, text in TEXTS.items():
        opened = [line for line in text.splitlines() if line.strip().startswith("```")]
        assert len(opened) == 2 * sum(block.page == page for block in BLOCKS), f"{page}: every fence was parsed"
    for block in BLOCKS:
        assert block.language in ("bash", "python", "yaml", *SHOWN), str(block)
        assert block.file or block.language != "yaml", f"{block}: a YAML block begins with the name of its file"
    assert len(FILES) == sum(bool(block.file) for block in BLOCKS), "each file stands once"
    plain = {how for block in BLOCKS for how in block.how if not how.startswith("needs=")}
    assert plain == {"dry-run", "data", *UNTESTED}


def test_the_test_commands_of_the_documents_are_those_of_ci_and_the_fast_lane_leaves_out_what_exists() -> None:
    assert re.findall(r"^python -m pytest.*$", README, re.MULTILINE) == ["python -m pytest -n 2"]
    assert "grep -m1 -E '^python -m pytest' README.md" in (ROOT / ".ci/run").read_text()
    assert 'python -m pytest -n 2 -m "not slow"' in TEXTS["CONTRIBUTING.md"]
    assert not [place for place in SLOW if not (ROOT / "tests" / place).exists()]


def anchors(text: str) -> set[str]:
    """Where links to the headings of a page lead, as GitHub and mkdocs name them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_somewhere(page: str) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", TEXTS[page]):
        if "://" in target:
            continue
        place = ROOT / page if not target else (ROOT / page).parent / target
        assert place.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(place.read_text(encoding="utf-8")), f"{page}: {target}#{anchor}"


def test_each_page_is_in_the_site_and_linked() -> None:
    listed = (ROOT / "mkdocs.yml").read_text()
    for page in TEXTS:
        if page.startswith("docs/"):
            assert f" {page.removeprefix('docs/')}\n" in listed, page
            assert page == "docs/README.md" or f"]({page.removeprefix('docs/')})" in TEXTS["docs/README.md"], page


def test_the_result_table_is_that_of_the_gallery() -> None:
    shown = re.search(r"<!-- results:begin -->\n(.*)<!-- results:end -->", README, re.DOTALL)[1].replace("\u00a0", " ")
    rows = [line.split("|")[1:-1] for line in shown.splitlines() if line.startswith("|")]
    whole = [line.split("|")[1:-1] for line in (ROOT / "reports/gallery/paper_table.md").read_text().splitlines()]
    whole = [row for row in whole if row]
    assert 2 < len(rows) == len(whole) and len(rows[0]) <= 7
    heads = [head.strip() for head in whole[0]]
    for number, head in enumerate(rows[0]):
        (place,) = [at for at, full in enumerate(heads) if full == head.strip() or full.endswith(f" {head.strip()}")]
        for short, full in zip(rows[2:], whole[2:], strict=True):
            assert full[place].strip().startswith(short[number].strip()), head


def test_verbs_and_config_keys_that_the_documents_name_exist() -> None:
    (steps,) = re.findall(r"```text\n(fetch .*?)```", TEXTS["docs/reference/README.md"], re.DOTALL)
    verbs = {verb for group in re.findall(r"^((?:\w+, )*\w+)  ", steps, re.MULTILINE) for verb in group.split(", ")}
    verbs |= {verb for block in BASH for verb in re.findall(r"^fne (\w+)", block.text, re.MULTILINE)}
    (known,) = [action.choices for action in build_parser()._actions if action.choices]
    assert verbs <= set(known)
    commands = [each for text in TEXTS.values() for each in re.findall(r"--config ((?:[^`\n\\]|\\\n)+)", text)]
    keys = {key for command in commands for key in re.findall(r"(?:^|[\s'])([a-z_]+)=", command)}
    (options,) = re.findall(r"^OPTIONS = (\[.*\])$", (ROOT / "workflow/rules/common.smk").read_text(), re.MULTILINE)
    accepted = {"study", "set", *json.loads(options), *STUDY_LEVEL, *FLAT_KEYS}
    assert {"study", "images", "annotations", "image_encoder", "text_encoder", "seeds"} <= keys <= accepted


def test_the_rule_of_the_documents_trains_and_stands_in_the_table(project: Project, tmp_path: Path) -> None:
    """The rule from outside, really trained in the tiny study beside the baseline, which is not trained again."""
    own = Project.copy_of(project.folder, tmp_path / "own", made=True)
    for name in ("my_rules.py", "my_ranged_rules.py", "my_losses.py"):
        (own.folder / name).write_text(FILES[name])
    done = own.run("fne", "check")
    assert done.returncode == 0, done.stderr
    done = own.run("fne", "check", "my_rules:SoftHard", "--set", "options.sharpness=20")
    assert done.returncode == 0 and done.stdout.count("  holds: ") == 12, done.stderr
    variants = "hardest_in_batch,fne,infonce,soft_hard"
    done = own.snakemake("--config", "study=smoke", f"variants={variants}", "--cores", "2")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert [path.name for path in (own.folder / "logs/smoke/run").iterdir()] == ["soft_hard.0-1.log"]
    done = own.snakemake("--config", "study=smoke", "--dry-run")
    assert "Nothing to be done" in done.stdout + done.stderr, "the variants hold without being named again"
    settings = json.loads((own.folder / "results/smoke/soft_hard/0-1/run.json").read_text())["config"]["negatives"]
    assert settings["options"] == {"sharpness": 20.0}
    table = (own.folder / "reports/smoke/tables/main.md").read_text()
    assert re.search(r"\| Softly hard(<sup>†</sup>)? `soft_hard` \| 2 \| +\d", table), table


def test_the_readme_is_short_and_no_page_shows_a_private_path() -> None:
    lines = README.splitlines()
    assert len(lines) <= 150
    assert max(len(line) for line in lines if not line.startswith(("|", "!["))) <= 130
    for page, text in TEXTS.items():
        assert not re.search(r"/(home|root|work|tmp)/", text), page


def test_the_site_is_built_without_a_network(tmp_path: Path) -> None:
    """Strictly, and no page of it loads anything from elsewhere."""
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    pages = sorted(tmp_path.glob("**/*.html"))
    assert len(pages) > len([page for page in TEXTS if page.startswith("docs/")])
    for page in pages:
        assert not re.search(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=\"(https?:)?//", page.read_text()), page
    assert "<code>tau</code>" in (tmp_path / "reference/configuration.html").read_text()
    assert "fne.negatives.strategy.Strategy" in (tmp_path / "reference/api/negatives.html").read_text()

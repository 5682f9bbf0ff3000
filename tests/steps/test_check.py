"""``fne check`` of rules: what holds is printed, what does not is one clear message and status 2."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fne import cli
from fne.study.library import Library
from tests.plugin_files import LOSS, STRATEGY, clean_path, place
from tests.projects import Project, given

__all__ = ["clean_path"]
pytestmark = pytest.mark.usefixtures("clean_path")
RETURNED = "return draw_kept(self.sharpness * similarities, allowed, allowed, uniform)"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def check(project: Project, *words: str) -> int:
    return cli.main(["check", "--root", str(project.root), *words])


def test_a_plugin_that_keeps_its_contract(project: Project, capsys: pytest.CaptureFixture) -> None:
    module = place(project.root, STRATEGY)
    assert check(project, f"{module}:SoftHard", "--set", "options.sharpness=3") == 0
    summary = capsys.readouterr().out
    assert f"strategy {module}:SoftHard" in summary and "sharpness=3.0" in summary and f"{module}.py)" in summary
    assert summary.count("  holds: ") == 12 and summary.endswith("valid\n")


def test_a_loss_and_its_shared_key(project: Project, capsys: pytest.CaptureFixture) -> None:
    module = place(project.root, LOSS)
    given = ["--set", "options.offset=0.1", "--set", "loss.temperature=0.5"]
    assert check(project, f"{module}:Contrast", *given) == 0
    summary = capsys.readouterr().out
    assert f"loss {module}:Contrast" in summary and "offset=0.1, temperature=0.5" in summary
    assert check(project, f"{module}:Contrast") == 2
    assert "loss.options.offset: is missing" in capsys.readouterr().err


def test_an_option_must_be_of_every_rule_that_is_named(project: Project, capsys: pytest.CaptureFixture) -> None:
    assert check(project, "simans", "triplet", "--set", "options.sharpness=2.0") == 2
    assert "loss.sharpness" in capsys.readouterr().err
    assert check(project, "simans", "--set", "options.sharpness=2.0") == 0
    assert "strategy simans: sharpness=2.0, offset=0.0" in capsys.readouterr().out


def test_over_the_grid_a_fault_is_found_that_the_defaults_hide(project: Project, capsys: pytest.CaptureFixture) -> None:
    assert check(project, "topk_perc", "--grid") == 0
    assert "holds, in short, under 3 combinations of its options" in capsys.readouterr().out
    text = STRATEGY.replace("self.sharpness = sharpness", "self.sharpness = sharpness / (not twice)")
    module = place(project.root, text)
    assert check(project, f"{module}:SoftHard") == 0
    assert check(project, f"{module}:SoftHard", "--grid") == 2
    assert "twice=True" in capsys.readouterr().err


def test_studies_are_distinguished_from_rules(project: Project, capsys: pytest.CaptureFixture) -> None:
    assert check(project, "smoke", "random") == 0
    summary = capsys.readouterr().out
    assert "strategy random\n" in summary and "valid: 1 studies (smoke)" in summary
    assert check(project, "smokes") == 2
    assert "unknown study" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "saying"),
    [
        ("import a_module_that_nobody_has\n", ["cannot be imported", "a_module_that_nobody_has"]),
        ("class SoftHard:\n    pass\n", ["is neither a Strategy nor a Loss"]),
        (STRATEGY.replace("self.sharpness = sharpness", "self.sharpness = sharpnes"),
         ["breaks the contract 'answers every input", "__init__ raised NameError"]),
    ],
)  # fmt: skip
def test_a_breach_exits_with_status_2(
    project: Project, text: str, saying: list[str], capsys: pytest.CaptureFixture
) -> None:
    module = place(project.root, text)
    assert check(project, f"{module}:SoftHard") == 2
    summary = capsys.readouterr().err
    assert summary.startswith("error: ") and f"{module}:SoftHard" in summary and "Traceback" not in summary
    for words in saying:
        assert words in summary, summary


def test_the_check_of_a_study_runs_the_contract_of_its_plugins(project: Project, capsys: pytest.CaptureFixture) -> None:
    careless = STRATEGY.replace(RETURNED, "return Selection(similarities.argmax(-1), None, allowed.any(-1))")
    for text, status in ((STRATEGY, 0), (careless, 2)):
        module = place(project.root, text)
        project.variant("own", {"negatives.strategy": f"{module}:SoftHard"}, ["negatives.strategy"])
        project.edit("studies/smoke", variants=["hardest_in_batch", "fne", "own"])
        assert check(project, "smoke") == status
        summary = capsys.readouterr()
        assert "1 rules from outside" in summary.out if status == 0 else "breaks the contract" in summary.err


def test_all_that_a_study_of_ones_own_lacks_is_named_at_once(
    project: Project, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    project.write("studies/mine", {"data": {"dataset": "custom"}, "seeds": "0-4"})
    assert check(project, "mine") == 2
    message = capsys.readouterr().err
    named = {"data.annotations": "pairs.csv", "data.images": "", "encoders.image.checkpoint": "google/vit",
             "encoders.text.checkpoint": "", "title": "My corpus", "variants": "fne", "primary": "rsum"}  # fmt: skip
    for key, example in named.items():
        assert re.search(rf"\n  - .*mine.yaml: {key}: .*{example}", message), message
    assert "seeds" not in message
    project.write("studies/mine", project.read("studies/smoke") | {"data": {"dataset": "custom"}})
    assert check(project, "mine", "--set", f"data.annotations={tmp_path}/none.csv") == 2
    message = capsys.readouterr().err
    assert message.startswith("error: 4 problems") and "none.csv" in message and message.count("'scenes' only") == 2
    supplied = [word for key, place in given(tmp_path / "given").items() for word in ("--set", f"{key}={place}")]
    assert check(project, "mine", *supplied) == 0
    assert check(project, "mine", *supplied, "--set", "train.batch_size=129") == 2
    message = capsys.readouterr().err
    assert "train.batch_size: " in message and "at most 128" in message and message.count("129") == 1


def test_the_files_of_variants_may_be_named(project: Project, capsys: pytest.CaptureFixture) -> None:
    assert check(project, "fne_memory") == 0
    members = len(Library(project.root).members("fne_memory"))
    assert f"valid: 0 studies (), {members} variants" in capsys.readouterr().out

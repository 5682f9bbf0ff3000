"""Rules from outside: found, read without being run, checked before any work, and part of the digest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fne.steps.describe import run as describe
from fne.study import api as config
from fne.study import plugins
from fne.training.step import build_rule
from fne.utils.errors import UserError
from tests.plugin_files import LOSS, STRATEGY, clean_path, place
from tests.projects import ROOT, SEARCH, Project

__all__ = ["clean_path"]
pytestmark = pytest.mark.usefixtures("clean_path")
SOURCE_LINE = "class SoftHard(Strategy):"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def variant(project: Project, module: str, options: dict | None = None, name: str = "own", **more: object) -> None:
    """A variant with a plug-in's strategy, beside the hardest in the study `paper`."""
    delta = {"negatives.strategy": f"{module}:SoftHard"} | {
        f"negatives.options.{key}": value for key, value in (options or {}).items()
    }
    project.variant(name, delta, list(delta), parent="hardest_in_batch", **more)
    project.edit("studies/paper", variants=["hardest_in_batch", name], baseline="hardest_in_batch")


def resolved(project: Project, name: str = "own", **overrides: object) -> dict:
    return config.resolve(project.load(**overrides), name)


def test_a_file_of_the_project_is_a_strategy_with_its_defaults_stated(project: Project) -> None:
    module = place(project.root, STRATEGY)
    variant(project, module, {"sharpness": 5})
    result = resolved(project)["negatives"]
    assert result["strategy"] == f"{module}:SoftHard" and result["oracle"] == "none"
    assert result["options"] == {"sharpness": 5.0, "label": "plain", "twice": False, "cap": None}
    assert type(result["options"]["sharpness"]) is float, "one canonical type, so one digest"
    assert set(result) == {"strategy", "oracle", "options"}
    rule = build_rule(resolved(project))
    assert type(rule.strategy).__name__ == "SoftHard" and rule.strategy.sharpness == 5.0


def test_a_module_in_a_folder_and_a_loss_that_shares_a_key(project: Project) -> None:
    module = place(project.root, LOSS, f"ablations.{Path(project.root).name.replace('-', '_')}_losses")
    delta = {"loss.kind": f"{module}:Contrast", "loss.options.offset": 0}
    project.variant("own", delta, list(delta), parent="infonce")
    project.edit("studies/paper", variants=["infonce", "own"], baseline="infonce")
    result = resolved(project)["loss"]
    assert result["options"] == {"offset": 0.0} and set(result) == {"kind", "temperature", "options"}
    rule = build_rule(resolved(project))
    assert (rule.loss.temperature, rule.loss.offset) == (result["temperature"], 0.0)


def test_a_rule_that_models_a_posterior_is_calibrated(project: Project) -> None:
    """Scheduled from the source alone; a rule that says nothing of it is not."""
    from fne.results.calibration_tables import estimates

    telling = STRATEGY.replace("    def __init__", "    models_posterior = True\n\n    def __init__", 1)
    summary = {}
    for name, text in (("plain", STRATEGY), ("telling", telling)):
        variant(project, place(project.root, text), name=name)
        summary[name] = estimates(resolved(project, name))
    assert summary == {"plain": False, "telling": True}


def test_an_entry_point_of_an_installed_package(project: Project, tmp_path: Path, monkeypatch) -> None:
    packages = tmp_path / "packages"
    module = place(packages, STRATEGY)
    info = packages / "own_rules-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-rules\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[fne.strategies]\nsoft_hard_of_mine = {module}:SoftHard\n")
    monkeypatch.syspath_prepend(str(packages))
    project.variant("own", {"negatives.strategy": "soft_hard_of_mine"}, ["negatives.strategy"])
    project.edit("studies/paper", variants=["fne", "own"], baseline="fne")
    assert resolved(project)["negatives"]["options"]["sharpness"] == 20.0
    project.edit("variants/own", set={"negatives.strategy": "soft_hard_of_min"})
    project.fails(saying=["variants/own.yaml", "did you mean 'soft_hard_of_mine'?"])


def test_options_are_swept_overridden_and_described_like_any_key(project: Project) -> None:
    module = place(project.root, STRATEGY)
    variant(project, module)
    sweep = {"negatives.options.sharpness": [1.0, 5.0]}
    project.variant("swept", {}, ["negatives.options.sharpness"], parent="own", sweep=sweep)
    project.edit("studies/paper", variants=["own", "swept"], baseline="own")
    study = project.load(**{"negatives.options.label": "other"})
    options = [config.resolve(study, name)["negatives"]["options"] for name in study.variants]
    assert [item["sharpness"] for item in options] == [20.0, 1.0, 5.0]
    assert {item["label"] for item in options} == {"other"}
    summary = describe("swept", project.root)
    assert "negatives.options.sharpness: 20.0 -> 1.0" in summary
    summary = describe("own", project.root)
    assert "negatives.options.sharpness: - -> 20.0" in summary
    words = config.arguments(study)
    assert "negatives.options.label=other" in words


def test_a_child_with_a_registered_rule_drops_the_options(project: Project) -> None:
    module = place(project.root, STRATEGY)
    variant(project, module, {"sharpness": 5})
    project.variant("child", {"negatives.strategy": "random"}, ["negatives.strategy"], parent="own")
    project.edit("studies/paper", variants=["own", "child"], baseline="own")
    assert set(resolved(project, "child")["negatives"]) == {"strategy", "oracle"}


@pytest.mark.parametrize(
    ("options", "saying"),
    [
        ({"sharpnes": 1.0}, ["set.negatives.options.sharpnes", "did you mean 'negatives.options.sharpness'?"]),
        ({"sharpness": "much"}, ["negatives.options.sharpness", "must be a number, not text", "'much'"]),
    ],
)
def test_a_wrong_option_is_named(project: Project, options: dict, saying: list[str]) -> None:
    variant(project, place(project.root, STRATEGY), options)
    project.fails(saying=["variants/own.yaml", *saying])


def test_an_option_without_default_must_be_given(project: Project) -> None:
    module = place(project.root, STRATEGY.replace("sharpness: float = 20.0", "sharpness: float"))
    variant(project, module)
    project.fails(saying=["variants/own.yaml", "negatives.options.sharpness", "is missing", "a number"])


@pytest.mark.parametrize(
    ("text", "saying"),
    [
        ("import a_module_that_nobody_has\n", ["cannot be imported", "ModuleNotFoundError"]),
        ("def broken(:\n", ["cannot be imported", "SyntaxError", "line 1"]),
        ("class SoftHart:\n    pass\n", ["no such class", "did you mean 'SoftHart'?"]),
        ("class SoftHard:\n    pass\n", ["is neither a Strategy nor a Loss"]),
        (LOSS.replace("Contrast", "SoftHard"), ["is no Strategy"]),
        (STRATEGY.replace("*, ", ""), ["keyword-only", "sharpness, label, twice, cap"]),
        (STRATEGY.replace(SOURCE_LINE, f"{SOURCE_LINE}\n    negatives = 'two'"), ["negatives", "'two'", "one, all"]),
        (STRATEGY.replace(SOURCE_LINE, f"{SOURCE_LINE}\n    reads = ('loss.margn',)"),
         ["reads", "did you mean 'loss.margin'?"]),
    ],
)  # fmt: skip
def test_a_source_that_cannot_be_used_is_named(project: Project, text: str, saying: list[str]) -> None:
    module = place(project.root, text)
    variant(project, module)
    project.fails(saying=["variants/own.yaml", "negatives.strategy", f"{module}:SoftHard", *saying])


@pytest.mark.parametrize("top", ["results"])
def test_no_code_is_taken_from_what_runs_made(project: Project, top: str) -> None:
    """Results may be other people's; a base class that the source does not tell makes the class be imported."""
    (project.root / top / "smoke").mkdir(parents=True)
    text = f"open({str(project.root / 'ran')!r}, 'w')\n" + STRATEGY.replace("(Strategy)", "(globals()['Strategy'])")
    (project.root / top / "smoke" / "evil.py").write_text(text)
    project.variant("own", {"negatives.strategy": f"{top}.smoke.evil:SoftHard"}, ["negatives.strategy"])
    project.edit("studies/paper", variants=["fne", "own"], baseline="fne")
    project.fails(saying=[f"{top}.smoke.evil:SoftHard", f"lies in {top}/", "no code is taken from there"])
    assert not (project.root / "ran").exists()


@pytest.mark.parametrize("name", ["no_such_module_at_all:Rule"])
def test_a_module_that_is_nowhere_is_named(project: Project, name: str) -> None:
    project.variant("own", {"negatives.strategy": name}, ["negatives.strategy"])
    project.edit("studies/paper", variants=["fne", "own"], baseline="fne")
    project.fails(saying=["variants/own.yaml", name, "no module named", "project's folder"])


def test_options_belong_to_plugins_only(project: Project) -> None:
    project.variant("own", {"negatives.options.sharpness": 1.0}, ["negatives.options.sharpness"])
    project.edit("studies/paper", variants=["fne", "own"], baseline="fne")
    project.fails(saying=["is not read by this variant", "negatives.strategy 'fne' reads"])
    base = project.read("base")
    base["negatives"]["options"] = {"sharpness": 1.0}
    project.write("base", base)
    project.fails(saying=["base.yaml", "negatives.options.sharpness", "belongs to a plug-in"])


def test_an_override_that_no_plugin_takes_is_named(project: Project) -> None:
    variant(project, place(project.root, STRATEGY))
    project.fails(
        overrides={"negatives.options.sharpnes": 1.0},
        saying=["command line", "negatives.options.sharpnes", "read by no variant"],
    )


DYNAMIC = {
    "re-export": "from {module} import SoftHard\n",
    "inherits": "from {module} import SoftHard as Other\n\n\nclass SoftHard(Other):\n    negatives = 'one'\n",
    "computed default": STRATEGY.replace("20.0", "float(20)"),
    "made by a function": STRATEGY + "\n\nSoftHard = (lambda made: made)(SoftHard)\n",
}


@pytest.mark.parametrize("text", DYNAMIC.values(), ids=list(DYNAMIC))
def test_what_the_source_does_not_decide_is_imported_and_reads_the_same(project: Project, text: str) -> None:
    plain = place(project.root, STRATEGY)
    module = place(project.root, text.replace("{module}", plain))
    variant(project, module)
    options = resolved(project)["negatives"]["options"]
    assert options == {"sharpness": 20.0, "label": "plain", "twice": False, "cap": None}
    assert type(build_rule(resolved(project)).strategy).__name__ == "SoftHard"


def test_static_reading_equals_import(project: Project) -> None:
    from fne.negatives import signature
    from fne.utils.modules import load

    plugins.look_in(project.root)
    for text, name in ((STRATEGY, "SoftHard"), (LOSS, "Contrast")):
        module = place(project.root, text)
        target = f"{module}:{name}"
        file = project.root / f"{module}.py"
        assert signature.read(target) == signature._from_class(load(target), target, file)


def test_reading_a_study_with_a_plugin_runs_nothing_of_it(project: Project) -> None:
    module = place(project.root, "import torch\nprint('I was run')\n" + STRATEGY)
    variant(project, module)
    text = (
        "import sys; from fne.study import api as config; study = config.load_study('paper'); "
        "print(sorted(config.resolve(study, 'own')['negatives']), 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", f"import sys; sys.path[:] = [p for p in sys.path if p]; {text}"]
    done = subprocess.run(command, cwd=project.root, capture_output=True, text=True, check=False,
                          env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"})  # fmt: skip
    assert done.stdout.strip() == "['options', 'oracle', 'strategy'] False", done.stderr


def test_a_breach_stops_training_before_its_first_step(project: Project) -> None:
    returned = "return draw_kept(self.sharpness * similarities, allowed, allowed, uniform)"
    careless = "return Selection(similarities.argmax(dim=-1), None, allowed.any(dim=-1))"
    assert returned in STRATEGY
    variant(project, place(project.root, STRATEGY.replace(returned, careless)))
    with pytest.raises(UserError, match=r"SoftHard: breaks the contract '.*excluded"):
        build_rule(resolved(project))


def test_values_of_a_search_may_be_options(project: Project) -> None:
    variant(project, place(project.root, STRATEGY))
    search = {"negatives.options.sharpness": {"log": [1.0, 5.0]}}
    project.edit("studies/paper", tune=SEARCH | {"search": search})
    axes = config.load_study("paper", root=project.root, tuned=False).axes
    axis = axes["own"]["negatives.options.sharpness"]
    assert not axes["hardest_in_batch"] and (axis.kind, axis.low, axis.high) == ("log", 1.0, 5.0)


@pytest.mark.parametrize(
    ("annotation", "saying"),
    [
        ("bytes = b'x'", "no type of an option"),
        ("Annotated[float, Field(ge=0), Neutral(-1.0)]", "out of range"),
        ("Annotated[int, When({'cap': (1,)})] = 1", "a condition on itself"),
    ],
)
def test_an_odd_option_is_one_clear_error(project: Project, annotation: str, saying: str) -> None:
    lines = "from typing import Annotated\nfrom pydantic import Field\nfrom fne.utils.fields import Neutral, When\n"
    text = STRATEGY.replace("cap=None", f"cap: {annotation}")
    head, future, rest = text.partition("from __future__ import annotations\n")
    module = place(project.root, head + future + lines + rest if future else lines + text)
    variant(project, module)
    project.fails(saying=["variants/own.yaml", "negatives.strategy", f"{module}:SoftHard", saying])

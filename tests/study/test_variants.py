"""Variant files and sweeps: one clear error for everything that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from fne.study import api as config
from fne.study import paths
from tests.projects import Project, sweep


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.parametrize(
    ("changes", "saying"),
    [
        ({"set": {"negatives": {"tua": 1.0}}},
         ["set.negatives.tua", "unknown key", "did you mean 'negatives.tau'"]),
        ({"set": {"negatives": {"tau": "0.5"}}}, ["set.negatives.tau", "not text", "'0.5'", "write 0.5"]),
        ({"set": {"negatives": {"tau": -1}}}, ["set.negatives.tau", "out of range", "-1", ">= 0"]),
        ({"set": {"negatives": {"cut_down": "globl"}}},
         ["cut_down", "'globl'", "global, anchor, none", "did you mean 'global'"]),
        ({"set": {"loss": {"kind": "infonce"}}},
         ["negatives.strategy", "does not fit loss.kind 'infonce'", "allowed: all"]),
        ({"set": {"data": {"seed": 1}}}, ["set.data.seed", "belongs to the study"]),
        ({"set": {"negatives.tau": 1.0, "negatives": {"tau": 2.0}}}, ["negatives.tau", "given twice"]),
        ({"set": {"negatives": {"tau": 0.5}}}, ["set.negatives.tau", "changes nothing"]),
        ({"set": {"negatives": {"strategy": "random", "tau": 1.0}}},
         ["set.negatives.tau", "is not read", "'random' reads no"]),
        ({"set": {"memory": {"kind": "none", "size": 9}}},
         ["set.memory.size", "is not read", "where memory.kind is 'momentum' or 'xbm'"]),
        ({"set": {"warmup": {"epochs": 0, "margin": 0.1}}},
         ["set.warmup.margin", "is not read", "warmup.epochs is above 0"]),
        ({"parent": "fen"}, ["parent", "unknown parent", "'fen'", "did you mean 'fne'"]),
        ({"parent": "fne_no_cutdown"}, ["cycle", "fne_no_cutdown -> fne_no_cutdown"]),
        ({"question": None}, ["question", "non-empty"]),
        ({"isolates": ["negatives.cutdown"]},
         ["isolates.negatives.cutdown", "did you mean 'negatives.cut_down'"]),
        ({"isolates": ["negatives.cut_down", "memory.size"]},
         ["isolates", "listed but does not differ: memory.size"]),
        ({"sweep": {"memory.size": 5}}, ["sweep.memory.size", "list of values"]),
        ({"sweep": {"negatives.cut_down": ["none"]}}, ["sweep.negatives.cut_down", "in set and in sweep"]),
        ({"sweep": {"negatives.tau": [1, 1.0]}, "isolates": ["negatives.cut_down", "negatives.tau"]},
         ["sweep.negatives.tau: holds a value twice"]),
    ],
)  # fmt: skip
def test_bad_variant(project: Project, changes: dict, saying: list[str]) -> None:
    project.edit("variants/fne_no_cutdown", **changes)
    project.fails(saying=["fne_no_cutdown.yaml", *saying])


def test_a_dishonest_ancestor_is_found_through_its_descendant(project: Project) -> None:
    project.edit("variants/hardest_buffer", isolates=["negatives.strategy", "memory.size"])
    project.edit("studies/paper", variants=["random", "fne"], baseline="random")
    project.fails(saying=["hardest_buffer.yaml", "does not differ: memory.size"])


def test_a_sweep_becomes_slugged_variants(project: Project) -> None:
    sweep(project)
    project.edit("studies/paper", variants=["fne", "queue"], baseline="fne")
    study = project.load()
    assert study.variants == (
        "fne",
        "queue--memory_size-512--negatives_prior-1e-05",
        "queue--memory_size-512--negatives_prior-0.01",
        "queue--memory_size-2048--negatives_prior-1e-05",
        "queue--memory_size-2048--negatives_prior-0.01",
    )
    resolved = config.resolve(study, study.variants[3])
    assert resolved["memory"]["size"] == 2048 and resolved["negatives"]["prior"] == 1e-5
    assert study.library[study.variants[1]].title == "queue (size 512, prior 1e-05)"
    assert all(paths.run_folder(study, variant, "0-4").name == "0-4" for variant in study.variants)
    assert set(study.variants[1:]) <= set(config.list_variants(project.root))


def test_one_member_of_a_sweep_may_be_named_and_be_a_parent(project: Project) -> None:
    sweep(project)
    member = "queue--memory_size-512--negatives_prior-0.01"
    project.variant("below", {"negatives": {"tau": 5.0}}, ["negatives.tau"], parent=member)
    project.edit("studies/paper", variants=["fne", member, "below"], baseline="fne")
    assert config.resolve(project.load(), "below")["memory"]["size"] == 512
    project.edit("studies/paper", variants=["fne", member.replace("512", "513")], baseline="fne")
    project.fails(saying=["513", "did you mean", member])


def test_a_sweep_through_the_parents_own_value_is_fair_alone_but_not_beside_it(project: Project) -> None:
    size = project.read("base")["memory"]["size"]
    project.variant("queue", {}, ["memory.size"], sweep={"memory.size": [size, 2 * size]})
    project.edit("studies/paper", variants=["queue"], baseline=f"queue--memory_size-{size}")
    assert len(project.load().variants) == 2
    project.edit("studies/paper", variants=["fne", "queue"], baseline="fne")
    project.fails(saying=["paper.yaml", "fne", f"queue--memory_size-{size}", "equal resolved configs"])


def test_a_sweep_of_too_many_members_is_refused_before_they_are_made(project: Project) -> None:
    axes = {key: [n / 1000 for n in range(1, 200)] for key in ("loss.margin", "warmup.margin", "negatives.tau")}
    project.variant("huge", {}, [*axes], parent="fne", sweep=axes)
    project.fails(
        "paper", {"variants": "fne,huge"}, saying=["huge.yaml: sweep: too many combinations", "7880599", "1000"]
    )


@pytest.mark.parametrize(("folder", "kind", "name"), [("variants", "variant", "a--b"), ("studies", "study", "a--b"),
 
                                                      ("variants", "variant", "x" * 120)])  # fmt: skip
def test_a_file_that_no_name_can_mean_is_said_to_be_misnamed(
    project: Project, folder: str, kind: str, name: str
) -> None:
    (project.root / "ablations" / folder / f"{name}.yaml").write_text("title: x\n")
    saying = [f"{name}.yaml: not a {kind}'s name", "lower-case letters, digits and _"]
    if kind == "variant":
        project.fails("paper", {"variants": f"fne,{name}"}, saying=saying)
    else:
        project.fails(name, saying=saying)

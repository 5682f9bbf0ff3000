"""A finished study against its reference: verdicts, reasons, what is refused, and what the page says of it."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fne import cli
from fne.analysis.equivalence import INCONCLUSIVE, NOT_REPRODUCED, REPRODUCED
from fne.report.figures.names import FIGURES
from fne.report.page.build import build
from fne.report.page.content import content
from fne.report.text import verified
from fne.results import reference
from fne.results.study import load
from fne.steps import audit
from fne.steps.report import record
from fne.study.api import load_study, resolve
from fne.utils.errors import UserError
from fne.utils.yaml_file import parse_set
from tests.report.synthetic import PAPER, SOURCES, Fake, write_study
from tests.tables import edit as edit_table

ROOT = Path(__file__).resolve().parents[2]
VARIANTS = ("hardest_in_batch", "fne", "infonce", "random")
FAKES = tuple(fake for name in VARIANTS for fake in PAPER if fake.id == name)
STUDY = """
title: Four variants
question: Is it reproduced?
regime: head
data: {dataset: scenes}
variants: [hardest_in_batch, fne, infonce, random]
tuned: null
seeds: [0, 1, 2, 3, 4]
block: 5
baseline: hardest_in_batch
primary: {metric: rsum, protocol: own}
"""
MACHINE = {
    "platform": "Linux x86_64", "cpu": "Some CPU", "cpu_capability": "AVX2", "kernel_switches": {}, "threads": 1,
    "device": "cpu", "finished": "2026-05-01T10:00:00+00:00", "commit": "0123abc", "dirty": False,
}  # fmt: skip
PRINTS = {"data.image": "d1", "data.text": "d2", "features.image": "f1", "features.text": "f2"}


def finish(
    root: Path, *overrides: str, fakes: tuple[Fake, ...] = FAKES, missing: tuple[tuple[str, int, str, str], ...] = ()
) -> None:
    """A finished study `four` below a folder, with overrides."""
    if not (root / "ablations").exists():
        shutil.copytree(ROOT / "ablations", root / "ablations")
        (root / "ablations/studies/four.yaml").write_text(STUDY)
    study = load_study("four", parse_set(overrides), root)
    shutil.rmtree(root / "results", ignore_errors=True)
    write_study(root, fakes=fakes, study=study, missing=missing, resources=False)
    edit_runs(root, lambda run: run.update(record=run["record"] | MACHINE, fingerprints=dict(PRINTS)))


def edit_runs(root: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change every ``run.json``."""
    for file in (root / "results/four").glob("*/*/run.json"):
        run = json.loads(file.read_text())
        change(run)
        file.write_text(json.dumps(run))


def shifted(by: dict[str, float]) -> tuple[Fake, ...]:
    return tuple(replace(fake, rsum=fake.rsum + by.get(fake.id, 0.0)) for fake in FAKES)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a finished study and the reference that it gave."""
    folder = tmp_path_factory.mktemp("recorded")
    finish(folder)
    assert cli.main(["verify", "four", "--record", "--root", str(folder)]) == 0
    return folder


@pytest.fixture
def project(recorded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recorded, tmp_path / "project"))


@pytest.fixture
def bare(recorded: Path, tmp_path: Path) -> Path:
    """The same without results: a bad reference is refused before they are looked for."""
    shutil.copytree(recorded / "ablations", tmp_path / "bare/ablations")
    return tmp_path / "bare"


def verify(root: Path, *overrides: str) -> tuple[dict[str, Any], dict[tuple[str, str], dict[str, str]]]:
    """What ``fne verify`` writes: the summary, and the rows by quantity and variant."""
    words = [word for override in overrides for word in ("--set", override)]
    assert cli.main(["verify", "four", "--root", str(root), *words]) == 0
    folder = root / "results/four"
    with open(folder / "verify.csv", newline="") as handle:
        rows = {(row["quantity"], row["variant"]): row for row in csv.DictReader(handle)}
    return json.loads((folder / "verify.json").read_text()), rows


def bundle(root: Path) -> dict[str, Any]:
    return json.loads((root / "ablations/reference/four.json").read_text())


def edit(root: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = bundle(root)
    change(content)
    (root / "ablations/reference/four.json").write_text(json.dumps(content))


def test_the_reference_holds_scores_and_what_made_them(recorded: Path) -> None:
    result, results = bundle(recorded), load("four", recorded)
    assert list(result) == list(reference.SHAPE)
    assert result["seeds"] == [0, 1, 2, 3, 4] and list(result["variants"]) == list(VARIANTS)
    for variant, entry in result["variants"].items():
        assert entry["scores"] == [results.values(variant)[seed] for seed in range(5)]
        assert len(entry["training"]) == len(entry["evaluation"]) == 16
        assert entry["code"] == SOURCES.training(resolve(results.definition, variant))
    assert len({entry["training"] for entry in result["variants"].values()}) == 4
    assert result["fingerprints"] == PRINTS | {"protocol.own": "own-test-0a1b2c3d"}
    assert result["date"] == "2026-05-01" and result["commit"] == "0123abc"
    assert result["machine"] == {
        "platform": "Linux x86_64", "cpu": "Some CPU", "cpu_capability": "AVX2", "threads": "1", "device": "cpu",
        "kernel_switches": "none",
    }  # fmt: skip
    assert result["versions"] == {"python": "3.11.7", "torch": "2.13.0", "numpy": "2.4.6"}
    spread = [float(np.var(entry["scores"], ddof=1)) for entry in result["variants"].values()]
    assert result["tolerance"]["score"] == pytest.approx(9 * math.sqrt(sum(spread) / 4 * 2 / 5))
    text = json.dumps(result)
    assert str(recorded) not in text and "circle" not in text


def test_a_study_is_its_own_reference(project: Path, capsys: pytest.CaptureFixture) -> None:
    summary, rows = verify(project)
    assert summary["verdict"] == REPRODUCED and summary["differs"] == {} and len(rows) == 7
    counted = {REPRODUCED: 4, NOT_REPRODUCED: 0, INCONCLUSIVE: 0}
    assert summary["counts"] == {"score": counted, "difference": counted | {REPRODUCED: 3}}
    for row in rows.values():
        assert row["verdict"] == REPRODUCED and row["reasons"] == "interval_inside within_noise"
        assert float(row["change"]) == 0 and float(row["low"]) < 0 < float(row["high"])
        assert row["reference"] == row["here"] and row["n_here"] == row["n_reference"] == "5"
    out = capsys.readouterr().out
    table = out.split("\n\n")[0].splitlines()
    assert len(table) == 8 and all(line.endswith("  reproduced") for line in table[1:])
    assert "fne - hardest_in_batch" in out and "Study four: reproduced." in out
    assert "4 of 4 scores within ±" in out and "The test queries are the same on both sides" in out


def test_rows_are_welchs_interval_of_scores_and_of_paired_differences(project: Path) -> None:
    """Recomputed from the CSV file of runs with scipy's own test."""
    from scipy.stats import ttest_ind

    finish(project, "seeds=5-9")
    summary, rows = verify(project, "seeds=5-9")
    assert summary["verdict"] == REPRODUCED and summary["differs"] == {}, "other seeds are no other experiment"
    with open(project / "results/four/runs.csv", newline="") as handle:
        runs = [row for row in csv.DictReader(handle) if row["split"] == "test" and row["metric"] == "rsum"]
    here = {v: {int(r["seed"]): float(r["value"]) for r in runs if r["variant"] == v} for v in VARIANTS}
    there = {v: dict(enumerate(entry["scores"])) for v, entry in bundle(project)["variants"].items()}
    for (quantity, variant), row in rows.items():
        sides = []
        for side in (here, there):
            base = side["hardest_in_batch"] if quantity == "difference" else dict.fromkeys(side[variant], 0.0)
            sides.append([value - base[seed] for seed, value in side[variant].items()])
        ends = ttest_ind(*sides, equal_var=False).confidence_interval(0.95)
        assert [float(row["low"]), float(row["high"])] == pytest.approx(list(ends), rel=1e-9, abs=1e-12)
        assert float(row["change"]) == pytest.approx(np.mean(sides[0]) - np.mean(sides[1]))


LEARNING_RATE = ("train.learning_rate=0.01",)


def test_a_wrong_learning_rate_is_flagged_with_its_digests_and_without(project: Path) -> None:
    """Numbers alone decide: two of four variants lose 60 points."""
    worse = shifted({"fne": -60.0, "infonce": -60.0})
    finish(project, *LEARNING_RATE, fakes=worse)
    summary, rows = verify(project, *LEARNING_RATE)
    assert summary["verdict"] == NOT_REPRODUCED
    verdicts = {key: row["verdict"] for key, row in rows.items()}
    for quantity in ("score", "difference"):
        assert verdicts[quantity, "fne"] == verdicts[quantity, "infonce"] == NOT_REPRODUCED
        assert verdicts[quantity, "random"] == REPRODUCED
        assert "interval_outside_low other_config" in rows[quantity, "fne"]["reasons"]
    assert set(summary["differs"]) == {"other_config"} and len(summary["differs"]["other_config"]) == 4

    def blank(content: dict[str, Any]) -> None:
        for entry in content["variants"].values():
            entry["training"] = entry["evaluation"] = ""
        content["fingerprints"] = dict.fromkeys(content["fingerprints"], "")

    edit(project, blank)
    edit_runs(project, lambda run: run.update(digest="", fingerprints={}))
    runs = project / "results/four/runs.csv"
    edit_table(runs, lambda row: row.update(digest=""))
    blanked, rows = verify(project, *LEARNING_RATE)
    assert {key: row["verdict"] for key, row in rows.items()} == verdicts
    assert blanked["verdict"] == NOT_REPRODUCED and blanked["differs"] == {}
    assert rows["score", "fne"]["reasons"] == "interval_outside_low"


@pytest.mark.parametrize(("kind", "reason"), [("training", "other_config"), ("evaluation", "other_config"),
                                             ("code", "other_code")])  # fmt: skip
def test_rows_of_the_variant_whose_config_or_code_differs_say_so_and_stay_reproduced(
    project: Path, kind: str, reason: str
) -> None:
    edit(project, lambda content: content["variants"]["fne"].update({kind: "0" * 12}))
    summary, rows = verify(project)
    assert list(summary["differs"][reason]) == [f"fne.{kind}"] and summary["verdict"] == REPRODUCED
    said = {key for key, row in rows.items() if reason in row["reasons"]}
    assert said == {("score", "fne"), ("difference", "fne")}
    edit(project, lambda content: content["variants"]["hardest_in_batch"].update({kind: "0" * 12}))
    said = {key for key, row in verify(project)[1].items() if reason in row["reasons"]}
    assert said == {key for key in rows if key[0] == "difference"} | {("score", "hardest_in_batch"), ("score", "fne")}


@pytest.mark.parametrize(
    ("change", "reason", "name"),
    [
        (lambda run: run["fingerprints"].update({"features.text": "x"}), "other_features", "features.text"),
        (lambda run: run["record"]["packages"].update(torch="2.9.0"), "other_versions", "torch"),
        (lambda run: run["record"].update(cpu="Another"), "other_machine", "cpu"),
    ],
)
def test_what_differs_is_named(
    project: Path, change: Callable, reason: str, name: str, capsys: pytest.CaptureFixture
) -> None:
    edit_runs(project, change)
    summary, rows = verify(project)
    assert list(summary["differs"]) == [reason] and list(summary["differs"][reason]) == [name]
    assert summary["verdict"] == REPRODUCED
    assert all(row["reasons"] == f"interval_inside within_noise {reason}" for row in rows.values())
    there, here = summary["differs"][reason][name]
    assert f"{reason}: {name}: {there} there, {here} here" in capsys.readouterr().out


def test_other_test_queries_are_never_reproduced(project: Path, capsys: pytest.CaptureFixture) -> None:
    """The interval leaves out the noise of test images, which must therefore be the same."""
    edit(project, lambda content: content["fingerprints"].update({"protocol.own": "another"}))
    summary, rows = verify(project)
    assert summary["verdict"] == INCONCLUSIVE and list(summary["differs"]) == ["other_protocol"]
    assert {row["verdict"] for row in rows.values()} == {INCONCLUSIVE}
    assert "The test queries are the same" not in capsys.readouterr().out
    finish(project, fakes=shifted({"fne": -60.0}))
    assert verify(project)[1]["score", "fne"]["verdict"] == NOT_REPRODUCED


def test_few_seeds_and_none_are_inconclusive(project: Path) -> None:
    missing = tuple(("fne", seed, "train", "out of memory") for seed in range(5))
    missing += tuple(("infonce", seed, "train", "out of memory") for seed in (0, 2, 3, 4))
    missing += (("hardest_in_batch", 1, "train", "out of memory"), ("random", 3, "train", "out of memory"))
    finish(project, missing=missing)
    summary, rows = verify(project)
    assert summary["verdict"] == INCONCLUSIVE
    seen = {key: (row["n_here"], row["reasons"].split()[0]) for key, row in rows.items()}
    assert seen == {
        ("score", "hardest_in_batch"): ("4", "interval_inside"), ("score", "fne"): ("0", "no_result"),
        ("score", "infonce"): ("1", "too_few_seeds"), ("score", "random"): ("4", "interval_inside"),
        ("difference", "fne"): ("0", "no_result"), ("difference", "infonce"): ("0", "no_result"),
        ("difference", "random"): ("3", "interval_inside"),
    }  # fmt: skip
    assert rows["score", "fne"]["here"] == "" and rows["score", "fne"]["low"] == ""
    paired = [rows["difference", "random"][key] for key in ("here", "n_here")]
    runs = load("four", project)
    both = [runs.values("random")[seed] - runs.values("hardest_in_batch")[seed] for seed in (0, 2, 4)]
    assert float(paired[0]) == pytest.approx(sum(both) / 3)


def test_a_variant_that_the_reference_lacks_is_named(project: Path, capsys: pytest.CaptureFixture) -> None:
    def drop(content: dict[str, Any]) -> None:
        del content["variants"]["random"]
        scores = np.array([entry["scores"] for entry in content["variants"].values()])
        result = reference.tolerance_of(scores, 0)
        content["tolerance"] |= {"score": result.score, "difference": result.difference}

    edit(project, drop)
    summary, rows = verify(project)
    assert summary["not_in_reference"] == ["random"] and len(rows) == 5
    assert "Not in the reference: random." in capsys.readouterr().out


def fails(root: Path, *words: str, capsys: pytest.CaptureFixture) -> str:
    """The one message of a verb that refuses; nothing is written."""
    before = files(root)
    capsys.readouterr()
    assert cli.main(["verify", *words, "--root", str(root)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and "Traceback" not in said
    assert files(root) == before
    return said


def files(root: Path) -> list[Path]:
    """All files of a project but the digests that it remembers."""
    return sorted(path for path in root.rglob("*") if ".fne" not in path.parts)


def swap(*keys: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    """Put a value in the place of an entry."""

    def change(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = to

    return change


def without(*keys: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (swap("schema", to=1), ["schema: another schema", "got 1", "allowed: 2"]),
        (swap("study", to="fuor"), ["study: of another study", "'fuor'", "did you mean 'four'?"]),
        (swap("variants", "fne", "score", to=[1.0]), ["variants.fne.score: unknown key", "did you mean 'scores'?"]),
        (swap("seeds", to=[0, 1, 2, 3, 4, 5]), ["variants.hardest_in_batch.scores: other than one score a seed", "5"]),
        (swap("tolerance", "score", to=0.9), ["tolerance.score: not what the rule", "got 0.9"]),
        (swap("baseline", to="nfe"), ["baseline: is no variant", "'nfe'", "did you mean 'fne'?"]),
        (swap("primary", "metric", to="r1"), ["primary: another primary metric than of study 'four'", "rsum own both"]),
    ],
)
def test_a_bad_reference_is_one_clear_error(
    bare: Path, change: Callable, words: list[str], capsys: pytest.CaptureFixture
) -> None:
    edit(bare, change)
    said = fails(bare, "four", capsys=capsys)
    assert [word for word in ["reference/four.json", *words] if word not in said] == [], said


def test_a_reference_of_other_variants_or_another_baseline(bare: Path, capsys: pytest.CaptureFixture) -> None:
    def rename(content: dict[str, Any]) -> None:
        content["variants"] = {name.replace("infonce", "infonec"): e for name, e in content["variants"].items()}

    few = ["four", "--set", "variants=[hardest_in_batch,fne]"]
    said = fails(bare, *few, capsys=capsys)
    assert "variants: has a variant that study 'four' lacks; got 'infonce'" in said
    said = fails(bare, "four", "--set", "baseline=fne", capsys=capsys)
    assert "baseline: another baseline than of study 'four'; got 'hardest_in_batch'; allowed: fne" in said
    edit(bare, rename)
    assert "got 'infonec'" in (said := fails(bare, "four", capsys=capsys)) and "did you mean 'infonce'?" in said


def test_no_reference_and_no_results(bare: Path, capsys: pytest.CaptureFixture) -> None:
    said = fails(bare, "smoke", capsys=capsys)
    assert "smoke.json: no reference of this study" in said and "allowed:" in said and "four" in said
    assert "fne verify smoke --record" in said
    for words in (["four"], ["four", "--record"]):
        assert "snakemake --cores all --config study=four" in fails(bare, *words, capsys=capsys)
    assert "is a series" in fails(bare, "prevalence", capsys=capsys)


def test_recording_replaces_nothing(project: Path, capsys: pytest.CaptureFixture) -> None:
    before = (project / "ablations/reference/four.json").read_bytes()
    assert cli.main(["verify", "four", "--record", "--root", str(project)]) == 0
    assert (project / "ablations/reference/four.json").read_bytes() == before
    finish(project, "seeds=5-9")
    words = ["four", "--record", "--set", "seeds=5-9"]
    assert "another reference is there already; remove it" in fails(project, *words, capsys=capsys)
    (project / "ablations/reference/four.json").unlink()
    assert cli.main(["verify", *words, "--root", str(project)]) == 0
    assert bundle(project)["seeds"] == [5, 6, 7, 8, 9]
    assert "by the rule retraining a score is reproduced within ±" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"missing": (("fne", 2, "train", "out of memory"),)}, ["fne: a reference needs every run", "'seeds 2'"]),
        (
            {"change": lambda run: run["fingerprints"].update({"features.text": str(run["variant"] == "fne")})},
            ["features.text: the runs did not all read the same", "False, True"],
        ),
    ],
)
def test_what_makes_no_reference(
    tmp_path: Path, options: dict[str, Any], words: list[str], capsys: pytest.CaptureFixture
) -> None:
    overrides, change = options.get("overrides", ()), options.get("change", lambda run: None)
    finish(tmp_path, *overrides, missing=options.get("missing", ()))
    edit_runs(tmp_path, change)
    said = fails(tmp_path, "four", "--record", *(w for o in overrides for w in ("--set", o)), capsys=capsys)
    assert all(word in said for word in words), said


def test_the_page_says_what_verifying_gave_escaped(project: Path) -> None:
    evil = "<script>alert(1)</script>"
    edit(project, swap("machine", "cpu", to=evil))
    verify(project)
    audit.run(load_study("four", root=project), project)
    nothing = {name: {"id": name, "question": f"{name}?", "empty": True} for name in FIGURES}
    page = build(content(load("four", project), nothing))
    assert "<p>Set against the reference of 2026-05-01 (&lt;script&gt;alert(1)&lt;/script&gt;, AVX2), repr" in page
    assert evil not in page
    inputs = record(load("four", project), project / "reports/four")["inputs"]
    assert {"ablations/reference/four.json", "results/four/verify.json"} <= set(inputs)


def test_the_line_of_the_page_is_of_these_results_and_this_reference(project: Path) -> None:
    def line() -> str:
        return verified.line(load("four", project))

    absent = "These results were not set against the reference that is recorded of this study: `fne verify four`."
    assert line() == absent
    verify(project)
    score, difference = (f"±{100 * bundle(project)['tolerance'][key]:.1f} rsum" for key in ("score", "difference"))
    assert line() == (
        "Set against the reference of 2026-05-01 (Some CPU, AVX2), reproduced: "
        f"4 of 4 scores within {score} and 3 of 3 differences within {difference}; "
        "7 of 7 changes are no larger than retraining explains."
    )
    edit(project, swap("machine", "cpu", to="Another"))
    assert line() == absent, "the reference changed since"
    verify(project)
    assert line().endswith("Not the same here: machine.")
    finish(project, fakes=shifted({"fne": -60.0}))
    assert line() == absent, "the results changed since"
    verify(project)
    assert "reproduced: 3 of 4 scores within ±" in line() and "; not reproduced: 2; 5 of 7 changes" in line()
    (project / "results/four/verify.json").write_text('{"schema": 7}')
    with pytest.raises(UserError, match="verify.json: schema: another schema; got 7"):
        line()
    (project / "ablations/reference/four.json").unlink()
    assert line() == ""


def test_a_terminal_gets_no_control_characters(project: Path, capsys: pytest.CaptureFixture) -> None:
    edit(project, swap("machine", "cpu", to="\x1b[2J evil\x07"))
    verify(project)
    out = capsys.readouterr().out
    assert "evil" in out and all(letter.isprintable() or letter == "\n" for letter in out)


def test_recorded_references_are_of_their_studies_as_these_are_now() -> None:
    """Those of the repository: after an edit that changes a config, its reference must be recorded anew."""
    for file in sorted((ROOT / "ablations/reference").glob("*.json")):
        study = load_study(file.stem, root=ROOT, complete=False)
        known = reference.require(study, ROOT)
        for variant, entry in known["variants"].items():
            now = reference.digests(study, variant)
            assert all(entry[key] == now[key] for key in ("training", "evaluation")), variant

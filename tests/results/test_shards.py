"""Runs that several calls made, joined by `aggregate`: all of a study, or what is missing is said."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest

from fne.results.schema import read_part, read_table, write_part
from fne.steps import aggregate
from fne.steps.snakemake import shard_of
from fne.study.api import Study
from tests.analysis import stats_study
from tests.snakemake_project import ROOT

TABLES = ("runs.csv", "curves.csv", "audit.csv", "cost.csv", "missing.csv", "protocols.json")


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Study, list[Path]]:
    """The study, and the results of two calls, each in a folder of its own."""
    made, folders = stats_study.study(root=ROOT), []
    for place in (1, 2):
        folders.append(tmp_path / f"part{place}")
        for variant in shard_of(made.variants, f"{place}/2"):
            for block in ("0-1", "4"):
                stats_study.write_job(folders[-1], made, variant, block)
    return made, folders


def joined(target: Path, *folders: Path) -> Path:
    for folder in folders:
        shutil.copytree(folder / "results", target / "results", dirs_exist_ok=True)
    return target


def test_two_calls_make_the_study_that_one_makes(parts: tuple[Study, list[Path]], tmp_path: Path) -> None:
    made, folders = parts
    stats_study.write(tmp_path / "whole", made)
    both = joined(tmp_path / "both", *folders)
    for root in (tmp_path / "whole", both):
        aggregate.run(made, root)
    for name in TABLES:
        one, two = (root / "results" / made.name / name for root in (tmp_path / "whole", both))
        assert one.read_bytes() == two.read_bytes(), name


def test_a_part_that_is_not_there_is_said(parts: tuple[Study, list[Path]], tmp_path: Path) -> None:
    made, folders = parts
    aggregate.run(made, root := joined(tmp_path / "one", folders[0]))
    missing = read_table(root / "results" / made.name / "missing.csv")
    expected = [(variant, seed) for variant in shard_of(made.variants, "2/2") for seed in made.seeds]
    assert [*zip(missing.variant, missing.seed, strict=True)] == expected and {*missing.stage} == {"train"}


def test_a_part_of_another_config_is_said(parts: tuple[Study, list[Path]], tmp_path: Path) -> None:
    made, folders = parts
    (variant,) = shard_of(made.variants, "2/2")
    other = stats_study.study(configs={**made.configs, variant: {**made.configs[variant], "train.epochs": 9}})
    for block in ("0-1", "4"):
        stats_study.write_job(folders[1], other, variant, block)
    aggregate.run(made, root := joined(tmp_path / "both", *folders))
    missing = read_table(root / "results" / made.name / "missing.csv")
    assert {*missing.variant} == {variant} and len(missing) == len(made.seeds)
    assert missing.reason.str.contains("train.epochs was 9 and is now 3").all()


def test_a_part_of_a_table_keeps_its_values_or_says_which_it_cannot(tmp_path: Path) -> None:
    file = tmp_path / "curves.parquet"
    write_part(
        file, [{"seed": 0, "step": 3.0, "phase": "main\u2028ü", "loss": math.inf}, {"seed": 1, "loss": math.nan}]
    )
    first, second = read_part(file, "").to_pylist()
    assert (first["step"], first["phase"], first["loss"]) == (3, "main\u2028ü", math.inf)
    assert second["loss"] is second["step"] is None
    for row in ({"step": 2.5}, {"loss": "3"}, {"nonsense": 1}):
        with pytest.raises(ValueError):
            write_part(file, [row])
    assert read_part(file, "").num_rows == 2

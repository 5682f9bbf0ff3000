"""The comparison of a series against plain loops over the values that its members left."""

from __future__ import annotations

import csv
import itertools
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fne.analysis.components import Cell, decompose, pool
from fne.analysis.intervals import hierarchical_intervals
from fne.analysis.layout import load
from fne.results import series as results_series
from fne.results.configs import shared_epochs
from fne.results.schema import write_table
from fne.results.variance import ALL, read_file
from fne.steps import aggregate, compare_series
from fne.study.api import Series
from fne.utils.errors import UserError
from fne.utils.names import member_id
from tests.analysis import stats_study

VALUES = (0.0, 0.01, 0.03)
RESAMPLES = 400


def made_up(oracle: str = "remove") -> Series:
    """Three worlds of the statistics' study; in it ``infonce`` plays the oracle over the baseline."""
    plain = stats_study.study()
    configs = {**plain.configs, "infonce": {**plain.configs["infonce"], "negatives.oracle": oracle}}
    library = {**plain.library, "infonce": plain.library["infonce"].model_copy(update={"parent": plain.baseline})}
    members = [
        replace(plain, name=f"worlds--data_prevalence-{value}", configs=configs, library=library,
                data={**plain.data, "prevalence": value})
        for value in VALUES
    ]  # fmt: skip
    points = tuple({"data.prevalence": value} for value in VALUES)
    return Series("worlds", "Worlds", "Who loses?", {"data.prevalence": VALUES}, points, tuple(members))


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Series, Path]:
    root, made = tmp_path_factory.mktemp("series"), made_up()
    with pytest.MonkeyPatch.context() as patch:
        for world, member in enumerate(made.members):
            patch.setattr(stats_study, "SKILL", {"hardest_in_batch": 0.9 - 0.2 * world, "fne": 1.4, "infonce": 0.9})
            stats_study.write(root, member)
            aggregate.run(member, root)
            rows = [
                {"variant": name, "seed": seed, "epoch": epoch, "direction": d, "picks": 100 + seed,
                 "false_negatives": 3 * world * place, "candidate_false_negatives": world}
                for place, name in enumerate(member.variants) for seed in member.seeds for d in ("i2t", "t2i")
                for epoch in range(16)
            ]  # fmt: skip
            write_table(root / "results" / member.name, "audit", rows)
    compare_series.run(made, root, resamples=RESAMPLES)
    return made, root


def rows_of(root: Path, name: str) -> list[dict[str, str]]:
    with open(root / "results/worlds" / name, newline="") as handle:
        return list(csv.DictReader(handle))


def value_by_seed(root: Path, study: str, variant: str, key: tuple[str, str, str]) -> Mapping[int, float]:
    """From the member's runs.csv; the mean of both directions where asked."""
    with open(root / "results" / study / "runs.csv", newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["variant"] == variant]
    protocol, direction, metric = key
    directions = ("i2t", "t2i") if direction == "mean" else (direction,)
    result: dict[int, list[float]] = {}
    for row in rows:
        if (row["protocol"], row["metric"]) == (protocol, metric) and row["direction"] in directions:
            result.setdefault(int(row["seed"]), []).append(float(row["value"]))
    return {seed: sum(values) / len(values) for seed, values in result.items()}


def test_scores_and_differences_are_means_over_seeds(compared: tuple[Series, Path]) -> None:
    made, root = compared
    rows = [row for row in rows_of(root, "effects.csv") if not row["since"]]
    assert {row["reference"] for row in rows} == {"", "hardest_in_batch", "infonce"}
    assert len(rows) == 3 * 4 * (3 + 2 + 2), "worlds x scores x (variants, and pairs with each reference)"
    for row in rows:
        key = (row["protocol"], row["direction"], row["metric"])
        mine = value_by_seed(root, row["study"], row["variant"], key)
        its = value_by_seed(root, row["study"], row["reference"], key) if row["reference"] else dict.fromkeys(mine, 0)
        assert float(row["estimate"]) == pytest.approx(sum(mine[s] - its[s] for s in mine) / len(mine), abs=1e-9)
        assert float(row["low"]) < float(row["estimate"]) < float(row["high"])
        assert int(row["n_seeds"]) == 3
        assert made.points[made.members.index(_member(made, row))] == {"data.prevalence": float(row["data.prevalence"])}


def _member(made: Series, row: dict[str, str]):
    return next(member for member in made.members if member.name == row["study"])


def test_intervals_are_those_of_one_column_alone(compared: tuple[Series, Path]) -> None:
    made, root = compared
    requested = {"variant": "fne", "reference": "infonce", "direction": "mean", "since": ""}
    for row in rows_of(root, "effects.csv"):
        if any(row[name] != value for name, value in requested.items()):
            continue
        parts = []
        for variant in ("fne", "infonce"):
            folder = root / "results" / row["study"] / variant
            item = load([folder / block / "queries.test.npz" for block in ("0-1", "4")])
            both = [item.influence[:, :, item.keys.index(("truth", d, "map_at_r"))] for d in ("i2t", "t2i")]
            parts.append((both[0] + both[1]) / 2)
        alone = hierarchical_intervals((parts[0] - parts[1])[:, :, None], resamples=RESAMPLES)
        np.testing.assert_allclose([float(row["low"]), float(row["high"])], [alone.low[0], alone.high[0]], atol=1e-9)


def test_change_since_the_first_world(compared: tuple[Series, Path]) -> None:
    _, root = compared
    rows = rows_of(root, "effects.csv")

    def find(value: float, row: dict[str, str]) -> dict[str, str]:
        same = ("variant", "reference", "protocol", "direction", "metric")
        (result,) = [item for item in rows if float(item["data.prevalence"]) == value and not item["since"]
                    and all(item[name] == row[name] for name in same)]  # fmt: skip
        return result

    changes = [row for row in rows if row["since"]]
    assert len(changes) == 2 * 4 * (2 + 2) and {row["reference"] for row in changes} == {"hardest_in_batch", "infonce"}
    for row in changes:
        now, then = find(float(row["data.prevalence"]), row), find(0.0, row)
        d, low, high = (float(now[name]) for name in ("estimate", "low", "high"))
        d0, low0, high0 = (float(then[name]) for name in ("estimate", "low", "high"))
        assert float(row["since"]) == 0 and float(row["estimate"]) == pytest.approx(d - d0, abs=1e-9)
        assert float(row["low"]) == pytest.approx(d - d0 - ((d - low) ** 2 + (high0 - d0) ** 2) ** 0.5, abs=1e-9)
        assert float(row["high"]) == pytest.approx(d - d0 + ((high - d) ** 2 + (d0 - low0) ** 2) ** 0.5, abs=1e-9)
    requested = ("hardest_in_batch", "infonce", "rsum")
    lost = {row["data.prevalence"]: float(row["high"]) for row in changes
            if (row["variant"], row["reference"], row["metric"]) == requested}  # fmt: skip
    assert lost["0.03"] < 0, "its captions resemble their images less and less, the oracle's as ever"


def test_shares_of_false_picks(compared: tuple[Series, Path]) -> None:
    made, root = compared
    epochs = 2  # of three: the first is the warm-up
    assert [*shared_epochs(*made.members)] == [1, 2]
    rows = rows_of(root, "picks.csv")
    # Without the prepared data a world without any false negative cannot be told from one that does not know them.
    assert {row["data.prevalence"] for row in rows} == {"0.01", "0.03"}
    for row in rows:
        place = ("hardest_in_batch", "fne", "infonce").index(row["variant"])
        world = VALUES.index(float(row["data.prevalence"]))
        hits, picks = epochs * 3 * 2 * 3 * world * place, epochs * 2 * (100 + 101 + 104)
        assert (int(row["false_negatives"]), int(row["picks"])) == (hits, picks)
        assert float(row["share"]) == pytest.approx(hits / picks)
        assert float(row["low"]) <= float(row["share"]) <= float(row["high"])


def test_the_ceiling_is_the_oracle_over_the_baseline() -> None:
    study = made_up().members[0]
    assert results_series.ceiling(study) == "infonce" and results_series.oracles(study) == ["infonce"]
    assert results_series.ceiling(made_up("only").members[0]) is None
    assert results_series.ceiling(stats_study.study()) is None
    summary = {"negatives.oracle": "remove"}
    bases = {"fne": "fne", "infonce": study.baseline}
    both = {**study.configs, **{name: {**study.configs[base], **summary} for name, base in bases.items()}}
    assert results_series.ceiling(replace(study, configs=both)) == "infonce", "that of the baseline, not the first"
    assert results_series.oracles(replace(study, configs=both), "remove") == ["fne", "infonce"]


DRAW, SEED = "encoders.draw", "data.seed"


def drawn(**changes: object) -> Series:
    """Two draws of the encoders in two worlds, beside ``changes`` (values of other factors)."""
    plain = stats_study.study()
    factors = {DRAW: (0, 1), SEED: (0, 1), **changes}
    points = tuple(dict(zip(factors, point, strict=True)) for point in itertools.product(*factors.values()))
    members = tuple(replace(plain, name=member_id("cells", point, Path("cells.yaml"))) for point in points)
    return Series("cells", "Cells", "What moves?", factors, points, members)


def write_cells(root: Path, made: Series) -> None:
    """Results of every cell; in the last one seed 4 of ``infonce`` diverged and ``fne`` has no result."""
    with pytest.MonkeyPatch.context() as patch:
        for place, (member, point) in enumerate(zip(made.members, made.points, strict=True)):
            shift = -0.1 * point[DRAW] + 0.05 * point[SEED] + 0.02 * place
            skill = {"hardest_in_batch": 0.9 + shift, "fne": 1.4 + shift, "infonce": 0.9 + 1.2 * shift}
            patch.setattr(stats_study, "SKILL", skill)
            stats_study.write(root, member)
            if member is made.members[-1]:
                stats_study.write_job(root, member, "infonce", "4", failed=(4,))
                shutil.rmtree(root / "results" / member.name / "fne")
            aggregate.run(member, root)
            write_table(root / "results" / member.name, "audit", [])


@pytest.fixture(scope="module")
def decomposed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Series, Path]:
    root, made = tmp_path_factory.mktemp("cells"), drawn()
    write_cells(root, made)
    compare_series.run(made, root, resamples=RESAMPLES)
    return made, root


def values_of(root: Path, study: str, variant: str) -> dict[int, np.ndarray]:
    """Influence values of rsum by seed, one number an image."""
    result = {}
    for block in ("0-1", "4"):
        file = root / "results" / study / variant / block / "queries.test.npz"
        if file.is_file() and np.load(file)["seeds"].size:
            item = load([file])
            result |= dict(zip(item.seeds, item.influence[:, :, item.keys.index(("own", "both", "rsum"))], strict=True))
    return result


def cells_of(made: Series, root: Path, variant: str, reference: str = "") -> list[Cell]:
    """A cell for each member in which the variant (and the reference, in the same seeds) has a result."""
    cells = []
    for member, point in zip(made.members, made.points, strict=True):
        mine = values_of(root, member.name, variant)
        its = values_of(root, member.name, reference) if reference else dict.fromkeys(mine, 0)
        rows = [mine[seed] - its[seed] for seed in sorted(mine) if seed in its]
        if rows:
            cells.append(Cell({key: point[key] for key in (DRAW, SEED)}, np.array(rows)))
    return cells


def test_components_are_of_the_variants_own_cells(decomposed: tuple[Series, Path]) -> None:
    made, root = decomposed
    with open(root / "results/cells/components.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    base, others = "hardest_in_batch", ("fne", "infonce")
    requested = {("level", name): cells_of(made, root, name) for name in (base, *others)}
    requested |= {("difference", name): cells_of(made, root, name, base) for name in others}
    assert [len(cells) for cells in requested.values()] == [4, 3, 4, 3, 4]
    assert len(requested["difference", "infonce"][-1].values) == 2, "paired in the seeds that both have"
    result = {key: decompose(cells, (DRAW, SEED)) for key, cells in requested.items()}
    for of in ("level", "difference"):
        result[of, ""] = pool([cells for key, cells in requested.items() if key[0] == of], (DRAW, SEED))
    assert {(row["of"], row["variant"]) for row in rows} == set(result)
    for key, item in result.items():
        mine = {row["source"]: row for row in rows if (row["of"], row["variant"]) == key}
        assert set(mine) == {*item.sources, "another"} and not any(row["note"] for row in mine.values())
        for source, part in item.sources.items():
            assert [float(mine[source][name]) for name in part._fields] == pytest.approx(list(part), rel=1e-6)
        assert float(mine["another"]["error"]) == pytest.approx(item.another.error, rel=1e-6)
        assert (int(mine["seed"]["cells"]), int(mine["seed"]["runs"])) == (item.cells, item.runs)
    recorded = read_file(root / "results/cells/variance.yaml")
    assert set(recorded.levels) == {base, *others, ALL} and set(recorded.differences) == {*others, ALL}
    another = result["difference", "infonce"].another
    assert recorded.differences["infonce"].another.variance == pytest.approx(another.variance, rel=1e-5)


def test_what_cannot_be_decomposed_is_a_row_that_says_why(tmp_path: Path) -> None:
    made = drawn()
    write_cells(tmp_path, made)
    for member, point in zip(made.members, made.points, strict=True):
        if point[DRAW]:
            shutil.rmtree(tmp_path / "results" / member.name / "infonce", ignore_errors=True)
    compare_series.run(made, tmp_path, resamples=RESAMPLES)
    with open(tmp_path / "results/cells/components.csv", newline="") as handle:
        notes = {(row["of"], row["variant"]): row["note"] for row in csv.DictReader(handle) if row["note"]}
    assert notes == dict.fromkeys([("level", "infonce"), ("difference", "infonce")], f"the design does not vary {DRAW}")
    alone = replace(made, points=made.points[:2], members=made.members[:2])
    with pytest.raises(UserError, match=f"the variance cannot be decomposed: the design does not vary {DRAW}"):
        compare_series.run(alone, tmp_path, resamples=RESAMPLES)

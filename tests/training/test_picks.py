"""The log of picks: which steps it keeps, that keeping changes nothing, that a damaged file is one clear error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fne.study.api import digest
from fne.training import picks
from fne.training.data import EpochPlan
from fne.training.engine import Engine
from fne.training.pick_log import PickPlan, evenly
from fne.utils.errors import UserError
from tests.training import toy

CPU = torch.device("cpu")


def plan(kind: str = "sampled", steps: int = 4, limit_mb: float = 20.0, *, epochs: int = 3, of: int = 10) -> PickPlan:
    settings = {"picks": kind, "steps": steps, "limit_mb": limit_mb}
    return PickPlan.of(settings, epochs=epochs, steps=of, batch_size=100)


def trained(**audit: object) -> Engine:
    config = toy.config(audit=audit, train={"epochs": 5})
    engine = Engine(config, [0, 3], toy.split(), toy.split(seed=5), CPU)
    engine.run(lambda score: None)
    return engine


@pytest.mark.parametrize("total", [1, 2, 7, 46])
def test_steps_are_evenly_spaced_and_end_with_the_last(total: int) -> None:
    for count in range(1, total + 1):
        result = evenly(total, count)
        assert len(set(result)) == count and result[-1] == total - 1 and min(result) >= 0
        gaps = np.diff([-1, *result])
        assert gaps.max() - gaps.min() <= 1
    assert evenly(total, 0) == ()


def test_what_each_kind_keeps() -> None:
    assert plan("none").rows == 0 and not plan("none").limited
    assert plan("full").steps == tuple(range(10)) and plan("full").rows == 2 * 100 * 10 * 3
    assert plan("sampled", 4).steps == (1, 4, 6, 9)
    assert plan("sampled", 99).steps == tuple(range(10)) and not plan("sampled", 99).limited


def test_the_bound_takes_steps_then_epochs_away_and_is_never_exceeded() -> None:
    step = 2 * 100 * picks.ROW_BYTES / 1e6
    for steps in range(1, 31):
        result = plan("full", limit_mb=(steps + 0.5) * step)
        assert result.rows * picks.ROW_BYTES <= (steps + 0.5) * step * 1e6
        assert result.limited == (steps < 30)
        assert result.steps[-1] == 9 and result.epochs[-1] == 2
        summary = result.told(result.rows, 10, 1)
        assert summary["share_of_all_picks"] == len(result.steps) * len(result.epochs) / 30
        assert summary["limited"] == result.limited
    assert plan("full", limit_mb=2.5 * step).epochs == (0, 2)  # two steps for three epochs
    with pytest.raises(UserError, match="audit.limit_mb.*picks of one step"):
        plan("full", limit_mb=0.9 * step)


def test_keeping_more_changes_no_weight_and_less_is_a_part_of_more() -> None:
    kinds = {
        "none": trained(picks="none"),
        "one": trained(picks="sampled", steps=1),
        "three": trained(picks="sampled", steps=3),
        "full": trained(picks="full"),
    }
    full = kinds["full"].picks.columns()
    assert len(full["seed"]) > 0.9 * 2 * 2 * 16 * 5 * 5
    for name, engine in kinds.items():
        for key, value in kinds["full"].model.state_dict().items():
            assert torch.equal(engine.model.state_dict()[key], value), (name, key)
        assert engine.curves == kinds["full"].curves
        result = engine.picks.columns()
        kept = torch.isin(full["step"] % 5, torch.tensor(engine.picks.plan.steps, dtype=torch.int64))
        for column in picks.COLUMNS:
            if len(result[column]):
                torch.testing.assert_close(result[column], full[column][kept], rtol=0, atol=0, equal_nan=True)
        assert len(result["seed"]) == int(kept.sum()) and (name == "none") == (int(kept.sum()) == 0)


def test_the_age_of_a_pick_is_the_time_since_its_pair_was_in_a_batch() -> None:
    engine = trained(picks="full")
    result = engine.picks.columns()
    batches = {}
    for epoch in range(5):
        drawn = EpochPlan.draw(engine.train, engine.seeds, epoch, 16, "images")
        for r, seed in enumerate(engine.seeds):
            for at in range(5):
                batches[seed, epoch * 5 + at] = (drawn.caption_row[r, at].tolist(), drawn.image_row[r, at].tolist())
    queued = 0
    for at in range(len(result["seed"])):
        seed, step, age = (int(result[name][at]) for name in ("seed", "step", "age"))
        candidate, direction = int(result["candidate"][at]), int(result["direction"][at])
        assert (age >= 1) if result["from_queue"][at] else (age == -1)
        assert candidate in batches[seed, step - max(age, 0)][direction]
        queued += int(result["from_queue"][at])
    assert queued > 100


def test_what_is_kept_is_no_part_of_a_digest() -> None:
    configs = [toy.config(audit={"picks": kind, "steps": 2}) for kind in ("full", "none")]
    assert digest(configs[0]) == digest(configs[1]) != digest(toy.config(loss={"margin": 0.3}))


@pytest.fixture
def columns() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    made = {name: rng.integers(0, 100, 300).astype(kind) for name, kind in picks.COLUMNS.items()}
    return made | {name: (made[name] % 2).astype(picks.COLUMNS[name]) for name in ("direction", "false_negative")}


def test_a_file_reads_back_and_equal_picks_are_equal_bytes(columns, tmp_path: Path) -> None:
    size = picks.write(tmp_path / "a.npz", columns)
    picks.write(tmp_path / "b.npz", columns)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert size == (tmp_path / "a.npz").stat().st_size < 300 * picks.ROW_BYTES
    result = picks.read(tmp_path / "a.npz")
    assert list(result) == list(picks.COLUMNS)
    for name, kind in picks.COLUMNS.items():
        assert result[name].dtype == kind and np.array_equal(result[name], columns[name])


def test_a_file_from_before_ages_were_kept_is_read(columns, tmp_path: Path) -> None:
    np.savez(tmp_path / "old.npz", **{name: value for name, value in columns.items() if name != "age"})
    assert (picks.read(tmp_path / "old.npz")["age"] == -1).all()


def test_missing_uneven_and_wrongly_typed_columns_are_named(columns, tmp_path: Path) -> None:
    path = tmp_path / "picks.npz"
    np.savez(path, **{name: value for name, value in columns.items() if name != "candidate"})
    with pytest.raises(UserError, match="candidate: column is missing.*train this variant again"):
        picks.read(path)
    np.savez(path, **columns | {"similarity": columns["similarity"][:-1]})
    with pytest.raises(UserError, match="similarity: columns differ in length"):
        picks.read(path)
    np.savez(path, **columns | {"anchor": np.array(["x"] * 300)})
    with pytest.raises(UserError, match="anchor: wrong type"):
        picks.read(path)


@pytest.mark.parametrize(("name", "value"), [("direction", 5), ("direction", -1), ("false_negative", 2), ("anchor", -1),
                                             ("candidate", -3)])  # fmt: skip
def test_values_that_cannot_be_are_named(columns, tmp_path: Path, name: str, value: int) -> None:
    columns[name][7] = value
    picks.write(tmp_path / "odd.npz", columns)
    with pytest.raises(UserError, match=rf"odd\.npz: {name}: impossible value; got {value}"):
        picks.read(tmp_path / "odd.npz")

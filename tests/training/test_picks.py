"""The log of picks: which steps it keeps, that keeping changes nothing, that a damaged file is one clear error."""

from __future__ import annotations

from collections.abc import Callable
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


def plan(kind: str = "sampled", steps: int = 4, limit_mb: float = 20.0, *, epochs: int = 3, of: int = 10) -> PickPlan:
    settings = {"picks": kind, "steps": steps, "limit_mb": limit_mb}
    return PickPlan.of(settings, epochs=epochs, steps=of, batch_size=100)


def trained(memory: dict | None = None, **audit: object) -> Engine:
    return toy.trained([0, 3], audit=audit, train={"epochs": 5}, memory=memory or {})


@pytest.mark.parametrize("total", [1, 2, 7, 46])
def test_steps_are_evenly_spaced_and_end_with_the_last(total: int) -> None:
    for count in range(1, total + 1):
        result = evenly(total, count)
        assert len(set(result)) == count and result[-1] == total - 1 and min(result) >= 0
        gaps = np.diff([-1, *result])
        assert gaps.max() - gaps.min() <= 1
    assert evenly(total, 0) == ()


def test_what_each_kind_keeps() -> None:
    assert plan("none").rows == 0
    assert plan("full").steps == tuple(range(10)) and plan("full").rows == 2 * 100 * 10 * 3
    assert plan("sampled", 4).steps == (1, 4, 6, 9)
    assert plan("sampled", 99).steps == tuple(range(10)) and not plan("sampled", 99).limited
    configs = [toy.config(audit={"picks": kind}) for kind in ("full", "none")]
    assert digest(configs[0]) == digest(configs[1]) != digest(toy.config(loss={"margin": 0.3})), "no part of a digest"


def test_the_bound_takes_steps_then_epochs_away_and_is_never_exceeded() -> None:
    step = 2 * 100 * picks.ROW_BYTES / 1e6
    for steps in range(1, 31):
        result = plan("full", limit_mb=(steps + 0.5) * step)
        assert result.rows * picks.ROW_BYTES <= (steps + 0.5) * step * 1e6
        assert result.limited == (steps < 30) == result.told(result.rows, 10, 1)["limited"]
        assert result.steps[-1] == 9 and result.epochs[-1] == 2
    assert plan("full", limit_mb=2.5 * step).epochs == (0, 2)  # two steps for three epochs
    with pytest.raises(UserError, match="audit.limit_mb"):
        plan("full", limit_mb=0.9 * step)


def test_keeping_more_changes_no_weight_and_less_is_a_part_of_more() -> None:
    whole = trained(picks="full")
    full = whole.picks.columns()
    assert len(full["seed"]) > 0.9 * 2 * 2 * 16 * 5 * 5
    for audit in ({"picks": "none"}, {"picks": "sampled", "steps": 1}, {"picks": "sampled", "steps": 3}):
        engine = trained(**audit)
        for key, value in whole.model.state_dict().items():
            assert torch.equal(engine.model.state_dict()[key], value), (audit, key)
        assert engine.curves == whole.curves
        result = engine.picks.columns()
        kept = torch.isin(full["step"] % 5, torch.tensor(engine.picks.plan.steps, dtype=torch.int64))
        assert len(result["seed"]) == int(kept.sum()) and bool(kept.any()) == (audit["picks"] != "none")
        for column in picks.COLUMNS if kept.any() else ():
            torch.testing.assert_close(result[column], full[column][kept], rtol=0, atol=0, equal_nan=True)


KINDS = [{}, {"kind": "xbm"}, {"kind": "bank", "refresh": 3}]


@pytest.mark.parametrize("memory", KINDS, ids=["momentum", "xbm", "bank"])
def test_the_age_of_a_pick_is_the_time_since_its_pair_was_embedded(memory: dict) -> None:
    engine = trained(memory, picks="full")
    result, batches = engine.picks.columns(), {}
    for epoch in range(5):
        drawn = EpochPlan.draw(engine.train, engine.seeds, epoch, 16, "images")
        for r, seed in enumerate(engine.seeds):
            for at in range(5):
                batches[seed, epoch * 5 + at] = (drawn.caption_row[r, at].tolist(), drawn.image_row[r, at].tolist())
    for at in range(len(result["seed"])):
        seed, step, age, candidate, direction, epoch = (
            int(result[name][at]) for name in ("seed", "step", "age", "candidate", "direction", "epoch")
        )
        assert (age >= 0) == bool(result["from_queue"][at])
        if age < 0:
            assert candidate in batches[seed, step][direction]
        elif "refresh" in memory:
            assert age == (step - 5 * epoch) % 3, "since the bank was last due"
        else:
            assert age >= 1 and candidate in batches[seed, step - age][direction]
    queued = result["from_queue"] == 1
    assert queued.sum() > 100
    for row in engine.curves:
        ages = result["age"][queued & (result["seed"] == row["seed"]) & (result["epoch"] == row["epoch"])]
        if row["phase"] == "main":
            assert row["queue_age"] == pytest.approx(ages.double().mean().item())


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


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("candidate", lambda values: None),
        ("similarity", lambda values: values[:-1]),
        ("anchor", lambda values: np.array(["x"] * 300)),
        ("anchor", lambda values: values - 1000),
        ("direction", lambda values: values + 5),
    ],
)
def test_a_column_that_cannot_be_is_named(columns, tmp_path: Path, name: str, change: Callable) -> None:
    changed = columns | {name: change(columns[name])}
    np.savez(tmp_path / "odd.npz", **{key: value for key, value in changed.items() if value is not None})
    with pytest.raises(UserError, match=rf"odd\.npz: {name}: "):
        picks.read(tmp_path / "odd.npz")

"""The recorded components of variance: written, read strictly, and for which studies they hold."""

from __future__ import annotations

import copy
import datetime
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from fne.analysis.components import Another, Component, Components
from fne.results.variance import ALL, FILE, Variance, read_file, read_variance, write_variance
from fne.study.api import load, load_study
from fne.study.series import Series
from fne.utils.errors import UserError

ROOT = Path(__file__).parents[2]
FACTORS = ("encoders.draw", "data.seed", "tuned.draw")


def components(size: float, *, interaction: bool = True) -> Components:
    parts = {"encoders.draw": 4.0, "data.seed": 3.0, "tuned.draw": 0.8, "seed": 1.0, "images": 2.0}
    parts |= {"interaction": 0.5} if interaction else {}
    sources = {name: Component(size * value, size * value / 3, size * value * 4) for name, value in parts.items()}
    total = sum(item.variance for name, item in sources.items() if name not in ("seed", "images"))
    return Components(sources, Another(total, total / 2, 6), 16, 80)


@pytest.fixture(scope="module")
def series() -> Series:
    result = load("variance", root=ROOT)
    assert isinstance(result, Series)
    return result


def found_in(series: Series) -> dict[tuple[str, str], Components]:
    variants = series.shared.variants
    result = {("level", variant): components(1e-4 * (place + 1)) for place, variant in enumerate(variants)}
    result |= {("difference", variant): components(1e-5) for variant in variants if variant != series.shared.baseline}
    return result | {("level", ""): components(7e-4), ("difference", ""): components(3e-5, interaction=False)}


@pytest.fixture(scope="module")
def file(series: Series, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("project") / FILE
    write_variance(file, series, found_in(series))
    return file


@pytest.fixture
def record(file: Path) -> Variance:
    return read_file(file)


def test_what_is_written_is_read(series: Series, record: Variance, file: Path) -> None:
    assert record == read_variance(file.parents[1])
    assert (record.study, record.regime, record.baseline) == ("variance", "head", "hardest_in_batch")
    assert dict(record.primary) == {"protocol": "own", "direction": "both", "metric": "rsum"}
    assert (record.cells, record.seeds) == (len(series.members), len(series.shared.seeds))
    assert record.runs == 80 * len(series.shared.variants)
    assert record.date == datetime.date.today().isoformat()
    assert record.factors == series.factors and tuple(record.factors) == FACTORS
    assert "data.seed" not in record.data and record.data["data.prevalence"] == 0.003
    assert "encoders.draw" not in record.encoders and record.encoders["encoders.image.checkpoint"] == "scenes"
    for (of, variant), requested in found_in(series).items():
        read = {"level": record.levels, "difference": record.differences}[of][variant or ALL]
        assert (read.cells, read.runs, read.another.levels) == (requested.cells, requested.runs, 6)
        assert read.another[:2] == pytest.approx(requested.another[:2], rel=1e-5)
        assert {name: [*item] for name, item in read.sources.items()} == {
            name: pytest.approx([*item], rel=1e-5) for name, item in requested.sources.items()
        }


def test_the_record_of_the_repository_is_sound_and_holds_for_its_default_study() -> None:
    record = read_variance(ROOT)
    assert record is not None and record.why_not(load_study("paper", root=ROOT)) == ""


def test_a_variant_has_its_own_component_against_the_recorded_baseline_alone(record: Variance) -> None:
    own, pooled = record.differences["fne"].another, record.differences[ALL].another
    assert record.another("fne", "hardest_in_batch") == (own, "fne")
    assert record.another("fne", "infonce") == (pooled, "all variants together")
    assert record.another("simans", "hardest_in_batch") == (pooled, "all variants together")
    assert record.another("infonce") == (record.levels["infonce"].another, "infonce")
    assert record.another("simans") == (record.levels[ALL].another, "all variants together")


def test_it_holds_for_the_same_data_and_encoders_whatever_the_factors_are(record: Variance) -> None:
    assert record.why_not(load_study("paper", root=ROOT)) == ""
    assert record.why_not(load_study("paper", {"data.seed": 7}, ROOT)) == ""
    assert record.why_not(load_study("paper", {"encoders.draw": 3}, ROOT)) == ""
    for member in load("variance", root=ROOT).members:
        assert record.why_not(member) == ""


OTHERS = {
    "data.prevalence": lambda: load_study("paper", {"data.prevalence": 0.02}, ROOT),
    "data.train": lambda: load_study("smoke", root=ROOT),
    "data.dataset": lambda: load_study("flickr8k", root=ROOT, complete=False),
    "regime": lambda: load_study("flickr8k_finetune", root=ROOT, complete=False),
    "encoders.image.pooling": lambda: load_study("paper", {"encoders.image.pooling": "cls"}, ROOT),
    "primary": lambda: replace(load_study("paper", root=ROOT),
                               primary={"protocol": "own", "direction": "i2t", "metric": "r1"}),
}  # fmt: skip


@pytest.mark.parametrize("key", OTHERS)
def test_it_does_not_hold_for_other_data_encoders_regimes_and_metrics(record: Variance, key: str) -> None:
    why = record.why_not(OTHERS[key]())
    assert why.startswith(f"study variance measured components of variance with {key}") and ", not " in why, why


def changed(content: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with one entry replaced (``...``: removed); ``path`` by slashes."""
    made = copy.deepcopy(content)
    *sections, leaf = path.split("/")
    place = made
    for section in sections:
        place = place[section]
    if value is ...:
        del place[leaf]
    else:
        place[leaf] = value
    return made


BAD = [
    ("schema", 2, "schema: another schema; got 2; allowed: 1"),
    ("date", "2026-13-01", "date: cannot be; got '2026-13-01'; allowed: a date, \"YYYY-MM-DD\""),
    ("factors/data.seed", [0, 0], "factors.data.seed: holds a value twice"),
    ("levels/all variants", ..., "levels.all variants: is missing"),
    ("levels/fne/seed", ..., "levels.fne.seed: is missing"),
    ("levels/fne/seed/variance", -1e-6, "levels.fne.seed.variance: out of range; got -1e-06"),
    ("levels/fne/seed/variance", 1.0, "levels.fne.seed.variance: is not within its interval, "),
    ("levels/fne/another/variance", 1e-3, "levels.fne.another.variance: is not the sum"),
]


@pytest.mark.parametrize(("path", "value", "problem"), BAD)
def test_what_cannot_be_is_an_error_that_names_file_and_key(
    file: Path, tmp_path: Path, path: str, value: Any, problem: str
) -> None:
    bad = tmp_path / FILE
    bad.parent.mkdir()
    bad.write_text(yaml.safe_dump(changed(yaml.safe_load(file.read_text()), path, value)))
    with pytest.raises(UserError) as raised:
        read_variance(tmp_path)
    assert f"{bad}: {problem}" in str(raised.value), raised.value

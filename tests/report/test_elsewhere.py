"""What every interval is conditional on, and the second one, for another encoder and world, in tables and sentences."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fne.analysis.components import Another, Component, Components
from fne.report.tables.contrasts import contrasts_table
from fne.report.tables.main import main_table
from fne.report.text.headline import headline
from fne.report.text.summary import paired_elsewhere, paired_interval
from fne.report.text.wording import elsewhere_phrase, for_which, given, span, varied
from fne.results.study import StudyResults
from fne.results.variance import FILE, read_variance, write_variance
from fne.study.series import Series
from tests.report.conftest import Made

FACTORS = {"encoders.draw": tuple(range(6)), "data.seed": tuple(range(6))}
WIDER = Callable[[float], StudyResults]


def components(size: float) -> Components:
    sources = {name: Component(size / 2, 0.0, size) for name in (*FACTORS, "seed", "images")}
    return Components(sources, Another(size, size / 4, 6), 16, 80)


@pytest.fixture
def wider(paper: Made, tmp_path: Path) -> WIDER:
    """The paper's study as if another encoder and world added so much variance, and each end so many points."""

    def made(points: float) -> StudyResults:
        series = Series("variance", "t", "q", FACTORS, ({name: 0 for name in FACTORS},), (paper.study,))
        same = {(of, ""): components((points / 100) ** 2 / 8) for of in ("level", "difference")}
        same["level", "random"] = same["level", ""]
        write_variance(tmp_path / FILE, series, same)
        study = StudyResults(paper.study, paper.root)
        study.__dict__["known"] = (read_variance(tmp_path), "")
        for name in ("intervals", "contrasts"):
            frame = getattr(study, name).copy()
            primary = (frame["metric"] == "rsum") & (frame["protocol"] == "own")
            frame.loc[primary, "low_elsewhere"] = frame.loc[primary, "low"] - points / 100
            frame.loc[primary, "high_elsewhere"] = frame.loc[primary, "high"] + points / 100
            study.__dict__[name] = frame
        return study

    return made


def test_both_intervals_stand_in_the_main_table(wider: WIDER, paper: Made) -> None:
    study = wider(2.0)
    table, bare = main_table(study), main_table(paper.results)
    names = [column.name for column in table.columns]
    for row, variant in zip(table.rows, study.variants, strict=True):
        for column, result in (("rsum", study.estimate(variant.id)), ("Δ baseline", study.contrast(variant.id))):
            if result is not None:
                first, _, second = row[names.index(column)].note.partition(" / ")
                ends = [float(end.replace("−", "-").replace("+", "")) for end in second.strip("[]").split(", ")]
                assert first == bare.rows[table.rows.index(row)][names.index(column)].note
                assert ends == pytest.approx([100 * result.low - 2, 100 * result.high + 2], abs=0.051)
    assert "95 % interval given this encoder, world and tuning, by " in table.caption
    summary = next(note for note in table.notes if note.startswith("After the slash"))
    assert "for another encoder and world, from components of variance of study variance" in summary
    assert "(6 encoder draws and 6 worlds; 20" in summary
    record = next(row for row in table.records if row["variant"] == "fne")
    assert record["contrast_low_elsewhere"] == pytest.approx(record["contrast_low"] - 0.02)


def test_what_is_not_known_is_said_with_its_reason(paper: Made) -> None:
    requested = (
        "Intervals are given this encoder, world and tuning; how far scores would move with another encoder and "
    )
    requested += "world is not known: there is no ablations/variance.yaml"
    for notes in (main_table(paper.results).notes, contrasts_table(paper.results).notes):
        assert any(note.startswith(requested) for note in notes), notes
    assert all("elsewhere" not in column.name.lower() for column in contrasts_table(paper.results).columns)
    assert not any(" / [" in cell.note for row in main_table(paper.results).rows for cell in row)


def test_verdicts_say_for_which_encoders_they_hold(wider: WIDER) -> None:
    near, far = wider(0.1), wider(60.0)
    for study, words in ((near, ", also with another encoder and world: "),
                         (far, ", with this encoder and world alone: ")):  # fmt: skip
        contrast = study.contrast("fne")
        assert contrast is not None and contrast.low > 0
        summary = headline(study)
        assert summary[0].startswith("FNE (released rule) beats the baseline, Hardest in batch (VSE++)" + words)
        assert f" rsum {span(contrast.low, contrast.high, sign=True)}, 5 seeds" in summary[0]
        assert not any(" / [" in words for words in summary), "the second interval is in the tables"


def test_a_pair_is_widened_by_the_pooled_component(wider: WIDER) -> None:
    study = wider(8.0)
    low, high = paired_interval(study, "fne", "infonce")
    ends = paired_elsewhere(study, "fne", "infonce")
    assert ends[0] < low < high < ends[1]
    flipped = paired_elsewhere(study, "infonce", "fne")
    assert flipped == pytest.approx((-ends[1], -ends[0]), abs=2e-3)  # the bootstrap's split is not symmetric
    half = (ends[1] - ends[0]) / 2
    assert 1.96 * math.sqrt(2 * 0.08**2 / 8) < half < 3 * math.sqrt(2 * 0.08**2 / 8 + (high - low) ** 2 / 16)


@pytest.mark.parametrize(("interval", "elsewhere", "words"), [
    ((0.01, 0.02), (0.001, 0.03), ", also with another encoder and world"),
    ((-0.02, -0.01), (-0.03, -0.001), ", also with another encoder and world"),
    ((0.01, 0.02), (-0.01, 0.04), ", with this encoder and world alone"),
    ((0.01, 0.02), (0.0, 0.03), ", with this encoder and world alone"),
    ((-0.01, 0.02), (-0.02, 0.03), ""),
    ((0.01, 0.02), (math.nan, math.nan), ""),
    ((math.nan, math.nan), (math.nan, math.nan), ""),
])  # fmt: skip
def test_for_which_encoders_a_difference_is_shown(
    paper: Made, interval: tuple[float, float], elsewhere: tuple[float, float], words: str
) -> None:
    assert for_which(paper.results, *interval, elsewhere) == words


def test_tuning_is_named_where_values_were_tuned_and_where_it_was_drawn_anew(wider: WIDER, paper: Made) -> None:
    study = wider(0.1)
    assert varied(study) == "encoder and world"
    record, _ = study.known
    study.__dict__["known"] = (record.model_copy(update={"factors": {**record.factors, "tuned.draw": (0, 1, 2)}}), "")
    assert varied(study) == "encoder, world and tuning"
    assert for_which(study, 0.01, 0.02, (0.001, 0.03)) == ", also with another encoder, world and tuning"
    assert "(6 encoder draws, 6 worlds and 3 tuning draws; 20" in elsewhere_phrase(study)
    plain = StudyResults(replace(paper.study, tuned=None), paper.root)
    assert given(plain) == "given this encoder and world"
    plain.dataset = "flickr8k"
    assert given(plain) == "given these encoders and data"

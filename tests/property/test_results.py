"""A finished study with one file changed is read, or refused with one error that names the file."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fne.analysis import layout
from fne.analysis.equivalence import VERDICTS
from fne.report.figures.populations import populations
from fne.report.page.svg import CAPTIONS, inline_svg, read_svg
from fne.report.tables.record import record_table
from fne.report.text import verified
from fne.results import calibration_tables, kept, made_from, reference
from fne.results.study import StudyResults, load
from fne.steps import aggregate, compare, export
from fne.steps.evaluate import evaluate_replicates, read_rankings, scored_protocols
from fne.study import paths
from fne.study.api import Study, resolve
from fne.utils.digests import Remembered
from fne.utils.errors import UserError
from fne.utils.files import DIGESTS, SCHEMAS, read_json, read_record, write_json
from fne.utils.provenance import read_readings
from fne.utils.text import harmless
from tests.analysis import stats_study
from tests.net.snapshot import RESULT
from tests.projects import ROOT
from tests.property.damage import change
from tests.report.synthetic import write_study
from tests.results.made import SMALL

Whole = tuple[Study, Path]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """What a report is made from: tables, records, picks."""
    root = tmp_path_factory.mktemp("told")
    return write_study(root, fakes=SMALL[:2], seeds=(0, 1, 2), resources=False), root


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """What tables are made from: metrics and values by image of each job."""
    root = tmp_path_factory.mktemp("ranked")
    made = stats_study.study(seeds=(0, 1), variants=("hardest_in_batch", "fne"))
    stats_study.write(root, made)
    return made, root


def sign(folder: Path) -> None:
    """Let the folder's digests say what its tables are, as whoever made them on purpose would."""
    if (folder / DIGESTS).is_file():
        content = {file.name: file.read_bytes() for file in folder.glob("*.csv") if file.is_file()}
        entries = {name: {"rows": max(0, text.count(b"\n") - 1), "sha256": hashlib.sha256(text).hexdigest()}
                   for name, text in content.items()}  # fmt: skip
        write_json(folder / DIGESTS, {"schema": SCHEMAS["digests"], "files": entries})


def damaged(whole: Whole, into: Path, draw: random.Random) -> Path:
    """A copy with one file changed; a table's digest is made to fit half the time."""
    shutil.rmtree(into / "results", ignore_errors=True)
    shutil.copytree(whole[1] / "results", into / "results")
    file = draw.choice(sorted(file for file in (into / "results").rglob("*.*") if file.is_file()))
    change(file, draw)
    if file.suffix == ".csv" and draw.random() < 0.5:
        sign(file.parent)
    return file


def outcome(read: Callable[[], object], file: Path) -> str:
    """What reading ends in: a result, or one error that names the file or its folder's digests."""
    try:
        read()
    except UserError as error:
        text = str(error)
        assert file.name in text or file.parent.name in text, text
        assert len(text) < 3000 and harmless(text).isprintable()
        return text
    return "read"


def everything(study: Study, root: Path) -> list[Callable[[], object]]:
    """What is read of a finished study."""
    names = ("runs", "test", "intervals", "contrasts", "missing", "curves", "audit", "protocols", "test_readings",
             "measured", "variants")  # fmt: skip

    def open_() -> StudyResults:
        return load(study, root)

    return [
        *(lambda name=name: getattr(open_(), name) for name in names),
        *(lambda variant=variant: open_().picks(variant) for variant in study.variants),
        *(lambda variant=variant: populations(open_(), variant) for variant in study.variants),
        *(lambda variant=variant: open_().layout(variant) for variant in study.variants),
        *(lambda variant=variant: (open_().estimate(variant), open_().contrast(variant)) for variant in study.variants),
        lambda: (made_from.versions(open_()), made_from.fingerprints(open_()), reference.made_by(open_())),
        lambda: record_table(open_()),
        lambda: export.build(open_()),
    ]


@given(seed=st.integers(0, 2**32 - 1))
def test_one_change_to_what_a_report_is_made_from(told: Whole, tmp_path: Path, seed: int) -> None:
    file = damaged(told, tmp_path, random.Random(seed))
    for read in everything(told[0], tmp_path):
        outcome(read, file)


def tables(study: Study, root: Path) -> list[Callable[[], object]]:
    """What makes the tables of a study from its jobs."""
    return [lambda: aggregate.run(study, root), lambda: compare.run(study, root, resamples=20, flips=20)]


@given(seed=st.integers(0, 2**32 - 1))
def test_one_change_to_what_tables_are_made_from(ranked: Whole, tmp_path: Path, seed: int) -> None:
    file = damaged(ranked, tmp_path, random.Random(seed))
    for make in tables(ranked[0], tmp_path):
        outcome(make, file)


SVG = """<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<svg xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 9 9" xmlns="http://www.w3.org/2000/svg" version="1.1">
 <metadata><x>y</x></metadata><defs><style type="text/css">*{stroke-linejoin: round}</style><clipPath id="p"/></defs>
 <g id="figure_1" clip-path="url(#p)"><path d="M 0 0 L 9 9" style="fill: #ffffff"/><text>FNE é</text></g>
</svg>
"""


def rankings(made: Study) -> dict[str, np.ndarray]:
    """What ``fne rank`` leaves of two seeds."""
    arrays, _ = stats_study.arrays("fne", [0, 1])
    meta = {key: "x" for key in ("study", "variant", "title", "block", "dataset", "regime", "split", "code", "digest")}
    meta |= {"schema": SCHEMAS["rankings"], "seeds": [0, 1], "failed": {}, "selected_epoch": {"0": 1, "1": 2},
             "protocols": {"own": {}, "truth": {}}, "config": resolve(made, "fne"),
             "record": {"test_accesses": []}}  # fmt: skip
    return {"meta": np.array(json.dumps(meta)), **arrays}


def verdicts() -> dict[str, Any]:
    counts = dict.fromkeys(VERDICTS, 1)
    machine = {"kernel_switches": "none", "cpu": "a", "cpu_capability": "AVX2"}
    return {
        "schema": SCHEMAS["verify"], "made_from": {"a": "b"}, "counts": {"score": counts, "difference": counts},
        "primary": {"metric": "rsum", "protocol": "own", "direction": "both"}, "reasons": {"within_noise": 3},
        "differs": {}, "tolerance": {"score": 0.1, "difference": 0.1},
        "reference": {"date": "2026-01-01", "machine": machine},
    }  # fmt: skip


def evaluated(file: Path) -> object:
    """Read rankings and score them."""
    meta, arrays = read_rankings(file)
    seeds = [seed for seed in meta["seeds"] if str(seed) not in meta["failed"]]
    scored = scored_protocols(meta, {}, file)
    return evaluate_replicates(seeds, arrays, scored, "expected", [1, 5, 10], file) if seeds else None


READERS: dict[str, Callable[[Path], object]] = {
    "calibration.npz": lambda file: calibration_tables.rows_of("fne", [file]),
    "rankings.test.npz": evaluated,
    "queries.test.npz": lambda file: layout.load([file]),
    "verify.json": lambda file: verified.sentence(read_record(file, "verify", verified.VERIFY, "again")),
    "x.json": reference.read,
    "study.json": lambda file: kept._read(file.parent.name, file.parents[2]),
    "figure.svg": lambda file: inline_svg(read_svg(file, "again"), "figure", "words"),
    "captions.json": lambda file: read_record(file, None, CAPTIONS, "again"),
    "code.json": Remembered,
    "readings.test.jsonl": read_readings,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, ranked: Whole) -> dict[str, Path]:
    """One sound file of each kind, by name."""
    root = tmp_path_factory.mktemp("files")
    place = {name: root / name for name in READERS}
    study = ranked[0]
    place["study.json"] = root / paths.overrides("x")
    with tarfile.open(RESULT) as archive:
        place["calibration.npz"].write_bytes(archive.extractfile("results/smoke/fne/0-1/calibration.npz").read())
    np.savez_compressed(place["rankings.test.npz"], **rankings(study))
    shutil.copy(ranked[1] / paths.queries(study, "fne", "0-1", "test"), place["queries.test.npz"])
    write_json(place["verify.json"], verdicts())
    write_json(place["x.json"], {**read_json(ROOT / "ablations/reference/paper.json"), "study": "x"})
    write_json(place["study.json"], {"schema": 1, "study": "x", "overrides": {"seeds": "0-4"}})
    place["figure.svg"].write_text(SVG)
    words = dict.fromkeys(("id", "title", "question", "caption", "alt"), "x")
    write_json(place["captions.json"], [{**words, "empty": False}])
    write_json(place["code.json"], {"schema": 1, "made_by": "sha256", "values": {"/a": [[1, 2, 3, 4], "x"]}})
    place["readings.test.jsonl"].write_text('{"time": "2026", "variant": "fne"}\n' * 3)
    return place


def test_sound_files_are_read(files: dict[str, Path]) -> None:
    for name, read in READERS.items():
        read(files[name])


@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(sorted(READERS)))
def test_one_change_to_any_other_file(files: dict[str, Path], seed: int, name: str) -> None:
    file = files[name]
    whole = file.read_bytes()
    try:
        change(file, random.Random(seed))
        outcome(lambda: READERS[name](file), file)
    finally:
        shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
        file.write_bytes(whole)


@pytest.mark.parametrize("name", [name for name in READERS if name.endswith((".npz", ".svg"))])
def test_a_file_cut_to_a_half_is_never_shown(files: dict[str, Path], name: str) -> None:
    whole = files[name].read_bytes()
    try:
        files[name].write_bytes(whole[: len(whole) // 2])
        assert "cut short" in outcome(lambda: READERS[name](files[name]), files[name])
    finally:
        files[name].write_bytes(whole)

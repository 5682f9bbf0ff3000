"""``fne watch``: what it says of a study from the files alone, whatever state they are in."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest

from fne.report.terminal import BARS, draw, sparkline
from fne.results.progress_files import DONE, PROGRESS, RUNNING, STALE, STOPPED, WAITING, Run, look, seconds_left
from fne.results.schema import header
from fne.steps import train as job
from fne.steps import watch as watching
from fne.study import paths
from fne.study.api import load_study, resolve
from fne.utils.files import write_csv, write_json
from tests.tables import sign
from tests.terminal import Terminal
from tests.training import project

NOW = 1_000_000.0


def row(seed: int, epoch: int, score: float | None, collapsed: int = 0) -> dict:
    return {"seed": seed, "epoch": epoch, "step": 10 * (epoch + 1), "seconds": 2.0 * (epoch + 1), "phase": "main",
            "loss": 0.25, "val_rsum": score, "collapsed": collapsed}  # fmt: skip


class StudyFiles:
    """A study of the repository whose runs exist as files only."""

    def __init__(self, root: Path) -> None:
        shutil.copytree(project.REPOSITORY / "ablations", root / "ablations")
        self.root, self.study = root, load_study("smoke", {"seeds": "0-3", "block": 2}, root)

    def done(self, variant: str, block: str, rows: list[dict], **changed: object) -> Path:
        folder = self.root / paths.run_folder(self.study, variant, block)
        folder.mkdir(parents=True)
        config = resolve(self.study, variant)
        config["train"] |= changed
        write_json(folder / "run.json", {"config": config, "cost": {"steps": 40}})
        write_csv(folder / "curves.csv", rows, header("curves")[1:])
        return folder

    def going(self, variant: str, block: str, seeds: list[int], step: int, rows: list[dict], heard: float) -> Path:
        folder = self.root / paths.scratch_folder(self.study, variant, block) / "-".join(map(str, seeds))
        folder.mkdir(parents=True)
        summary = {"seeds": seeds, "step": step, "total": 40, "seconds": 5.0, "time": heard, "curves": rows}
        write_json(folder / PROGRESS, summary)
        return folder

    def look(self) -> dict[tuple[str, int], Run]:
        return {(run.variant, run.seed): run for run in look(self.study, self.root, NOW)}


@pytest.fixture
def files(tmp_path: Path) -> StudyFiles:
    return StudyFiles(tmp_path)


def test_every_state_is_told_apart(files) -> None:
    first, second, third = files.study.variants
    files.done(first, "0-1", [row(seed, epoch, 1.0 + epoch) for seed in (0, 1) for epoch in range(4)])
    files.done(first, "2-3", [row(2, 0, 1.0), row(3, 0, 1.0)], learning_rate=0.5)
    files.going(second, "0-1", [0], 40, [row(0, 3, 2.0)], NOW - 100)  # its sister goes on
    files.going(second, "0-1", [1], 15, [row(1, 0, 1.5)], NOW - 3)
    files.going(second, "2-3", [2, 3], 20, [row(2, 0, 1.5), row(3, 0, 1.5)], NOW - 1000)
    result = files.look()
    assert list(result) == [(variant, seed) for variant in (first, second, third) for seed in range(4)]
    states = {key: run.state for key, run in result.items()}
    assert [states[first, seed] for seed in range(4)] == [DONE, DONE, STALE, STALE]
    assert [states[second, seed] for seed in range(4)] == [DONE, RUNNING, STOPPED, STOPPED]
    assert [states[third, seed] for seed in range(4)] == [WAITING] * 4
    assert result[first, 1].scores == [1.0, 2.0, 3.0, 4.0] and result[second, 1].step == 15


def test_alarms(files) -> None:
    first, second, _ = files.study.variants
    files.done(first, "0-1", [row(0, 0, 1.0), row(0, 1, 1.0, 1), row(1, 0, 1.0, 1), row(1, 1, 1.0)])
    files.going(second, "0-1", [0, 1], 15, [row(0, 0, None), row(1, 0, 1.5)], NOW)
    result = files.look()
    assert [result[first, seed].collapsed for seed in (0, 1)] == [True, False]
    assert [result[second, seed].diverged for seed in (0, 1)] == [True, False]
    text = "\n".join(draw(files.study, list(result.values())))
    assert "2 alarms" in text and "ALARM: collapsed, seed 0" in text and "ALARM: diverged, seed 0" in text


ELSE = {"seeds": [0], "step": 1, "total": 2, "seconds": 1.0, "time": NOW}
"""What another version might tell: no curves."""
ODD = [{"curves": [{"epoch": 0}]}, {"seeds": None}, {"time": "now"}]
OTHERS = [ELSE, *(ELSE | {"curves": [], **odd} for odd in ODD)]
SHAPES = ["", "{", "[1]", '{"seeds": [0]}', "null", *map(json.dumps, OTHERS)]


@pytest.mark.parametrize("content", SHAPES)
def test_half_written_files_count_as_absent(files, content) -> None:
    folder = files.going(files.study.variants[0], "0-1", [0, 1], 15, [], NOW)
    (folder / PROGRESS).write_text(content)
    assert {run.state for run in files.look().values()} == {WAITING}


def test_curves_that_are_missing_leave_a_finished_run_finished(files) -> None:
    folder = files.done(files.study.variants[0], "0-1", [row(0, 0, 1.0)])
    (folder / "curves.csv").unlink()
    run = files.look()[files.study.variants[0], 0]
    assert run.state == DONE and run.scores == [] and not run.collapsed


def test_curves_that_are_cut_count_as_absent(files) -> None:
    folder = files.done(files.study.variants[0], "0-1", [row(0, epoch, 1.0) for epoch in range(3)])
    assert len(files.look()[files.study.variants[0], 0].curve) == 3
    lines = (folder / "curves.csv").read_text().splitlines(keepends=True)
    (folder / "curves.csv").write_text("".join(lines[:-1]))
    assert files.look()[files.study.variants[0], 0].curve == ()


@pytest.mark.parametrize("table", ["", "seed,epoch\n0,0\n", "seed,epoch,step,seconds\n0,0,1,2,3\n", "a\nb\n"])
def test_curves_and_records_of_another_shape_stop_nobody_from_watching(files, table) -> None:
    first, second, _ = files.study.variants
    folder = files.done(first, "0-1", [row(0, 0, 1.0)])
    (folder / "curves.csv").write_text(table)
    sign(folder / "curves.csv")
    other = files.done(second, "0-1", [row(0, 0, 1.0)])
    write_json(other / "run.json", {"config": {"encoders": None}, "cost": None})
    result = files.look()
    assert result[first, 0].state == DONE and result[first, 0].curve == () and result[second, 0].state == STALE
    assert draw(files.study, list(result.values()))


def test_time_left_by_hand() -> None:
    assert seconds_left([Run("a", 0, WAITING)]) is None
    going = Run("a", 1, RUNNING, step=10, total=40, seconds=5.0)  # 0.5 s a step: 15 s left of 20
    assert seconds_left([going]) == 15
    assert seconds_left([going, Run("a", 2, WAITING)]) == 15 + 20
    assert seconds_left([going, going, Run("a", 2, WAITING)]) == (15 + 15 + 20) / 2
    done = Run("a", 3, DONE, step=40, total=40, seconds=60.0)
    assert seconds_left([done, going, Run("a", 2, WAITING)]) == 15 + (60 + 20) / 2


def test_sparklines() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 0, 8) == BARS
    assert sparkline([8.0], 0, 8) == BARS[-1] and sparkline([1.0, 1.0], 1, 1) == BARS[3] * 2
    assert sparkline([], 0, 1) == ""
    long = sparkline([at / 100 for at in range(101)], 0, 1)
    assert len(long) == 24 and long[0] == BARS[0] and long[-1] == BARS[-1] and list(long) == sorted(long)


def test_a_small_terminal_shows_what_runs(files) -> None:
    *_, last = files.study.variants
    files.going(last, "0-1", [0, 1], 15, [row(0, 0, 1.5)], NOW)
    lines = draw(files.study, list(files.look().values()), height=6)
    assert len(lines) <= 6
    assert any(line.startswith(last) for line in lines) and "and 2 more variants" in lines


def finish(files: StudyFiles) -> None:
    for variant in files.study.variants:
        for block in ("0-1", "2-3"):
            files.done(variant, block, [row(seed, 0, 1.0) for seed in map(int, block.split("-"))])


OTHER_SCREEN, FIRST_SCREEN = "\x1b[?1049h", "\x1b[?1049l"


@pytest.mark.parametrize("columns", [20, 200])
def test_a_terminal_is_redrawn_until_the_study_has_ended(files, monkeypatch, columns) -> None:
    """One screen of lines at a time: more would scroll the summary away."""
    for name, value in {"TERM": "xterm", "COLUMNS": str(columns), "LINES": "6"}.items():
        monkeypatch.setenv(name, value)
    sleeps = iter([lambda: None, lambda: finish(files)])
    monkeypatch.setattr(watching.time, "sleep", lambda seconds: next(sleeps)())
    stream = Terminal()
    watching.run(files.study, files.root, stream=stream)
    drawn, after = stream.getvalue().removeprefix(OTHER_SCREEN + "\x1b[H").split(FIRST_SCREEN)
    _, first, second = drawn.split("\x1b[H")
    assert first == second.removesuffix("\x1b[?25h") and first.startswith("smoke: 0 of 12 runs")
    lines = first.split("\n")
    assert len(lines) == 6 and all(len(line) == columns for line in lines)
    plain = io.StringIO()
    watching.run(files.study, files.root, stream=plain)
    assert after == plain.getvalue() and "12 of 12 runs done" in after and "\x1b" not in after


def test_a_watch_that_is_interrupted_gives_the_terminal_back(files, monkeypatch) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(watching.time, "sleep", interrupt)
    stream = Terminal()
    with pytest.raises(KeyboardInterrupt):
        watching.run(files.study, files.root, stream=stream)
    assert stream.getvalue().endswith("\x1b[?25h" + FIRST_SCREEN)


def test_event_files_hold_the_curves(files, tmp_path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first = files.study.variants[0]
    files.done(first, "0-1", [row(seed, epoch, 1.0 + epoch) for seed in (0, 1) for epoch in range(3)])
    watching.run(files.study, files.root, once=True, tensorboard=tmp_path / "events", stream=io.StringIO())
    read = EventAccumulator(str(tmp_path / "events" / first / "seed-1")).Reload()
    tensors = [(event.step, event.tensor_proto.float_val[0]) for event in read.Tensors("val_rsum")]
    assert tensors == [(10, 1.0), (20, 2.0), (30, 3.0)]


def test_a_real_job_tells_how_far_it_is(tmp_path, monkeypatch) -> None:
    """What a job leaves while it runs, read at each of its reports; when it has ended, its results are read."""
    study = project.make(tmp_path)
    seen: list[Run] = []
    tell = job._tell

    def told(*arguments: object) -> None:
        tell(*arguments)
        seen.extend(run for run in look(study, tmp_path) if run.variant == "fne" and run.seed == 1)

    monkeypatch.setattr(job, "_tell", told)
    monkeypatch.setattr(job, "TELL_SECONDS", 0.0)
    job.run(study, "fne", "0-1", tmp_path, 1, "cpu")
    mine = [run for run in seen if run.state != WAITING]
    assert [run.step for run in mine] == list(range(1, mine[0].total + 1))
    assert all(run.state == RUNNING for run in mine[:-1])
    (after,) = [run for run in look(study, tmp_path) if run.variant == "fne" and run.seed == 1]
    assert after.state == DONE and after.scores == pytest.approx(mine[-1].scores) and after.total == mine[-1].total
    assert not (tmp_path / paths.scratch_folder(study, "fne", "0-1")).exists()


def test_watching_writes_nothing(files) -> None:
    files.going(files.study.variants[0], "0-1", [0, 1], 15, [row(0, 0, 1.5)], NOW)
    before = {path: path.read_bytes() for path in files.root.rglob("*") if path.is_file()}
    watching.run(files.study, files.root, once=True, stream=io.StringIO())
    assert {path: path.read_bytes() for path in files.root.rglob("*") if path.is_file()} == before


def test_progress_of_a_diverged_run_is_json(tmp_path) -> None:
    class Engine:
        seeds, step, total_steps = [0], 3, 9
        curves = [{"seed": 0, "epoch": 0, "val_rsum": float("nan"), "loss": float("inf"), "collapsed": 0}]

    job._tell(Engine(), tmp_path, 1.0)
    assert json.loads((tmp_path / PROGRESS).read_text())["curves"][0]["val_rsum"] is None

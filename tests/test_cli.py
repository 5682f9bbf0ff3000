"""The command line: each verb calls its one room with the right arguments; a mishap is one clear message."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

from fne import cli
from fne.encoders.shipped import Recipe
from fne.steps.verbs import VERBS
from fne.study import paths
from fne.study.api import load_study
from fne.utils.errors import UserError
from fne.utils.os_errors import explain

ROOT = Path(__file__).resolve().parents[1]
STUDY = ["--study", "smoke", "--root", str(ROOT)]
JOB = ["--variant", "fne", "--block", "0-1"]
HEAVY = ("torch", "pandas", "scipy", "matplotlib", "transformers", "seaborn", "snakemake")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple]]:
    """Put a stand-in in the place of every room; collect what it is called with."""
    made: list[tuple[str, tuple]] = []
    rooms = "steps.prepare steps.pretrain steps.extract steps.train steps.tune steps.rank"
    rooms += " steps.estimate steps.evaluate steps.aggregate steps.compare report.tables.registry"
    rooms += " report.figures.registry steps.report steps.audit steps.calibrate steps.verify"
    for name in rooms.split():
        room = types.ModuleType(f"fne.{name}")
        room.run = lambda *given, name=name: made.append((name, given))  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, f"fne.{name}", room)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    return made


def replace_room(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException) -> None:
    def run(*given: object) -> None:
        raise error

    room = types.ModuleType(f"fne.{name}")
    room.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, f"fne.{name}", room)


def test_every_verb_calls_its_room(calls: list) -> None:
    study = load_study("smoke", root=ROOT)
    machine = ["--threads", "2", "--device", "cpu"]
    data = ROOT / paths.data_folder(study)
    text, store = paths.encoder(study, "text", ROOT), ROOT / paths.features_folder(study, "text")
    expected = [
        (["prepare", *STUDY], "steps.prepare", (dict(study.data), data)),
        (["pretrain", *STUDY, "--modality", "image", "--threads", "2", "--out", "again"], "steps.pretrain",
         (Recipe(0), ROOT / "again", "image", 2)),
        (["pretrain", *STUDY, "--modality", "image", "--threads", "2", "--set", "encoders.draw=2"], "steps.pretrain",
         (Recipe(2), ROOT / "resources" / "encoders" / Recipe(2).slug / "image", "image", 2)),
        (["extract", *STUDY, "--modality", "text", *machine], "steps.extract",
         (data, text, "text", store, 2, "cpu", None)),
        (["extract", *STUDY, "--modality", "text", *machine, "--shard", "2/3"], "steps.extract",
         (data, text, "text", store, 2, "cpu", (2, 3))),
        (["train", *STUDY, *JOB, *machine], "steps.train", (study, "fne", "0-1", ROOT, 2, "cpu")),
        (["rank", *STUDY, *JOB, *machine, "--split", "val"], "steps.rank",
         (study, "fne", "0-1", "val", ROOT, 2, "cpu")),
        (["evaluate", *STUDY, *JOB], "steps.evaluate", (study, "fne", "0-1", "test", ROOT)),
        (["aggregate", *STUDY], "steps.aggregate", (study, ROOT)),
        (["compare", *STUDY], "steps.compare", (study, ROOT)),
        (["verify", "smoke", *STUDY[2:], "--record"], "steps.verify", (study, ROOT, True)),
        (["calibrate", *STUDY, *JOB, *machine], "steps.calibrate", (study, "fne", "0-1", ROOT, 2, "cpu")),
        (["audit", *STUDY], "steps.audit", (study, ROOT)),
        (["tables", *STUDY], "report.tables.registry", (study, ROOT)),
        (["figures", *STUDY], "report.figures.registry", (study, ROOT)),
        (["report", *STUDY], "steps.report", (study, ROOT)),
        (["tune", "smoke", *STUDY[2:], "--draw", "3", *machine], "steps.tune", (study, ROOT, 2, "cpu", 3)),
        (["estimate", "smoke", *STUDY[2:], *machine], "steps.estimate", (study, ROOT, 2, "cpu")),
    ]  # fmt: skip
    for argv, room, arguments in expected:
        assert cli.main(argv) == 0
        assert calls.pop() == (room, arguments) and not calls


def test_set_reaches_the_study(calls: list, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "ablations", tmp_path / "ablations")
    place = ["--study", "smoke", "--root", str(tmp_path)]
    assert cli.main(["report", *place, "--set", "train.epochs=2", "--set", "seeds=0-3"]) == 0
    study = calls[0][1][0]
    assert study.seeds == (0, 1, 2, 3) and study.configs["fne"]["train.epochs"] == 2


def test_tables_of_a_real_corpus_need_no_paths_but_training_does(calls: list, capsys: pytest.CaptureFixture) -> None:
    flickr = ["--study", "flickr8k", "--root", str(ROOT)]
    for verb in ("aggregate", "compare", "report"):
        assert cli.main([verb, *flickr]) == 0
    assert len(calls) == 3
    assert cli.main(["train", *flickr, "--variant", "fne", "--block", "0"]) == 2
    assert len(calls) == 3 and "image_encoder=" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["train", *STUDY, "--variant", "fen", "--block", "0"], ["'fen'", "did you mean 'fne'"]),
        (["train", *STUDY, "--variant", "fne", "--block", "0_1"], ["block", "write 0-1"]),
        (["prepare", "--study", "smok", "--root", str(ROOT)], ["'smok'", "did you mean 'smoke'"]),
        (["prepare", *STUDY, "--set", "data.trian=3"], ["data.trian", "did you mean 'data.train'"]),
        (["prepare", *STUDY, "--set", "data.train"], ["key=value"]),
        (["pretrain", *STUDY, "--modality", "image", "--set", "encoders.image.checkpoint=/x"], ["'/x'", "'scenes'"]),
        (["pretrain", *STUDY, "--modality", "image"], ["encoders.draw", "is shipped", "--out"]),
        (["describe", "papre", "--root", str(ROOT)], ["did you mean 'paper'"]),
        (["check", "nope", "--root", str(ROOT)], ["'nope'"]),
        (["check", "flickr8k", "--root", str(ROOT)], ["4 problems", "annotations"]),
        (["list", "--root", "/nowhere"], ["base.yaml"]),
    ],
)
def test_user_errors_are_one_message_and_status_2(calls: list, argv: list[str], words: list[str],
                                                  capsys: pytest.CaptureFixture) -> None:  # fmt: skip
    assert cli.main(argv) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ") and "Traceback" not in shown.err and not calls
    for word in words:
        assert word in shown.err


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["trian"],
        ["train"],
        ["estimate"],
        ["estimate", "smoke", "--study", "smoke"],
        ["train", *STUDY, *JOB, "--threads", "0"],
        ["train", *STUDY, *JOB, "--device", "tpu"],
        ["train", *STUDY, *JOB, "--thr", "1"],
        ["rank", *STUDY, *JOB, "--split", "dev"],
        ["extract", *STUDY, "--modality", "audio"],
        ["extract", *STUDY, "--modality", "text", "--shard", "4/3"],
        ["tune", "smoke", "--draw", "-1"],
    ],
)
def test_usage_errors(argv: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == 2 and "usage: fne" in capsys.readouterr().err


def test_what_an_error_becomes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    table = [
        (UserError("a.yaml: b: wrong"), 2, "error: a.yaml: b: wrong"),
        (OSError(errno.ENOSPC, "No space left on device", "/r/f.bin"), 2, "error: /r/f.bin: the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "/r/f.bin"), 2, "error: /r/f.bin: no permission"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/r/f.bin"), 2, "error: /r/f.bin: no such file"),
        (Exception("I/O error: No space left on device (os error 28)"), 2, "error: the disk is full"),
        (
            RuntimeError("CUDA out of memory. Tried to allocate 2 GiB\nmore"),
            2,
            "error: out of memory (CUDA out of memory.",
        ),
        (MemoryError(), 2, "error: out of memory; use fewer seeds"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ]
    for error, status, words in table:
        replace_room(monkeypatch, "steps.aggregate", error)
        assert cli.main(["aggregate", *STUDY]) == status
        shown = capsys.readouterr().err
        assert shown.startswith(words) and shown.count("\n") == 1, shown


@pytest.mark.parametrize(
    "error", [ValueError("x"), RuntimeError("memory of a shape"), ValueError("out of memory"), AssertionError()]
)
def test_a_defect_of_the_program_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    replace_room(monkeypatch, "steps.compare", error)
    assert explain(error) is None
    with pytest.raises(type(error)):
        cli.main(["compare", *STUDY])


def test_signal_handlers_are_put_back(calls: list) -> None:
    before = signal.getsignal(signal.SIGTERM)
    cli.main(["compare", *STUDY])
    assert signal.getsignal(signal.SIGTERM) is before


TERMINATED = """
import sys, time, types
from fne import cli
from fne.utils import files
room = types.ModuleType("fne.steps.compare")
def run(study, root):
    with files.atomic_path(sys.argv[1]) as path:
        path.write_text("half")
        print("ready", flush=True)
        time.sleep(60)
room.run = run
sys.modules["fne.steps.compare"] = room
sys.exit(cli.main(["compare", "--study", "smoke"]))
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_polite_kill_leaves_nothing_half_written(tmp_path: Path, number: signal.Signals, status: int) -> None:
    command = [sys.executable, "-c", TERMINATED, str(tmp_path / "a.csv")]
    # a shell that starts tests in the background has its children ignore SIGINT
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGUSR1)  # a warning, which ends nothing
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == status and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m fne describe fne | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and done.stdout.startswith("fne: FNE") and done.stderr == ""


def test_light_imports() -> None:
    """Snakemake imports these at every dry run; torch alone takes three seconds."""
    code = (
        "import sys\nimport fne, fne.study.api, fne.study.paths, fne.cli, fne.utils.lease, fne.utils.provenance\n"
        "from fne.study.api import load_study\nload_study('paper')\nfne.cli.build_parser()\n"
        f"loaded = sorted(set({HEAVY!r}) & set(sys.modules))\nassert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_check_list_and_describe(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["check", "--root", str(ROOT)]) == 0
    assert capsys.readouterr().out.startswith("valid: ")
    assert cli.main(["check", "smoke", "--root", str(ROOT), "--set", "train.epochs=2"]) == 0
    assert cli.main(["list", "--root", str(ROOT)]) == 0
    listed = capsys.readouterr().out
    assert "paper" in listed and "hardest_in_batch" in listed
    assert cli.main(["describe", "fne_abstract", "--root", str(ROOT)]) == 0
    assert "negatives.elimination: released -> power" in capsys.readouterr().out

    shutil.copytree(ROOT / "ablations", tmp_path / "ablations")
    for name in ("random", "fne_no_buffer"):
        with open(tmp_path / "ablations" / "variants" / f"{name}.yaml", "a", encoding="utf-8") as handle:
            handle.write("extra: 1\n")
    shutil.rmtree(tmp_path / "ablations" / "studies")
    assert cli.main(["check", "--root", str(tmp_path)]) == 2
    summary = capsys.readouterr().err
    assert "2 problems" in summary and "random.yaml: extra" in summary and "fne_no_buffer.yaml: extra" in summary


def test_list_folds_sweeps_and_filters(capsys: pytest.CaptureFixture) -> None:
    def listed(*words: str) -> list[str]:
        assert cli.main(["list", *words, "--root", str(ROOT)]) == 0
        return capsys.readouterr().out.splitlines()

    folded, opened = listed(), listed("--all")
    assert [line for line in folded if line.startswith("  fne_tau")] == [
        line for line in folded if "fne_tau--*" in line and "3 of tau" in line and "parent fne" in line
    ]
    assert len([line for line in opened if line.startswith("  fne_tau--negatives_tau-")]) == 3
    assert any("5 studies of 10 variants, 3 seeds" in line for line in folded)
    assert len([line for line in opened if line.startswith("  prevalence--")]) == 5
    assert {line.split()[0] for line in listed("fne_m*")} == {"variants", "fne_margin--*", "fne_memory--*",
                                                             "fne_momentum--*"}  # fmt: skip
    assert len(listed("fne_memory--memory_size-0*")) == 1 + 5, "members, where the pattern names them"
    assert all("QUEUE" in line.upper() for line in listed("Queue") if line.startswith("  "))
    assert cli.main(["list", "papre", "--root", str(ROOT)]) == 2
    assert "did you mean 'paper'?; allowed: paper, " in capsys.readouterr().err


def test_help_shows_every_verb_or_one(capsys: pytest.CaptureFixture) -> None:
    for words, expected in ((["--help"], [verb.name for verb in VERBS]), (["help", "train"], ["usage: fne train"])):
        with pytest.raises(SystemExit):
            cli.main(words)
        shown = capsys.readouterr().out
        assert all(part in shown for part in expected)


def test_version(capsys: pytest.CaptureFixture) -> None:
    import fne

    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0 and capsys.readouterr().out == f"fne {fne.__version__}\n"


def test_words_of_a_variant_do_not_command_the_terminal(tmp_path: Path, capsys) -> None:
    shutil.copytree(ROOT / "ablations", tmp_path / "ablations")
    variant = (
        r'title: "Odd \e[31mred\e]0;own\a"', r'question: "Does \e[2J clear?"', "parent: fne",
        "set: {negatives: {tau: 9.0}}", "isolates: [negatives.tau]", "role: scientific",
    )  # fmt: skip
    (tmp_path / "ablations/variants/odd.yaml").write_text("\n".join(variant) + "\n")
    for verb in (["list"], ["describe", "odd"], ["describe", "paper"]):
        assert cli.main([*verb, "--root", str(tmp_path)]) == 0
        summary = capsys.readouterr().out
        assert all(letter.isprintable() or letter == "\n" for letter in summary) and len(summary.splitlines()) > 5
        assert ("[31mred" in summary) == (verb[-1] != "paper")


def test_a_terminal_without_unicode_shows_question_marks(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "ablations", tmp_path / "ablations")
    file = tmp_path / "ablations/variants/random.yaml"
    file.write_text(file.read_text().replace("title: ", "title: α "))
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "fne", "list", "random", "--root", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and " ? " in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("fne tab", "tables"), ("fne tables --study smo", "smoke"), ("fne train --variant hardest_b", "hardest_bank")],
)
def test_a_shell_completes_verbs_studies_and_variants(typed: str, offered: str, tmp_path: Path) -> None:
    file = tmp_path / "offered"
    environment = {**os.environ, "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "COMP_LINE": typed,
                   "COMP_POINT": str(len(typed)), "_ARGCOMPLETE_STDOUT_FILENAME": str(file)}  # fmt: skip
    command = [sys.executable, "-X", "importtime", "-m", "fne"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert offered in file.read_text().split(), done.stderr[-500:]
    assert "pydantic" not in done.stderr and "numpy" not in done.stderr
    assert cli.main(["completion", "bash"]) == 0

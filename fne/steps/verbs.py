"""The verbs of the command line: summary, options, and what each does; each imports only what it needs."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fne.data.sources import MODALITIES, SOURCES, SPLITS
from fne.utils.errors import bad_input
from fne.utils.text import harmless

if TYPE_CHECKING:
    from fne.study.api import Series, Study

Option = tuple[tuple[str, ...], dict[str, Any]]
Given = argparse.Namespace
COMMAND_LINE = "command line"


class Verb(NamedTuple):
    """What the parser needs of a verb."""

    name: str
    summary: str
    options: tuple[Option, ...]
    handler: Callable[[Given], object]
    example: str = ""


def option(*names: str, **meaning: Any) -> Option:
    """The arguments of ``add_argument``."""
    return names, meaning


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def integer(least: int) -> Callable[[str], int]:
    """A parser of integers from ``least`` on."""

    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) < 10**6:
            raise argparse.ArgumentTypeError(f"must be an integer >= {least}, got {text!r}")
        return int(text)

    return read


def positive(most: float = math.inf) -> Callable[[str], float]:
    """A parser of numbers above zero."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 < value <= most or value == math.inf:
            allowed = "" if most == math.inf else f" and at most {most:g}"
            raise argparse.ArgumentTypeError(f"must be a number above 0{allowed}, got {text!r}")
        return value

    return read


def part(text: str) -> tuple[int, int]:
    """A parser of a part I/N, such as 1/4."""
    numbers = [int(number) if number.isdecimal() else 0 for number in text.split("/")]
    if len(numbers) != 2 or not 1 <= numbers[0] <= numbers[1] < 10**6:
        raise argparse.ArgumentTypeError(f"must be I/N, such as 1/4 to 4/4, got {text!r}")
    return numbers[0], numbers[1]


FOLDER: dict[str, Any] = {"type": Path, "metavar": "FOLDER"}
ROOT = option("--root", type=Path, default=Path("."), help="the project's folder (default: here)")
OVERRIDES = option("--set", action="append", default=[], metavar="KEY=VALUE",
                   help="override a config key, e.g. --set train.epochs=3; may be repeated")  # fmt: skip
REPLACE = option("--replace", action="store_true",
                 help="go by --set alone, also where that replaces results or leaves some out")  # fmt: skip
EXACTLY = option(
    "--exactly",
    action="store_true",
    help="go by --set alone and keep no note of it, as the workflow's jobs do: it has checked and kept it",
)
STUDY = option("--study", required=True, help="a file stem of ablations/studies, or a member of a series")
PLACE = option("study", nargs="?", default=argparse.SUPPRESS, metavar="STUDY", help="or --study STUDY")
"""The study as an argument or as an option."""
MODALITY = option("--modality", choices=MODALITIES, required=True)
THREADS = option("--threads", type=integer(1), default=available_cores(), help="CPU threads (default: all)")
DEVICE = option("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
SPLIT = option("--split", choices=SPLITS, default="test", help="default: test")
COLUMN = option("--paper", choices=("single", "double"), help="instead, LaTeX or PDFs as wide as one column of a paper "
                "(3.3 in) or as two (6.9 in), in a folder so named")  # fmt: skip
COMMON, MACHINE = (STUDY, OVERRIDES, REPLACE, EXACTLY), (THREADS, DEVICE)
TOGETHER = (
    option("--processes", type=integer(1), default=1, metavar="P",
           help="of the regime finetune: train one model in P processes, each on a device of its own (default: 1)"),
    option("--nodes", type=integer(1), default=1, metavar="N",
           help="and on N nodes, P on each: start the same command on every one of them (default: 1)"),
)  # fmt: skip
JOB = (*COMMON, option("--variant", required=True, help="an id of ablations/variants"),
       option("--block", required=True, help="the seeds that train together, e.g. 0-4"))  # fmt: skip


def _overrides(given: Given) -> dict[str, Any]:
    from fne.utils.yaml_file import parse_set

    return parse_set(given.set)


def load_study(given: Given, *, complete: bool = True, refuse: bool = True) -> Study:
    """Open the study that the arguments name, with their ``--set`` and the overrides that were kept."""
    from fne.results.kept import open_study

    replace = getattr(given, "replace", False) or getattr(given, "exactly", False)
    return open_study(given.study, _overrides(given), given.root, complete=complete, replace=replace, refuse=refuse)


def load_any(given: Given) -> Study | Series:
    """Open a study or a series of which finished runs are read."""
    from fne.results.kept import open_any

    replace = given.replace or getattr(given, "exactly", False)
    return open_any(given.study, _overrides(given), given.root, complete=False, replace=replace)


def load_job(given: Given) -> tuple[Study, str, str]:
    """The study, variant and block of one job, checked; its overrides are kept before any work."""
    from fne.results.kept import keep
    from fne.study import api

    study = load_study(given)
    api.resolve(study, given.variant)
    api.parse_block(given.block)
    if given.block not in (allowed := api.blocks(study)):
        problem, hint = f"is not a block of study {study.name!r}", "--set seeds=... gives it more seeds"
        raise bad_input(problem, file=COMMAND_LINE, key="--block", value=given.block, allowed=allowed, hint=hint)
    if not given.exactly:
        keep(study, given.root)
    return study, given.variant, given.block


def _tell_notes(study: Study | Series) -> None:
    for note in study.notes:
        print(f"note: study {study.name}: {note}", file=sys.stderr)


def _say(words: object) -> None:
    """Print what a step returns: names and titles in it are other people's."""
    print(harmless(str(words)).removesuffix("\n"))


def _run(step: str, *arguments: Any, **options: Any) -> Any:
    """Import a step and run it."""
    return import_module(f"fne.steps.{step}").run(*arguments, **options)


def _on_device(given: Given, step: str, *arguments: Any) -> None:
    """Hold a device, and only then import a step, since that imports torch."""
    from fne.utils import lease

    with lease.device(given.device) as device:
        _run(step, *arguments, given.threads, device)


def _of_any(given: Given, of_study: str, of_series: str, *, with_notes: bool = False) -> None:
    """Read finished runs of a study, or of all members of a series."""
    from fne.study.api import Series

    result = load_any(given)
    if with_notes:
        _tell_notes(result)
    import_module(f"fne.{of_series if isinstance(result, Series) else of_study}").run(result, given.root)


def _drawn(given: Given, kind: str) -> None:
    """Write tables or figures, on request as wide as a column of a paper, which a series has none of."""
    if given.paper is None:
        return _of_any(given, f"report.{kind}.registry", f"report.series.{kind}")
    from fne.study.loading import require_study

    study = require_study(load_any(given))
    import_module(f"fne.report.{kind}.registry").run_for_paper(study, given.paper, root=given.root)


def _finished(given: Given) -> Study:
    """A study of which results are read."""
    return load_study(given, complete=False)


def _below_root(given: Given) -> Path | None:
    return given.root / given.out if given.out else None


def completion(given: Given) -> None:
    """``completion``: what a shell is to read."""
    import argcomplete

    print(argcomplete.shellcode(["fne"], shell=given.shell))


def prepare(given: Given) -> None:
    """``prepare``: the files that a user gives must be about the corpus."""
    from fne.study import paths
    from fne.study.api import data_section

    study = load_study(given, refuse=False)
    paths.check_matched(study)
    _run("prepare", data_section(study), given.root / paths.data_folder(study))


def pretrain(given: Given) -> None:
    """``pretrain``: only encoders of scenes, and of draw 0 only where ``--out`` says so."""
    from fne.study import paths

    study, modality = load_study(given, refuse=False), given.modality
    section, recipe = paths.encoder(study, modality), paths.recipe(study)
    if "grid" not in section:
        key = f"encoders.{modality}.checkpoint"
        raise bad_input("only checkpoint 'scenes' is pretrained here", key=key, value=section["checkpoint"])
    if recipe.draw == 0 and given.out is None:
        hint = "--set encoders.draw=1 makes another pair; --out FOLDER makes this one again"
        raise bad_input("the pair of draw 0 is shipped with the package", key="encoders.draw", value=0, hint=hint)
    folder = given.root / (given.out or paths.encoder_folder(study, modality))
    _run("pretrain", recipe, folder, modality, given.threads)


def extract(given: Given) -> None:
    """``extract``: from and to where the workflow looks; in one piece, or in parts that are then joined."""
    from fne.study import paths
    from fne.utils import lease

    study, root, modality = load_study(given, refuse=False), given.root, given.modality
    data, out = root / paths.data_folder(study), root / paths.features_folder(study, modality)
    work = data, paths.encoder(study, modality, root), modality, out
    if given.join and given.shard:
        raise bad_input("a part cannot be joined while it is made", file=COMMAND_LINE, key="--join", value=given.join,
                        allowed="--shard or --join")  # fmt: skip
    if given.join:
        from fne.steps.extract import join

        return join(*work, given.join)
    with lease.device(given.device) as device:
        _run("extract", *work, given.threads, device, given.shard)


def tune(given: Given) -> None:
    """``tune``: the study as it is before it is tuned."""
    from fne.study import api
    from fne.utils import lease

    study = api.load_study(given.study, _overrides(given), given.root, tuned=False)
    with lease.device(given.device) as device:
        _run("tune", study, given.root, given.threads, device, given.draw)


def train(given: Given, step: str = "train") -> None:
    """``train`` and ``job``: alone, as one of several processes, of which the first holds the run, or to start them."""
    from fne.study import paths
    from fne.utils import lease
    from fne.utils.files import locked

    job = load_job(given)
    if given.processes * given.nodes > 1 and "LOCAL_RANK" not in os.environ:
        _train_together(given, step, *job)
        return
    state, first = given.root / paths.scratch_folder(*job), os.environ.get("RANK", "0") == "0"
    with locked(state, "another process trains this run now") if first else nullcontext():
        with lease.device(given.device) as device:
            from fne.training.distributed import joined

            with joined(device):
                _run(step, *job, given.root, given.threads, device)


def _train_together(given: Given, step: str, study: Study, variant: str, block: str) -> None:
    """Start the processes of this node, each with a device of its own."""
    from fne.study import api
    from fne.utils import lease, ranks

    if study.regime == "head":
        problem = "heads on frozen features train in one process"
        raise bad_input(problem, file=COMMAND_LINE, key="--processes", value=given.processes, allowed=[1])
    ranks.check_share(api.resolve(study, variant)["train"]["batch_size"], given.processes * given.nodes)
    words = [step, "--root", str(given.root), "--study", study.name, *(f"--set={text}" for text in given.set),
             *(["--replace"] if given.replace else []), *(["--exactly"] if given.exactly else []),
             "--variant", variant, "--block", block, "--threads", str(given.threads),
             "--device", given.device]  # fmt: skip
    with lease.devices(given.device, given.processes) as held:
        ranks.run(words, given.nodes, held or [""] * given.processes)


def aggregate(given: Given) -> None:
    """``aggregate``: the overrides are kept beside the tables."""
    from fne.results.kept import keep

    study = _finished(given)
    if not given.exactly:
        keep(study, given.root)
    _run("aggregate", study, given.root)


def compare(given: Given) -> None:
    """``compare``: variants of a study, members of a series, or two bundles."""
    if given.study and not given.bundles:
        return _of_any(given, "steps.compare", "steps.compare_series", with_notes=True)
    if len(given.bundles) != 2 or given.study or given.set or given.replace:
        allowed = "--study STUDY, or two bundles or studies without --study, --set and --replace"
        raise bad_input("cannot be compared so", file=COMMAND_LINE, value=" ".join(given.bundles), allowed=allowed)
    _say(_run("side_by_side", *given.bundles, given.root, _below_root(given), given.orderings))


def score(given: Given) -> None:
    """``score``: models of anybody's; a run is one file, or those of images and captions with a plus between them."""
    models: dict[str, Any] = {}
    for name, runs in _named("--model", given.model, "NAME=RUN[,RUN]"):
        models[name] = [run if Path(run).exists() or "+" not in run else tuple(run.split("+", 1))
                        for run in runs.split(",")]  # fmt: skip
    relevance = dict(_named("--relevance", given.relevance, "NAME=PLACE"))
    primary = given.primary and dict(zip(("metric", "protocol", "direction"), given.primary, strict=True))
    options = {key: getattr(given, key) for key in ("images", "captions", "ids", "corpus", "dataset", "split", "name",
                                                    "similarity", "baseline", "ties", "gallery")}  # fmt: skip
    _say(_run("score", models, given.out, given.root, relevance=relevance, primary=primary, **options))


def _named(key: str, items: list[str], allowed: str) -> list[list[str]]:
    """Name and value of each ``NAME=VALUE``, no name twice."""
    parts = [item.split("=", 1) for item in items]
    for item, part in zip(items, parts, strict=True):
        if len(part) < 2 or not all(part) or [each[0] for each in parts].count(part[0]) > 1:
            raise bad_input("not a name and a value, or twice", file=COMMAND_LINE, key=key, value=item, allowed=allowed)
    return parts


def paper(given: Given) -> None:
    """``paper``: of a study or a series."""
    from fne.report.paper.folder import run

    _say(run(load_any(given), given.root, given.into)[-1])


def run(given: Given) -> None:
    """``run``: of a corpus of one's own, or of a study that is there."""
    from fne.steps.run import OPTIONS

    corpus = {key: value for key, name in OPTIONS.items() if (value := getattr(given, name[2:].replace("-", "_")))}
    # what an interrupted job left is made again, as whoever repeats the command expects
    snakemake = ["--cores", str(given.cores or "all"), "--rerun-incomplete", *(["--dry-run"] if given.dry_run else [])]
    _run("run", given.study, corpus, given.variants, _overrides(given), given.root, snakemake)


def estimate(given: Given) -> None:
    """``estimate``: of a study that may have no run yet, and no data where it trains whole encoders."""
    from fne.study import api

    study = api.load_study(given.study, _overrides(given), given.root, complete=False)
    if study.regime == "finetune" and study.data.get("annotations", "") is None:
        _say(_run("forecast", study, given.root, given.gpu, given.gpus, given.share, given.rate, given.resources))
        return
    for name in ("share", "rate"):
        if (value := getattr(given, name)) is not None:
            problem, hint = "steps are measured where a study has data", "leave it out, or data.annotations"
            raise bad_input(problem, file=COMMAND_LINE, key=f"--{name}", value=value, hint=hint)
    study = api.load_study(given.study, _overrides(given), given.root)
    _tell_notes(study)
    from fne.utils import lease

    with lease.device(given.device) as device:
        _run("estimate", study, given.root, given.threads, device, given.gpus, given.resources)


def published(given: Given) -> None:
    """``published``: numbers of a paper."""
    from fne.steps.published import add
    from fne.utils.yaml_file import parse_set

    values = {**vars(given), "ensemble": {"yes": True, "no": False, None: None}[given.ensemble]}
    _say(add(values, parse_set(given.metrics, "--metrics"), given.root))


VERBS = [
    Verb("run", "images, captions and encoders of your own -> a study file, and Snakemake on it",
         (option("--images", metavar="FOLDER", help="that file names are relative to; not needed where the annotations "
          "hold the images"),
          option("--annotations", metavar="FILE", help="captions and splits, in any form of docs/how-to/data.md"),
          option("--image-encoder", metavar="ENCODER", help="a folder, or an id of the Hugging Face hub"),
          option("--text-encoder", metavar="ENCODER", help="the same"),
          option("--variants", metavar="A,B,...", help="default: those of ablations/templates/custom.yaml"),
          option("--study", metavar="NAME", help="name of the study (default: that of the folder); alone: run the "
          "study of that name"),
          option("--cores", type=integer(1), help="default: all"),
          option("-n", "--dry-run", action="store_true", help="write the study file, and show what would run"),
          OVERRIDES), run),
    Verb("prepare", "raw pairs -> manifest, splits, known truth", COMMON, prepare),
    Verb("pretrain", "a draw of the encoders of scenes -> a tiny encoder",
         (*COMMON, MODALITY, THREADS, option("--out", **FOLDER, help="default: where the workflow looks for it")),
         pretrain),
    Verb("extract", "manifest and encoder -> feature store",
         (*COMMON, MODALITY, *MACHINE,
          option("--shard", type=part, metavar="I/N", help="make part I of N alone, beside the store"),
          option("--join", type=integer(1), metavar="N", help="make the store of its N parts")), extract),
    Verb("tune", "search on validation, the same ranges and trials for every variant",
         (PLACE, OVERRIDES, *MACHINE, option("--draw", type=integer(0), default=0, help="another draw of the search: "
          "points and tuning seeds of its own, in tuned/STUDY.DRAW.yaml (default: 0)")), tune),
    Verb("train", "features -> weights, curves, picks of one block of seeds", (*JOB, *MACHINE, *TOGETHER), train),
    Verb("rank", "weights and a split -> ranks of the relevant items", (*JOB, SPLIT, *MACHINE),
         lambda given: _on_device(given, "rank", *load_job(given), given.split, given.root)),
    Verb("evaluate", "ranks -> metrics of every protocol", (*JOB, SPLIT),
         lambda given: _run("evaluate", *load_job(given), given.split, given.root)),
    Verb("calibrate", "weights -> does a false-negative probability mean what it says", (*JOB, *MACHINE),
         lambda given: _on_device(given, "calibrate", *load_job(given), given.root)),
    Verb("job", "train, rank, evaluate, calibrate one block of seeds in one process",
         (PLACE, *JOB[1:], *MACHINE, *TOGETHER),
         lambda given: train(given, "job")),
    Verb("aggregate", "metrics of all runs -> runs.csv, missing.csv", COMMON, aggregate),
    Verb("compare", "runs.csv -> intervals.csv, contrasts.csv; or two bundles side by side",
         (option("bundles", nargs="*", metavar="A B", help="two bundles (folders, zip files) or studies"),
          option("--study", help="a study, whose intervals and contrasts are made"),
          option("--out", type=Path, metavar="FILE", help="of A beside B: also write a .csv or .md file"),
          option("--orderings", action="store_true", help="of A and B: compare the order of the variants alone"),
          OVERRIDES, REPLACE, EXACTLY), compare),
    Verb("audit", "picks of all runs -> audit_*.csv: what was picked, was it truly negative", COMMON,
         lambda given: _run("audit", _finished(given), given.root)),
    Verb("tables", "results of a study -> tables as HTML, Markdown, LaTeX, CSV", (*COMMON, COLUMN),
         lambda given: _drawn(given, "tables")),
    Verb("figures", "results of a study -> figures as SVG and PNG, or as PDF for a paper", (*COMMON, COLUMN),
         lambda given: _drawn(given, "figures")),
    Verb("paper", "results of a study -> a folder for a paper: main.tex and all that it includes",
         (PLACE, OVERRIDES, REPLACE, option("--into", **FOLDER, help="default: reports/STUDY/paper")), paper),
    Verb("report", "results and figures of a study -> report.html, record.json", COMMON,
         lambda given: _of_any(given, "steps.report", "report.series.report")),
    Verb("list", "studies and variants, a sweep on one line",
         (option("filter", nargs="?", metavar="FILTER", help="a word, or a pattern such as 'fne_*'"),
          option("--all", action="store_true", help="each variant of a sweep, each study of a series")),
         lambda given: _say(_run("listing", given.root, given.filter, opened=given.all))),
    Verb("describe", "a variant beside its parent and the base, a study, or a key such as negatives.tau",
         (option("id", help="of a variant or a study"),), lambda given: _say(_run("describe", given.id, given.root))),
    Verb("estimate", "hours and memory of a study, from a few steps, or without data from its counts",
         (PLACE, OVERRIDES, DEVICE, option("--threads", type=integer(1), default=1,
          help="CPU threads of a job (default: 1, as in the workflow)"),
          option("--gpus", type=integer(1), default=1, metavar="N", help="jobs side by side (default: 1)"),
          option("--resources", action="store_true", help="also write resources/profiles/STUDY, which a cluster's "
                 "profile takes: memory and time of every rule"),
          option("--gpu", choices=("a100", "h100", "h200", "l40s", "rtx4090"), default="a100",
                 help="without data: the device (default: a100)"),
          option("--share", type=positive(1.0), help="without data: of its peak that training reaches (default: 0.3)"),
          option("--rate", type=positive(), metavar="PAIRS", help="instead: pairs a second that it was seen to train, "
                 "without a momentum encoder")), estimate),
    Verb("export", "results of a study -> one bundle of documented tables, to be shared",
         (PLACE, OVERRIDES, option("--out", type=Path, metavar="FOLDER|ZIP", help="default: reports/STUDY-bundle")),
         lambda given: _say(_run("export", _finished(given), given.root, _below_root(given)))),
    Verb("score", "embeddings, similarities or rankings of any model -> scores with intervals, a bundle",
         (option("--images", type=Path, metavar="FILE", help=".npy, .npz, .safetensors or .parquet"),
          option("--captions", type=Path, metavar="FILE", help="embeddings of the captions"),
          option("--model", action="append", default=[], metavar="NAME=RUN[,RUN]", help="instead, a model and its "
                 "runs; may be repeated. A run is IMAGES+CAPTIONS, a file of both, of similarities or rankings"),
          option("--ids", type=Path, metavar="CSV", help="a table with columns image,caption: a row per caption"),
          option("--corpus", metavar="STUDY|FILE", help="instead: a prepared study, or annotations"),
          option("--dataset", help="coco, flickr30k, flickr8k or custom; default: what the corpus says"), SPLIT,
          option("--relevance", action="append", default=[], metavar="NAME=PLACE", help="what else is right: eccv, cxc "
                 "(folders), crowdflower, expert, truth (files); may be repeated"),
          option("--similarity", default="cosine", help="cosine (default), or dot: embeddings as they are"), THREADS,
          option("--ties", default="expected", help="expected (default) or pessimistic"),
          option("--baseline", metavar="NAME", help="what models are compared with; default: the first"),
          option("--primary", nargs=3, metavar=("METRIC", "PROTOCOL", "DIRECTION"), help="default: rsum own both"),
          option("--name", default="scores", help="what the bundle is called (default: scores)"),
          option("--gallery", type=Path, metavar="IMAGES", help="the folder of the images, named as their ids: writes "
                 "OUT/queries.html, the worst queries as pictures"),
          option("-o", "--out", type=Path, metavar="FOLDER|ZIP", help="write the bundle and the tables; a .zip is the "
                 "bundle alone")), score),
    Verb("verify", "a study set against its recorded reference -> verify.csv",
         (PLACE, OVERRIDES, REPLACE, EXACTLY,
          option("--record", action="store_true", help="instead, make the reference from these results: "
                 "ablations/reference/STUDY.json")),
         lambda given: _say(_run("verify", _finished(given), given.root, given.record))),
    Verb("fetch", "download what may be downloaded of a corpus, check it, unpack it",
         (option("dataset", choices=tuple(SOURCES), help="a corpus of photographs"),
          option("--into", required=True, **FOLDER, help="where it goes"),
          option("--only", choices=("annotations", "images"), help="default: both")),
         lambda given: _say(_run("fetch", given.dataset, given.root / given.into, given.only))),
    Verb("check", "check every study and variant, or the studies, variants and rules named",
         (option("names", nargs="*", metavar="NAME",
                 help="studies (default: all), or rules: a registered name, an entry point, or module:Class"),
          option("--grid", action="store_true", help="of rules: under other values of their options too"), OVERRIDES),
         lambda given: _run("check", given.names, _overrides(given), given.root, grid=given.grid)),
    Verb("clean", "list data, features, encoders, runs that no study uses; --yes deletes them",
         (option("--yes", action="store_true", help="delete what is listed"),),
         lambda given: _say(_run("clean", given.root, given.yes))),
    Verb("published", "numbers of a paper that you have -> ablations/published.yaml, which every report uses",
         (option("action", choices=("add",)),
          option("--method", required=True, help="its name, with the setting in brackets where it matters"),
          option("--dataset", required=True, help="flickr30k or coco"),
          option("--protocol", required=True, help="1k_test; coco_1k_5fold, coco_5k, eccv, cxc"),
          option("--metrics", required=True, nargs="+", metavar="NAME=PERCENT", help="as printed, e.g. i2t.r1=52.9 "
          "rsum=409.8; what is left out is null"),
          option("--paper", required=True, help="the paper, with its DOI"),
          option("--page", required=True), option("--table", required=True),
          option("--image-encoder", help="as the paper calls it (default: null)"),
          option("--text-encoder", help="the same"),
          option("--ensemble", choices=("yes", "no"), help="of several models? (default: null)"),
          option("--id", help="default: made of protocol and method"), option("--note", help="a remark")),
         published, "fne published add --method 'A method' --dataset flickr30k --protocol 1k_test --ensemble no \\\n"
         "    --image-encoder ResNet-152 --text-encoder GRU \\\n"
         "    --metrics i2t.r1=50.1 i2t.r5=80.2 i2t.r10=90.3 t2i.r1=40.4 t2i.r5=70.5 t2i.r10=80.6 \\\n"
         "    --paper 'An Author et al., a venue 2024, doi 10.1234/5678' --page 7 --table 2"),
    Verb("schema", "write ablations/schema, by which an editor knows the keys of every file", (),
         lambda given: print(*_run("schema", given.root), sep="\n")),
    Verb("completion", 'completion for a shell: eval "$(fne completion bash)"; fne completion fish | source',
         (option("shell", choices=("bash", "zsh", "fish")),), completion),
]  # fmt: skip
"""In the order of a study's way; the parser adds ``--root`` to each."""

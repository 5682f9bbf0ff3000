"""The command line: one thin verb per arrow from raw pairs to the report; each imports only what it needs."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fne.steps import verbs
from fne.utils.os_errors import explain
from fne.utils.text import harmless

USER_ERROR, INTERRUPTED, TERMINATED = 2, 130, 143


def main(argv: list[str] | None = None) -> int:
    """Run one verb and return its exit status: 0, 2 (something the user can mend), 130 (interrupted)."""
    arguments = build_parser().parse_args(argv)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a letter shows a question mark
    if getattr(arguments, "threads", None):
        # Read once, when torch is first imported.
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(arguments.threads)
    previous = _unwind_on_sigterm()
    try:
        arguments.handler(arguments)
        sys.stdout.flush()
        return 0
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        return _say(f"error: {message}", USER_ERROR)
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)


def _say(message: str, status: int) -> int:
    print(harmless(message), file=sys.stderr)
    return status


def _unwind_on_sigterm() -> Callable | int | None:
    """Let a polite kill unwind the stack, so that unfinished temporary files are removed."""

    def stop(number: int, frame: object) -> None:
        raise SystemExit(TERMINATED)

    try:
        return signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread: whoever runs us handles signals
        return None


def _threads(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer >= 1, got {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdigit() or len(text) > 4:
        raise argparse.ArgumentTypeError(f"must be an integer >= 0, got {text!r}")
    return int(text)


def _available() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _option(*names: str, **meaning: Any) -> argparse.ArgumentParser:
    """A group of one option, to be shared by verbs."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(*names, **meaning)
    return parser


def build_parser() -> argparse.ArgumentParser:
    """The parser of all verbs."""
    from fne import __version__
    from fne.data.sources import MODALITIES, SOURCES, SPLITS

    description = "From raw image-text pairs to a report, one verb per step."
    parser = argparse.ArgumentParser(prog="fne", description=description, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"fne {__version__}")
    made = parser.add_subparsers(metavar="VERB", required=True)

    root = _option("--root", type=Path, default=Path("."), help="the project's folder (default: here)")
    meaning = "override a config key, e.g. --set train.epochs=3; may be repeated"
    overrides = _option("--set", action="append", default=[], metavar="KEY=VALUE", help=meaning)
    meaning = "go by --set alone, also where that replaces results or leaves some out"
    replace = _option("--replace", action="store_true", help=meaning)
    study = _option("--study", required=True, help="a file stem of ablations/studies, or a member of a series")
    variant = _option("--variant", required=True, help="an id of ablations/variants")
    block = _option("--block", required=True, help="the seeds that train together, e.g. 0-4")
    split = _option("--split", choices=SPLITS, default="test", help="default: test")
    modality = _option("--modality", choices=MODALITIES, required=True)
    threads = _option("--threads", type=_threads, default=_available(), help="CPU threads (default: all)")
    folder = _option("--out", type=Path, metavar="FOLDER", help="default: where the workflow looks for it")
    device = _option("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    meaning = "studies (default: all), or rules: a registered name, an entry point, or module:Class"
    named = _option("names", nargs="*", metavar="NAME", help=meaning)
    named.add_argument("--variant", action="append", default=[], metavar="ID", help="the rules of a variant")
    named.add_argument("--grid", action="store_true", help="of rules: under other values of their options too")
    agreed = _option("--yes", action="store_true", help="delete what is listed")
    identity = _option("id", help="of a variant or a study")

    place = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    either = place.add_mutually_exclusive_group(required=True)
    either.add_argument("study", nargs="?", default=argparse.SUPPRESS, metavar="STUDY", help="or --study STUDY")
    either.add_argument("--study", help=argparse.SUPPRESS)

    costed = argparse.ArgumentParser(add_help=False, allow_abbrev=False, parents=[place])
    meaning = "CPU threads of a job (default: 1, as in the workflow)"
    costed.add_argument("--threads", type=_threads, default=1, help=meaning)
    meaning = "jobs side by side (default: as many as there are cores for, or GPUs)"
    costed.add_argument("--jobs", type=_threads, help=meaning)
    costed.set_defaults(cores=_available())
    costed.add_argument("--out", type=Path, metavar="FILE", help="also write the estimates as JSON")

    meaning = (
        "instead, LaTeX or PDFs as wide as one column of a paper (3.3 in) or as two (6.9 in), in a folder so named"
    )
    printed = _option("--paper", choices=("single", "double"), help=meaning)

    meaning = "default: reports/STUDY/paper"
    placed = _option("--into", type=Path, metavar="FOLDER", help=meaning)

    watched = _option("study", metavar="STUDY", help="a file stem of ablations/studies")
    watched.add_argument("--once", action="store_true", help="look once, as where the output is no terminal")
    meaning = "also write the curves as TensorBoard's event files, there"
    watched.add_argument("--tensorboard", type=Path, metavar="FOLDER", help=meaning)

    corpus = _option("dataset", choices=tuple(SOURCES), help="a corpus of photographs")
    corpus.add_argument("--into", type=Path, required=True, metavar="FOLDER", help="where it goes")
    corpus.add_argument("--only", choices=("annotations", "images"), help="default: both")

    meaning = "another draw of the search: points and tuning seeds of its own, in tuned/STUDY.DRAW.yaml (default: 0)"
    drawn = _option("--draw", type=_count, default=0, help=meaning)

    pair = _option("bundles", nargs="*", metavar="A B", help="two bundles (folders, zip files) or studies")
    pair.add_argument("--study", help="a study, whose intervals and contrasts are made")
    pair.add_argument("--out", type=Path, metavar="FILE", help="of A beside B: also write a .csv or .md file")
    pair.add_argument("--orderings", action="store_true", help="of A and B: compare the order of the variants alone")
    bundle = _option("--out", type=Path, metavar="FOLDER|ZIP", help="default: reports/STUDY-bundle")
    meaning = "default: csv, and parquet where pyarrow is installed"
    bundle.add_argument("--format", dest="form", choices=("csv", "parquet"), help=meaning)

    meaning = "instead, make the reference from these results: ablations/reference/STUDY.json"
    recorded = _option("--record", action="store_true", help=meaning)

    meaning = "the folder of another project in which the code that is here now trained runs of this study"
    shown = _option("--evidence", type=Path, required=True, metavar="FOLDER", help=meaning)
    shown.add_argument("--reason", required=True, help="why the edit changes nothing; it is recorded with the runs")
    meaning = "whose runs are adopted, may be repeated (default: those of the evidence)"
    shown.add_argument("--variant", dest="variants", action="append", default=[], metavar="ID", help=meaning)

    common, machine = [study, overrides, replace], [threads, device]
    job = [*common, variant, block]

    def verb(handler: Callable, summary: str, *options: argparse.ArgumentParser) -> None:
        name = handler.__name__.removesuffix("_all")
        made.add_parser(
            name, help=summary, description=summary, parents=[root, *options], allow_abbrev=False
        ).set_defaults(handler=handler)

    verb(verbs.fetch, "download what may be downloaded of a corpus, check it, unpack it", corpus)
    verb(verbs.prepare, "raw pairs -> manifest, splits, known truth", *common)
    verb(verbs.pretrain, "a draw of the encoders of scenes -> a tiny encoder", *common, modality, threads, folder)
    verb(verbs.extract, "manifest and encoder -> feature store", *common, modality, *machine)
    verb(verbs.train, "features -> weights, curves, picks of one block of seeds", *job, *machine)
    verb(verbs.rank, "weights and a split -> ranks of the relevant items", *job, split, *machine)
    verb(verbs.evaluate, "ranks -> metrics of every protocol", *job, split)
    verb(verbs.aggregate, "metrics of all runs -> runs.csv, missing.csv", *common)
    verb(
        verbs.compare, "runs.csv -> intervals.csv, contrasts.csv; or two bundles side by side", pair, overrides, replace
    )
    verb(verbs.export, "results of a study -> one bundle of documented tables, to be shared", place, overrides, bundle)
    verb(verbs.verify, "a study set against its recorded reference -> verify.csv", place, overrides, replace, recorded)
    verb(verbs.adopt, "runs of older code stand on, where the code of now gives the same weights", *common, shown)
    verb(verbs.calibrate, "weights -> does a false-negative probability mean what it says", *job, *machine)
    verb(verbs.audit, "picks of all runs -> audit_*.csv: what was picked, was it truly negative", *common)
    verb(verbs.tables, "results of a study -> tables as HTML, Markdown, LaTeX, CSV", *common, printed)
    verb(verbs.figures, "results of a study -> figures as SVG and PNG, or as PDF for a paper", *common, printed)
    verb(verbs.paper, "results of a study -> a folder for a paper: main.tex and all that it includes", place, overrides,
         replace, placed)  # fmt: skip
    verb(verbs.report, "results and figures of a study -> report.html, record.json", *common)
    verb(
        verbs.tune,
        "search on validation, the same ranges and trials for every variant",
        place,
        overrides,
        drawn,
        *machine,
    )
    verb(verbs.estimate, "hours, memory and disk of a study, from a few steps", costed, overrides, device)
    verb(verbs.watch, "a running study: what is done, curves, time left, alarms", watched, overrides)
    verb(verbs.clean, "list data, features, encoders, runs that no study uses; --yes deletes them", agreed)
    verb(verbs.describe, "a variant beside its parent and the base, a study, or a key such as negatives.tau", identity)
    verb(verbs.check, "check every study and variant, or the studies or rules named", named, overrides)
    verb(verbs.list_all, "all studies and variants")
    verb(verbs.schema, "write ablations/schema, by which an editor knows the keys of every file")
    return parser


if __name__ == "__main__":
    sys.exit(main())

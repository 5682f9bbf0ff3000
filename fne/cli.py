"""The command line: one thin verb per arrow from raw pairs to the report; each imports only what it needs."""

from __future__ import annotations

import argparse
import difflib
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from fne.steps import verbs
from fne.utils.os_errors import explain
from fne.utils.text import harmless

USER_ERROR, INTERRUPTED, TERMINATED = 2, 130, 143
EPILOG = "`fne help VERB` explains a verb and its options; `fne list` shows the studies and variants."
Option = tuple[tuple[str, ...], dict[str, Any]]


def main(argv: list[str] | None = None) -> int:
    """Run one verb and return its exit status: 0, 2 (something the user can mend), 130 (interrupted)."""
    parser = build_parser()
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what may come next
        import argcomplete

        argcomplete.autocomplete(parser)
    arguments = parser.parse_args(argv)
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


def _integer(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"must be an integer >= {least}, got {text!r}")
        return int(text)

    return read


def _option(*names: str, **meaning: Any) -> Option:
    return names, meaning


class _Parser(argparse.ArgumentParser):
    """Options are written out; of a wrong choice the nearest allowed ones are named first."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            names = [*map(str, action.choices)]
            near = difflib.get_close_matches(str(value), names, cutoff=0.5)
            allowed = ", ".join(dict.fromkeys([*near, *names]))
            raise argparse.ArgumentError(action, f"unknown: {value!r}; allowed: {allowed}")


def _stems(folder: str) -> Callable[..., Iterable[str]]:
    """For a shell: the names of a folder's files below ``ablations``."""
    return lambda parsed_args, **_: [file.stem for file in (parsed_args.root / "ablations" / folder).glob("*.yaml")]


STUDIES, VARIANTS = _stems("studies"), _stems("variants")
COMPLETED = {
    "study": STUDIES, "bundles": STUDIES, "variant": VARIANTS, "variants": VARIANTS,
    **dict.fromkeys(("names", "id", "filter"), lambda **given: [*STUDIES(**given), *VARIANTS(**given)]),
}  # fmt: skip
"""What a shell offers for an argument."""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all verbs."""
    from fne import __version__
    from fne.data.sources import MODALITIES, SOURCES, SPLITS

    count, natural, folder = _integer(1, sys.maxsize), _integer(0, 9999), {"type": Path, "metavar": "FOLDER"}
    root = _option("--root", type=Path, default=Path("."), help="the project's folder (default: here)")
    overrides = _option("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="override a config key, e.g. --set train.epochs=3; may be repeated")  # fmt: skip
    replace = _option("--replace", action="store_true",
                      help="go by --set alone, also where that replaces results or leaves some out")  # fmt: skip
    study = _option("--study", required=True, help="a file stem of ablations/studies, or a member of a series")
    modality = _option("--modality", choices=MODALITIES, required=True)
    threads = _option("--threads", type=count, default=verbs.available_cores(), help="CPU threads (default: all)")
    device = _option("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    split = _option("--split", choices=SPLITS, default="test", help="default: test")
    column = _option("--paper", choices=("single", "double"), help="instead, LaTeX or PDFs as wide as one column of a "
                     "paper (3.3 in) or as two (6.9 in), in a folder so named")  # fmt: skip
    place = _option("study", nargs="?", default=argparse.SUPPRESS, metavar="STUDY", help="or --study STUDY")
    common, machine = [study, overrides, replace], [threads, device]
    job = [*common, _option("--variant", required=True, help="an id of ablations/variants"),
           _option("--block", required=True, help="the seeds that train together, e.g. 0-4")]  # fmt: skip

    parser = _Parser(prog="fne", usage="fne [-h] [--version] VERB ...", epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"fne {__version__}")
    made = parser.add_subparsers(prog="fne", metavar="VERB", required=True, help=argparse.SUPPRESS)
    summaries = ["From raw image-text pairs to a report, one verb per step."]

    def group(title: str) -> None:
        summaries.append(f"\n{title}:")

    def verb(handler: Callable, summary: str, *options: Option) -> None:
        name = handler.__name__.removesuffix("_all")
        summaries.append(f"  {name:<11} {summary}")
        added = made.add_parser(name, description=summary)
        added.set_defaults(handler=handler)
        for option in (root, *options):
            target: Any = added
            if option is place:
                target = added.add_mutually_exclusive_group(required=True)
                target.add_argument("--study", help=argparse.SUPPRESS)
            action = target.add_argument(*option[0], **option[1])
            action.completer = COMPLETED.get(action.dest)

    def help(arguments: argparse.Namespace) -> None:
        (made.choices[arguments.verb] if arguments.verb else parser).print_help()

    group("Run a study step by step (`snakemake --cores all` runs them all)")
    verb(verbs.prepare, "raw pairs -> manifest, splits, known truth", *common)
    verb(verbs.pretrain, "a draw of the encoders of scenes -> a tiny encoder", *common, modality, threads,
         _option("--out", **folder, help="default: where the workflow looks for it"))  # fmt: skip
    verb(verbs.extract, "manifest and encoder -> feature store", *common, modality, *machine)
    verb(verbs.tune, "search on validation, the same ranges and trials for every variant", place, overrides,
         _option("--draw", type=natural, default=0, help="another draw of the search: points and tuning seeds of its "
                 "own, in tuned/STUDY.DRAW.yaml (default: 0)"), *machine)  # fmt: skip
    verb(verbs.train, "features -> weights, curves, picks of one block of seeds", *job, *machine)
    verb(verbs.rank, "weights and a split -> ranks of the relevant items", *job, split, *machine)
    verb(verbs.evaluate, "ranks -> metrics of every protocol", *job, split)
    verb(verbs.calibrate, "weights -> does a false-negative probability mean what it says", *job, *machine)
    verb(verbs.aggregate, "metrics of all runs -> runs.csv, missing.csv", *common)
    verb(verbs.compare, "runs.csv -> intervals.csv, contrasts.csv; or two bundles side by side",
         _option("bundles", nargs="*", metavar="A B", help="two bundles (folders, zip files) or studies"),
         _option("--study", help="a study, whose intervals and contrasts are made"),
         _option("--out", type=Path, metavar="FILE", help="of A beside B: also write a .csv or .md file"),
         _option("--orderings", action="store_true", help="of A and B: compare the order of the variants alone"),
         overrides, replace)  # fmt: skip
    verb(verbs.audit, "picks of all runs -> audit_*.csv: what was picked, was it truly negative", *common)
    verb(verbs.tables, "results of a study -> tables as HTML, Markdown, LaTeX, CSV", *common, column)
    verb(verbs.figures, "results of a study -> figures as SVG and PNG, or as PDF for a paper", *common, column)
    verb(verbs.paper, "results of a study -> a folder for a paper: main.tex and all that it includes", place, overrides,
         replace, _option("--into", **folder, help="default: reports/STUDY/paper"))  # fmt: skip
    verb(verbs.report, "results and figures of a study -> report.html, record.json", *common)

    group("Look at studies, variants and runs")
    verb(verbs.list_all, "studies and variants, a sweep on one line",
         _option("filter", nargs="?", metavar="FILTER", help="a word, or a pattern such as 'fne_*'"),
         _option("--all", action="store_true", help="each variant of a sweep, each study of a series"))  # fmt: skip
    verb(verbs.describe, "a variant beside its parent and the base, a study, or a key such as negatives.tau",
         _option("id", help="of a variant or a study"))  # fmt: skip
    verb(verbs.estimate, "hours, memory and disk of a study, from a few steps", place,
         _option("--threads", type=count, default=1, help="CPU threads of a job (default: 1, as in the workflow)"),
         _option("--jobs", type=count, help="jobs side by side (default: as many as there are cores for, or GPUs)"),
         _option("--out", type=Path, metavar="FILE", help="also write the estimates as JSON"),
         overrides, device)  # fmt: skip
    verb(verbs.watch, "a running study: what is done, curves, time left, alarms",
         _option("study", metavar="STUDY", help="a file stem of ablations/studies"),
         _option("--once", action="store_true", help="look once, as where the output is no terminal"),
         _option("--tensorboard", **folder, help="also write the curves as TensorBoard's event files, there"),
         overrides)  # fmt: skip

    group("Share results and verify them")
    verb(verbs.export, "results of a study -> one bundle of documented tables, to be shared", place, overrides,
         _option("--out", type=Path, metavar="FOLDER|ZIP", help="default: reports/STUDY-bundle"))  # fmt: skip
    verb(verbs.verify, "a study set against its recorded reference -> verify.csv", place, overrides, replace,
         _option("--record", action="store_true",
                 help="instead, make the reference from these results: ablations/reference/STUDY.json"))  # fmt: skip

    group("Maintain a project")
    verb(verbs.fetch, "download what may be downloaded of a corpus, check it, unpack it",
         _option("dataset", choices=tuple(SOURCES), help="a corpus of photographs"),
         _option("--into", required=True, **folder, help="where it goes"),
         _option("--only", choices=("annotations", "images"), help="default: both"))  # fmt: skip
    verb(verbs.check, "check every study and variant, or the studies or rules named",
         _option("names", nargs="*", metavar="NAME",
                 help="studies (default: all), or rules: a registered name, an entry point, or module:Class"),
         _option("--variant", action="append", default=[], metavar="ID", help="the rules of a variant"),
         _option("--grid", action="store_true", help="of rules: under other values of their options too"),
         overrides)  # fmt: skip
    verb(verbs.adopt, "keep runs of older code, where the present code gives the same weights", *common,
         _option("--evidence", required=True, **folder, help="the folder of another project in which the present code "
                 "trained runs of this study"),
         _option("--reason", required=True, help="why the edit changes nothing; it is recorded with the runs"),
         _option("--variant", dest="variants", action="append", default=[], metavar="ID",
                 help="whose runs are adopted, may be repeated (default: those of the evidence)"))  # fmt: skip
    verb(verbs.clean, "list data, features, encoders, runs that no study uses; --yes deletes them",
         _option("--yes", action="store_true", help="delete what is listed"))  # fmt: skip
    verb(verbs.schema, "write ablations/schema, by which an editor knows the keys of every file")
    verb(verbs.completion, 'completion for a shell: eval "$(fne completion bash)"; fne completion fish | source',
         _option("shell", choices=("bash", "zsh", "fish")))  # fmt: skip
    verb(help, "all verbs, or one and its options", _option("verb", nargs="?", choices=made.choices, metavar="VERB"))
    parser.description = "\n".join(summaries)
    return parser


if __name__ == "__main__":
    sys.exit(main())

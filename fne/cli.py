"""The command line: one verb per arrow of the flow from raw pairs to the report. Thin; each verb imports what it needs."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fne.errors import UserError

if TYPE_CHECKING:
    from fne.config import Study

USER_ERROR, INTERRUPTED, TERMINATED = 2, 130, 143


def main(argv: list[str] | None = None) -> int:
    """Run one verb and return its exit status: 0, 2 (something the user can mend), 130 (interrupted)."""
    arguments = build_parser().parse_args(argv)
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
    print(message, file=sys.stderr)
    return status


def _unwind_on_sigterm() -> Callable | int | None:
    """Let a polite kill unwind the stack, so that unfinished temporary files are removed."""

    def stop(number: int, frame: object) -> None:
        raise SystemExit(TERMINATED)

    try:
        return signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread: whoever runs us handles signals
        return None


def explain(error: BaseException) -> str | None:
    """What a person can do about an error, or None for a defect of the program (which deserves its traceback)."""
    if isinstance(error, UserError):
        return str(error)
    text = str(error)
    if isinstance(error, OSError) and error.errno is not None:
        return _explain_os_error(error)
    if "No space left on device" in text or ("requested and" in text and "written" in text):
        # numpy and safetensors report a full disk without an error number.
        return f"the disk is full ({text}); free some space and run the same command again"
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in text and _is_out_of_memory(text)):
        return (
            f"out of memory ({(text.splitlines() or ['no details'])[0][:200]}); give a block fewer seeds (block), or a "
            "smaller train.batch_size or memory.size"
        )
    return None


def _is_out_of_memory(text: str) -> bool:
    return "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text


def _explain_os_error(error: OSError) -> str:
    where = error.filename if error.filename is not None else "a file"
    where = where.decode(errors="replace") if isinstance(where, bytes) else where
    advice = {
        errno.ENOSPC: "the disk is full; free some space and run the same command again",
        errno.EDQUOT: "your disk quota is used up; free some space and run the same command again",
        errno.EACCES: "no permission; change the owner or mode of the file or folder, or give another --root",
        errno.EPERM: "no permission; change the owner or mode of the file or folder, or give another --root",
        errno.EROFS: "the file system is read-only; give another --root",
        errno.ENOENT: "no such file or folder",
        errno.ENOTDIR: "a part of the path is a file, not a folder",
        errno.EISDIR: "is a folder, not a file",
    }.get(error.errno or 0, error.strerror or str(error))
    return f"{where}: {advice}"


def load(arguments: argparse.Namespace, *, complete: bool = True) -> Study:
    """Load the study that the arguments name, with their ``--set``; check ``--variant`` and ``--block`` where present."""
    from fne import config

    study = config.load_study(arguments.study, config.parse_set(arguments.set), arguments.root, complete=complete)
    if hasattr(arguments, "variant"):
        config.variant_of(study, arguments.variant)
    if hasattr(arguments, "block"):
        config.parse_block(arguments.block)
    return study


def set_torch_threads(threads: int) -> None:
    """Give torch its threads, if a verb has imported it."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def prepare(arguments: argparse.Namespace) -> None:
    from fne import config, paths
    from fne.data.prepare import run

    study = load(arguments)
    run(config.data_section(study), arguments.root / paths.data_folder(study))


def pretrain(arguments: argparse.Namespace) -> None:
    from fne import config, paths
    from fne.errors import bad_input

    study = load(arguments)
    if not paths.is_pretrained_here(study, arguments.modality):
        checkpoint = paths.encoder(study, arguments.modality)["checkpoint"]
        raise bad_input("only checkpoint 'scenes' is pretrained here", key=f"encoders.{arguments.modality}.checkpoint",
                        value=checkpoint)  # fmt: skip
    from fne.features.pretrain import run

    set_torch_threads(arguments.threads)
    run(config.data_section(study), arguments.root / paths.encoder_folder(study, arguments.modality), arguments.modality,
        arguments.threads)  # fmt: skip


def extract(arguments: argparse.Namespace) -> None:
    from fne import lease, paths

    study = load(arguments)
    with lease.device(arguments.device) as device:
        from fne.features.extract import run

        set_torch_threads(arguments.threads)
        run(arguments.root / paths.data_folder(study), paths.encoder(study, arguments.modality, arguments.root),
            arguments.modality, arguments.root / paths.features_folder(study, arguments.modality), arguments.threads,
            device)  # fmt: skip


def train(arguments: argparse.Namespace) -> None:
    from fne import lease

    study = load(arguments)
    with lease.device(arguments.device) as device:
        from fne.training.run import run

        set_torch_threads(arguments.threads)
        run(study, arguments.variant, arguments.block, arguments.root, arguments.threads, device)


def rank(arguments: argparse.Namespace) -> None:
    from fne import lease

    study = load(arguments)
    with lease.device(arguments.device) as device:
        from fne.retrieval.rank import run

        set_torch_threads(arguments.threads)
        run(study, arguments.variant, arguments.block, arguments.split, arguments.root, arguments.threads, device)


def evaluate(arguments: argparse.Namespace) -> None:
    from fne.retrieval.evaluate import run

    run(load(arguments), arguments.variant, arguments.block, arguments.split, arguments.root)


def aggregate(arguments: argparse.Namespace) -> None:
    from fne.stats.aggregate import run

    run(load(arguments, complete=False), arguments.root)


def compare(arguments: argparse.Namespace) -> None:
    from fne.stats.compare import run

    run(load(arguments, complete=False), arguments.root)


def report(arguments: argparse.Namespace) -> None:
    from fne.reporting.report import run

    run(load(arguments, complete=False), arguments.root)


def tune(arguments: argparse.Namespace) -> None:
    from fne import lease

    study = load(arguments)
    with lease.device(arguments.device) as device:
        from fne.training.tune import run

        set_torch_threads(arguments.threads)
        run(study, arguments.root, arguments.threads, device)


def describe(arguments: argparse.Namespace) -> None:
    from fne import config

    print(config.describe(arguments.id, arguments.root), end="")


def check(arguments: argparse.Namespace) -> None:
    from fne import config
    from fne.configuration.problems import Problems
    from fne.configuration.variants import Library

    problems, library = Problems(), Library(arguments.root)
    names = arguments.studies or config.list_studies(arguments.root)
    overrides = config.parse_set(arguments.set)
    with problems.collect():
        library.base  # noqa: B018 - reading it checks it
    for name in names:
        with problems.collect():
            config.load_study(name, overrides, arguments.root, complete=bool(arguments.studies))
    variants = []
    if not arguments.studies:
        for stem in library.stems():
            with problems.collect():
                for variant in library.members(stem):
                    library.check(variant)
                    variants.append(variant)
    problems.raise_any("the configuration")
    print(f"sound: {len(names)} studies ({', '.join(names)})" + (f", {len(variants)} variants" if variants else ""))


def list_all(arguments: argparse.Namespace) -> None:
    from fne import config
    from fne.configuration.variants import Library

    library = Library(arguments.root)
    print("studies")
    for name in config.list_studies(arguments.root):
        study = config.load_study(name, root=arguments.root, complete=False)
        print(f"  {name:<20} {study.title} ({len(study.variants)} variants, {len(study.seeds)} seeds)")
    print("variants")
    for name in config.list_variants(arguments.root):
        variant = library.variant(name)
        print(f"  {name:<20} {variant.title} (parent {variant.parent}, {variant.role})")


def _threads(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer >= 1, got {text!r}")
    return int(text)


def _available() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def build_parser() -> argparse.ArgumentParser:
    """The parser of all verbs."""
    from fne import __version__, paths

    parser = argparse.ArgumentParser(prog="fne", description="From raw image-text pairs to a report, one verb per step.",
                                     allow_abbrev=False)  # fmt: skip
    parser.add_argument("--version", action="version", version=f"fne {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    root = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    root.add_argument("--root", type=Path, default=Path("."), help="the project's folder (default: here)")
    overrides = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    overrides.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                           help="override a config key, e.g. --set train.epochs=3; may be repeated")  # fmt: skip
    study = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    study.add_argument("--study", required=True, help="a file stem of ablations/studies")
    job = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    job.add_argument("--variant", required=True, help="an id of ablations/variants")
    job.add_argument("--block", required=True, help="the seeds that train together, e.g. 0-4")
    split = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    split.add_argument("--split", choices=paths.SPLITS, default="test", help="default: test")
    modality = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    modality.add_argument("--modality", choices=paths.MODALITIES, required=True)
    threads = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    threads.add_argument("--threads", type=_threads, default=_available(), help="CPU threads (default: all)")
    device = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    device.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")

    def verb(name: str, handler: Callable, summary: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=summary, description=summary, parents=[root, *parents], allow_abbrev=False)
        made.set_defaults(handler=handler)
        return made

    common = (study, overrides)
    verb("prepare", prepare, "raw pairs -> manifest, splits, known truth", *common)
    verb("pretrain", pretrain, "scenes -> a tiny encoder", *common, modality, threads)
    verb("extract", extract, "manifest and encoder -> feature store", *common, modality, threads, device)
    verb("train", train, "features -> weights, curves, picks of one block of seeds", *common, job, threads, device)
    verb("rank", rank, "weights and a split -> ranks of the relevant items", *common, job, split, threads, device)
    verb("evaluate", evaluate, "ranks -> metrics of every protocol", *common, job, split)
    verb("aggregate", aggregate, "metrics of all runs -> runs.csv, missing.csv", *common)
    verb("compare", compare, "runs.csv -> intervals.csv, contrasts.csv", *common)
    verb("report", report, "tables of a study -> tables, figures, report.html", *common)
    verb("tune", tune, "search the declared space on validation, the same budget for every variant", *common, threads, device)
    verb("describe", describe, "a variant beside its parent and the release, or a study").add_argument("id")
    verb("check", check, "check every study and variant, or the studies named").add_argument("studies", nargs="*")
    verb("list", list_all, "all studies and variants")
    verbs.choices["check"].add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    return parser


if __name__ == "__main__":
    sys.exit(main())

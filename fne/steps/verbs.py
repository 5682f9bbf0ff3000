"""What each verb of the command line does: load the study, import the module that does it, call its ``run``."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fne.utils.text import harmless

if TYPE_CHECKING:
    from fne.study.api import Series, Study


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    from fne.utils.yaml_file import parse_set

    return parse_set(arguments.set)


def load_study(arguments: argparse.Namespace, *, complete: bool = True, refuse: bool = True) -> Study:
    """Open the study that the arguments name, with their ``--set`` and the overrides that were kept."""
    from fne.results.kept import open_study

    overrides, replace = _overrides(arguments), getattr(arguments, "replace", False)
    return open_study(arguments.study, overrides, arguments.root, complete=complete, replace=replace, refuse=refuse)


def load_job(arguments: argparse.Namespace) -> Study:
    """Open the study of one job, check ``--variant`` and ``--block``, and keep the overrides before any work."""
    from fne.results.kept import keep
    from fne.study import api as config
    from fne.utils.errors import bad_input

    study = load_study(arguments)
    config.resolve(study, arguments.variant)
    config.parse_block(arguments.block)
    if arguments.block not in (allowed := config.blocks(study)):
        problem, hint = f"is not a block of study {study.name!r}", "--set seeds=... gives it more seeds"
        raise bad_input(problem, file="command line", key="--block", value=arguments.block, allowed=allowed, hint=hint)
    keep(study, arguments.root)
    return study


def tell(study: Study | Series) -> None:
    """Say on stderr what a reader of the study's results must know."""
    for note in study.notes:
        print(f"note: study {study.name}: {note}", file=sys.stderr)


def _say(words: object, end: str = "\n") -> None:
    """Print what a verb returns: names and titles in it are other people's."""
    print(harmless(str(words)), end=end)


def _on_device(arguments: argparse.Namespace, step: str, *given: Any) -> None:
    """Hold a device, and only then import a step, since that imports torch."""
    from fne.utils import lease

    with lease.device(arguments.device) as device:
        import_module(f"fne.steps.{step}").run(*given, arguments.threads, device)


def load_any(arguments: argparse.Namespace) -> Study | Series:
    """Open a study or a series of which finished runs are read."""
    from fne.results.kept import open_any

    given = arguments.study, _overrides(arguments), arguments.root
    return open_any(*given, complete=False, replace=arguments.replace)


def _of_any(arguments: argparse.Namespace, of_study: str, of_series: str, *, with_notes: bool = False) -> None:
    """Read finished runs of a study, or of all members of a series."""
    from fne.study.api import Series

    result = load_any(arguments)
    if with_notes:
        tell(result)
    import_module(f"fne.{of_series if isinstance(result, Series) else of_study}").run(result, arguments.root)


def fetch(arguments: argparse.Namespace) -> None:
    from fne.steps.fetch import run

    _say(run(arguments.dataset, arguments.root / arguments.into, arguments.only))


def prepare(arguments: argparse.Namespace) -> None:
    from fne.steps.prepare import run
    from fne.study import api as config
    from fne.study import paths

    study = load_study(arguments, refuse=False)
    paths.check_matched(study)
    run(config.data_section(study), arguments.root / paths.data_folder(study))


def pretrain(arguments: argparse.Namespace) -> None:
    from fne.study import paths
    from fne.utils.errors import bad_input

    study, modality = load_study(arguments, refuse=False), arguments.modality
    key, section = f"encoders.{modality}.checkpoint", paths.encoder(study, modality)
    if "grid" not in section:
        raise bad_input("only checkpoint 'scenes' is pretrained here", key=key, value=section["checkpoint"])
    recipe = paths.recipe(study)
    if recipe.draw == 0 and arguments.out is None:
        hint = "--set encoders.draw=1 makes another pair; --out FOLDER makes this one again"
        raise bad_input("the pair of draw 0 is shipped with the package", key="encoders.draw", value=0, hint=hint)
    from fne.steps.pretrain import run

    out = arguments.root / (arguments.out or paths.encoder_folder(study, modality))
    run(recipe, out, modality, arguments.threads)


def extract(arguments: argparse.Namespace) -> None:
    from fne.study import paths

    study, root, modality = load_study(arguments, refuse=False), arguments.root, arguments.modality
    data, out = root / paths.data_folder(study), root / paths.features_folder(study, modality)
    _on_device(arguments, "extract", data, paths.encoder(study, modality, root), modality, out)


def train(arguments: argparse.Namespace) -> None:
    from fne.utils import lease

    study = load_job(arguments)
    with lease.device(arguments.device) as device:
        from fne.steps.train import run
        from fne.training.distributed import joined

        with joined(device):
            run(study, arguments.variant, arguments.block, arguments.root, arguments.threads, device)


def rank(arguments: argparse.Namespace) -> None:
    job = load_job(arguments), arguments.variant, arguments.block
    _on_device(arguments, "rank", *job, arguments.split, arguments.root)


def evaluate(arguments: argparse.Namespace) -> None:
    from fne.steps.evaluate import run

    run(load_job(arguments), arguments.variant, arguments.block, arguments.split, arguments.root)


def calibrate(arguments: argparse.Namespace) -> None:
    _on_device(arguments, "calibrate", load_job(arguments), arguments.variant, arguments.block, arguments.root)


def adopt(arguments: argparse.Namespace) -> None:
    from fne.steps.adopt import run

    study = load_study(arguments, complete=False)
    _say(run(study, arguments.variants, arguments.evidence, arguments.reason, arguments.root))


def aggregate(arguments: argparse.Namespace) -> None:
    from fne.results.kept import keep
    from fne.steps.aggregate import run

    study = load_study(arguments, complete=False)
    keep(study, arguments.root)
    run(study, arguments.root)


def compare(arguments: argparse.Namespace) -> None:
    from fne.utils.errors import bad_input

    given = arguments.bundles
    if not given and arguments.study:
        return _of_any(arguments, "steps.compare", "steps.compare_series", with_notes=True)
    if not given:
        raise bad_input("is missing", file="command line", key="--study", hint="or give two bundles or studies")
    if len(given) != 2 or arguments.study or arguments.set or arguments.replace:
        allowed = "--study STUDY, or two bundles or studies without --study, --set and --replace"
        raise bad_input("cannot be compared so", file="command line", value=" ".join(given), allowed=allowed)
    from fne.steps.side_by_side import run

    out = arguments.out and arguments.root / arguments.out
    _say(run(given[0], given[1], arguments.root, out, arguments.orderings))


def export(arguments: argparse.Namespace) -> None:
    from fne.steps.export import run

    out = arguments.out and arguments.root / arguments.out
    _say(run(load_study(arguments, complete=False), arguments.root, out))


def verify(arguments: argparse.Namespace) -> None:
    from fne.steps.verify import run

    _say(run(load_study(arguments, complete=False), arguments.root, arguments.record))


def audit(arguments: argparse.Namespace) -> None:
    from fne.steps.audit import run

    run(load_study(arguments, complete=False), arguments.root)


def tables(arguments: argparse.Namespace) -> None:
    if arguments.paper is None:
        return _of_any(arguments, "report.tables.registry", "report.series.tables")
    _for_paper(arguments, "tables")


def figures(arguments: argparse.Namespace) -> None:
    if arguments.paper is None:
        return _of_any(arguments, "report.figures.registry", "report.series.figures")
    _for_paper(arguments, "figures")


def _for_paper(arguments: argparse.Namespace, kind: str) -> None:
    """Write tables or figures as wide as a column of a paper, which a series has none of."""
    from fne.study.api import Series
    from fne.utils.errors import bad_input

    study = load_any(arguments)
    if isinstance(study, Series):
        problem, members = "is made for a study, not for a series", [member.name for member in study.members]
        raise bad_input(problem, file="command line", key="--paper", value=study.name, allowed=members)
    import_module(f"fne.report.{kind}.registry").run_for_paper(study, arguments.paper, root=arguments.root)


def paper(arguments: argparse.Namespace) -> None:
    from fne.report.paper.folder import run

    _say(run(load_any(arguments), arguments.root, arguments.into)[-1])


def report(arguments: argparse.Namespace) -> None:
    _of_any(arguments, "steps.report", "report.series.report")


def tune(arguments: argparse.Namespace) -> None:
    from fne.study import api as config
    from fne.utils import lease

    study = config.load_study(arguments.study, _overrides(arguments), arguments.root, tuned=False)
    with lease.device(arguments.device) as device:
        from fne.steps.tune import run

        run(study, arguments.root, arguments.threads, device, arguments.draw)


def estimate(arguments: argparse.Namespace) -> None:
    from fne.study import api as config
    from fne.utils import lease

    study = config.load_study(arguments.study, _overrides(arguments), arguments.root)
    tell(study)
    devices = lease.allowed_devices(lease.installed_devices(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    with lease.device(arguments.device) as device:
        from fne.steps.estimate import run

        places = len(devices) if device == "cuda" else available_cores() // arguments.threads
        jobs, out = arguments.jobs or max(1, places), arguments.out and arguments.root / arguments.out
        run(study, arguments.root, arguments.threads, device, jobs, out)


def watch(arguments: argparse.Namespace) -> None:
    from fne.steps.watch import run

    events = arguments.tensorboard and arguments.root / arguments.tensorboard
    run(load_study(arguments, complete=False), arguments.root, once=arguments.once, tensorboard=events)


def clean(arguments: argparse.Namespace) -> None:
    from fne.steps.clean import run

    _say(run(arguments.root, arguments.yes))


def describe(arguments: argparse.Namespace) -> None:
    from fne.steps.describe import describe

    _say(describe(arguments.id, arguments.root), end="")


def check(arguments: argparse.Namespace) -> None:
    from fne.steps.check import run

    run(arguments.names, arguments.variant, _overrides(arguments), arguments.root, grid=arguments.grid)


def schema(arguments: argparse.Namespace) -> None:
    from fne.steps.schema import write

    print(*write(arguments.root), sep="\n")


def list_all(arguments: argparse.Namespace) -> None:
    from fne.steps.listing import run

    print(run(arguments.root, arguments.filter, opened=arguments.all))


def completion(arguments: argparse.Namespace) -> None:
    import argcomplete

    print(argcomplete.shellcode(["fne"], shell=arguments.shell))

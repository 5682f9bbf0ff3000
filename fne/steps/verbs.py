"""What each verb of the command line does: load the study, import the room that does it, call its ``run``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fne.utils.text import harmless

if TYPE_CHECKING:
    from fne.study.api import Series, Study


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


def load_any(arguments: argparse.Namespace) -> Study | Series:
    """Open what the arguments name, for a verb that tells of finished runs."""
    from fne.results.kept import open_any

    overrides = _overrides(arguments)
    return open_any(arguments.study, overrides, arguments.root, complete=False, replace=arguments.replace)


def set_torch_threads(threads: int) -> None:
    """Give torch its threads, if a verb has imported it."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def _say(words: object, end: str = "\n") -> None:
    """Print what a verb returns: names and titles in it are other people's."""
    print(harmless(str(words)), end=end)


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

    set_torch_threads(arguments.threads)
    out = arguments.root / (arguments.out or paths.encoder_folder(study, modality))
    run(recipe, out, modality, arguments.threads)


def extract(arguments: argparse.Namespace) -> None:
    from fne.study import paths
    from fne.utils import lease

    study = load_study(arguments, refuse=False)
    with lease.device(arguments.device) as device:
        from fne.steps.extract import run

        set_torch_threads(arguments.threads)
        data, modality = arguments.root / paths.data_folder(study), arguments.modality
        out = arguments.root / paths.features_folder(study, modality)
        run(data, paths.encoder(study, modality, arguments.root), modality, out, arguments.threads, device)


def train(arguments: argparse.Namespace) -> None:
    from fne.utils import lease

    study = load_job(arguments)
    with lease.device(arguments.device) as device:
        from fne.steps.train import run
        from fne.training.distributed import joined

        set_torch_threads(arguments.threads)
        with joined(device):
            run(study, arguments.variant, arguments.block, arguments.root, arguments.threads, device)


def rank(arguments: argparse.Namespace) -> None:
    from fne.utils import lease

    study = load_job(arguments)
    with lease.device(arguments.device) as device:
        from fne.steps.rank import run

        set_torch_threads(arguments.threads)
        run(
            study,
            arguments.variant,
            arguments.block,
            arguments.split,
            arguments.root,
            arguments.threads,
            device,
        )


def evaluate(arguments: argparse.Namespace) -> None:
    from fne.steps.evaluate import run

    run(load_job(arguments), arguments.variant, arguments.block, arguments.split, arguments.root)


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
    if arguments.bundles:
        return side_by_side(arguments)
    if not arguments.study:
        from fne.utils.errors import bad_input

        raise bad_input("is missing", file="command line", key="--study", hint="or give two bundles or studies")
    from fne.study.api import Series

    asked = load_any(arguments)
    tell(asked)
    if isinstance(asked, Series):
        from fne.steps.compare_series import run as run_series

        run_series(asked, arguments.root)
    else:
        from fne.steps.compare import run

        run(asked, arguments.root)


def side_by_side(arguments: argparse.Namespace) -> None:
    """``compare`` with two bundles or studies."""
    from fne.utils.errors import bad_input

    given = arguments.bundles
    if len(given) != 2 or arguments.study or arguments.set or arguments.replace:
        allowed = "--study STUDY, or two bundles or studies without --study, --set and --replace"
        raise bad_input("cannot be compared so", file="command line", value=" ".join(given), allowed=allowed)
    from fne.steps.side_by_side import run

    out = arguments.out and arguments.root / arguments.out
    _say(run(given[0], given[1], arguments.root, out, arguments.orderings))


def export(arguments: argparse.Namespace) -> None:
    from fne.steps.export import run

    out = arguments.out and arguments.root / arguments.out
    _say(run(load_study(arguments, complete=False), arguments.root, out, arguments.form))


def verify(arguments: argparse.Namespace) -> None:
    from fne.steps.verify import run

    _say(run(load_study(arguments, complete=False), arguments.root, arguments.record))


def calibrate(arguments: argparse.Namespace) -> None:
    from fne.utils import lease

    study = load_job(arguments)
    with lease.device(arguments.device) as device:
        from fne.steps.calibrate import run

        set_torch_threads(arguments.threads)
        run(study, arguments.variant, arguments.block, arguments.root, arguments.threads, device)


def audit(arguments: argparse.Namespace) -> None:
    from fne.steps.audit import run

    run(load_study(arguments, complete=False), arguments.root)


def tables(arguments: argparse.Namespace) -> None:
    from fne.study.api import Series

    asked = load_any(arguments)
    if arguments.paper is not None:
        from fne.report.tables.registry import run_for_paper

        run_for_paper(_single(asked), arguments.paper, root=arguments.root)
    elif isinstance(asked, Series):
        from fne.report.series.tables import run as run_series

        run_series(asked, arguments.root)
    else:
        from fne.report.tables.registry import run

        run(asked, arguments.root)


def _single(asked: Study | Series) -> Study:
    """What ``--paper`` is of."""
    from fne.study.api import Series
    from fne.utils.errors import bad_input

    if isinstance(asked, Series):
        members = [member.name for member in asked.members]
        problem = "is made for a study, not for a series"
        raise bad_input(problem, file="command line", key="--paper", value=asked.name, allowed=members)
    return asked


def figures(arguments: argparse.Namespace) -> None:
    from fne.study.api import Series

    asked = load_any(arguments)
    if arguments.paper is not None:
        from fne.report.figures.registry import run_for_paper

        run_for_paper(_single(asked), arguments.paper, arguments.root)
    elif isinstance(asked, Series):
        from fne.report.series.figures import run as run_series

        run_series(asked, arguments.root)
    else:
        from fne.report.figures.registry import run

        run(asked, arguments.root)


def paper(arguments: argparse.Namespace) -> None:
    from fne.report.paper.folder import run

    _say(run(load_any(arguments), arguments.root, arguments.into)[-1])


def report(arguments: argparse.Namespace) -> None:
    from fne.study.api import Series

    asked = load_any(arguments)
    if isinstance(asked, Series):
        from fne.report.series.report import run as run_series

        run_series(asked, arguments.root)
    else:
        from fne.steps.report import run

        run(asked, arguments.root)


def tune(arguments: argparse.Namespace) -> None:
    from fne.study import api as config
    from fne.utils import lease

    study = config.load_study(arguments.study, _overrides(arguments), arguments.root, tuned=False)
    with lease.device(arguments.device) as device:
        from fne.steps.tune import run

        set_torch_threads(arguments.threads)
        run(study, arguments.root, arguments.threads, device, arguments.draw)


def estimate(arguments: argparse.Namespace) -> None:
    from fne.study import api as config
    from fne.utils import lease

    study = config.load_study(arguments.study, _overrides(arguments), arguments.root)
    tell(study)
    devices = lease.allowed_devices(lease.installed_devices(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    with lease.device(arguments.device) as device:
        from fne.steps.estimate import run

        places = len(devices) if device == "cuda" else arguments.cores // arguments.threads
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
    from fne.data.published import read_published
    from fne.results.trials import read_trials
    from fne.steps.check import check_plugins, check_rule, check_variant, is_rule
    from fne.study import api as config
    from fne.study import paths
    from fne.study.library import Library
    from fne.utils.problems import Problems

    problems, library = Problems(), Library(arguments.root)
    overrides = _overrides(arguments)
    known = config.list_studies(arguments.root)
    rules = [name for name in arguments.names if name not in known and is_rule(name)]
    if arguments.grid and not rules:
        problems.report("goes with names of rules", file="command line", key="--grid")
    for name in rules:
        with problems.collect():
            print(check_rule(name, overrides, library, grid=arguments.grid), end="")
    for variant in arguments.variant:
        with problems.collect():
            print(check_variant(variant, overrides, library), end="")
    asked = [name for name in arguments.names if name not in rules]
    if not asked and (rules or arguments.variant):
        problems.raise_any("the rules")
        print("sound")
        return
    names = asked or list(config.study_files(arguments.root))
    with problems.collect():
        library.base  # noqa: B018 - reading it checks it
    configs: list[Mapping[str, Any]] = []
    for name in names:
        with problems.collect():
            found = config.load(name, overrides, arguments.root, complete=bool(asked))
            tell(found)
            study = found.shared if isinstance(found, config.Series) else found
            configs += study.configs.values()
            if study.tuned:
                read_trials(arguments.root / paths.tuned_files(study)[1])
            if study.tune:
                config.load(name, overrides, arguments.root, complete=bool(asked), tuned=False)
    variants = []
    if not asked:
        with problems.collect():
            read_published(arguments.root)
        for stem in library.stems():
            with problems.collect():
                for variant in library.members(stem):
                    library.check(variant)
                    variants.append(variant)
                    configs.append(library.merged(variant))
    plugins = check_plugins(configs, problems)
    problems.raise_any("the configuration")
    print(
        f"sound: {len(names)} studies ({', '.join(names)})"
        + (f", {len(variants)} variants" if variants else "")
        + (f", {plugins} rules from outside" if plugins else "")
    )


def schema(arguments: argparse.Namespace) -> None:
    from fne.steps.schema import write

    for file in write(arguments.root):
        print(file)


def list_all(arguments: argparse.Namespace) -> None:
    from fne.study import api as config
    from fne.study.library import Library
    from fne.utils.text import clean

    library = Library(arguments.root)
    library.base  # noqa: B018 - reading it checks it
    print("studies")
    for name in config.study_files(arguments.root):
        found = config.load(name, root=arguments.root, complete=False)
        study = found.shared if isinstance(found, config.Series) else found
        members = f"{len(found.members)} studies, " if isinstance(found, config.Series) else ""
        sizes = f"{members}{len(study.variants)} variants, {len(study.seeds)} seeds"
        print(f"  {name:<20} {clean(found.title)} ({sizes})")
    print("variants")
    for name in config.list_variants(arguments.root):
        variant = library.variant(name)
        print(f"  {name:<20} {clean(variant.title)} (parent {variant.parent}, {variant.role})")

"""Loading a study: merge base, study, variants, tuned values and overrides; check all of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fne.study import checks, merge, study_file
from fne.study.library import Library
from fne.study.series import DRAW, PRETRAINED_HERE, Series, read_factors
from fne.study.study import Study
from fne.study.study_file import Loading
from fne.study.validate import prune
from fne.utils.errors import UserError, bad_input
from fne.utils.fields import unflatten
from fne.utils.names import member_title, named_files, unknown
from fne.utils.problems import Problems
from fne.utils.yaml_file import read_mapping


def list_studies(root: Path = Path(".")) -> list[str]:
    """Ids of all studies, those with factors as their members, in order of file name."""
    return [name for stem in study_files(root) for name in members_of(stem, root)]


def members_of(name: str, root: Path = Path(".")) -> list[str]:
    """Ids of the studies of a series; of any other name, that name."""
    file = study_files(root).get(name)
    try:
        factors = read_factors(read_mapping(file), file) if file else None
    except UserError:  # loading it by its stem says what is wrong
        factors = None
    return list(factors.members) if factors else [name]


def study_files(root: Path = Path(".")) -> dict[str, Path]:
    """Study files by stem, in order; of a study with factors this is the one file of all its members."""
    return named_files(Path(root) / "ablations" / "studies")


def load_study(name: str, overrides: Mapping[str, Any] | None = None, root: Path = Path("."), **options: Any) -> Study:
    """Load a study as :func:`load` does; a series is refused."""
    return require_study(load(name, overrides, root, **options))


def require_study(result: Study | Series) -> Study:
    """Refuse a series where a study is needed.

    Raises:
        UserError: Names the studies of the series.
    """
    if isinstance(result, Series):
        members = [member.name for member in result.members]
        hint = "a series is run as a whole by snakemake, and told as a whole by compare, tables, figures, report"
        raise bad_input("is a series: name one of its studies", value=result.name, allowed=members, hint=hint)
    return result


def load(
    name: str,
    overrides: Mapping[str, Any] | None = None,
    root: Path = Path("."),
    *,
    complete: bool = True,
    tuned: bool = True,
    file: Path | None = None,
) -> Study | Series:
    """Load a study, or all members of a series, and check every merged variant before any work.

    Merge order: base, the release's values (where ``as_released``), the study's data, encoders and set, the variant
    chain (parent first), tuned values, overrides.

    Args:
        name: File stem in ``ablations/studies``; of one member of a series, ``<stem>--<key>-<value>``.
        overrides: Dotted config keys, or ``variants``, ``seeds``, ``block``, ``baseline``.
        root: The project's folder.
        complete: Also demand what only the user can know: paths of a corpus and encoder checkpoints.
        tuned: Use the values that tuning chose; without, the study is as it is before it was tuned.
        file: Read this file, and not the one that the name means.

    Raises:
        UserError: Lists everything that is wrong.
    """
    files, stem = study_files(root), name.partition("--")[0]
    if file is None and (stem not in files or (name != stem and name not in list_studies(root))):
        raise unknown("study", name, Path(root) / "ablations" / "studies", sorted({*files, *list_studies(root)}))
    file, library = file or files[stem], Library(root)
    content, given = read_mapping(file), overrides or {}
    factors = read_factors(content, file)
    if factors is None or name in factors.members:
        return _load_one(Loading(name, file, library, given, factors), complete, tuned)
    problems, members = Problems(), list[Study]()
    for identity in factors.members:
        with problems.collect():
            members.append(_load_one(Loading(identity, file, library, given, factors), complete, tuned))
    problems.raise_any(f"series {name!r}")
    for place, member in enumerate(members):
        if twin := next((item.name for item in members[:place] if item.configs == member.configs), None):
            raise bad_input("two points are one study", file=file, key="factors", value=[twin, member.name])
    title, question = content["title"].strip(), content["question"].strip()
    series = Series(name, title, question, factors.values, tuple(factors.members.values()), tuple(members))
    if series.random and len(series.shared.seeds) < 2:
        problem = f"one seed cannot be distinguished from the draws of {' and '.join(series.random)}"
        value = list(series.shared.seeds)
        raise bad_input(problem, file=file, key="seeds", value=value, allowed="two seeds or more")
    return series


def _load_one(file: Loading, complete: bool, use_tuned: bool) -> Study:
    file.library.base  # noqa: B018 - without a valid base nothing else can be checked
    section = file.study
    seeds, block = study_file.read_seeds_and_block(file)
    primary = study_file.read_primary(file)
    ids = study_file.read_ids(file, file.level["variants"])
    trained: list[str] = []
    with file.problems.collect():
        trained = merge.trained_variants(file, ids)
    baseline = study_file.read_baseline(file, ids)
    method, control = (study_file.read_role(file, key, ids) for key in ("method", "control"))
    study_file.check_seeds_for_test(file, len(seeds), len(trained) - 1)
    overrides = merge.typed_overrides(file)
    shared = merge.shared_values(file, overrides)
    tune = merge.read_search(file, seeds)
    tuned = merge.read_outcome(file, tune, trained, seeds) if use_tuned else None
    published = merge.read_comparison(file, ids)
    with file.problems.collect():
        ids = merge.with_zero_shot(file, ids, shared | overrides)
    file.stop()

    whole = {}
    for variant in sorted(ids, key=trained.__contains__, reverse=True):
        with file.problems.collect():
            whole[variant] = merge.merge(file, variant, shared, tuned, overrides)
    file.stop()
    checks.check_merged(file, whole, tune, tuned, overrides, complete)
    axes = checks.axes_of(file, {name: whole[name] for name in trained}, tune) if tune and not use_tuned else {}
    configs = {variant: prune(flat, section.regime) for variant, flat in whole.items()}
    checks.check_distinct(file, configs)
    file.stop()
    if configs[ids[0]].get(DRAW):
        file.notes.append(PRETRAINED_HERE)
    data = {key: value for key, value in configs[ids[0]].items() if key.startswith("data.")}
    return Study(
        name=file.name,
        title=member_title(section.title, file.point),
        question=section.question,
        regime=section.regime,
        variants=tuple(ids),
        seeds=seeds,
        block=block,
        baseline=baseline,
        primary=primary,
        data=unflatten(data)["data"],
        overrides=overrides | file.given_levels(),
        configs=configs,
        library={variant.id: variant for name in ids for variant in file.library.chain(name)},
        tuned=tuned.name if tuned else None,
        draw=tuned.draw if tuned else 0,
        published=published,
        test=section.test,
        tune=tune,
        axes=axes,
        method=method,
        control=control,
        chosen=tuned.values if tuned else {},
        as_released=section.as_released,
        root=file.library.folder.parent,
        notes=tuple(file.notes),
    )

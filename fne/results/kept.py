"""``results/<study>/study.json``: what the command line set when results were made, so that all verbs see one study."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fne.results.records import peek
from fne.study import paths
from fne.study.api import Series, Study, blocks, load, parse_block, resolve, training_digest
from fne.study.loading import members_of, require_study
from fne.study.study_file import COMMAND_LINE, STUDY_LEVEL
from fne.study.validate import counted
from fne.utils.errors import UserError, bad_input
from fne.utils.fields import flatten
from fne.utils.files import SCHEMAS, read_record, write_json
from fne.utils.yaml_file import set_items

REPLACE = "--replace (snakemake: --config replace=true)"


def open_study(name: str, overrides: Mapping[str, Any], root: Path, **options: bool) -> Study:
    """Open a study as :func:`open_any` does; a series is refused."""
    return require_study(open_any(name, overrides, root, **options))


def open_any(
    name: str,
    overrides: Mapping[str, Any],
    root: Path,
    *,
    complete: bool = True,
    replace: bool = False,
    refuse: bool = True,
    tell: bool = True,
) -> Study | Series:
    """Load a study or series with what the command line sets and, of the rest, what it set when results were made.

    More variants and seeds are welcome. What would leave out a run of the kept study, or make it again, is refused; a
    run of another config than the kept study has now binds nobody. A path may change where what lies there is the same,
    or where the old one leads nowhere.

    Args:
        name, overrides, root, complete: As of :func:`fne.study.api.load`.
        replace: Go by ``overrides`` alone, whatever the results were made with.
        refuse: Refuse what would replace results.
        tell: Say on stderr which overrides are those of the results.

    Raises:
        UserError: Anything wrong with the study or with what was kept, or results would be replaced.
    """
    given = {key: value for key, value in overrides.items() if key in STUDY_LEVEL}
    given |= flatten({key: value for key, value in overrides.items() if key not in given}, COMMAND_LINE)
    if replace:
        return load(name, given, root, complete=complete)
    kept = {member: read for member in members_of(name, root) if (read := _read(member, root)) is not None}
    added = _agreed(kept, given, root)
    result = _load(name, added | given, added, root, complete)
    if refuse:
        for study in result.members if isinstance(result, Series) else (result,):
            _refuse_others(study, kept.get(study.name, {}), root)
    if added and tell:
        print(f"note: study {name}: {_as_made(added)}; by its file alone: {REPLACE}", file=sys.stderr)
    return result


def keep(study: Study, root: Path) -> None:
    """Write what the command line set beside the results that are about to be made, where that changes."""
    file = Path(root) / paths.overrides(study.name)
    if not file.exists() and not study.overrides:
        return
    content = {"schema": SCHEMAS["study"], "study": study.name, "overrides": dict(sorted(study.overrides.items()))}
    if peek(file) != content:
        write_json(file, content)


def tell_left_out(study: Study, root: Path) -> None:
    """Name on stderr the runs that lie in the study's folder and are not in the study."""
    own = {(variant, block) for variant in study.variants for block in blocks(study)}
    others = ["/".join(place) for place in _runs(study, root) if place not in own]
    if others:
        names = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        what = f"runs in {paths.results_folder(study)} are left out ({len(others)}): {names}"
        hint = "to include them, add their variants or seeds: --set variants=..., --set seeds=..."
        print(f"note: study {study.name}: {what}; {hint}", file=sys.stderr)


def _runs(study: Study, root: Path) -> list[tuple[str, str]]:
    """Variant and block of each run that lies in the study's folder; a copy by another name is none."""
    result = []
    for file in sorted((Path(root) / paths.results_folder(study)).glob("*/*/run.json")):
        with contextlib.suppress(UserError):
            parse_block(file.parts[-2])
            result.append((file.parts[-3], file.parts[-2]))
    return result


def _read(name: str, root: Path) -> dict[str, Any] | None:
    """The overrides that were kept for a study; None where there is no file."""
    file = Path(root) / paths.overrides(name)
    if not file.is_file():
        return None
    hint = f"read it with the version that made it, or {REPLACE}"
    content = read_record(file, "study", {"study": str, "overrides": {}}, hint)
    if content["study"] != name:
        raise bad_input("is of another study", file=file, key="study", value=content["study"], allowed=[name])
    return content["overrides"]


def _agreed(kept: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """The kept overrides that are not given anew; of a series, those of its members, which must agree."""
    rest = {name: {key: made[key] for key in made if key not in given} for name, made in kept.items()}
    first = next(iter(rest), "")
    for name, made in rest.items():
        if made != rest[first]:
            problem = f"made {_as_made(rest[first])}, but {paths.overrides(name)} {_as_made(made)}"
            raise bad_input(problem, file=root / paths.overrides(first), hint=f"give them all, or {REPLACE}")
    return dict(rest[first]) if rest else {}


def _load(
    name: str, overrides: Mapping[str, Any], added: Mapping[str, Any], root: Path, complete: bool
) -> Study | Series:
    """Load a study; an error says which overrides nobody gave now."""
    try:
        return load(name, overrides, root, complete=complete)
    except UserError as error:
        if not added:
            raise
        kept = f"{_as_made(added)} ({paths.overrides(name)})"
        raise UserError(f"{error}\n(study {name}: {kept}; by its file alone: {REPLACE})") from None


def _refuse_others(study: Study, made_with: Mapping[str, Any], root: Path) -> None:
    """Refuse what would leave out, or make again, a run that a study has as it was kept.

    Raises:
        UserError: A line for each override that differs.
    """
    runs = _runs(study, root)
    if study.overrides == made_with or not runs:
        return
    try:
        before = require_study(_load(study.name, made_with, made_with, root, complete=False))
    except UserError:
        if not made_with:  # as its file says nothing can be made
            return
        raise
    then, now = _made_from(before), _made_from(study)
    moved = bool(then and now and then != now)
    if any(moved or _is_lost(before, study, *run) for run in runs if _is_current(before, *run, root)):
        plain = "what its file says"
        lines = [f"  {key}: made with {made_with.get(key, plain)}, now {study.overrides.get(key, plain)}"
                 for key in dict.fromkeys([*made_with, *study.overrides])
                 if made_with.get(key) != study.overrides.get(key)]  # fmt: skip
        head = f"{paths.results_folder(study)}: runs would be left out or made again with other values:"
        hint = f"without these overrides they stay as they are; to make others in their place, {REPLACE}"
        raise UserError("\n".join([head, *lines, hint]))


def _is_lost(before: Study, study: Study, variant: str, block: str) -> bool:
    """Is a run of the one no run of the other?"""
    if variant not in study.variants or {*parse_block(block)} - {*study.seeds} or before.block != study.block:
        return True
    return counted(resolve(before, variant)) != counted(resolve(study, variant))


def _is_current(study: Study, variant: str, block: str, root: Path) -> bool:
    """Is a run one of the study, trained as it says?"""
    if variant not in study.variants or block not in blocks(study):
        return False
    config = peek(Path(root) / paths.run_folder(study, variant, block) / "run.json").get("config")
    return isinstance(config, dict) and training_digest(config) == training_digest(resolve(study, variant))


def _made_from(study: Study) -> dict[str, str]:
    """What the data and the encoders of a study are known by; nothing where they are not there, or no longer."""
    try:
        encoders = {f"encoders.{side}": paths.encoder_slug(study, side) for side in paths.MODALITIES}
        return {"data": paths.data_id(study)} | encoders
    except UserError:
        return {}


def _as_made(overrides: Mapping[str, Any]) -> str:
    return f"with {', '.join(set_items(overrides))}, as its results were made"

"""What ``fne check`` does with rules: build them as a config says and run their contract."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fne.data.published import read_published
from fne.negatives.registry import GROUPS, Entry, installed, registered
from fne.results.trials import read_trials
from fne.study import api, paths
from fne.study.library import Library
from fne.study.plugins import KEYS, Plugin, complete, find, keywords, look_in, of_target
from fne.study.validate import keys_read, why_unread
from fne.utils.errors import UserError, bad_input
from fne.utils.fields import CHOOSERS, checked, flatten, unflatten
from fne.utils.problems import Problems
from fne.utils.yaml_file import read_mapping

NOUNS = {"negatives": "strategy", "loss": "loss"}
COMMAND_LINE = "command line"


def run(names: Sequence[str], overrides: Mapping[str, Any], root: Path, *, grid: bool = False) -> None:
    """Check rules, variants and studies, and print what is valid; without any name all studies and variants.

    Args:
        names: Rules (a registered name, an entry point, or ``module:Class``) and studies.
        overrides: Values of options or config keys.
        root: The project's folder.
        grid: Of rules: under other values of their options too.

    Raises:
        UserError: Names all problems.
    """
    problems, library, known = Problems(), Library(root), api.list_studies(root)
    rules = [name for name in names if name not in known and (":" in name or _sections(name))]
    for name in rules:
        with problems.collect():
            print(check_rule(name, overrides, library, grid=grid), end="")
    studies = [name for name in names if name not in rules]
    if rules and not studies:
        problems.raise_any("the rules")
        print("valid")
        return
    with problems.collect():
        library.base  # noqa: B018 - reading it checks it
    configs: list[Mapping[str, Any]] = []
    checked_studies, variants = studies or list(api.study_files(root)), list[str]()
    for name in checked_studies:
        if studies:
            _check_corpus(name, overrides, root, problems)
        with problems.collect():
            result = api.load(name, overrides, root, complete=bool(studies))
            for note in result.notes:
                print(f"note: study {result.name}: {note}", file=sys.stderr)
            study = result.shared if isinstance(result, api.Series) else result
            configs += study.configs.values()
            if study.tuned:
                read_trials(root / paths.tuned_files(study)[1])
            if study.tune:
                api.load(name, overrides, root, complete=bool(studies), tuned=False)
    for stem in library.stems() if not studies else ():
        with problems.collect():
            for variant in library.members(stem):
                library.check(variant)
                variants.append(variant)
                configs.append(library.merged(variant))
    if not studies:
        with problems.collect():
            read_published(root)
    outside = {str(built): built for flat in configs for built in _plugins(flat)}
    for section, flat in outside.values():
        with problems.collect():
            _report(flat[CHOOSERS[section]], section, flat)
    problems.raise_any("the configuration")
    print(f"valid: {len(checked_studies)} studies ({', '.join(checked_studies)}), {len(variants)} variants, "
          f"{len(outside)} rules from outside")  # fmt: skip


def _check_corpus(name: str, overrides: Mapping[str, Any], root: Path, problems: Problems) -> None:
    """Keep what is missing or cannot be of a study's corpus and encoders, whatever else is wrong with its file."""
    try:
        result = api.load(name, overrides, root, complete=False)
    except UserError:
        file = api.study_files(root).get(name.partition("--")[0])
        with problems.collect():
            content = read_mapping(file) if file else {}
            given = flatten({part: content.get(part) or {} for part in ("data", "encoders")}, file) | dict(overrides)
            if given.get("data.dataset", "scenes") != "scenes":
                paths.check_named(dict.fromkeys(paths.EXAMPLES) | given, file or name)
        return
    for study in result.members if isinstance(result, api.Series) else [result]:
        with problems.collect():
            paths.check_supplied(study)


def _sections(name: str) -> list[str]:
    return [part for part in CHOOSERS if name in registered(part) or name in installed(GROUPS[part])]


def _plugins(flat: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The sections of a config whose rule is from outside, each with what of the config it is built from."""
    result = []
    for section, chooser in CHOOSERS.items():
        entry = find(section, flat[chooser])
        if isinstance(entry, Plugin):
            needed = {chooser, *entry.keys, *entry.shares}
            result.append((section, {key: value for key, value in flat.items() if key in needed}))
    return result


def check_rule(name: str, given: Mapping[str, Any], library: Library, *, grid: bool = False) -> str:
    """Run the contract of a rule with the options that are given, the others as in ``base.yaml`` or its signature.

    Args:
        name: A registered name, an entry point, or ``module:Class``.
        given: Values of options, ``options.<name>``, or of config keys.
        library: The project's configuration.
        grid: Run it, in short, under other values of its options too.

    Returns:
        What holds, in words.

    Raises:
        UserError: The rule or an option cannot be used, or the broken promise and how it is broken.
    """
    look_in(library.folder.parent)
    lines = ""
    for section in [of_target(name).section] if ":" in name else _sections(name):
        flat = _merged(name, section, given, library)
        lines += _report(name, section, flat)
        lines += _over_grid(find(section, name), flat) if grid else ""
    return lines


def combinations(entry: Entry, flat: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Keywords of a rule: the values of a config first, then others of its own options and of those that it shares."""
    from fne.checks.grid import grid

    keys = {**entry.keys, **{key: replace(KEYS[key], when=()) for key in entry.shares}}
    rows = grid(keys, {key: flat[key] for key in keys})
    return [{key.rpartition(".")[2]: value for key, value in row.items()} for row in rows]


def _over_grid(entry: Entry, flat: Mapping[str, Any]) -> str:
    from fne.checks.contract import check

    rows = combinations(entry, flat)
    for given in rows:
        summary = ", ".join(f"{key}={value}" for key, value in given.items())
        check(entry, entry.section, given, f"{entry.name} ({summary})", quick=True)
    return f"  holds, in short, under {len(rows)} combinations of its options\n"


def _merged(name: str, section: str, given: Mapping[str, Any], library: Library) -> dict[str, Any]:
    """The base with a rule and the command line's values, each of which must be read."""
    own = f"{section}." if name in registered(section) else f"{section}.options."
    full = {f"{own}{key.removeprefix('options.')}" if key.startswith("options.") else key: value
            for key, value in given.items()}  # fmt: skip
    typed = {key: checked(value, key, KEYS, COMMAND_LINE) for key, value in full.items()}
    whole = complete({**library.base, CHOOSERS[section]: name, **typed}, COMMAND_LINE, library.folder.parent)
    for key in full:
        if key not in keys_read(whole):
            raise bad_input("is not read", file=COMMAND_LINE, key=key, hint=why_unread(key, whole))
    return whole


def _report(name: str, section: str, flat: Mapping[str, Any]) -> str:
    from fne.checks.contract import check

    entry = find(section, name)
    given = keywords(entry, section, unflatten(flat))
    held = check(entry, section, given, name)
    summary = ", ".join(f"{key}={value}" for key, value in given.items())
    place = f" ({entry.file})" if isinstance(entry, Plugin) else ""
    lines = [f"{NOUNS[section]} {name}{place}{': ' if summary else ''}{summary}"]
    lines += [f"  holds: {promise}" for promise in held]
    return "\n".join(lines) + "\n"

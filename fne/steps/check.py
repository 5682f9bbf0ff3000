"""What ``fne check`` does with rules: build them as a config says and run their contract."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fne.data.published import read_published
from fne.negatives.registry import GROUPS, Entry, installed, registered
from fne.results.trials import read_trials
from fne.study import api as config
from fne.study import paths
from fne.study.library import Library
from fne.study.plugins import KEYS, Plugin, complete, find, keywords, look_in, of_target
from fne.study.validate import keys_read, why_unread
from fne.utils.errors import bad_input
from fne.utils.fields import CHOOSERS, checked, unflatten
from fne.utils.problems import Problems

NOUNS = {"negatives": "strategy", "loss": "loss"}
COMMAND_LINE = "command line"


def run(
    names: Sequence[str], variants: Sequence[str], overrides: Mapping[str, Any], root: Path, *, grid: bool = False
) -> None:
    """Check rules, variants and studies, and print what is valid; without any name all studies and variants.

    Args:
        names: Rules (as :func:`is_rule`) and studies.
        variants: Ids of variants whose rules are checked.
        overrides: Values of options or config keys.
        root: The project's folder.
        grid: Of rules: under other values of their options too.

    Raises:
        UserError: Names all problems.
    """
    problems, library, known = Problems(), Library(root), config.list_studies(root)
    rules = [name for name in names if name not in known and is_rule(name)]
    studies = [name for name in names if name not in rules]
    if grid and not rules:
        problems.report("goes with names of rules", file="command line", key="--grid")
    for name in rules:
        with problems.collect():
            print(check_rule(name, overrides, library, grid=grid), end="")
    for variant in variants:
        with problems.collect():
            print(check_variant(variant, overrides, library), end="")
    if not studies and (rules or variants):
        problems.raise_any("the rules")
        print("valid")
        return
    with problems.collect():
        library.base  # noqa: B018 - reading it checks it
    configs: list[Mapping[str, Any]] = []
    complete = bool(studies)
    checked_studies = studies or list(config.study_files(root))
    for name in checked_studies:
        with problems.collect():
            result = config.load(name, overrides, root, complete=complete)
            for note in result.notes:
                print(f"note: study {result.name}: {note}", file=sys.stderr)
            study = result.shared if isinstance(result, config.Series) else result
            configs += study.configs.values()
            if study.tuned:
                read_trials(root / paths.tuned_files(study)[1])
            if study.tune:
                config.load(name, overrides, root, complete=complete, tuned=False)
    checked_variants = []
    if not studies:
        with problems.collect():
            read_published(root)
        for stem in library.stems():
            with problems.collect():
                for variant in library.members(stem):
                    library.check(variant)
                    checked_variants.append(variant)
                    configs.append(library.merged(variant))
    plugins = check_plugins(configs, problems)
    problems.raise_any("the configuration")
    print(
        f"valid: {len(checked_studies)} studies ({', '.join(checked_studies)})"
        + (f", {len(checked_variants)} variants" if checked_variants else "")
        + (f", {plugins} rules from outside" if plugins else "")
    )


def is_rule(name: str) -> bool:
    """Does a name mean a strategy or a loss: registered, an entry point, or ``module:Class``?"""
    return ":" in name or bool(_sections(name))


def _sections(name: str) -> list[str]:
    return [part for part in CHOOSERS if name in registered(part) or name in installed(GROUPS[part])]


def check_rule(name: str, given: Mapping[str, Any], library: Library, *, grid: bool = False) -> str:
    """Run the contract of a rule with the options that are given, the others as in ``base.yaml`` or its signature.

    Args:
        name: As :func:`is_rule`.
        given: Values of options, ``options.<name>``, or of config keys.
        library: The project's configuration.
        grid: Run it, in short, under other values of its options too.

    Returns:
        What holds, in words.

    Raises:
        UserError: The rule or an option cannot be used, or the broken promise and how it is broken.
    """
    look_in(library.folder.parent)
    sections = [of_target(name).section] if ":" in name else _sections(name)
    flats = {section: _merged(name, section, given, library) for section in sections}
    summary = "".join(_report(name, section, flat) for section, flat in flats.items())
    return summary + "".join(_over_grid(find(section, name), flat) for section, flat in flats.items() if grid)


def check_variant(variant: str, given: Mapping[str, Any], library: Library) -> str:
    """Run the contract of a variant's strategy and of its loss.

    Args:
        variant: An id of ``ablations/variants``.
        given: Values of config keys that differ.
        library: The project's configuration.

    Raises:
        UserError: As :func:`check_rule`; or the variant is not valid.
    """
    library.check(variant)
    flat = _laid(library.merged(variant), given, library)
    return "".join(_report(flat[chooser], section, flat) for section, chooser in CHOOSERS.items())


def check_plugins(configs: Iterable[Mapping[str, Any]], problems: Problems) -> int:
    """Run the contract of every plug-in of merged configs, each once; torch is imported only if there is one.

    Args:
        configs: Flat configs.
        problems: Where breaches are kept.

    Returns:
        How many there were.
    """
    seen: list[tuple[str, dict[str, Any]]] = []
    for flat in configs:
        for section, chooser in CHOOSERS.items():
            entry = find(section, flat[chooser])
            if not isinstance(entry, Plugin):
                continue
            built = (entry.target, keywords(entry, section, unflatten(flat)))
            if built not in seen:
                seen.append(built)
                with problems.collect():
                    _report(flat[chooser], section, flat)
    return len(seen)


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
    place = f"{section}." if name in registered(section) else f"{section}.options."
    full = {
        f"{place}{key.removeprefix('options.')}" if key.startswith("options.") else key: value
        for key, value in given.items()
    }
    return _laid({**library.base, CHOOSERS[section]: name}, full, library)


def _laid(flat: Mapping[str, Any], given: Mapping[str, Any], library: Library) -> dict[str, Any]:
    """A merged config with the command line's values, each of which must be read."""
    laid = dict(flat)
    for key, value in given.items():
        laid[key] = checked(value, key, KEYS, COMMAND_LINE)
    whole = complete(laid, COMMAND_LINE, library.folder.parent)
    for key in given:
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

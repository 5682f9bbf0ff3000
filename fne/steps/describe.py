"""What ``fne describe`` says: a variant beside its parent and the base, or a study with its variants."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fne.data.published import Entry
from fne.negatives.registry import registered
from fne.report.text.released import released
from fne.steps.schema import meanings
from fne.study.library import Library
from fne.study.loading import list_studies, load
from fne.study.model import DATASET
from fne.study.plugins import EVERY_KEY
from fne.study.series import Series
from fne.study.study import Study
from fne.study.validate import in_words, keys_read
from fne.utils.errors import bad_input
from fne.utils.fields import CHOOSERS, check_key
from fne.utils.names import show


def run(name: str, root: Path = Path(".")) -> str:
    """Describe a variant (or a study, a series of studies, a key of the configuration) in plain text.

    A variant: title, question, chain of parents, difference from the parent and from ``base.yaml``, and the options
    that its strategy, memory and loss read. A study: also what of its FNE is the authors' release. A key: what it
    means, what is allowed, its default, and who reads it.

    Raises:
        UserError: No such variant, study or key; or its file is not valid.
    """
    library = Library(root)
    if name.partition(".")[0] in {key.partition(".")[0] for key in EVERY_KEY}:
        return _key(name, library)
    stems, studies = library.stems(), list_studies(root)
    if name.partition("--")[0] in stems:
        members = [name] if "--" in name else library.members(name)
        return "\n\n".join(_variant(library, member) for member in members) + "\n"
    if name in {*studies, *(study.partition("--")[0] for study in studies)}:
        result = load(name, root=root, complete=False)
        return _series(result) if isinstance(result, Series) else _study(result)
    raise bad_input("no variant, study or key of this name", value=name, allowed=[*stems, *studies, *EVERY_KEY])


def _key(name: str, library: Library) -> str:
    key = check_key(name, {**EVERY_KEY, "data.dataset": DATASET}, "configuration")
    allowed = key.allowed() if isinstance(key.allowed(), str) else ", ".join(key.allowed())
    lines = [
        f"{name}: {meanings(library.folder.parent).get(name, 'which data set a study is of')}",
        f"allowed: {allowed}",
    ]
    if name in library.base:
        lines.append(f"default: {show(library.base[name])}")
    readers = [entry for part in CHOOSERS for entry in registered(part).values()]
    if by := [entry.name for entry in readers if name in (*entry.keys, *entry.shares)]:
        lines.append(f"read by the rules {', '.join(by)}")
    if key.when:
        conditions = (
            " and ".join(f"{other} is {in_words(given)}" for other, given in item.items()) for item in key.when
        )
        lines.append(f"read where {' or '.join(conditions)}")
    return "\n".join(lines) + "\n"


def _variant(library: Library, variant_id: str) -> str:
    variant = library.variant(variant_id)
    library.check(variant_id)
    base, parent, merged = library.base, library.merged(variant.parent), library.merged(variant_id)
    chain = " -> ".join(["base", *(ancestor.id for ancestor in library.chain(variant_id))])
    lines = [
        f"{variant.id}: {variant.title} ({variant.role})",
        f"question: {variant.question}",
        f"chain: {chain}",
        "",
        f"differs from its parent, {variant.parent}:",
        *_difference(parent, merged),
    ]
    if variant.parent != "base":
        lines += ["", "differs from base.yaml:", *_difference(base, merged)]
    read, of_rules = keys_read(merged), ("negatives", "memory", "loss", "warmup")
    lines += ["", "reads:"]
    lines += [f"  {key}: {show(merged[key])}" for key in merged if key in read and key.partition(".")[0] in of_rules]
    return "\n".join(lines)


def _difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    lines = [
        f"  {key}: {show(before[key]) if key in before else '-'} -> {show(value)}"
        for key, value in after.items()
        if key not in before or before[key] != value
    ]
    if dropped := [key for key in before if key in keys_read(before) - keys_read(after)]:
        lines.append(f"  no longer read: {', '.join(dropped)}")
    return lines or ["  in nothing"]


def _series(series: Series) -> str:
    """Its members by the values that set them apart, then one of them, which tells the rest."""
    over = f"a series over {', '.join(series.factors)}:"
    lines = [f"{series.name}: {series.title}", f"question: {series.question}", over]
    for point, member in zip(series.points, series.members, strict=True):
        lines.append(f"  {', '.join(map(show, point.values()))}: {member.name}")
    return "\n".join([*lines, "", "each of them as the first:", "", _study(series.shared)])


def _study(study: Study) -> str:
    width = max(map(len, study.variants))
    protocol, metric, direction = (study.primary[key] for key in ("protocol", "metric", "direction"))
    lines = [
        f"{study.name}: {study.title}",
        f"question: {study.question}",
        f"data: {study.data['dataset']}; regime: {study.regime}; tuned: {study.tuned or 'no'}",
        f"seeds: {', '.join(map(str, study.seeds))} ({study.block} to a job)",
        f"primary metric: {metric} ({protocol} protocol, {direction}), against {study.baseline}",
        "",
        *(f"  {variant:<{width}}  {study.library[variant].title}" for variant in study.variants),
    ]
    notes = [f"note: {note}" for note in study.notes]
    lines += ["", words] if (words := released(study)) else []
    return "\n".join([*lines, *_searched(study), *_published(study), *([""] if notes else []), *notes]) + "\n"


def _searched(study: Study) -> list[str]:
    """The search that a study declares."""
    if study.tune is None:
        return []
    tune, first = study.tune, f"{study.tune.trials} trials of each variant at first, {study.tune.budget} at most"
    lines = ["", f"searched on validation, {first}, tuning seeds {list(tune.seeds)}:"]
    return lines + [f"  {key}: {axis.kind}, {axis.shown}" for key, axis in tune.axes(tune.search).items()]


def _published(study: Study) -> list[str]:
    """The published results that a study is set against."""
    against = study.published
    if against is None:
        return []
    lines = ["", "set against published results:"]
    for variant, entries in against.entries.items():
        lines += [f"  {variant}: {_entry(entry)}" for entry in entries]
    lines += [f"  beside them: {_entry(entry)}" for entry in against.context]
    tolerance = ", ".join(f"{metric} {value:g}" for metric, value in against.tolerance.items())
    return lines + ([f"tolerance: {tolerance} (percent points)"] if tolerance else [])


def _entry(entry: Entry) -> str:
    rsum = entry.values.get(("both", "rsum"))
    score = f"rsum {rsum:g}" if rsum is not None else f"see {f'doi {entry.doi}' if entry.doi else entry.source}"
    return f"{entry.id} ({entry.method}; {entry.backbone}; {entry.protocol}; {score})"

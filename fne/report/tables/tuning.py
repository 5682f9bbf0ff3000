"""How values were tuned: trials, rounds and cost of every variant's search, and where on its range each best lies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from fne.analysis.search import BOUND, FLAT, INSIDE, OPEN
from fne.report.tables.cells import ABSENT, Cell, Column, Table, title
from fne.report.text.wording import count, duration, listing, seed_list, titles
from fne.report.tuning import searched, tuning
from fne.results.made_from import fingerprints
from fne.results.study import StudyResults
from fne.results.trials import OTHER, inputs_of, read_trials
from fne.study import paths
from fne.study.tuned import Cost
from fne.study.tuning import ROUNDS, Tuning, read_tuning
from fne.utils.fields import flatten
from fne.utils.text import clean

TITLE = "How values were tuned"
KINDS = {INSIDE: "inside the range", FLAT: "flat", BOUND: "at a natural bound", OPEN: "at an open end"}
NONE = "no declared range"
COLUMNS = (
    Column("Variant", numeric=False),
    Column("Trials"),
    Column("Rounds"),
    Column("Runs", help="one for each trial, and those of finalists from further seeds"),
    Column("CPU minutes", help="of all runs; on a GPU, minutes"),
    Column("SD over seeds", help="of validation rsum, 0 to 600, over tuning seeds, pooled over finalists"),
    Column("Where the best values lie", numeric=False),
    Column("Values, each with its range", numeric=False),
)


def tuning_table(study: StudyResults) -> Table:
    """Build one row per variant that has tuned values; of a search under an earlier protocol with values alone."""
    result = tuning(study)
    if not result:
        caption = "Nothing was tuned for single variants: all share the other values."
        return Table("tuning", TITLE, caption, COLUMNS, ())
    rows, records = [], []
    for variant in (item for item in study.variants if item.id in result["values"]):
        values, where, ranges = (_by_key(result, section, variant.id) for section in ("values", "where", "ranges"))
        cost = (result.get("cost") or {}).get(variant.id, {})
        minutes = cost["seconds"] / 60 if cost else None
        shown = (f"{key} = {_shown(value)} of {clean(ranges.get(key, NONE))}" for key, value in values.items())
        rows.append(
            (
                title(variant),
                *(_number(cost.get(name), "{:d}") for name in ("trials", "rounds", "runs")),
                _number(minutes, "{:.1f}"),
                _number(cost.get("seed_sd"), "{:.1f}"),
                Cell(_placed(where), note="" if cost else clean(str(result["reasons"][variant.id]))),
                Cell("; ".join(shown)),
            )
        )
        summary = {"variant": variant.id, **{name: cost.get(name) for name in Cost.model_fields}}
        records += [
            {**summary, "key": key, "value": value, "where": where.get(key), "range": ranges.get(key)}
            for key, value in values.items()
        ]
    if result.get("cost"):
        caption, notes = _summary_of(study, result)
    else:
        caption, notes = f"Tuned on validation, {clean(str(result['protocol']['date']))}.", []
    return Table("tuning", TITLE, caption, COLUMNS, tuple(rows), tuple(notes), tuple(records))


def _by_key(result: Mapping[str, Any], section: str, variant: str) -> dict[str, Any]:
    return flatten((result.get(section) or {}).get(variant) or {})


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else clean(str(value))


def _number(value: float | None, form: str) -> Cell:
    return ABSENT if value is None else Cell(form.format(value), float(value))


def _placed(where: Mapping[str, str]) -> str:
    """``inside: loss.margin, memory.size; flat: warmup.epochs``."""
    by: dict[str, list[str]] = {}
    for key, place in where.items():
        by.setdefault(clean(place), []).append(key)
    return "; ".join(f"{place}: {', '.join(keys)}" for place, keys in by.items())


def _summary_of(study: StudyResults, result: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Caption and notes of a search: its protocol, how many best values lie where, and what bounds are natural."""
    file, protocol = study.root / paths.tuned_files(study.definition)[0], result["protocol"]
    declared = read_tuning(result["declared"], file, "declared")
    draw = protocol.get("draw", 0)
    first, *further = declared.of_draw(draw)
    own = searched(study)
    where = {variant: _by_key(result, "where", variant) for variant in own}
    kinds = Counter(place for places in where.values() for place in places.values())
    runs, seconds = (sum(result["cost"][variant][name] for variant in own) for name in ("runs", "seconds"))
    caption = (
        "The same rule for every variant, over the keys that it reads: a first round of "
        f"{declared.trials} quasi-random trials over the declared ranges, then {ROUNDS} rounds around the best, "
        f"{declared.budget} trials in all, a range extended where one of the best is at an open end. "
        f"All trials are of tuning seed {first}; of the best {declared.finalists} the mean validation rsum over seeds "
        f"{seed_list(further)} decides. "
        f"Draw {draw} of the search, {clean(str(protocol['date']))}: {count(runs)} runs, {duration(seconds)} of CPU "
        "time (on a GPU, of time). Best values of all variants and keys: "
        f"{listing(f'{kinds[kind]} {words}' for kind, words in KINDS.items())}. At an end: in the outer eighth "
        "of the range as extended. Flat: at an end, but a trial inside is at most one standard deviation over seeds "
        "worse. Natural bound: at an end beyond which nothing lies."
    )
    bounds: dict[str, list[str]] = {}
    for variant, places in where.items():
        for key in (key for key, place in places.items() if place == BOUND):
            reason = f"{key}: {_bound(declared, key, _by_key(result, 'values', variant)[key])}"
            bounds.setdefault(reason, []).append(variant)
    notes = [f"Natural bound of {clean(reason)} ({titles(study, variants)})." for reason, variants in bounds.items()]
    shared = [name for name in study.definition.variants if name in result["values"] and name not in own]
    if shared:
        notes.append(f"Not counted, for they take over the values of another variant: {titles(study, shared)}.")
    trials = [item for item in read_trials(paths.trials_file(file)) if item.variant in own and item.round != OTHER]
    here = inputs_of(fingerprints(study))
    if other := [side for side in here if trials and here[side] not in {item.made_from[side] for item in trials}]:
        notes.append(f"The search was made on other {listing(other)} than this study's, which takes over its values.")
    return caption, notes


def _bound(declared: Tuning, key: str, value: Any) -> str:
    """Why nothing lies beyond the end of a range at which a value lies."""
    axis = declared.axes([key]).get(key)
    if axis is None:
        return NONE
    lower = axis.place(value) < 0.5
    return axis.bound("lowest" if lower else "highest") or f"the {'least' if lower else 'greatest'} that it can be here"

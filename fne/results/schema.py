"""Every CSV file, column by column: the one place from which writers, readers, bundle and documentation take it."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fne.protocols import METRICS
from fne.utils.errors import bad_input
from fne.utils.files import read_csv, reading, write_csv
from fne.utils.text import unguarded

if TYPE_CHECKING:
    import pandas as pd

_OTHER = (
    f"{name} 0 to {item.top}" if item.top else f"{name}: a rank" for name, item in METRICS.items() if item.top != 1
)
SHARE = f"fraction ({'; '.join(['0 to 1', *_OTHER])})"
_MEANT = ((meaning, list(names)) for meaning, names in groupby(METRICS, key=lambda name: METRICS[name].meaning))
_NAMED = "; ".join(f"{', '.join(names)}: {meaning}" if meaning else "; ".join(names) for meaning, names in _MEANT)
KINDS = ("text", "int", "float", "bool")


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        kind: One of :data:`KINDS`.
        meaning: One sentence.
        unit: What a number counts; empty for text.
    """

    kind: str
    meaning: str
    unit: str = ""


_text, _int, _float, _bool = (functools.partial(Column, kind) for kind in KINDS)
_ID = {"study": _text("Id of the study.")}
_STUDY = {**_ID, "dataset": _text("Data set of the study.")}
_VARIANT = {"variant": _text("Id of the variant; its title and config are in bundle.json.")}
_SEED = {"seed": _int("Training seed of the run; equal seeds are paired across variants.")}
_METHOD = {"method": _text("How the interval was made, or why there is none.")}
_LEVEL = {"level": _float("Nominal coverage of the interval.", "fraction")}
_KEY = {
    "protocol": _text("What is retrieved from what, and what counts as right: see protocols in bundle.json."),
    "direction": _text("i2t: an image is the query; t2i: a caption is; both: over the two."),
    "metric": _text(f"{_NAMED}."),
}
_ENDS = {
    "low": _float("Lower end of the 95 % interval; empty where none could be made.", SHARE),
    "high": _float("Upper end of the 95 % interval.", SHARE),
}
ELSEWHERE = {
    "low_elsewhere": _float(
        "Lower end of the 95 % interval for another encoder and world; primary metric only.", SHARE
    ),
    "high_elsewhere": _float("Its upper end.", SHARE),
    "method_elsewhere": _text("Which components of variance widened it, or why there is none."),
}
_N_SEEDS = {"n_seeds": _int("Seeds that have a result.", "runs")}
_POSTERIOR = {
    "posterior": _text("fne:<density>, bcl, threshold:<strategy>, or a strategy from outside."),
    "own": _bool("True where the variant itself uses it, and not another density in its place."),
    "recalibration": _text("none, or the map through which it went: isotonic, platt."),
    "source": _text("What is known of the pairs: exact, judged, equal_captions."),
    "direction": _text("i2t, t2i: images or captions as anchors; both: the two agree."),
}
_DIRECTION = {"direction": _text("i2t: the anchor is an image; t2i: it is a caption.")}
_BOTH = {"direction": _text("i2t: the anchor is an image; t2i: it is a caption; both: over the two.")}
_SEEDS = {"seeds": _int("Seeds that were counted.", "runs")}
_PICKS = {**_SEEDS, "picks": _int("Negatives picked, seeds pooled.", "picks")}
_PART = {"share_of_picks": _float("Their share of all picks of the direction.", "fraction")}
_KNOWN = {"false_negatives": _int("Picks that are known to be positives; empty where none is known.", "picks")}
_RATE = {"rate": _float("The share that is known to match.", "fraction"), **_ENDS, **_METHOD}
_KNOWN_RATE = {**_KNOWN, **_RATE}
_SERIES = {
    "series": _text("Id of the series; a column for each factor, by its key, follows it."),
    "study": _text("Id of the member study."),
}


def _table(row: str, **columns: Column) -> tuple[str, dict[str, Column]]:
    """What a row is, and the columns."""
    return row, columns


def _both_ways(name: str, meaning: str, unit: str) -> dict[str, Column]:
    words = {"i2t": "image anchors", "t2i": "caption anchors"}
    return {f"{name}_{way}": _float(f"{meaning}, {anchors}.", unit) for way, anchors in words.items()}


TABLES = {
    "runs": _table(
        "One row per variant, seed, protocol, direction and metric.",
        **_STUDY,
        regime=_text("head: frozen encoders, trained heads; finetune: end to end."),
        **_VARIANT,
        title=_text("Title of the variant."),
        **_SEED,
        split=_text("The split that was scored."),
        **_KEY,
        value=_float("The score.", SHARE),
        fingerprint=_text("Id of the protocol's fingerprint: only equal ones may be compared."),
        ensemble=_bool("True where the score is of several models together."),
        selected_epoch=_int("Epoch of the checkpoint that validation chose.", "epochs, from 0"),
        digest=_text("Digest of the variant's resolved config."),
    ),
    "intervals": _table(
        "One row per variant, protocol, direction and metric: the mean over seeds with its interval.",
        **_STUDY,
        **_VARIANT,
        **_KEY,
        **_N_SEEDS,
        n_queries=_int("Scored queries of a run.", "queries"),
        mean=_float("Mean over seeds.", SHARE),
        sd_seeds=_float("Standard deviation over seeds.", SHARE),
        **_ENDS,
        **_LEVEL,
        **_METHOD,
        **ELSEWHERE,
    ),
    "contrasts": _table(
        "One row per variant but the baseline, protocol, direction and metric: the paired difference to the baseline.",
        **_STUDY,
        **_VARIANT,
        baseline=_text("The variant that it is compared with."),
        **_KEY,
        **_N_SEEDS,
        difference=_float("Variant minus baseline, mean over the seeds that both have.", SHARE),
        **_ENDS,
        p_query=_float("Two-sided p of the paired permutation test over images, given these seeds.", "probability"),
        p_query_floor=_float("The least value that random signs can give it.", "probability"),
        p_query_holm=_float("p_query after Holm's correction; primary metric only.", "probability"),
        p_seed=_float("Two-sided p of the sign-flip test over seeds, given these test images.", "probability"),
        p_seed_floor=_float("The least value that it can take with so many seeds.", "probability"),
        p_seed_holm=_float("p_seed after Holm's correction; primary metric only.", "probability"),
        family=_int(
            "Comparisons that Holm's correction counts; its p values are at least so many times the floor.",
            "comparisons",
        ),
        note=_text("What a reader must know about the row."),
        **ELSEWHERE,
    ),
    "curves": _table(
        "One row per variant, seed and epoch: what training logged.",
        **_VARIANT,
        **_SEED,
        epoch=_int("Epoch.", "epochs, from 0"),
        step=_int("Optimiser steps at its end.", "steps"),
        seconds=_float("Training time at its end, all seeds of the block together.", "seconds"),
        phase=_text("warmup, or main: the strategy's own epochs."),
        loss=_float("Mean loss of the epoch."),
        learning_rate=_float("At its end."),
        val_rsum=_float("Sum of six recalls on the validation split.", SHARE),
        **_both_ways("val_r1", "R@1 on the validation split", SHARE),
        **_both_ways("fn_share", "Share of picks that are known false negatives", "fraction"),
        **_both_ways("hardness", "Mean similarity of the picks", "cosine"),
        **_both_ways("gap", "Mean similarity of the positive minus that of the pick", "cosine"),
        **_both_ways("ess", "Effective sample size of the weights", "candidates"),
        **_both_ways("override_share", "Mean share of candidates whose weight the posterior set", "fraction"),
        **_both_ways("fallback_share", "Share of anchors to which the rule left no candidate", "fraction"),
        **_both_ways("contributing", "Share of anchors with a loss above zero", "fraction"),
        queue_age=_float("Mean age of the picks that came from the memory.", "steps"),
        collapsed=_int("1 where the loss says that the embeddings have collapsed."),
    ),
    "audit": _table(
        "One row per variant, seed, epoch, direction and bin of similarity: what was picked, and what was there.",
        **_VARIANT,
        **_SEED,
        epoch=_int("Epoch of the variant's main phase.", "epochs, from 0"),
        **_DIRECTION,
        bin_low=_float("Lower end of the bin.", "cosine"),
        bin_high=_float("Upper end of the bin.", "cosine"),
        picks=_int("Negatives picked.", "picks"),
        false_negatives=_int("Picks that are known to be positives.", "picks"),
        candidates=_int("Candidates.", "pairs"),
        candidate_false_negatives=_int("Candidates that are known to be positives.", "pairs"),
    ),
    "calibration": _table(
        "One row per variant, posterior, map, source of truth, direction and score of a false-negative probability.",
        **_VARIANT,
        **_POSTERIOR,
        metric=_text("ece, brier, log_loss, auroc, average_precision."),
        value=_float("Mean over seeds.", "score of a probability; log_loss: nats"),
        low=_float("Lower end of the 95 % interval; empty where there is none.", "as value"),
        high=_float("Upper end of the 95 % interval.", "as value"),
        seeds=_int("Seeds that were scored.", "runs"),
        pairs=_int("Scored pairs of a run.", "pairs"),
        positives=_int("Those of them that are relevant.", "pairs"),
        **_METHOD,
    ),
    "calibration_bins": _table(
        "One row per bin of equal mass of a posterior: what a reliability diagram shows.",
        **_VARIANT,
        **_POSTERIOR,
        bin=_int("Number of the bin, by rising probability.", "from 0"),
        probability=_float("Mean probability, seeds pooled.", "probability"),
        observed=_float("Share of the pairs that is relevant.", "fraction"),
        low=_float("Lower end of its 95 % interval.", "fraction"),
        high=_float("Upper end of its 95 % interval.", "fraction"),
        pairs=_int("Pairs, seeds pooled.", "pairs"),
        positives=_int("Those of them that are relevant.", "pairs"),
    ),
    "missing": _table(
        "One row per run that the study asks for and that has no result.",
        **_ID,
        **_VARIANT,
        **_SEED,
        stage=_text("The first stage that left nothing."),
        reason=_text("Why."),
    ),
    "images": _table(
        "One row per variant, seed and test image: its part in the primary metric, for resampling images.",
        **_VARIANT,
        **_SEED,
        image=_int("Position of the image in the test split.", "from 0"),
        influence=_float("Its influence value; their mean over images is the run's score.", SHARE),
    ),
    "ranks": _table(
        "One row per variant, seed, protocol, direction and query: the rank of its best right answer.",
        **_VARIANT,
        **_SEED,
        protocol=_KEY["protocol"],
        direction=_KEY["direction"],
        query=_int("Position of the query among those of the protocol and direction.", "from 0"),
        rank=_float("Rank of its best right answer; ties by the protocol's rule.", "ranks, from 1"),
    ),
    "cost": _table(
        "One row per variant and block of seeds: what training took.",
        **_ID,
        **_VARIANT,
        block=_text("The seeds that were trained together."),
        **_N_SEEDS,
        seconds_total=_float("Time of training.", "seconds"),
        steps=_int("Optimiser steps.", "steps"),
        seconds_per_step=_float("Time of a step.", "seconds"),
        peak_memory_mb=_float("Most memory used at once.", "megabytes"),
        device=_text("Where it ran."),
        threads=_int("Threads of the processor.", "threads"),
    ),
    "verify": _table(
        "One row per score and per difference to the baseline: is that of the reference reproduced?",
        **_ID,
        quantity=_text("score or difference."),
        **_VARIANT,
        baseline=_text("Of a difference: the variant that it is compared with."),
        **_KEY,
        n_reference=_int("Seeds of the reference.", "runs"),
        n_here=_int("Seeds here.", "runs"),
        reference=_float("Mean of the reference.", SHARE),
        here=_float("Mean here.", SHARE),
        change=_float("Here minus reference.", SHARE),
        **_ENDS,
        **_LEVEL,
        tolerance=_float("Half the width of what counts as the same.", SHARE),
        reasons=_text("What may explain the row, names with blanks between."),
        verdict=_text("reproduced, not reproduced or inconclusive."),
    ),
    "audit_epochs": _table(
        "One row per variant, epoch and direction; an empty epoch: all that variants are compared over.",
        **_VARIANT,
        epoch=_int("Epoch of the run.", "epochs, from 0"),
        phase=_text("warmup or main."),
        **_BOTH,
        **_PICKS,
        **_KNOWN_RATE,
        hardness=_float("Mean similarity of the picks.", "cosine"),
        gap=_float("Mean similarity of the pick minus that of the positive.", "cosine"),
        posterior=_float("Mean posterior of the picks; empty where the rule has none.", "probability"),
        weight=_float("Mean weight of the picks; empty where the rule has none."),
        from_queue=_float("Share of the picks that came from the memory.", "fraction"),
        age=_float("Mean age of those.", "steps"),
    ),
    "audit_risk": _table(
        "One row per variant, direction and bin of the gap, similarity of the pick minus that of the positive.",
        **_VARIANT,
        **_BOTH,
        gap_low=_float("Lower end of the bin, in it.", "cosine"),
        gap_high=_float("Upper end of the bin, not in it.", "cosine"),
        **_PICKS,
        **_KNOWN_RATE,
    ),
    "audit_agreement": _table(
        "One row per pair of variants and direction: how often both pick the same negative.",
        **_VARIANT,
        other=_text("Id of the other variant."),
        **_BOTH,
        **_SEEDS,
        anchors=_int("Anchors for which both have a pick.", "anchors"),
        same=_int("Those for which it is the same.", "anchors"),
        agreement=_float("Their share.", "fraction"),
        **_ENDS,
        **_METHOD,
        expected=_float("The share by accident, if picks are dealt to anchors anew.", "fraction"),
        kappa=_float("(agreement - expected) / (1 - expected): 1 for identical picks."),
        kappa_low=_float("Lower end of its 95 % interval."),
        kappa_high=_float("Upper end of its 95 % interval."),
    ),
    "audit_popular": _table(
        "One row per variant, direction and candidate that is among the most picked.",
        **_VARIANT,
        **_DIRECTION,
        place=_int("Its place.", "from 1"),
        candidate=_int("Position of the candidate in the training split.", "from 0"),
        id=_text("Its id; empty where the prepared data are not at hand."),
        picks=_PICKS["picks"],
        **_PART,
        anchors=_int("Different anchors that it was picked for.", "anchors"),
        **_KNOWN,
    ),
    "audit_concentration": _table(
        "One row per variant and direction: how unevenly picks fall on the items of the training split.",
        **_VARIANT,
        **_DIRECTION,
        picks=_PICKS["picks"],
        items=_int("Items of the training split.", "items"),
        items_picked=_int("Items picked at all.", "items"),
        gini=_float("Gini's coefficient of picks per item; 0: all alike."),
        gini_by_chance=_float("What as many picks fall to if drawn uniformly."),
        top_share=_float("Share of the picks on the most picked hundredth of items.", "fraction"),
    ),
    "audit_ages": _table(
        "One row per variant, direction and bin of the candidate's age in the memory.",
        **_VARIANT,
        **_BOTH,
        age_low=_int("Least age of the bin; -1: of the batch.", "steps"),
        age_high=_int("Greatest age of the bin.", "steps"),
        **_PICKS,
        **_PART,
        **_KNOWN_RATE,
    ),
    "audit_judged": _table(
        "One row per variant, direction and depth: what people judged of the negatives ranked highest.",
        **_VARIANT,
        direction=_KEY["direction"],
        depth=_int("Items of a query's ranking.", "ranks"),
        **_SEEDS,
        negatives=_int("Items among them that are not of the query's own image.", "pairs"),
        judged=_int("Those that were judged.", "pairs"),
        judged_share=_float("Their share.", "fraction"),
        true=_int("Judged ones that match.", "pairs"),
        **_RATE,
    ),
    "worlds": _table(
        "One row per member study and split: what is known of its data.",
        **_SERIES,
        split=_text("The split."),
        images=_int("Its images.", "images"),
        captions=_int("Its captions.", "captions"),
        truth=_text("Kind of the truth about its pairs; empty where there is none."),
        prevalence=_float("Share of pairs that are unmarked matches.", "fraction"),
    ),
    "effects": _table(
        "One row per member study, variant, reference and score, and how a difference changed since the first member.",
        **_SERIES,
        **_VARIANT,
        reference=_text("The variant that is subtracted; empty: a score."),
        since=_float("The factor's first value, where the row is a change since it.", "the factor's"),
        **_KEY,
        **_N_SEEDS,
        estimate=_float("Score, difference or change of it.", SHARE),
        **_ENDS,
        **_LEVEL,
        **_METHOD,
    ),
    "picks": _table(
        "One row per member study and variant: false negatives among the picks.",
        **_SERIES,
        **_VARIANT,
        **_N_SEEDS,
        share=_float("Share of picks that are known to be positives.", "fraction"),
        **_ENDS,
        **_KNOWN,
        picks=_PICKS["picks"],
    ),
    "components": _table(
        "One row per score or difference and source of its variance.",
        series=_SERIES["series"],
        of=_text("score or difference."),
        variant=_text("Id of the variant; empty where all are pooled."),
        source=_text("What varies: a factor, interaction, seed, images, or another cell."),
        variance=_float("Its component of the variance.", "score squared"),
        low=_float("Lower end of its 95 % interval.", "score squared"),
        high=_float("Upper end of its 95 % interval.", "score squared"),
        error=_float("Standard error of the sum for another cell.", "score squared"),
        levels=_int("Fewest levels of a factor, of the sum for another cell.", "levels"),
        cells=_int("Cells of the design.", "studies"),
        runs=_int("Runs in them.", "runs"),
        note=_text("Why there is no decomposition."),
    ),
}
"""Name, that of the CSV file or of a bundle's table -> what a row is, and its columns in the order of the file. Columns
that a study's tables have beyond these are exported as text, and said to be of a newer version."""


def header(name: str, *factors: str) -> list[str]:
    """Columns of a table, in order; of a series', those of the factors after the first."""
    first, *rest = TABLES[name][1]
    return [first, *factors, *rest]


def write_table(folder: Path, name: str, rows: Iterable[Mapping[str, Any]], *factors: str) -> None:
    """Write ``<name>.csv`` into a folder."""
    write_csv(folder / f"{name}.csv", rows, header(name, *factors))


def verb_of(name: str) -> str:
    """The verb that writes a table into the folder of a study or series."""
    if name.startswith(("audit_", "calibration")):
        return "audit"
    named = {**dict.fromkeys(("runs", "missing", "curves", "audit", "cost"), "aggregate"), "verify": "verify"}
    return named.get(name, "compare")


def written_by(verb: str) -> tuple[str, ...]:
    """The files of the tables that a verb writes."""
    return tuple(f"{name}.csv" for name in TABLES if verb_of(name) == verb)


def table_bytes(path: Path) -> bytes:
    """Content of a CSV file in the folder of a study or series, compared with its digest.

    Raises:
        UserError: As :func:`fne.utils.files.read_csv`.
    """
    return read_csv(path, _again(path))


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV file of a study or series: words stay words (also ``none``), empty cells are NaN.

    Raises:
        UserError: As :func:`fne.utils.files.read_csv`; or it is no CSV file, a column is missing, or one of numbers
            holds something else.
    """
    import pandas as pd

    content, known = table_bytes(path), TABLES[path.stem][1]
    with reading(path, _again(path)):
        columns = pd.read_csv(io.BytesIO(content), nrows=0).columns
        types = {name: "string" for name in columns if name in known and known[name].kind == "text"}
        empty = {name: [""] for name in columns}
        frame = pd.read_csv(io.BytesIO(content), dtype=types, keep_default_na=False, na_values=empty, index_col=False)
    for name, column in known.items():
        if name not in frame:
            raise bad_input("column is missing", file=path, key=name, hint=_again(path))
        kinds = {"int": "iuf", "float": "iuf", "bool": "b"}.get(column.kind, "OTU")
        if name in frame and frame[name].dtype.kind not in kinds and frame[name].notna().any():
            raise bad_input("holds something else", file=path, key=name, allowed=column.kind, hint=_again(path))
    frame = frame.astype(dict.fromkeys(types, object))
    if b"'" in content:
        for name in types:
            frame[name] = frame[name].map(unguarded, na_action="ignore")
    return frame


def _again(path: Path) -> str:
    return f"run `fne {verb_of(path.stem)} --study {path.parent.name}` again"

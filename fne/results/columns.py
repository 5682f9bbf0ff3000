"""The tables of a bundle and what each of their columns means: the one source of types, units and documentation."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from fne.protocols import METRICS

_OTHER = (f"{name} 0 to {one.top}" if one.top else f"{name}: a rank" for name, one in METRICS.items() if one.top != 1)
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


_STUDY = {
    "study": Column("text", "Id of the study."),
    "dataset": Column("text", "Data set of the study."),
}
_VARIANT = {"variant": Column("text", "Id of the variant; its title and config are in bundle.json.")}
_SEED = {"seed": Column("int", "Training seed of the run; equal seeds are paired across variants.")}
_KEY = {
    "protocol": Column("text", "What is retrieved from what, and what counts as right: see protocols in bundle.json."),
    "direction": Column("text", "i2t: an image is the query; t2i: a caption is; both: over the two."),
    "metric": Column("text", f"{_NAMED}."),
}
_ENDS = {
    "low": Column("float", "Lower end of the 95 % interval; empty where none could be made.", SHARE),
    "high": Column("float", "Upper end of the 95 % interval.", SHARE),
}
_ELSEWHERE = {
    "low_elsewhere": Column(
        "float", "Lower end of the 95 % interval for another encoder and world; primary metric only.", SHARE
    ),
    "high_elsewhere": Column("float", "Its upper end.", SHARE),
    "method_elsewhere": Column("text", "Which components of variance widened it, or why there is none."),
}
_N_SEEDS = {"n_seeds": Column("int", "Seeds that have a result.", "runs")}
_POSTERIOR = {
    "posterior": Column("text", "fne:<density>, bcl, threshold:<strategy>, or a strategy from outside."),
    "own": Column("bool", "True where the variant itself uses it, and not another density in its place."),
    "recalibration": Column("text", "none, or the map through which it went: isotonic, platt."),
    "source": Column("text", "What is known of the pairs: exact, judged, equal_captions."),
    "direction": Column("text", "i2t, t2i: images or captions as anchors; both: the two agree."),
}
_DIRECTION = {"direction": Column("text", "i2t: the anchor is an image; t2i: it is a caption.")}


def _both_ways(name: str, meaning: str, unit: str) -> dict[str, Column]:
    words = {"i2t": "image anchors", "t2i": "caption anchors"}
    return {f"{name}_{way}": Column("float", f"{meaning}, {anchors}.", unit) for way, anchors in words.items()}


TABLES: dict[str, tuple[str, dict[str, Column]]] = {
    "runs": (
        "One row per variant, seed, protocol, direction and metric.",
        {
            **_STUDY,
            "regime": Column("text", "head: frozen encoders, trained heads; finetune: end to end."),
            **_VARIANT,
            "title": Column("text", "Title of the variant."),
            **_SEED,
            "split": Column("text", "The split that was scored."),
            **_KEY,
            "value": Column("float", "The score.", SHARE),
            "fingerprint": Column("text", "Id of the protocol's fingerprint: only equal ones may be compared."),
            "ensemble": Column("bool", "True where the score is of several models together."),
            "selected_epoch": Column("int", "Epoch of the checkpoint that validation chose.", "epochs, from 0"),
            "digest": Column("text", "Digest of the variant's resolved config."),
        },
    ),
    "intervals": (
        "One row per variant, protocol, direction and metric: the mean over seeds with its interval.",
        {
            **_STUDY,
            **_VARIANT,
            **_KEY,
            **_N_SEEDS,
            "n_queries": Column("int", "Scored queries of a run.", "queries"),
            "mean": Column("float", "Mean over seeds.", SHARE),
            "sd_seeds": Column("float", "Standard deviation over seeds.", SHARE),
            **_ENDS,
            "level": Column("float", "Nominal coverage of the interval.", "fraction"),
            "method": Column("text", "How the interval was made, or why there is none."),
            **_ELSEWHERE,
        },
    ),
    "contrasts": (
        "One row per variant but the baseline, protocol, direction and metric: the paired difference to the baseline.",
        {
            **_STUDY,
            **_VARIANT,
            "baseline": Column("text", "The variant that it is compared with."),
            **_KEY,
            **_N_SEEDS,
            "difference": Column("float", "Variant minus baseline, mean over the seeds that both have.", SHARE),
            **_ENDS,
            "p_query": Column(
                "float", "Two-sided p of the paired permutation test over images, given these seeds.", "probability"
            ),
            "p_query_floor": Column("float", "The least value that random signs can give it.", "probability"),
            "p_query_holm": Column("float", "p_query after Holm's correction; primary metric only.", "probability"),
            "p_seed": Column(
                "float", "Two-sided p of the sign-flip test over seeds, given these test images.", "probability"
            ),
            "p_seed_floor": Column("float", "The least value that it can take with so many seeds.", "probability"),
            "p_seed_holm": Column("float", "p_seed after Holm's correction; primary metric only.", "probability"),
            "family": Column(
                "int",
                "Comparisons that Holm's correction counts; its p values are at least so many times the floor.",
                "comparisons",
            ),
            "note": Column("text", "What a reader must know about the row."),
            **_ELSEWHERE,
        },
    ),
    "curves": (
        "One row per variant, seed and epoch: what training logged.",
        {
            **_VARIANT,
            **_SEED,
            "epoch": Column("int", "Epoch.", "epochs, from 0"),
            "step": Column("int", "Optimiser steps at its end.", "steps"),
            "seconds": Column("float", "Training time at its end, all seeds of the block together.", "seconds"),
            "phase": Column("text", "warmup, or main: the strategy's own epochs."),
            "loss": Column("float", "Mean loss of the epoch."),
            "learning_rate": Column("float", "At its end."),
            "val_rsum": Column("float", "Sum of six recalls on the validation split.", SHARE),
            **_both_ways("val_r1", "R@1 on the validation split", SHARE),
            **_both_ways("fn_share", "Share of picks that are known false negatives", "fraction"),
            **_both_ways("hardness", "Mean similarity of the picks", "cosine"),
            **_both_ways("gap", "Mean similarity of the positive minus that of the pick", "cosine"),
            **_both_ways("ess", "Effective sample size of the weights", "candidates"),
            **_both_ways("override_share", "Mean share of candidates whose weight the posterior set", "fraction"),
            **_both_ways("fallback_share", "Share of anchors to which the rule left no candidate", "fraction"),
            **_both_ways("contributing", "Share of anchors with a loss above zero", "fraction"),
            "queue_age": Column("float", "Mean age of the picks that came from the memory.", "steps"),
            "collapsed": Column("int", "1 where the loss says that the embeddings have collapsed."),
        },
    ),
    "audit": (
        "One row per variant, seed, epoch, direction and bin of similarity: what was picked, and what was there.",
        {
            **_VARIANT,
            **_SEED,
            "epoch": Column("int", "Epoch of the variant's main phase.", "epochs, from 0"),
            **_DIRECTION,
            "bin_low": Column("float", "Lower end of the bin.", "cosine"),
            "bin_high": Column("float", "Upper end of the bin.", "cosine"),
            "picks": Column("int", "Negatives picked.", "picks"),
            "false_negatives": Column("int", "Picks that are known to be positives.", "picks"),
            "candidates": Column("int", "Candidates.", "pairs"),
            "candidate_false_negatives": Column("int", "Candidates that are known to be positives.", "pairs"),
        },
    ),
    "calibration": (
        "One row per variant, posterior, map, source of truth, direction and score of a false-negative probability.",
        {
            **_VARIANT,
            **_POSTERIOR,
            "metric": Column("text", "ece, brier, log_loss, auroc, average_precision."),
            "value": Column("float", "Mean over seeds.", "score of a probability; log_loss: nats"),
            "low": Column("float", "Lower end of the 95 % interval; empty where there is none.", "as value"),
            "high": Column("float", "Upper end of the 95 % interval.", "as value"),
            "seeds": Column("int", "Seeds that were scored.", "runs"),
            "pairs": Column("int", "Scored pairs of a run.", "pairs"),
            "positives": Column("int", "Those of them that are relevant.", "pairs"),
            "method": Column("text", "How the interval was made, or why there is none."),
        },
    ),
    "calibration_bins": (
        "One row per bin of equal mass of a posterior: what a reliability diagram shows.",
        {
            **_VARIANT,
            **_POSTERIOR,
            "bin": Column("int", "Number of the bin, by rising probability.", "from 0"),
            "probability": Column("float", "Mean probability, seeds pooled.", "probability"),
            "observed": Column("float", "Share of the pairs that is relevant.", "fraction"),
            "low": Column("float", "Lower end of its 95 % interval.", "fraction"),
            "high": Column("float", "Upper end of its 95 % interval.", "fraction"),
            "pairs": Column("int", "Pairs, seeds pooled.", "pairs"),
            "positives": Column("int", "Those of them that are relevant.", "pairs"),
        },
    ),
    "missing": (
        "One row per run that the study asks for and that has no result.",
        {
            "study": _STUDY["study"],
            **_VARIANT,
            **_SEED,
            "stage": Column("text", "The first stage that left nothing."),
            "reason": Column("text", "Why."),
        },
    ),
    "images": (
        "One row per variant, seed and test image: its part in the primary metric, for resampling images.",
        {
            **_VARIANT,
            **_SEED,
            "image": Column("int", "Position of the image in the test split.", "from 0"),
            "influence": Column("float", "Its influence value; their mean over images is the run's score.", SHARE),
        },
    ),
    "ranks": (
        "One row per variant, seed, protocol, direction and query: the rank of its best right answer.",
        {
            **_VARIANT,
            **_SEED,
            "protocol": _KEY["protocol"],
            "direction": _KEY["direction"],
            "query": Column("int", "Position of the query among those of the protocol and direction.", "from 0"),
            "rank": Column("float", "Rank of its best right answer; ties by the protocol's rule.", "ranks, from 1"),
        },
    ),
}
"""Name -> what a row is, and its columns in order. Columns that a study's tables have beyond these are kept as text or
numbers, and said to be of a newer version."""

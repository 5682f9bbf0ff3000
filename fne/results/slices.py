"""Slices of the test queries: where one variant differs from another. Exploratory: nothing is to be chosen by it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fne.analysis.intervals import RESAMPLES, hierarchical_intervals
from fne.analysis.layout import per_image
from fne.protocols import DIRECTIONS, OWN
from fne.results import per_query
from fne.results.collect import SPLIT
from fne.results.per_query import Queries
from fne.utils.errors import bad_input

if TYPE_CHECKING:
    import pandas as pd

    from fne.results.study import StudyResults

COLUMNS = ["slice", "queries", "images", "seeds", "mean", "mean_against", "difference", "low", "high",
           "interaction", "interaction_low", "interaction_high", "method"]  # fmt: skip
ALL, UNKNOWN = "all queries", "not known"
MIN_IMAGES = 10
"""Images that an interval needs: with fewer, resampling them shows too little of how much they vary."""
MOST = 50
"""Slices that a rule may make."""
Rule = Callable[[Queries], Sequence[Any] | np.ndarray]


def caption_length(queries: Queries) -> np.ndarray:
    """Words of the caption; of an image the mean over its own captions."""
    return np.array([np.mean([len(text.split()) for text in texts]) for texts in queries.captions])


def true_positives(queries: Queries) -> np.ndarray:
    """Items that are known to match, own ones included.

    Raises:
        UserError: The data set knows no query's matches.
    """
    if np.isnan(queries.true_positives).all():
        problem = "this data set does not know which items of the test split match"
        raise bad_input(problem, key="by", value="true_positives", allowed="caption_length, or a function of your own")
    return queries.true_positives


RULES: dict[str, Rule] = {"caption_length": caption_length, "true_positives": true_positives}


def slices(
    study: StudyResults,
    variant: str,
    by: str | Rule = "caption_length",
    *,
    against: str | None = None,
    metric: str = "r1",
    direction: str = "t2i",
    protocol: str = OWN,
    groups: int | Sequence[float] = 4,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Two variants on parts of the test queries, paired by seed and image. Exploratory: do not select by it.

    Test captions and test truth are read after the runs, to explain a result. A variant or a threshold that was chosen
    by such a table needs other test data to be shown on; and the intervals are not adjusted for the number of slices
    and rules that were looked at.

    Of slice g let S_i be the summed metric of the queries of image i, c_i their number and C the sum of c_i. Its value
    is ``sum_i S_i / C``; its interval is that of :func:`fne.analysis.intervals.hierarchical_intervals` over the shared
    seeds and the N images with a query in it, of ``y_i = N S_i / C + theta (1 - N c_i / C)``. ``interaction`` is the
    difference in the slice minus the difference in all other queries: whether the variant helps *more* here than
    elsewhere, which two intervals side by side do not tell.

    Args:
        study: A finished study with its prepared data.
        variant: Id.
        by: ``caption_length`` (words), ``true_positives`` (known matches), or a function of :class:`Queries` that
            returns one number, word or truth value per query.
        against: Id of the variant to compare with; unless given, the study's baseline.
        metric: ``r1``, ``r5`` or ``r10``; where images ask, any of the protocol, say ``map_at_r`` of ``truth``.
        direction: Who asks: ``t2i`` (captions) or ``i2t`` (images).
        protocol: As in ``study.runs``; of captions only ``own`` is kept query by query.
        groups: Into how many slices of about equally many queries numbers are parted; or the greatest number of each
            slice but the last.
        resamples: Draws of the bootstrap.

    Returns:
        A row per slice, in order, and one of all queries; fractions. ``attrs`` tells what was compared.

    Raises:
        UserError: No such variant, metric or rule; no result or prepared data; values that make no slices.

    *Differs from* the tables where a caption's own image ties with others: here it is found where its expected rank is
    within K, there the chance counts. Where images ask there is no difference.
    """
    import pandas as pd

    against = against or study.baseline
    if direction not in DIRECTIONS:
        raise bad_input("unknown direction", key="direction", value=direction, allowed=DIRECTIONS)
    if against == variant:
        others = [name for name in study.definition.variants if name != variant]
        raise bad_input("a variant against itself", key="against", value=against, allowed=others)
    item, other = (_load(study, name, protocol, direction, metric) for name in (variant, against))
    seeds = sorted(set(item.seeds) & set(other.seeds))
    if not seeds or not np.array_equal(item.image, other.image):
        raise bad_input("no seed has a result of both variants", file=study.folder, value=f"{variant}, {against}")
    if study.manifest is None:
        raise bad_input("the prepared data (captions, truth) are not on this machine", file=study.root / "resources")
    names, place = parts(_ask(by, per_query.describe(study.manifest, SPLIT, direction, item.image)), groups)
    mine, its = item.rows(seeds), other.rows(seeds)
    difference, everywhere = mine - its, np.unique(item.image)
    rows = []
    for number, name in enumerate([*names, ALL] if len(names) > 1 else [ALL]):
        inside = place == number if name != ALL else np.ones(len(place), bool)
        images = np.unique(item.image[inside])
        row = {"slice": name, "queries": int(inside.sum()), "images": len(images), "seeds": len(seeds),
               "mean": mine[:, inside].mean(), "mean_against": its[:, inside].mean()}  # fmt: skip
        result = _influence(difference, item.image, inside, images)
        row |= _interval(("difference", "low", "high", "method"), result, len(images), resamples)
        if name != ALL:
            here, rest = (_influence(difference, item.image, part, everywhere) for part in (inside, ~inside))
            fewest = min(len(images), len(np.unique(item.image[~inside])))
            keys = ("interaction", "interaction_low", "interaction_high", None)
            row |= _interval(keys, here - rest, fewest, resamples)
        rows.append(row)
    frame = pd.DataFrame(rows, columns=COLUMNS)
    summary = by if isinstance(by, str) else getattr(by, "__name__", "a function")
    frame.attrs = {"variant": variant, "against": against, "by": summary, "metric": metric, "direction": direction,
                   "protocol": protocol}  # fmt: skip
    return frame


def parts(values: Sequence[Any], groups: int | Sequence[float]) -> tuple[list[str], np.ndarray]:
    """Name the parts of some values: words as they are, numbers in ranges.

    Numbers of no more distinct values than ``groups`` stay apart. Else the bounds are quantiles, and values that are
    equal stay together, so that a frequent one may make its part larger than the others.

    Args:
        values: One per query; NaN and None are a part of their own, the last one.
        groups: As of :func:`slices`.

    Returns:
        Names in order, and (Q,) the place of every query's name.

    Raises:
        UserError: ``groups`` is no number >= 1 and no ascending list, or words make more than 50 parts.

    >>> parts([3, 5, 8, 13], [5, 8])
    (['3 to 5', '8', '13'], array([0, 0, 1, 2]))
    >>> parts(["day", "night", None, "day"], 4)[0]
    ['day', 'night', 'not known']
    """
    if groups < 1 if isinstance(groups, int) else not np.all(np.diff(np.asarray(groups, np.float64)) > 0):
        raise bad_input("wrong slices", key="groups", value=groups, allowed="an integer >= 1, or ascending numbers")
    known = np.array([value is not None and value == value for value in values], bool)
    some = np.asarray([value for value, is_known in zip(values, known, strict=True) if is_known])
    if some.dtype.kind in "iuf":
        keys = _ranges(some.astype(np.float64), groups)
        low = [some[keys == key].min() for key in np.unique(keys)]
        high = [some[keys == key].max() for key in np.unique(keys)]
        result = [f"{a:.3g}" if a == b else f"{a:.3g} to {b:.3g}" for a, b in zip(low, high, strict=True)]
    else:
        words, keys = np.unique(some.astype(str), return_inverse=True)
        result = words.tolist()
    if len(result) > MOST:
        raise bad_input("too many slices", key="by", value=f"{len(result)} different words", allowed=f"at most {MOST}")
    place = np.full(len(known), len(result))
    place[known] = np.unique(keys, return_inverse=True)[1]
    return result + [UNKNOWN] * (not known.all()), place


def _ranges(values: np.ndarray, groups: int | Sequence[float]) -> np.ndarray:
    """For each number the part that it belongs to; a part holds the numbers up to its bound, the bound included."""
    if not isinstance(groups, int):
        bounds = np.asarray(groups, np.float64)
    elif len(distinct := np.unique(values)) <= groups:
        bounds = distinct
    else:
        bounds = np.quantile(values, np.arange(1, groups) / groups, method="inverted_cdf")
    return np.searchsorted(np.unique(bounds), values, side="left")


def _load(study: StudyResults, variant: str, protocol: str, direction: str, metric: str) -> per_query.PerQuery:
    files = study.query_files(variant)
    if not files:
        raise bad_input("this variant has no result", file=study.folder, value=variant)
    return per_query.load(files, protocol, direction, metric)


def _ask(by: str | Rule, queries: Queries) -> list[Any]:
    if isinstance(by, str) and by not in RULES:
        allowed = [*RULES, "a function of fne.results.slices.Queries"]
        raise bad_input("unknown rule", key="by", value=by, allowed=allowed)
    result = list((RULES[by] if isinstance(by, str) else by)(queries))
    if len(result) != len(queries.image):
        requested = f"one per query, {len(queries.image):,}"
        raise bad_input("wrong number of values", key="by", value=f"{len(result):,}", allowed=requested)
    return result


def _influence(difference: np.ndarray, image: np.ndarray, inside: np.ndarray, over: np.ndarray) -> np.ndarray:
    """y_i of the queries inside, for the images ``over``, (n, images); one without such a query has the mean."""
    size = int(image.max()) + 1
    count = np.bincount(image[inside], minlength=size)[over]
    sums = np.stack([np.bincount(image[inside], row[inside], size)[over] for row in difference])
    return per_image(sums, count)[1]


def _interval(keys: Sequence[str | None], values: np.ndarray, images: int, resamples: int) -> dict[str, Any]:
    """Mean, low, high and method under these keys."""
    if images < MIN_IMAGES:
        why = f"none: {images} image{'s' if images != 1 else ''} cannot show how much images vary"
        result = (values.mean(), math.nan, math.nan, why)
    else:
        made = hierarchical_intervals(values[:, :, None], resamples=resamples)
        result = (made.mean[0], made.low[0], made.high[0], made.method)
    return {key: value for key, value in zip(keys, result, strict=True) if key}

"""The runs of other people's models, checked: every number finite, and every row an image or caption of the split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fne.data import scored_split
from fne.data.embeddings import NAMES, Stored, combined_digest, read, read_rankings, require_finite, row_name
from fne.data.manifest import SplitView
from fne.data.truth import Truth
from fne.utils.errors import bad_input

SIDES = ("images", "captions")
UNIT = 1e-5
"""So far from 1 is the norm of embeddings that were normalised in single precision."""
WAYS = (("i2t", "images", "captions"), ("t2i", "captions", "images"))
"""Direction, its queries, its gallery."""


@dataclass(frozen=True)
class Split:
    """What the rows of every model are.

    Args:
        view: The split, captions by image.
        truth: What is right beyond own captions.
        dataset: Its name.
        orders: Per side, number of rows that a model without ids may have -> the row of every item.
        relevance: Relevance files by name, of :data:`RELEVANCE`.
    """

    view: SplitView
    truth: Truth
    dataset: str
    orders: Mapping[str, Mapping[int, np.ndarray]]
    relevance: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One run of one model, checked.

    Args:
        kind: ``embeddings``, ``similarities`` or ``rankings``.
        parts: Of embeddings each side; ``similarities``; or the lists (queries, K) of each direction, -1 at the end.
        rows: Per side the row of every item; None: the rows are the items.
        unit: Whether the embeddings have norm 1.
        digest: Of all that was read.
    """

    kind: str
    parts: Mapping[str, Any]
    rows: Mapping[str, np.ndarray | None]
    unit: bool
    digest: str


def models_of(models: Mapping[str, Any] | None, images: Any, captions: Any, similarities: Any) -> dict[str, list[Any]]:
    """The runs of every model."""
    alone = {"model": (images, captions)} if images is not None and captions is not None else {}
    alone |= {"model": similarities} if similarities is not None else {}
    if (
        (images is None) != (captions is None)
        or bool(alone) == bool(models)
        or (images is not None and similarities is not None)
    ):
        raise bad_input("what is to be scored is not clear", key="models",
                        allowed="images and captions, similarities, or models: one of the three")  # fmt: skip
    result = {str(name): run if isinstance(run, list) else [run] for name, run in {**(models or {}), **alone}.items()}
    for name, runs in result.items():
        if not name.strip() or len(name) > 100 or not runs:
            raise bad_input("not a model", key="models", value=name, allowed="a name of 1 to 100 characters, and runs")
    return result


def opened(run: Any, label: str) -> dict[str, Any]:
    """What a run consists of: both ``images`` and ``captions``, ``similarities``, or ``i2t`` and ``t2i``."""
    parts: dict[str, Any] = {}
    if isinstance(run, tuple) and len(run) == 2:
        for side, source in zip(SIDES, run, strict=True):
            parts |= read(source, [side], f"{label}, {side}")
    elif isinstance(run, str | Path) and Path(run).suffix.lower() == ".json":
        lists, digest = read_rankings(Path(run).expanduser())
        return {**lists, "digest": digest, "source": str(run)}
    else:
        parts |= read(run, [*NAMES], label)
    for needed in ({*SIDES}, {"similarities"}, {"i2t", "t2i"}):
        if needed <= {*parts}:
            return {name: parts[name] for name in sorted(needed)}
    hint = f"arrays are recognised by their names: {', '.join(name for of in NAMES.values() for name in of)}"
    allowed = "images and captions, similarities, or i2t and t2i"
    raise bad_input("not a whole run", file=label, value=", ".join(parts), allowed=allowed, hint=hint)


def orders_of(view: SplitView, kept: np.ndarray, whole: int) -> dict[str, dict[int, np.ndarray]]:
    """The rows of images and captions in the corpus's order, of all its captions or of those that are ranked."""
    n_images, n_captions = len(view.image_ids), len(view.caption_ids)
    return {"images": {n_images: np.arange(n_images)}, "captions": {whole: kept, n_captions: np.arange(n_captions)}}


def checked(parts: Mapping[str, Any], split: Split, similarity: str, label: str, notes: list[str]) -> Run:
    """A run with every number and id of it checked, and how its rows are the split's items."""
    if "source" in parts:
        known = {side: scored_split.names(split.view, side) for side in SIDES}
        lists = {direction: _lists_of_ids(parts[direction], known[query], known[item], parts["source"], query, item)
                 for direction, query, item in WAYS}  # fmt: skip
        return Run("rankings", lists, {}, True, parts["digest"])
    digest = combined_digest(sorted({part.digest for part in parts.values()}))
    if "i2t" in parts:
        lists = {direction: _lists_of_places(parts[direction], split.orders, query, item, label)
                 for direction, query, item in WAYS}  # fmt: skip
        return Run("rankings", lists, {}, True, digest)
    for name, part in parts.items():
        require_finite(part, name if "images" in parts else "rows of similarities")
    if "similarities" in parts:
        part = parts["similarities"]
        shape = part.array.shape
        rows = _rows_of(split, (part.ids, part.columns), shape, part.source, "a matrix (images, captions)")
        return Run("similarities", parts, rows, True, digest)
    dimensions = [parts[side].array.shape[1] for side in SIDES]
    if dimensions[0] != dimensions[1]:
        problem = f"images of {dimensions[0]} dimensions and captions of {dimensions[1]} share no space"
        raise bad_input(problem, file=label, hint="score what the model's projections give")
    both = [parts[side] for side in SIDES]
    source = " and ".join(dict.fromkeys(part.source for part in both))
    sizes = [len(part.array) for part in both]
    rows = _rows_of(split, [part.ids for part in both], sizes, source, "as many rows as the corpus")
    unit = similarity == "dot"
    if not unit:
        ends = np.array([_norms(part, side) for part, side in zip(both, SIDES, strict=True)])
        unit = bool((np.abs(ends - 1) <= UNIT).all())
        if not unit:
            words = ", ".join(f"{side} {low:.4g} to {high:.4g}" for side, (low, high) in zip(SIDES, ends, strict=True))
            notes.append(f"{label}: embeddings are not normalised (norms of {words}): divided by their norms, for the "
                         "cosine; --similarity dot takes them as they are")  # fmt: skip
    return Run("embeddings", parts, rows, unit, digest)


def _rows_of(
    split: Split, ids: Sequence[list[Any] | None], sizes: Sequence[int], source: str, allowed: str
) -> dict[str, np.ndarray | None]:
    """Per side the row of every item, by ids where the rows have them, else by their number."""
    n = [len(split.view.image_ids), len(split.view.caption_ids)]
    if any(item is None and size not in split.orders[side] for side, item, size in zip(SIDES, ids, sizes, strict=True)):
        swapped = tuple(sizes) != tuple(n) and all(size in split.orders[side] for side, size in
                                                   zip(SIDES, reversed(sizes), strict=True))  # fmt: skip
        hint = "are the two sides swapped?" if swapped else "rows without ids must be those of the corpus, in its order"
        raise bad_input("not of the corpus", file=source, value=f"{sizes[0]:,} images, {sizes[1]:,} captions",
                        allowed=f"{allowed}: {n[0]:,} images, {n[1]:,} captions", hint=hint)  # fmt: skip
    result: dict[str, np.ndarray | None] = {}
    for side, item, size in zip(SIDES, ids, sizes, strict=True):
        known = scored_split.names(split.view, side)
        if item is None:
            rows = split.orders[side][size]
        else:
            other = scored_split.names(split.view, SIDES[side == "images"])
            if str(item[0]) not in known[0] and any(str(item[0]) in names for names in other):
                raise bad_input(f"ids of {side} are those of the other side", file=source, key=f"{side[:-1]} id",
                                value=item[0], hint="are the two sides swapped?")  # fmt: skip
            rows = scored_split.aligned(item, known, side, source)
        result[side] = None if np.array_equal(rows, np.arange(size)) else rows
    return result


def _norms(part: Stored, what: str) -> tuple[float, float]:
    """The least and the greatest norm of the rows, of which none may be zero."""
    norms = np.concatenate([np.linalg.norm(np.asarray(rows, dtype=np.float64), axis=1)
                            for rows in np.array_split(part.array, -(-part.array.size // 4_000_000))])  # fmt: skip
    if (zero := np.flatnonzero(norms == 0)).size:
        raise bad_input(f"{zero.size:,} of {len(norms):,} {what} have norm zero, and no cosine", file=part.source,
                        key=row_name(part, zero[0]))  # fmt: skip
    return float(norms.min()), float(norms.max())


def _lists_of_ids(
    lists: Mapping[str, list[Any]], queries: list[dict[str, int]], items: list[dict[str, int]], file: str, what: str,
    of: str,
) -> np.ndarray:  # fmt: skip
    """Rankings by id -> positions, (queries, K), -1 where a list has ended."""
    rows = scored_split.aligned([*lists], queries, what, file)
    ranked = list(lists.values())
    longest = max(map(len, ranked))
    if not longest:
        raise bad_input("every ranking is empty", file=file)
    flat = scored_split.places([item for part in ranked for item in part], items, of, file)
    lengths = np.array([len(part) for part in ranked])
    result = np.full((len(ranked), longest), -1, dtype=np.int32)
    result[np.arange(result.shape[1]) < lengths[:, None]] = flat
    return _require_each_once(result, file)[rows]


def _lists_of_places(
    part: Stored, orders: Mapping[str, Mapping[int, np.ndarray]], query: str, item: str, label: str
) -> np.ndarray:
    """Rankings by the rows of queries and items, (queries, K) -> by their positions in the split."""
    lists = part.array
    rows = orders[query].get(len(lists))
    most = max(orders[item])
    if rows is None or lists.dtype.kind not in "iu" or lists.max() >= most or lists.min() < -1:
        allowed = (
            f"integers from 0 to {most - 1:,}, -1 where a list has ended, for each of {min(orders[query]):,} {query}"
        )
        raise bad_input(
            "not rankings of the corpus", file=label, value=f"{lists.dtype}, shape {lists.shape}", allowed=allowed
        )
    size = next(size for size in sorted(orders[item]) if lists.max() < size)
    place = np.full(size + 1, -1, dtype=np.int32)
    place[orders[item][size]] = np.arange(len(orders[item][size]))
    return _require_each_once(place[lists], label)[rows]


def _require_each_once(lists: np.ndarray, file: str) -> np.ndarray:
    ordered = np.sort(lists, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
        raise bad_input("a ranking holds an item twice", file=file)
    return lists


def part_of(run: Run, images: slice, captions: slice) -> np.ndarray:
    """Similarities of some images to some captions; a file is opened anew, so that no more of it stays in memory."""
    part = run.parts["similarities"]
    array = part.again() if part.again else part.array
    rows, columns = (np.arange(*of.indices(10**9)) if row is None else row[of]
                     for row, of in ((run.rows["images"], images), (run.rows["captions"], captions)))  # fmt: skip
    if run.rows["images"] is None and run.rows["captions"] is None:
        return array[images, captions]
    return array[np.ix_(rows, columns)]


def embeddings_of(run: Run) -> list[np.ndarray]:
    """Images and captions in the order of the split, of norm 1 where the cosine is meant."""
    result = []
    for side in SIDES:
        array, rows = run.parts[side].array, run.rows[side]
        array = np.array(
            array if rows is None else array[rows], dtype=np.float64 if array.dtype == np.float64 else np.float32
        )
        if not run.unit:
            array /= np.sqrt(np.einsum("ij,ij->i", array, array, dtype=np.float64))[:, None]
        result.append(array)
    return result

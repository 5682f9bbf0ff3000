"""The viewer of queries: which test queries models fail worst, and whether what was ranked first is really wrong."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fne.data.manifest import SplitView
from fne.data.ranked_captions import first_captions
from fne.protocols import DIRECTION_NAMES, DIRECTIONS
from fne.report.page.build import viewer_page
from fne.report.picks.book import Book, Viewer, brief
from fne.report.tables.cells import ABSENT, Cell, Column, Table
from fne.report.text.wording import count, percent
from fne.results.collect import SPLIT
from fne.results.per_query import Queries
from fne.results.ranked import Known, Ranked, read
from fne.results.slices import RULES, parts
from fne.study.api import training_digest
from fne.utils.text import clean

if TYPE_CHECKING:
    from fne.results.study import StudyResults

Models = Mapping[str, Mapping[str, Ranked]]
"""Title of a model -> direction (``i2t``, ``t2i``) -> what it ranked; the same directions of all."""
KIND = "queries"
SHOWN = 5
"""Ranked items of each query that are shown."""
QUOTA = 10
"""Queries of each kind, direction and model."""
BUDGET = 3_000_000
"""Bytes of images on the page."""
KINDS = {
    "own": f"the {QUOTA} queries whose own item is ranked worst",
    "match": f"the {QUOTA} queries whose first known match is ranked worst",
    "first": f"the {QUOTA} with the worst own item of those whose first item matches without being their own",
}
UNKNOWN = "Only own pairs are known to match here: a first item that is not the query's own may be right all the same."
GROUPS = 4
"""Parts that the queries of a direction are sliced into, where they are by a number."""
QUESTION = "Which queries does each method fail, and is the first answer really wrong?"
COLUMNS = (
    Column("Model", numeric=False),
    Column("Direction", numeric=False),
    Column("Misses that match", help="of the first items that are not the query's own, those that are known to match"),
    Column("Own pair", help="the first item is the query's own: R@1, but for ties"),
    Column("Another match", help="the first item is not the query's own, but known to match"),
    Column("Neither", help="the first item is not known to match"),
)


def of_study(
    study: StudyResults, variants: Sequence[str] = (), seed: int | None = None, budget: int = BUDGET
) -> tuple[Table | None, Viewer]:
    """What was ranked first in a study, of one seed: a table and a viewer.

    Args:
        study: A finished study.
        variants: Ids; unless some are named, those of :func:`compared`.
        seed: Unless given, the first that all of them have.
        budget: Greatest sum of the embedded images, in bytes.

    Raises:
        UserError: No such variant, or a file of rankings is damaged, of other data or of other runs.
    """
    files = {name: rankings(study, name) for name in variants or compared(study)}
    seeds = [each for each in study.seeds if all(each in of for of in files.values()) and seed in (None, each)]
    if study.manifest is None or not seeds:
        why = "not every variant has rankings" if study.manifest else "the prepared data are not on this machine"
        return None, Viewer(KIND, f"There are no queries to show: {why}.")
    view = first_captions(study.dataset, study.manifest.split(SPLIT), study.manifest.truth(SPLIT))[0]
    models, known = {}, list[Known]()
    for name, of in files.items():
        trained = training_digest(study[name].config)
        title = study[name].title if study[name].title not in models else f"{study[name].title} ({name})"
        models[title], known = read(of[seeds[0]], seeds[0], view.caption_image, trained, study.protocols)
    book, setting = Book.of(study.manifest, view, budget), f"seed {seeds[0]}"
    return first_items(models, view, known, setting), gallery(models, book, known, setting)


def page(
    title: str,
    models: Models,
    view: SplitView,
    files: Sequence[Path] = (),
    known: Sequence[Known] = (),
    setting: str = "",
    budget: int = BUDGET,
) -> str:
    """The worst queries of any models as one HTML file that needs nothing else and opens offline. Needs no torch.

    Args:
        title: Heading of the page.
        models: Title of a model -> direction (``i2t``: images are queries, ``t2i``: captions are) -> what it ranked. Of
            several models the first items stand side by side, so all have ranked the same directions of the same split.
        view: Ids and texts of what was ranked; captions stand in the order of their images, and each image has one.
        files: The file of every image of the view, absolute or from the working directory; one that cannot be read is
            named on the page. None at all: ids stand in for images.
        known: Sources of truth besides own pairs, in the order in which they are named at an item: of a corpus whose
            every pair is known ``Known("exact truth", pairs, complete=True)``; of ECCV Caption
            ``Known("ECCV Caption", relevance.pairs)``.
        setting: What the rankings are of, behind "queries of": ``siglip.npz``.
        budget: Greatest sum of the embedded images, in bytes; the queries end where it is used up.

    Example:
        A model that ranks the two captions of each other's images first:

        >>> import numpy as np
        >>> from fne.data.manifest import SplitView
        >>> rows, texts = np.arange(2), ["a dog", "a cat"]
        >>> view = SplitView("test", rows, rows, rows, texts, ["dog.jpg", "cat.jpg"], ["0", "1"])
        >>> wrong = Ranked(top=np.array([[1, 0], [0, 1]]), own=np.array([2.0, 2.0]))
        >>> text = page("Worst queries", {"a model": {"i2t": wrong}}, view)
        >>> text.startswith("<!doctype html>"), "Only own pairs are known" in text
        (True, True)
    """
    viewer = gallery(models, Book(view, files, budget), known, setting)
    return viewer_page(title, viewer, first_items(models, view, known, setting)).page


def compared(study: StudyResults) -> list[str]:
    """The study's baseline and its method; without a method its first other variant."""
    others = [name for name in study.definition.variants if name != study.baseline]
    return [study.baseline, *([study.method] if study.method else others[:1])]


def rankings(study: StudyResults, variant: str) -> dict[int, Path]:
    """The file of rankings of every seed that has a result."""
    done, places = set(study.values(variant)), zip(study[variant].runs, study[variant].folders, strict=True)
    files = ((run["seeds"], folder / f"rankings.{SPLIT}.npz") for run, folder in places)
    return {seed: file for seeds, file in files if file.is_file() for seed in seeds if seed in done}


def first_items(models: Models, view: SplitView, known: Sequence[Known], setting: str = "") -> Table:
    """How often the first ranked item is the query's own, another known match, or neither.

    Args:
        models, known, setting: As of :func:`gallery`.
        view: The split.
    """
    rows = []
    for title, ways in models.items():
        for way, ranking in ways.items():
            queries = np.flatnonzero(~np.isnan(ranking.own) & (ranking.top[:, 0] >= 0))
            own, match = _first(way, ranking, queries, view, known)
            shares = np.array([own.sum(), match.sum(), (~own & ~match).sum()]) / max(1, len(queries))
            shares = np.append(match.sum() / max(1, (~own).sum()), shares)
            cells = [Cell(f"{percent(share)} %", float(share)) for share in shares]
            if not known:
                cells[0] = cells[2] = ABSENT
            name = Cell(DIRECTION_NAMES[way], note=f"{count(len(queries))} queries")
            rows.append((Cell(clean(title)), name, *cells))
    caption = f"Known matches: {', '.join(each.name for each in known)}." if known else UNKNOWN
    notes = [f"Of {setting} alone."] * bool(setting)
    if known and not any(each.complete for each in known):
        notes.append("Not every match is known: an item that is neither may match all the same.")
    return Table("first_items", "What was ranked first", caption, COLUMNS, tuple(rows), tuple(notes))


def gallery(models: Models, book: Book, known: Sequence[Known] = (), setting: str = "") -> Viewer:
    """The worst queries of some models, and what each model ranked first for them. Needs no torch.

    The worst queries of a model in a direction are, by :data:`KINDS`, those with the worst rank of their own item, with
    the worst rank of any known match, and with the worst rank of their own item where the first item is known to match
    without being it. Equal ranks stand in the order of the split, so that the choice is always the same; kinds,
    directions and models take turns until the book's budget is used up.

    Args:
        models: What each model ranked in the same split.
        book: Its captions and images, of which none was used yet. Captions stand in the order of their images, and
            every image has one.
        known: The sources of truth besides own pairs, as marks name them; none: only own pairs are known to match, and
            the viewer says so.
        setting: What the rankings are of, say ``seed 0``.

    Returns:
        What :func:`page` makes a page of.
    """
    view, why, queues = book.view, dict[tuple[str, int], list[list[Any]]](), []
    shared = [way for way in DIRECTIONS if all(way in ways for ways in models.values())]
    for kind, way in itertools.product(KINDS if known else ("own",), shared):
        for place, ways in enumerate(models.values()):
            queues.append([(way, int(query)) for query in worst(way, ways[way], view, known, kind)])
            for key in queues[-1]:
                why.setdefault(key, []).append([kind, place])
    turns = dict.fromkeys(key for turn in itertools.zip_longest(*queues) for key in turn if key is not None)
    slices, items = _slices(view, known, shared), []
    for way, query in turns:
        ranked = [ways[way] for ways in models.values()]
        tops = [ranking.top[query, :SHOWN][ranking.top[query, :SHOWN] >= 0] for ranking in ranked]
        direction = DIRECTIONS.index(way)
        if not book.admit(direction, query, np.concatenate(tops).tolist()):
            break
        own, other = book.sides(direction)
        item: dict[str, Any] = {"direction": direction, "item": own(query), "why": why[way, query], "rankings": []}
        item["slices"] = [int(of[query]) if each == way else -1 for each, _, _, of in slices]
        for ranking, top in zip(ranked, tops, strict=True):
            scores = [None] * len(top) if ranking.scores is None else [brief(score) for score in ranking.scores[query]]
            right = _marks(way, query, top, view, known).T
            marks = [[int(source) for source in np.flatnonzero(row)] for row in right]
            made = {
                "own": brief(ranking.own[query]),
                "top": list(zip(map(other, top.tolist()), scores, marks, strict=False)),
            }
            item["rankings"].append(made if ranking.match is None else made | {"match": brief(ranking.match[query])})
        items.append(item)
    content = {
        "models": [clean(title) for title in models],
        "sources": ["own pair", *(each.name for each in known)],
        "complete": any(each.complete for each in known),
        "gallery": [len(view.texts), len(view.image_ids)],
        "kinds": KINDS,
        "slices": [{"name": name, "parts": names} for _, name, names, _ in slices],
        "items": items,
    }
    rule = f"{len(items)} of {count(len(turns))} queries{f' of {setting}' if setting else ''}: of each model and "
    rule += f"direction {'; '.join(KINDS.values()) if known else KINDS['own']}. "
    rule += "Ranks are means where items are equally similar." if known else UNKNOWN
    return book.viewer(KIND, content, rule, len(items) < len(turns))


def worst(way: str, ranking: Ranked, view: SplitView, known: Sequence[Known], kind: str) -> np.ndarray:
    """The :data:`QUOTA` queries that a model failed worst, a kind of :data:`KINDS`; rank 1 is no failure."""
    rank = ranking.match if kind == "match" and ranking.match is not None else ranking.own
    failed = np.flatnonzero(rank > 1)
    if kind == "first":
        failed = failed[_first(way, ranking, failed, view, known)[1]]
    return failed[np.argsort(-rank[failed], kind="stable")][:QUOTA]


def _first(
    way: str, ranking: Ranked, queries: np.ndarray, view: SplitView, known: Sequence[Known]
) -> tuple[np.ndarray, np.ndarray]:
    """Whether the first item of each of these queries is its own, and whether it is another one known to match."""
    right = _marks(way, queries, ranking.top[queries, 0], view, known) & (ranking.top[queries, 0] >= 0)
    return right[0], right[1:].any(axis=0)


def _marks(way: str, query: np.ndarray | int, item: np.ndarray, view: SplitView, known: Sequence[Known]) -> np.ndarray:
    """(1 + sources, items) whether each item is the query's own, and else by which sources it is known to match."""
    image, caption = np.broadcast_arrays(*((query, item) if way == "i2t" else (item, query)))
    places = image.astype(np.int64) * len(view.texts) + caption
    own = view.caption_image[caption] == image
    sources = [each.pairs[way].astype(np.int64) @ [len(view.texts), 1] for each in known]
    return np.stack([own, *(np.isin(places, source) & ~own for source in sources)])


def _slices(
    view: SplitView, known: Sequence[Known], ways: Sequence[str]
) -> list[tuple[str, str, list[str], np.ndarray]]:
    """The slices of the split's queries that have a name: direction, name, parts, and the part of every query."""
    bounds = np.searchsorted(view.caption_image, np.arange(len(view.image_ids) + 1))
    owned = [tuple(view.texts[a:b]) for a, b in itertools.pairwise(bounds)]
    sides: dict[str, tuple[np.ndarray, list[tuple[str, ...]]]] = {}
    sides |= {"i2t": (np.arange(len(owned)), owned), "t2i": (view.caption_image, [(text,) for text in view.texts])}
    result = []
    for way in ways:
        image, captions = sides[way]
        matches = np.full(len(image), np.nan)
        pairs = np.concatenate([np.zeros((0, 2), int), *(each.pairs[way] for each in known)])
        positives = np.unique(pairs, axis=0)[:, DIRECTIONS.index(way)]
        matches[positives] = np.bincount(positives)[positives]
        for name, rule in RULES.items():
            if name != "true_positives" or len(positives):
                names, place = parts(list(rule(Queries(way, image, captions, matches))), GROUPS)
                result.append((way, f"{name.replace('_', ' ').capitalize()}, {DIRECTION_NAMES[way]}", names, place))
    return result

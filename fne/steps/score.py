"""``score``: embeddings, similarities or rankings of any model -> every protocol, intervals, paired tests, a bundle.

Nothing of a study is needed: what the steps of the workflow write into files stays in memory here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import fne
from fne import protocols
from fne.analysis import layout
from fne.analysis.intervals import RESAMPLES, Intervals, batched_intervals, image_intervals
from fne.data import coco_relevance, scored_split
from fne.data.embeddings import combined_digest
from fne.data.human_annotations import SOURCES as JUDGEMENTS
from fne.data.manifest import SPLITS, Manifest
from fne.data.ranked_captions import first_captions
from fne.data.scored_runs import Run, Split, checked, embeddings_of, models_of, opened, orders_of, part_of
from fne.evaluation.metrics import TIE_RULES
from fne.report.picks.queries import page
from fne.report.tables.cells import Table
from fne.report.tables.contrasts import contrasts_table, primary_contrasts
from fne.report.tables.main import main_table
from fne.report.tables.render import save, to_html, to_text
from fne.report.tables.scores import scores_table
from fne.report.text.wording import count, listing
from fne.results.bundle import MOST_ROWS, Bundle
from fne.results.bundle import write as write_bundle
from fne.results.ranked import known_of, ranked_of
from fne.results.readme import readme
from fne.results.records import Variant
from fne.results.schema import TABLES, header, parse_table
from fne.results.study import StudyResults
from fne.steps.compare import contrast_rows, interval_rows, median_ranks
from fne.steps.evaluate import evaluate_replicates
from fne.steps.export import image_rows, rank_rows
from fne.steps.rank import TOP, Counters, counters_of, ranks_of, relevant_items
from fne.study import paths
from fne.study.api import Study, list_studies, load_study, resolve
from fne.study.model import DATASETS
from fne.utils import provenance
from fne.utils.errors import bad_input
from fne.utils.files import SCHEMAS, as_csv, write_text
from fne.utils.min_seeds import FLIPS, MIN_SEEDS

if TYPE_CHECKING:
    import pandas as pd

REGIME = "scored"
"""What stands where a study's regime does: nothing was trained here."""
SIMILARITIES = ("cosine", "dot")
RELEVANCE = (*protocols.RELEVANCE, *JUDGEMENTS, protocols.TRUTH)
"""What a relevance file may be: COCO's by protocol, people's judgements of Flickr8k, or any list of relevant pairs."""
PRIMARY = {"metric": "rsum", "protocol": protocols.OWN, "direction": "both"}
WHY = "nothing was trained here"
"""Why no interval counts another encoder or world."""


@dataclass(frozen=True)
class Scored:
    """Scores of models under every protocol that their ids allow.

    Args:
        results: As of a finished study: ``values``, ``estimate`` and ``contrast`` by model; ``intervals`` and
            ``contrasts`` as data frames, fractions.
        bundle: What :meth:`save` writes, and `fne compare` reads.
        notes: What a reader must know of the inputs.
        split: The images and captions that were scored, and what is right.
        relevant: Pairs of (image, caption) positions that count, by protocol; see :func:`fne.steps.rank.run`.
        ranks: Model -> ``<run>/<direction>/<name>``: ``top_ids`` and ``top_scores`` (queries, 10), the beginning of
            each ranking; ``greater`` and ``ties`` of the relevant pairs.
        ties: How ties were counted.
    """

    results: StudyResults
    bundle: Bundle
    notes: tuple[str, ...]
    split: Split = field(repr=False)
    relevant: Mapping[str, np.ndarray] = field(repr=False)
    ranks: Mapping[str, Mapping[str, np.ndarray]] = field(repr=False)
    ties: str = "expected"

    @property
    def tables(self) -> tuple[Table, ...]:
        """The scores with their intervals, the main table and, of several models, the differences to the baseline."""
        made = [scores_table(self.results, self.notes), main_table(self.results)]
        return (*made, *([contrasts_table(self.results)] if len(self.results.variants) > 1 else []))

    def __str__(self) -> str:
        return "\n\n".join(to_text(table) for table in self._shown)

    def _repr_html_(self) -> str:
        return "\n".join(to_html(table) for table in self._shown)

    @property
    def _shown(self) -> tuple[Table, ...]:
        """The scores, and the differences in the primary metric."""
        more = [primary_contrasts(self.results)] if len(self.results.variants) > 1 else []
        return (self.tables[0], *more)

    def gallery(self, images: str | Path | None = None, run: int = 0) -> str:
        """The worst queries of the models, and what was ranked first for them, as one page of HTML.

        Args:
            images: The folder of the images, whose files are called as their ids; None: ids stand in for images.
            run: Of each model.

        Raises:
            UserError: A model has no such run, or the folder has none of the images.
        """
        known = known_of(self.relevant, {name: facts["relevance"] for name, facts in self.results.protocols.items()})
        for model, arrays in self.ranks.items():
            if f"{run}/i2t/top_ids" not in arrays:
                raise bad_input("has no such run", file=model, key="run", value=run)
        ranked = {
            model: ranked_of({**self.relevant, **arrays}, run, self.ties, bool(known))
            for model, arrays in self.ranks.items()
        }
        files = [] if images is None else [Path(images).expanduser() / name for name in self.split.view.image_ids]
        if files and not any(file.is_file() for file in files):
            hint = "an image's file is called as its id"
            raise bad_input("holds none of the images", file=images, value=files[0].name, hint=hint)
        title = f"Worst queries of {listing(self.ranks)}"
        return page(
            title, ranked, self.split.view, files, known, f"run {run}" if len(self.results.definition.seeds) > 1 else ""
        )

    def save(self, out: str | Path) -> Path:
        """Write the bundle into ``out/bundle`` and every table as CSV, Markdown, LaTeX and HTML into ``out/tables``.

        Args:
            out: A folder; or a file ``*.zip``, which is the bundle alone.
        """
        out = Path(out)
        write_bundle(self.bundle, out if out.suffix == ".zip" else out / "bundle", readme(self.bundle))
        if out.suffix != ".zip":
            for table in self.tables:
                save(table, out / "tables")
        return out


def run(models: Mapping[str, Any], out: Path | None, root: Path, gallery: Path | None = None, **options: Any) -> str:
    """Score, write ``out`` where it is named, and return the tables for a terminal.

    Args:
        models, root, options: As of :func:`score`.
        out: As of :meth:`Scored.save`.
        gallery: The folder of the images, for ``out/queries.html``; None: no such page.
    """
    if gallery is not None and (out is None or out.suffix == ".zip" or not gallery.is_dir()):
        allowed = "the folder of the images, beside --out FOLDER, where the page is written"
        raise bad_input("cannot be made", key="--gallery", value=gallery, allowed=allowed)
    scored = score(models, root=root, **options)
    if out is not None:
        scored.save(out)
    if out is not None and gallery is not None:
        write_text(out / "queries.html", scored.gallery(gallery))
    return str(scored)


def score(
    models: Mapping[str, Any] | None = None,
    *,
    images: Any = None,
    captions: Any = None,
    similarities: Any = None,
    ids: Any = None,
    corpus: str | Path | None = None,
    dataset: str | None = None,
    split: str = "test",
    relevance: Mapping[str, str | Path] | None = None,
    similarity: str = "cosine",
    baseline: str | None = None,
    primary: Mapping[str, str] | None = None,
    ties: str = "expected",
    name: str = "scores",
    root: str | Path = ".",
) -> Scored:
    """Score image-text retrieval of one model or several, from what they made of a split.

    >>> import numpy as np
    >>> images = np.eye(4, dtype=np.float32)
    >>> captions = images.repeat(5, axis=0)  # five captions an image
    >>> float(score(images=images, captions=captions).results.values("model", "r1", "i2t")[0])
    1.0

    Args:
        models: Name -> a run, or a list of runs (training seeds) that are paired by their places. A run is

            - a pair ``(images, captions)`` of embeddings, (N, D) and (M, D): arrays, tensors or files;
            - a file ``.npz`` or ``.safetensors`` with both (``images``, ``captions``, ``image_ids``, ``caption_ids``),
              or with ``similarities`` (N, M); or a mapping of such arrays;
            - a file ``.npy`` or ``.parquet``, or an array, of similarities (N, M);
            - a file ``.json`` of rankings, ``{"i2t": {image id: [caption ids]}, "t2i": ...}``; or a mapping of
              ``i2t`` (N, K) and ``t2i`` (M, K), positions of items, best first.
        images, captions, similarities: Instead, of one model called ``model``.
        ids: Which caption belongs to which image: a table with the columns ``image`` and ``caption``, a row per
            caption, or its path. Rows without ids of their own are in its order.
        corpus: Instead, annotations in any form that a study reads, or the name of a prepared study. Without both,
            captions are taken by position, the same number for every image.
        dataset: ``coco``, ``flickr30k``, ``flickr8k`` or ``custom``; what the corpus says unless named.
        split: Of the corpus.
        relevance: What else counts as right: ``eccv`` and ``cxc`` (folders of their files), ``crowdflower`` and
            ``expert`` (judgements of Flickr8k), ``truth`` (a table of relevant pairs as of ``ids``, or JSON
            ``{image id: [caption ids]}``, whose images and captions are the queries).
        similarity: ``cosine``, or ``dot``: products of the embeddings as they are.
        baseline: The model that others are compared with; the first unless named.
        primary: ``metric``, ``protocol`` and ``direction`` of the family of comparisons that Holm's correction is over.
        ties: ``expected`` rank over ties, or ``pessimistic``.
        name: What the bundle is called.
        root: A project's folder, where ``corpus`` names its study.

    Returns:
        Scores (fractions; rsum 0 to 6) with their intervals, the differences of models, tables, and a bundle.

    Raises:
        UserError: An input cannot be used: ids that are not the corpus's, a missing query, NaN, an embedding of norm
            zero, a matrix that is not (images, captions).
    """
    started = provenance.now()
    for key, value, allowed in (("similarity", similarity, SIMILARITIES), ("ties", ties, TIE_RULES),
                                ("split", split, SPLITS), ("dataset", dataset, (None, *DATASETS))):  # fmt: skip
        if value not in allowed:
            raise bad_input("unknown", key=key, value=value, allowed=[item for item in allowed if item])
    parts_of = {model: [opened(run, f"{model}, run {number}") for number, run in enumerate(runs)]
              for model, runs in models_of(models, images, captions, similarities).items()}  # fmt: skip
    notes: list[str] = []
    scored = _split(parts_of, ids, corpus, dataset, split, Path(root), notes)
    scored = _with_relevance(scored, relevance or {})
    of_coco = [coco_relevance.read(place, protocol, scored.view) for protocol, place in scored.relevance.items()
               if protocol in protocols.RELEVANCE]  # fmt: skip
    relevant, described = relevant_items(scored.dataset, scored.view, scored.truth, of_coco)
    names = list(parts_of)
    if (baseline := baseline or names[0]) not in names:
        raise bad_input("is none of the models", key="baseline", value=baseline, allowed=names)
    runs = {model: [checked(parts, scored, similarity, f"{model}, run {number}", notes)
                    for number, parts in enumerate(of)] for model, of in parts_of.items()}  # fmt: skip
    described = _without_folds(runs, scored, described, notes)
    chosen = _primary(primary, described)
    precision = {protocols.PRECISION if run.kind == "embeddings" else f"{run.kind} as given"
                 for of in runs.values() for run in of}  # fmt: skip
    prints = {protocol: protocols.finish(item | {"precision": "; ".join(sorted(precision))}, ties)
              for protocol, item in described.items()}  # fmt: skip
    ranks, rows, queries = {}, {}, {}
    for model, of in runs.items():
        ranks[model] = _ranked(of, relevant, list(described), scored)
        numbers = list(range(len(of)))
        rows[model], values = evaluate_replicates(
            numbers, {**relevant, **ranks[model]}, list(described), ties, protocols.RSUM_KS
        )
        queries[model] = {"seeds": np.array(numbers), **values}
        if all(run.kind != "rankings" for run in of):
            notes += _tie_notes(model, ranks[model], relevant, numbers)
    study = Study(
        name=name, title=f"Scores of {listing(names)}", question="How well do these models retrieve?", regime=REGIME,
        variants=tuple(names), seeds=tuple(range(max(map(len, runs.values())))), block=1, baseline=baseline,
        primary=chosen, data={"dataset": scored.dataset}, overrides={}, configs={}, library={}, tuned=None,
        notes=tuple(notes), root=Path(root),
    )  # fmt: skip
    digests = {model: combined_digest([run.digest for run in of]) for model, of in runs.items()}
    tables = _tables(study, scored, prints, rows, queries, digests)
    results = _results(study, tables, prints, queries, Path(root))
    kinds = {model: {"input": {"kind": of[0].kind, "similarity": similarity if of[0].kind == "embeddings" else None}}
             for model, of in runs.items()}  # fmt: skip
    record = provenance.record(started, inputs=digests)
    bundle = _bundle(study, tables, prints, kinds, digests, record, queries)
    return Scored(results, bundle, tuple(notes), scored, relevant, ranks, ties)


def _split(
    opened: Mapping[str, list[dict[str, Any]]], ids: Any, corpus: str | Path | None, dataset: str | None, split: str,
    root: Path, notes: list[str],
) -> Split:  # fmt: skip
    """The split that the models are about, from whatever says it."""
    if ids is not None and corpus is not None:
        raise bad_input("both are named", key="ids, corpus", allowed="one of the two")
    if corpus is not None and str(corpus) in list_studies(root) and not Path(corpus).exists():
        study = load_study(str(corpus), {}, root, complete=False)
        manifest = Manifest.load(root / paths.data_folder(study))
        if dataset not in (None, manifest.dataset):
            raise bad_input("the study is of another one", key="dataset", value=dataset, allowed=[manifest.dataset])
        view, truth, kept = first_captions(manifest.dataset, manifest.split(split), manifest.truth(split))
        requested = resolve(study, study.baseline)["evaluation"]["relevance"] if split == "test" else {}
        places = {name: Path(place) for name, place in requested.items() if place is not None}
        return Split(view, truth, manifest.dataset, orders_of(view, kept, len(manifest.split(split).texts)), places)
    if corpus is not None:
        place = Path(corpus).expanduser()
        if not place.exists() and "{split}" not in place.name:
            studies = ", ".join(list_studies(root)) or "none"
            raise bad_input("is neither a file of annotations nor a study", key="corpus", value=str(corpus),
                            hint=f"studies here: {studies}")  # fmt: skip
        dataset = dataset or scored_split.dataset_of(place)
        whole, truth = scored_split.from_annotations(place, dataset, split)
        view, truth, kept = first_captions(dataset, whole, truth)
        return Split(view, truth, dataset, orders_of(view, kept, len(whole.texts)))
    dataset = dataset or scored_split.CUSTOM
    if ids is not None:
        if isinstance(ids, str | Path):
            file, rows = str(ids), scored_split.table(Path(ids).expanduser())
        else:
            file, sides = "ids", [[str(item) for item in ids[name]] for name in scored_split.COLUMNS]
            if len(sides[0]) != len(sides[1]) or not sides[0]:
                raise bad_input("not an image for every caption", key="ids", value=f"{len(sides[0])}, {len(sides[1])}")
            rows = list(zip(*sides, strict=True))
        view, row_of = scored_split.from_rows(rows, split, file)
        orders = {"images": {len(view.image_ids): np.arange(len(view.image_ids))}, "captions": {len(row_of): row_of}}
        return Split(view, scored_split.own_truth(view), dataset, orders)
    first = next(iter(opened.values()))[0]
    if "source" in first:
        raise bad_input("rankings by id need the ids of the corpus", file=first["source"], hint="--ids or --corpus")
    shape = first["similarities"].array.shape if "similarities" in first else tuple(
        len(first[name].array) for name in (("images", "captions") if "images" in first else ("i2t", "t2i"))
    )  # fmt: skip
    view = scored_split.by_position(shape[0], shape[1], split)
    notes.append(f"No ids: image i was taken to have the captions {shape[1] // shape[0]} i to "
                 f"{shape[1] // shape[0]} i + {shape[1] // shape[0] - 1}")  # fmt: skip
    return Split(view, scored_split.own_truth(view), dataset, orders_of(view, np.arange(shape[1]), shape[1]))


def _with_relevance(split: Split, relevance: Mapping[str, str | Path]) -> Split:
    """The split with what the relevance files say."""
    for name in relevance:
        if name not in RELEVANCE:
            raise bad_input("unknown", key="relevance", value=name, allowed=RELEVANCE)
    places = {name: Path(place).expanduser() for name, place in relevance.items()}
    judged = {name: place for name, place in places.items() if name in JUDGEMENTS}
    truth = split.truth
    if protocols.TRUTH in places:
        if judged:
            raise bad_input("both say what is right under protocol 'truth'", key="relevance", value=", ".join(places))
        truth = scored_split.listed_truth(places[protocols.TRUTH], split.view)
    elif judged:
        truth = scored_split.judged_truth(judged, split.view, truth)
    return Split(split.view, truth, split.dataset, split.orders, {**split.relevance, **places})


def _primary(primary: Mapping[str, str] | None, described: Mapping[str, Any]) -> dict[str, str]:
    """The primary metric, checked."""
    chosen = {**PRIMARY, **(primary or {})}
    allowed = {" ".join((metric, protocol, direction)) for protocol in described
               for metric in protocols.PROTOCOLS[protocol].primaries
               for direction in protocols.METRICS[metric].directions}  # fmt: skip
    words = " ".join(chosen[key] for key in PRIMARY)
    if words not in allowed:
        raise bad_input("has no value", key="primary", value=words, allowed=sorted(allowed))
    return chosen


def _without_folds(
    runs: Mapping[str, Sequence[Run]], split: Split, described: Mapping[str, Any], notes: list[str]
) -> dict[str, Any]:
    """The protocols that can be scored: the blocks of COCO need whole rankings."""
    cut = []
    for model, of in runs.items():
        for run in of:
            for direction, n in (("i2t", len(split.view.caption_ids)), ("t2i", len(split.view.image_ids))):
                if run.kind == "rankings" and (longest := run.parts[direction].shape[1]) < n:
                    cut.append(f"{model}, {direction}: {count(longest)} of {count(n)} items")
    if not cut:
        return dict(described)
    notes.append(f"Rankings are cut ({'; '.join(dict.fromkeys(cut))}): all items beyond count as tied behind the list")
    if protocols.FOLDED in described:
        notes.append(f"{protocols.FOLDED} is left out: it needs whole rankings")
    return {name: item for name, item in described.items() if name != protocols.FOLDED}


def _ranked(
    runs: Sequence[Run], relevant: Mapping[str, np.ndarray], scored: Sequence[str], split: Split
) -> dict[str, np.ndarray]:
    """The ranks of one model, by run, the two directions at once; see :func:`fne.steps.rank.ranks_of`."""
    known = {name: array for name, array in relevant.items()
             if "/" not in name or name.partition("/")[0] in scored}  # fmt: skip
    arrays: dict[str, np.ndarray] = {}
    with ThreadPoolExecutor(len(protocols.DIRECTIONS)) as pool:
        for number, run in enumerate(runs):
            ways = [{direction: of} for direction, of in _counters(run, split, relevant["pairs"]).items()]
            for made in pool.map(partial(ranks_of, number, known), ways):
                arrays |= made
    return arrays


def _counters(run: Run, split: Split, pairs: np.ndarray) -> Counters:
    """What ranks the pairs of a run in each direction, and what counts them within blocks."""
    import torch

    from fne.evaluation.similarities import count_blocks_in_blocks, of_lists, of_matrix, rank_blocks

    if run.kind == "embeddings":
        image, text = map(torch.from_numpy, embeddings_of(run))
        return counters_of(image, text, pairs)
    n = (len(split.view.image_ids), len(split.view.caption_ids))
    result: dict[str, Any] = {}
    for direction, (n_queries, n_gallery) in (("i2t", n), ("t2i", n[::-1])):
        if run.kind == "rankings":
            block = of_lists(run.parts[direction], n_gallery)
        else:
            block = of_matrix(partial(part_of, run), direction == "t2i")
        result[direction] = (partial(rank_blocks, block, n_queries, n_gallery, top=TOP),
                             partial(count_blocks_in_blocks, block))  # fmt: skip
    return result


def _tie_notes(
    model: str, ranks: Mapping[str, np.ndarray], relevant: Mapping[str, np.ndarray], numbers: Sequence[int]
) -> list[str]:
    """How many queries have a relevant item that ties with another one."""
    words = []
    for column, direction in enumerate(protocols.DIRECTIONS):
        queries = relevant["pairs"][:, column]
        tied = [np.unique(queries[ranks[f"{number}/{direction}/ties"] > 0]).size for number in numbers]
        if any(tied):
            words.append(f"{direction} {100 * np.mean(tied) / np.unique(queries).size:.3g} % of queries")
    if not words:
        return []
    return [f"{model}: relevant items tie with others ({', '.join(words)}), as equal captions and rounded numbers do"]


def _tables(
    study: Study, split: Split, prints: Mapping[str, Any], rows: Mapping[str, Any], queries: Mapping[str, Any],
    digests: Mapping[str, str],
) -> dict[str, bytes]:  # fmt: skip
    """The CSV files that a study's steps would write."""
    layouts = {model: layout.join([arrays], [model]) for model, arrays in queries.items()}
    medians = {model: median_ranks(of) for model, of in rows.items()}
    known, primary = (None, WHY), (study.primary["protocol"], study.primary["direction"], study.primary["metric"])
    shared = {"study": study.name, "dataset": split.dataset}
    runs = [{**shared, "regime": REGIME, "variant": model, "title": model, "split": split.view.name, **row,
             "fingerprint": prints[row["protocol"]]["id"], "ensemble": False, "selected_epoch": None,
             "digest": digests[model][:12]} for model, of in rows.items() for row in of]  # fmt: skip
    intervals = interval_rows(known, layouts, medians, primary, RESAMPLES, _intervals)
    contrasts = contrast_rows(study, known, layouts, medians, primary, RESAMPLES, FLIPS, _intervals)
    absent = {"study": study.name, "stage": "score", "reason": "no such run was named"}
    missing = [absent | {"variant": model, "seed": seed}
               for model, of in queries.items() for seed in study.seeds[len(of["seeds"]):]]  # fmt: skip
    made = {"runs": runs, "intervals": [shared | row for row in intervals],
            "contrasts": [shared | row for row in contrasts], "missing": missing}  # fmt: skip
    return {name: as_csv(of, header(name)).encode() for name, of in made.items()}


def _intervals(values: Mapping[str, np.ndarray], resamples: int) -> dict[str, Intervals]:
    """Over runs and images, as a study's; of fewer runs than that needs, over images alone."""
    many = {name: part for name, part in values.items() if len(part) >= MIN_SEEDS}
    result = batched_intervals(many, resamples)
    return {name: result[name] if name in many else image_intervals(part) for name, part in values.items()}


def _results(
    study: Study, tables: Mapping[str, bytes], prints: Mapping[str, Any], queries: Mapping[str, Any], root: Path
) -> StudyResults:
    """What a study's reports read, of these tables."""
    frames = {name: parse_table(content, TABLES[name][1], name, "") for name, content in tables.items()}
    results = StudyResults(study, root)
    nothing = {name: parse_table(as_csv([], header(name)).encode(), TABLES[name][1], name, "")
               for name in ("curves", "audit")}  # fmt: skip
    variants = tuple(Variant(model, model, study.question, (), ()) for model in study.variants)
    results.__dict__ |= {**frames, **nothing, "test": frames["runs"], "protocols": dict(prints), "known": (None, WHY),
                         "variants": variants, "manifest": None, "shared_epochs": range(0)}  # fmt: skip
    results._layouts = {model: layout.join([arrays], [model]) for model, arrays in queries.items()}
    return results


def _bundle(
    study: Study, tables: Mapping[str, bytes], prints: Mapping[str, Any], configs: Mapping[str, Any],
    digests: Mapping[str, str], record: Mapping[str, Any], queries: Mapping[str, Any],
) -> Bundle:  # fmt: skip
    """The bundle of what was scored."""
    import pandas as pd

    key = (study.primary["protocol"], study.primary["direction"], study.primary["metric"])
    made: dict[str, list[pd.DataFrame]] = {
        "images": [image_rows(model, layout.join([arrays], [model]), key) for model, arrays in queries.items()],
        "ranks": [part for model, arrays in queries.items() for part in rank_rows(model, arrays, arrays["seeds"])],
    }
    left_out = [f"curves, audit, calibration: {WHY}"]
    content = {name: table for name, table in tables.items() if name != "missing"}
    for name, parts in made.items():
        if (rows := sum(map(len, parts))) <= MOST_ROWS[name]:
            content[name] = pd.concat(parts).to_csv(index=False, lineterminator="\n").encode()
        else:
            left_out.append(f"{name}: {rows:,} rows, more than {MOST_ROWS[name]:,}")
    ids = next(iter(prints.values()))["ids_sha256"]
    facts = {
        "schema": SCHEMAS["bundle"], "fne": fne.__version__, "made_by": "fne score", "study": study.name,
        "title": study.title, "question": study.question, "dataset": study.data["dataset"], "regime": REGIME,
        "baseline": study.baseline, "primary": dict(study.primary), "test": study.test, "seeds": list(study.seeds),
        "notes": list(study.notes), "protocols": dict(prints),
        "fingerprints": {"data.ids": ids, **{f"features.{model}": digest for model, digest in digests.items()}},
        "packages": {name: version for name, version in record["packages"].items() if version}
                    | {"python": record["python"]},
        "variants": {model: {"title": model, "digest": digests[model][:12], "seeds": queries[model]["seeds"].tolist(),
                             "config": configs[model]} for model in study.variants},
        "records": {model: [record] for model in study.variants}, "test_accesses": [], "left_out": left_out,
    }  # fmt: skip
    return Bundle(facts, content, f"scores {study.name}")
